//! The only place that changes anything: turns observations, overrides and files into the next snapshot.

pub mod api;
mod changes;
pub mod client;
mod doubt;
pub mod drill;
pub mod events;
mod explain;
pub mod export;
pub mod files;
mod graph;
mod handle;
pub mod handover;
mod hooks;
pub mod journal;
mod levels;
mod looked;
pub mod memory;
mod metrics;
mod names;
mod overrides;
mod probes;
mod program;
mod reaper;
pub mod replacing;
pub mod report;
mod resources;
mod routes;
mod saver;
mod schedules;
mod services;
pub mod shares;
mod shift;
pub mod simulation;
mod status;
mod steps;
mod supervisor;
pub mod tail;
mod traffic;
pub mod view;
pub mod world;

pub use shift::words as move_words;

pub use handle::{Control, ControlError, LaunchError, ReloadCause, Start};
pub(crate) use overrides::glob;
pub use replacing::Replaced;
pub use supervisor::Pulse;

use std::time::{Duration, SystemTime};

use crate::engine::name::Name;

/// The time, passed in: wall clock for people and serials, monotonic for durations.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For `since`, `until` and serials.
    pub wall: SystemTime,
    /// Since the process started.
    pub mono: Duration,
}

impl Now {
    /// Unix seconds.
    pub fn unix(&self) -> u32 {
        self.wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
    }
}

/// A zone's name as people write it: without the final dot, but for the root.
pub(crate) fn zone_text(zone: &Name) -> String {
    let text = zone.to_string();
    match text.strip_suffix('.') {
        Some("") | None => text,
        Some(stripped) => stripped.to_owned(),
    }
}
