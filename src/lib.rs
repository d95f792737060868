//! rollcall: an authoritative DNS server that is a load balancer.
//!
//! It answers A, AAAA and other queries with the *healthy* backends of a pool; a background checker withdraws failed ones.
//!
//! ```text
//! one query     resolver -> transport -> engine::respond(snapshot, bytes) -> transport -> resolver
//! one verdict   backend <- checker -> Observation -> control::World (trackers) -> Snapshot -> one pointer store
//! ```
//!
//! Dependencies point one way, and a test reads `src/` and holds the code to it:
//! `main -> cli -> control -> {transport, checker, config} -> engine`.
#![forbid(unsafe_code)]

pub mod engine;

pub mod checker;
pub mod config;
pub mod transport;

pub mod control;

pub mod cli;
pub mod telemetry;

/// The version of this build, as `rollcall --version`, the probes' `User-Agent` and `status` say it.
pub const VERSION: &str = if cfg!(feature = "panic-drill") {
    concat!(env!("CARGO_PKG_VERSION"), "+panic-drill")
} else {
    env!("CARGO_PKG_VERSION")
};
