//! The only place that changes anything: turns observations, overrides and files into the next snapshot.

pub mod view;
