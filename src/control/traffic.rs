//! What the transports and the checker counted, as `status` shows it.

use super::explain::rcode_text;
use super::view::{ProbingStatus, TrafficStatus};
use crate::checker::Statistics;
use crate::engine::Transport;
use crate::transport::Counters;

/// One entry a transport, in the order in which they were started.
pub(crate) fn traffic(counters: &Counters) -> Vec<TrafficStatus> {
    let mut all: Vec<TrafficStatus> = Vec::new();
    for one in counters.read() {
        let name = word(one.transport);
        let at = all.iter().position(|known| known.transport == name).unwrap_or_else(|| {
            all.push(TrafficStatus { transport: name.to_owned(), ..TrafficStatus::default() });
            all.len() - 1
        });
        let sum = &mut all[at];
        sum.queries += one.queries;
        sum.replies += one.replies;
        sum.truncated += one.truncated;
        sum.dropped_port += one.dropped_port;
        sum.silent += one.silent;
        sum.oversize += one.oversize;
        sum.too_long += one.too_long;
        sum.rate_limited += one.rate_limited;
        sum.slipped += one.slipped;
        sum.send_failed += one.send_failed;
        sum.receive_failed += one.receive_failed;
        sum.panics += one.panics;
        sum.restarts += one.restarts;
        sum.accepted += one.accepted;
        sum.evicted += one.evicted;
        sum.timed_out += one.timed_out;
        sum.accept_waits += one.accept_waits;
        let known = one.rcodes.iter().enumerate().map(|(rcode, &count)| (rcode_text(rcode as u16), count));
        for (rcode, count) in known.chain([("other".to_owned(), one.other_rcodes)]).filter(|(_, count)| *count > 0) {
            *sum.rcodes.entry(rcode).or_default() += count;
        }
    }
    all
}

/// The checker's counts.
pub(crate) fn probing(statistics: &Statistics) -> ProbingStatus {
    ProbingStatus {
        started: statistics.started,
        reported: statistics.reported,
        unable: statistics.unable,
        panics: statistics.panicked,
        late: statistics.late,
        latest_ms: statistics.latest.as_millis() as u64,
        targets: statistics.targets,
        in_flight: statistics.in_flight,
        watches: statistics.watches,
        watches_broken: statistics.watches_broken,
    }
}

pub(super) fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
        Transport::Https => "https",
        Transport::Quic => "quic",
    }
}
