//! The `rollcall` program: arguments in, exit code out. No decisions.
#![forbid(unsafe_code)]

/// Probes, reloads and large zones allocate much on one thread and free it on another: here that costs less, and what a
/// reload has let go of goes back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    rollcall::cli::main()
}
