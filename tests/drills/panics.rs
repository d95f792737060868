//! The `rollcall` program with panics on demand (feature `panic-drill`), for `panics.py` beside this file.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    rollcall::cli::main()
}
