//! The `rollcall` program: arguments in, exit code out. No decisions.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    rollcall::cli::main()
}
