//! The short way and the long way give the same octets, whatever is asked.

use rollcall::engine::draw::Draws;
use rollcall::engine::plain::Plain;
use rollcall::engine::snapshot::Snapshot;
use rollcall::engine::{Reply, Transport, respond, respond_at_length};

use crate::world;

const NAMES: &[&str] = &[
    "lb.example.com",
    "ns1",
    "mail",
    "www",
    "alias",
    "to-pool",
    "dangling",
    "loop",
    "old",
    "x.old",
    "wild",
    "x.wild",
    "x.y.wild",
    "ent",
    "a.ent",
    "b.ent",
    "x.a.ent",
    "sub",
    "x.sub",
    "ns.sub",
    "turn",
    "weighted",
    "random",
    "open",
    "nodata",
    "servfail",
    "refused",
    "many",
    "many6",
    "apps",
    "x.apps",
    "x.y.apps",
    "missing",
    "a.b.c.d.missing",
    "size0",
    "size67",
    "cut1",
    "s0.cut1",
    "com.",
    "example.com.",
    "elsewhere.org.",
    ".",
    "a-label-that-makes-this-name-just-as-long-as-ca",
    "a-label-that-makes-this-name-longer-than-what-is",
    "1.2.3.4.5.6.7.8.9.a.b.c.d.e.f.0.1.2.3.4.5.6.7.8",
];
const TYPES: &[u16] = &[0, 1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 39, 41, 43, 65, 127, 128, 249, 252, 255, 256, 65280];

/// Each way draws from counters of its own, which begin alike.
struct Both {
    short: Snapshot,
    long: Snapshot,
    plain: usize,
}

impl Both {
    fn new() -> Both {
        let fresh = || Snapshot { draws: [Draws::new(0).grown(64)].into_iter().collect(), ..world::snapshot().clone() };
        Both { short: fresh(), long: fresh(), plain: 0 }
    }

    fn compare(&mut self, query: &[u8], transport: Transport, room: usize) {
        let asker = world::asker(transport);
        let (mut short, mut long) = (vec![0xaa; room], vec![0x55; room]);
        let one: Reply = respond(&self.short, &asker, query, &mut short);
        let other = respond_at_length(&self.long, &asker, query, &mut long);
        assert_eq!(one, other, "{query:02x?} over {transport:?} into {room}");
        assert_eq!(short[..one.length], long[..other.length], "{query:02x?} over {transport:?} into {room}");
        self.plain += usize::from(one.length > 0);
    }
}

fn query(name: &str, rtype: u16, edns: Option<(u16, u8, u8)>) -> Vec<u8> {
    let name = if name.ends_with('.') || name.contains("example.com") {
        name.to_owned()
    } else {
        format!("{name}.lb.example.com")
    };
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    for (at, label) in name.split('.').filter(|label| !label.is_empty()).enumerate() {
        query.push(label.len() as u8);
        // Mixed case, as 0x20 has it.
        query.extend(if at % 2 == 0 { label.to_uppercase() } else { label.to_owned() }.bytes());
    }
    query.push(0);
    query.extend(rtype.to_be_bytes());
    query.extend([0, 1]);
    if let Some((size, version, flags)) = edns {
        let [s0, s1] = size.to_be_bytes();
        query.extend([0, 0, 41, s0, s1, 0, version, flags, 0, 0, 0]);
    }
    query
}

#[test]
fn both_ways_answer_every_name_and_type_alike() {
    let mut both = Both::new();
    let all =
        [None, Some((0, 0, 0)), Some((512, 0, 0x80)), Some((1232, 0, 0)), Some((4096, 0, 0xff)), Some((1232, 1, 0))];
    for name in NAMES {
        for &rtype in TYPES {
            for edns in all {
                let query = query(name, rtype, edns);
                both.compare(&query, Transport::Udp, world::LIMIT);
                both.compare(&query, Transport::Tcp, 65_535);
                both.compare(&query, Transport::Udp, 512);
                both.compare(&query, Transport::Udp, 100);
            }
        }
    }
    assert!(both.plain > 10_000);
}

#[test]
fn both_ways_take_every_changed_octet_alike() {
    let mut both = Both::new();
    for (name, rtype) in [("www", 28), ("turn", 1), ("missing", 1), ("x.apps", 1), ("mail", 28)] {
        for edns in [None, Some((1232, 0, 0x80))] {
            let query = query(name, rtype, edns);
            for at in 0..query.len() {
                for value in 0..=255 {
                    let mut changed = query.clone();
                    changed[at] = value;
                    both.compare(&changed, Transport::Udp, world::LIMIT);
                }
            }
            for length in 0..query.len() {
                both.compare(&query[..length], Transport::Udp, world::LIMIT);
            }
            for more in 1..120 {
                let longer = [query.clone(), vec![0; more]].concat();
                both.compare(&longer, Transport::Udp, world::LIMIT);
            }
        }
    }
}

/// A worker reads a whole batch before it answers the first. In a large zone names are looked for in two steps, and the second may
/// be left out.
#[test]
fn a_batch_is_answered_as_its_queries_are_one_by_one() {
    const HOSTS: usize = 30_000;
    let mut zone = String::from("zone = \"lb.example.com\"\n[records]\n\"@\" = { NS = \"ns.example.net.\" }\n");
    for host in 0..HOSTS {
        zone += &format!("h{host} = {{ A = \"10.0.{}.{}\" }}\n", host >> 8, host & 255);
    }
    zone += "\"*.h7\" = { A = \"192.0.2.7\" }\n";
    let (large, asker) = (world::of(&zone), world::asker(Transport::Udp));
    for (snapshot, in_two_steps) in [(&*large, true), (world::snapshot(), false)] {
        // Hosts, names that are not there, and one below a wildcard. In the other zone none is there.
        let hosts = (0..HOSTS + 3_000).step_by(7);
        let hosts =
            hosts.map(|host| (format!("h{host}"), (host < HOSTS).then_some([10, 0, (host >> 8) as u8, host as u8])));
        let queries: Vec<(Vec<u8>, Option<[u8; 4]>)> = hosts
            .chain([(String::from("x.h7"), Some([192, 0, 2, 7]))])
            .map(|(name, address)| (query(&name, 1, None), address.filter(|_| in_two_steps)))
            .collect();
        for batch in queries.chunks(32) {
            let mut slots = vec![[0; 512]; batch.len()];
            let mut plain = vec![Plain::NONE; batch.len()];
            for ((slot, plain), (query, _)) in slots.iter_mut().zip(&mut plain).zip(batch) {
                slot[..query.len()].copy_from_slice(query);
                plain.read(snapshot, Transport::Udp, slot, query.len(), 512).expect("a plain query");
                assert_eq!(plain.needs_aim(), in_two_steps);
            }
            for (at, plain) in plain.iter_mut().enumerate().filter(|(at, _)| at % 5 != 4) {
                plain.aim(snapshot);
                assert!(!plain.needs_aim(), "{at}");
            }
            for ((slot, plain), (query, address)) in slots.iter_mut().zip(&plain).zip(batch) {
                let reply = plain.answer(snapshot, 0, slot).expect("a plain answer");
                let mut alone = [0; 512];
                let expected = respond_at_length(snapshot, &asker, query, &mut alone);
                assert_eq!((reply, &slot[..reply.length]), (expected, &alone[..expected.length]), "{query:02x?}");
                match address {
                    Some(address) => assert_eq!(slot[reply.length - 4..reply.length], *address, "{query:02x?}"),
                    None => assert_eq!(reply.rcode, 3, "{query:02x?}"),
                }
            }
        }
    }
}
