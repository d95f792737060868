//! The answer path over UDP allocates nothing, whatever is asked: every answer kind under a counting allocator.

use rollcall::engine::Transport;

#[path = "wire/world.rs"]
mod world;

use world::*;

/// Every kind of answer, with the RCODE that shows that it is the one meant, and the number of answer records.
fn kinds() -> Vec<(&'static str, Vec<u8>, u16, usize)> {
    let cookie: &[(u16, &[u8])] = &[(10, &[1; 8])];
    let everything: &[(u16, &[u8])] =
        &[(3, b""), (8, &[0, 1, 24, 0, 192, 0, 2]), (10, &[1; 24]), (11, b""), (12, &[0; 9])];
    let subnet: &[(u16, &[u8])] = &[(8, &[0, 1, 24, 0, 192, 0, 2])];
    let elsewhere: &[(u16, &[u8])] = &[(8, &[0, 1, 24, 0, 198, 51, 100])];
    let with_opcode = |opcode: u8| {
        let mut packet = query("www", A);
        packet[2] = opcode << 3;
        packet
    };
    let mut signed = query("www", A);
    let tsig = [&wire("hmac-sha256.")[..], &[0; 8], &[0, 0, 1, 2, 0, 0, 0, 0]].concat();
    add_record(&mut signed, &wire("key."), TSIG, 255, 0, &tsig);
    let mut chaos = query("www", A);
    *chaos.last_mut().expect("a class") = 3;
    let deep = "a.".repeat(110) + "lb.example.com.";
    vec![
        ("static", query("www", A), 0, 2),
        ("static, EDNS", query_edns("www", A, 1232), 0, 2),
        ("static, names compressed", query("@", MX), 0, 2),
        ("wildcard", query("x.y.wild", TXT), 0, 1),
        ("SOA", query("@", SOA), 0, 1),
        ("unknown type", query("www", 65_280), 0, 1),
        ("ANY", query("www", 255), 0, 1),
        ("round-robin", query("turn", A), 0, 3),
        ("round-robin, IPv6", query_edns("turn", AAAA, 1232), 0, 2),
        ("balanced wildcard", query("x.apps", A), 0, 3),
        ("weighted", query("weighted", A), 0, 2),
        ("random", query("random", A), 0, 3),
        ("fail open, with its error", query_edns("open", A, 1232), 0, 2),
        ("nodata of a pool", query_edns("nodata", A, 1232), 0, 0),
        ("servfail of a pool", query_edns("servfail", A, 1232), 2, 0),
        ("refused by a pool", query_edns("refused", A, 1232), 5, 0),
        ("hash", query("hashed", A), 0, 1),
        ("hash for a client subnet", with_opt(query("hashed", A), 1232, 0, subnet), 0, 1),
        ("hash, several and spread", query("hashed3", A), 0, 3),
        ("spread", query("spread", A), 0, 2),
        ("families together", query_edns("together", AAAA, 1232), 0, 2),
        ("route, fenced", with_opt(query("mapped", A), 1232, 0, subnet), 2, 0),
        ("route of four levels", with_opt(query("routed", A), 1232, 0, elsewhere), 0, 2),
        ("route that failed", query_edns("shut", A, 1232), 2, 0),
        ("chain onto a route", with_opt(query("to-routed", A), 1232, 0, elsewhere), 0, 3),
        ("chain", query("alias", A), 0, 3),
        ("chain onto a pool", query_edns("to-pool", A, 1232), 0, 4),
        ("chain onto a failed pool", query("to-servfail", A), 2, 0),
        ("dangling", query("dangling", A), 3, 1),
        ("loop", query("loop", A), 0, 1),
        ("out of the zone", query("away", A), 0, 1),
        ("DNAME", query("www.old", A), 0, 3),
        ("DNAME, too long", query(&format!("{}.long", "a".repeat(63)), A), 6, 1),
        ("NXDOMAIN", query("missing", A), 3, 0),
        ("NXDOMAIN, deep", query(&deep, A), 3, 0),
        ("NODATA", query("www", SOA), 0, 0),
        ("empty non-terminal", query("ent", A), 0, 0),
        ("referral", query("host.sub", A), 0, 0),
        ("referral with glue that does not fit", query("host.cut40", A), 0, 0),
        ("DS at a cut", query("sub", 43), 0, 1),
        ("out of all zones", query_edns("www.example.net.", A, 1232), 5, 0),
        ("transfer", query_edns("@", 252, 1232), 5, 0),
        ("other class", chaos, 5, 0),
        ("truncated", query("size59", TXT), 0, 0),
        ("truncated, EDNS", query_edns("size67", TXT, 4096), 0, 0),
        ("truncated pool", query_edns("many", A, 1232), 0, 0),
        ("truncated pool, IPv6", query_edns("many6", AAAA, 1232), 0, 0),
        ("truncated pool behind an alias", query_edns("to-many6", AAAA, 1232), 0, 0),
        ("malformed", query("www", A)[..20].to_vec(), 1, 0),
        ("malformed behind the question", [query("www", A), vec![0]].concat(), 1, 0),
        ("no question", vec![0; 12], 1, 0),
        ("BADVERS", with_opt(query("www", A), 1232, 1 << 16, &[]), 16, 0),
        ("cookie", with_opt(query("www", A), 1232, 0, cookie), 0, 2),
        ("all options", with_opt(query("www", A), 1232, 0x8000, everything), 0, 2),
        ("bad option", with_opt(query("www", A), 1232, 0, &[(10, &[1; 3])]), 1, 0),
        ("opcode", with_opcode(2), 4, 0),
        ("NOTIFY", with_opcode(4), 5, 0),
        ("UPDATE", with_opcode(5), 5, 0),
        ("TSIG", signed, 9, 0),
    ]
}

#[test]
fn no_answer_over_udp_allocates() {
    let mut failed = Vec::new();
    for (kind, packet, rcode, answers) in kinds() {
        // It is the answer that is meant.
        let reply = udp(&packet);
        assert_eq!((reply.rcode, reply.answers.len()), (rcode, answers), "{kind}");
        let mut out = [0; 4096];
        let allocations = allocations(|| {
            for _ in 0..100 {
                assert!(ask_raw(Transport::Udp, &packet, &mut out).length > 0);
            }
        });
        if allocations > 0 {
            failed.push(format!("{kind}: {allocations} in 100 answers"));
        }
    }
    assert!(failed.is_empty(), "allocations on the answer path: {failed:#?}");
}

#[test]
fn silence_allocates_nothing() {
    let mut response = query("www", A);
    response[2] |= 0x80;
    let mut out = [0; 4096];
    ask_raw(Transport::Udp, &query("www", A), &mut out);
    let allocations = allocations(|| {
        for packet in [&response[..], &response[..5], &[]] {
            assert_eq!(ask_raw(Transport::Udp, packet, &mut out).length, 0);
        }
    });
    assert_eq!(allocations, 0);
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(7)))), 1);
}

/// Allocations that `run` makes on this thread.
fn allocations(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).count_total
}
