//! The `rollcall` program with panics on demand (feature `panic-drill`), for `panics.py` beside this file and for
//! `tests/terminal/run.sh`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    rollcall::cli::main()
}
