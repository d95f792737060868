//! Names in replies: case, compression, length (RFC 1035 4.1.4, RFC 3597 4, RFC 4343, RFC 6672).

use rollcall::engine::Transport;

use super::world::*;

#[test]
fn the_questions_case_comes_back_and_owners_point_at_it() {
    for name in ["wWw", "TURN", "X.aPPs", "a.WILD", "wWw.Lb.eXample.COM."] {
        for qtype in [A, TXT] {
            let reply = udp(&query(name, qtype));
            assert_eq!(reply.rcode, 0, "{name}");
            for record in &reply.answers {
                assert_eq!(record.owner, wire(name), "the owner is the question's name, case and all");
            }
        }
    }
    // Lookup is blind to ASCII case alone.
    let mut packet = query("www", A);
    packet[13] |= 0x80;
    assert_eq!(udp(&packet).rcode, 3);
}

#[test]
fn a_plain_answer_is_as_short_as_it_can_be() {
    let question = 12 + wire("www").len() + 4;
    assert_eq!(udp(&query("www", A)).octets.len(), question + 2 * 16);
    assert_eq!(udp(&query("turn", AAAA)).octets.len(), question + 1 + 2 * 28);
}

#[test]
fn names_are_compressed_in_old_types_and_in_no_other() {
    let mx = udp(&query("@", MX));
    let ours = mx.answers.iter().find(|record| record.rdata[1] == 10).expect("MX 10");
    // "mail" and a pointer to the apex.
    assert_eq!(ours.rdata.len(), 2 + 5 + 2);
    assert_eq!(name_at(&mx.octets, ours.rdata_at + 2).expect("a name").0, wire("mail"));
    let srv = udp(&query("www", SRV));
    assert_eq!(srv.answers[0].rdata[6..], wire("www"), "SRV carries its target in full (RFC 3597 4)");
    let dname = udp(&query("old", DNAME));
    assert_eq!(dname.answers[0].rdata, wire("new"));
    let unknown = udp(&query("www", 65_280));
    assert_eq!(unknown.data(), [&[10, 0, 0, 1]]);
}

#[test]
fn the_soa_of_a_negative_answer_points_at_the_apex() {
    for name in ["missing", "a.b.c.d.e.missing", "ent", "x.ENT", "MiSsing"] {
        let reply = udp(&query(name, A));
        assert_eq!(reply.authorities.len(), 1);
        let soa = &reply.authorities[0];
        assert!(soa.owner.eq_ignore_ascii_case(&wire("@")));
        assert_eq!((soa.rtype, soa.ttl), (SOA, 5));
        let (mname, at) = name_at(&reply.octets, soa.rdata_at).expect("MNAME");
        let (rname, end) = name_at(&reply.octets, at).expect("RNAME");
        assert!(mname.eq_ignore_ascii_case(&wire("ns1")) && rname.eq_ignore_ascii_case(&wire("hostmaster")));
        assert_eq!(end + 20, soa.rdata_at + soa.rdata.len());
    }
}

#[test]
fn a_dname_makes_a_cname_with_its_ttl() {
    let reply = udp(&query("wWw.old", A));
    let [dname, cname, address] = &reply.answers[..] else { panic!("{reply:?}") };
    assert_eq!((dname.rtype, cname.rtype, address.rtype), (DNAME, CNAME, A));
    assert_eq!((&dname.owner, dname.ttl), (&wire("old"), cname.ttl));
    assert_eq!(cname.owner, wire("wWw.old"));
    let target = name_at(&reply.octets, cname.rdata_at).expect("a name").0;
    assert!(target.eq_ignore_ascii_case(&wire("www.new")));
    // Not at the owner itself.
    let at_owner = udp(&query("old", A));
    assert!(at_owner.answers.is_empty() && at_owner.rcode == 0);
}

#[test]
fn a_cname_asked_for_below_a_dname_is_the_one_that_it_makes() {
    // Wherever that leads: to a name with addresses, or to none.
    for name in ["www.old", "nothing.old"] {
        for qtype in [CNAME, 255] {
            let reply = udp(&query(name, qtype));
            assert_eq!(reply.rcode, 0, "{name}");
            assert_eq!(reply.answers.iter().map(|record| record.rtype).collect::<Vec<_>>(), [DNAME, CNAME]);
            assert!(reply.authorities.is_empty() && reply.authoritative);
        }
    }
}

#[test]
fn a_name_that_grows_beyond_255_octets_is_yxdomain() {
    // What the target leaves: 255 - (3 * 64 + 16) = 47 octets for what stands before.
    for length in 1..=63 {
        let label = "a".repeat(length);
        let reply = udp(&query_edns(&format!("{label}.long"), A, 1232));
        let fits = 1 + length + wire("@").len() + 3 * 64 <= 255;
        assert_eq!(reply.rcode, if fits { 3 } else { 6 }, "a label of {length}");
        assert_eq!(reply.answers.len(), if fits { 2 } else { 1 });
        assert!(reply.authoritative);
    }
}

#[test]
fn many_labels_and_long_names_are_looked_up() {
    for labels in 1..=110 {
        let name = "a.".repeat(labels) + "lb.example.com.";
        assert_eq!(udp(&query(&name, A)).rcode, 3);
        let name = "a.".repeat(labels) + "wild.lb.example.com.";
        let reply = udp(&query(&name, TXT));
        assert_eq!((reply.rcode, reply.answers.len()), (0, 1));
        let name = "a.".repeat(labels) + "sub.lb.example.com.";
        assert_eq!(udp(&query(&name, TXT)).authorities.len(), 2);
    }
}

#[test]
fn chains_and_referrals_are_read_back_as_they_were_written() {
    let reply = udp(&query("to-pool", A));
    assert_eq!(reply.answers.len(), 4);
    assert!(reply.answers[1..].iter().all(|record| record.owner == wire("turn")));
    let reply = udp(&query("host.sub", A));
    let servers: Vec<Vec<u8>> =
        reply.authorities.iter().map(|record| name_at(&reply.octets, record.rdata_at).expect("a name").0).collect();
    assert_eq!(servers, [wire("ns.sub"), wire("ns.example.net.")]);
    assert!(reply.authorities.iter().all(|record| record.owner == wire("sub")));
    assert!(reply.additionals.iter().all(|record| record.owner == wire("ns.sub")));
    // Large messages: pointers reach 16,383 octets and no further.
    let stream = ask(Transport::Tcp, &query("to-pool", A)).expect("an answer");
    assert_eq!(stream.answers.len(), 4);
}

#[test]
fn a_chain_that_ends_in_a_failed_pool_is_that_failure_whole() {
    for name in ["servfail", "to-servfail"] {
        let reply = udp(&query_edns(name, A, 1232));
        assert_eq!(reply.rcode, 2);
        assert!(reply.is_empty() && !reply.authoritative && reply.has_question);
    }
}
