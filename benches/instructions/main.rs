//! Instructions a query, for callgrind: answers the queries of one kind, named by the first argument, in `measured`, which
//! is all that `check.sh` collects.
//!
//! Counts do not depend on how busy the machine is, so they can be compared with a baseline kept in the repository.

#[path = "../world/mod.rs"]
mod world;

use rollcall::engine::respond;
use rollcall::engine::rrtype::A;
use rollcall::engine::snapshot::Snapshot;

/// Queries of a run; `check.sh` divides by it.
const QUERIES: usize = 1_000;
/// Hosts of the large zone: no table fits a near cache, and it is still built under callgrind within seconds.
const LARGE: usize = 50_000;

fn main() {
    // `cargo bench` passes options; without a kind there is nothing to do.
    let Some(kind) = std::env::args().nth(1).filter(|argument| !argument.starts_with('-')) else {
        return;
    };
    let (snapshot, queries) = match kind.as_str() {
        "static_in_large" => (
            world::snapshot(LARGE),
            (0..QUERIES).map(|at| world::query(&format!("h{}", world::uniform(LARGE, at)), A, false)).collect(),
        ),
        "nxdomain_in_large" => (world::snapshot(LARGE), world::missing(QUERIES)),
        kind => {
            let mut kinds = world::kinds(1_000);
            let at = kinds.iter().position(|(name, _)| *name == kind);
            (world::snapshot(1_000), kinds.swap_remove(at.expect("a kind that there is")).1)
        }
    };
    assert_eq!(queries.len(), QUERIES);
    std::hint::black_box(measured(&snapshot, &queries));
}

/// Everything that is counted.
#[inline(never)]
fn measured(snapshot: &Snapshot, queries: &[Vec<u8>]) -> usize {
    let mut out = [0; 1232];
    let mut octets = 0;
    for query in queries {
        octets += respond(snapshot, &world::ASKER, std::hint::black_box(query), &mut out).length;
    }
    octets
}
