//! Panics on demand, compiled only with the feature `panic-drill`: how a panic is borne cannot be seen without one.
//!
//! The first label of the question says where: `panic-respond` inside `respond()`, `panic-outside` in the worker's loop or
//! the connection's task around it.

use crate::engine::snapshot::Snapshot;
use crate::engine::{Asker, Reply};

/// As [`crate::engine::respond`], but for one name.
pub(super) fn respond(snapshot: &Snapshot, asker: &Asker, query: &[u8], out: &mut [u8]) -> Reply {
    inside(query);
    crate::engine::respond(snapshot, asker, query, out)
}

/// Called where a UDP worker answers, inside of what contains panics.
pub(super) fn inside(query: &[u8]) {
    assert!(!asks(query, b"panic-respond"), "the drill asked for a panic in respond()");
}

/// Called where a query was received, outside of what contains the panics of `respond()`.
pub(super) fn outside(query: &[u8]) {
    assert!(!asks(query, b"panic-outside"), "the drill asked for a panic in the loop");
}

fn asks(query: &[u8], label: &[u8]) -> bool {
    query.get(12).map(|&length| usize::from(length)) == Some(label.len())
        && query.get(13..13 + label.len()).is_some_and(|asked| asked.eq_ignore_ascii_case(label))
}
