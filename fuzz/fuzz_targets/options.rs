//! Client subnets and cookies: any EDNS options in an otherwise good query, and a cookie that is learned, changed, and shown
//! by the same client or another, sooner or later.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use libfuzzer_sys::fuzz_target;
use rollcall::engine::snapshot::Snapshot;
use rollcall::engine::{Asker, Reply, Transport, respond};

mod zone;
use zone::UDP_LIMIT;

const SUBNET: u16 = 8;
const COOKIE: u16 = 10;
const NAMES: [&[u8]; 4] =
    [b"\x02rr\x07example\0", b"\x03www\x07example\0", b"\x03big\x07example\0", b"\x04none\x07example\0"];

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(zone::snapshot);

fuzz_target!(|input: (u8, u32, i16, u8, u8, bool, &[u8])| {
    let (choice, clock, later, place, change, other_client, options) = input;
    let client = client(choice, false);
    let transport = if choice & 4 == 0 { Transport::Udp } else { Transport::Tcp };
    let name = NAMES[usize::from(choice >> 6)];
    SNAPSHOT.clock.store(clock, Ordering::Relaxed);

    // Whatever the options are.
    let (reply, bytes) = ask(client, transport, name, options);
    assert!(!reply.cookie_valid || has(options, COOKIE).is_some(), "a cookie that was not sent is not valid");
    if reply.rcode != 1 {
        match (has(options, SUBNET), find(&bytes, &reply, SUBNET)) {
            (Some(sent), Some(back)) => {
                assert_eq!((sent[..3].to_vec(), &sent[4..]), (back[..3].to_vec(), &back[4..]), "the subnet comes back");
                assert_eq!(back[3], 0, "no answer here depends on the client");
            }
            (None, None) => {}
            (sent, back) => panic!("subnet sent {sent:?}, came back {back:?}"),
        }
        let sent = has(options, COOKIE);
        let back = find(&bytes, &reply, COOKIE);
        assert_eq!(sent.map(|cookie| &cookie[..8]), back.as_ref().map(|cookie| &cookie[..8]), "the client's part");
        assert!(back.is_none_or(|cookie| cookie.len() == 24));
    }

    // Learn a cookie, show it again.
    let mut cookie = option(COOKIE, &clock.to_le_bytes().repeat(2));
    let (reply, bytes) = ask(client, transport, name, &cookie);
    let learned = find(&bytes, &reply, COOKIE).expect("a cookie for a client that sends one");
    cookie = option(COOKIE, &learned);
    let at = 4 + usize::from(place) % learned.len();
    cookie[at] ^= change;
    let now = clock.wrapping_add_signed(i32::from(later));
    SNAPSHOT.clock.store(now, Ordering::Relaxed);
    let shower = self::client(choice, other_client);
    let (reply, _) = ask(shower, transport, name, &cookie);
    let good = change == 0 && shower == client && (-300..=3600).contains(&later);
    assert_eq!(reply.cookie_valid, good, "{learned:?} octet {at} ^ {change}, {later} s later, {client} then {shower}");
});

fn client(choice: u8, other: bool) -> IpAddr {
    let last = u8::from(other);
    match choice & 1 {
        0 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)),
        _ => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last))),
    }
}

fn option(code: u16, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat()
}

fn ask(address: IpAddr, transport: Transport, name: &[u8], options: &[u8]) -> (Reply, Vec<u8>) {
    let mut query = vec![1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    query.extend_from_slice(name);
    query.extend_from_slice(&[0, 1, 0, 1, 0, 0, 41, 16, 0, 0, 0, 0, 0]);
    query.extend_from_slice(&(options.len().min(65_000) as u16).to_be_bytes());
    query.extend_from_slice(&options[..options.len().min(65_000)]);
    let mut out = vec![0xaa; if transport == Transport::Udp { UDP_LIMIT } else { 65_535 }];
    let reply = respond(&SNAPSHOT, &Asker { address, transport, worker: 0 }, &query, &mut out);
    assert!(reply.length > 12, "a good question is answered, whatever its options are");
    out.truncate(reply.length);
    // Read by hand: hickory-proto does not know that a subnet may have family 0 (no address at all, as dig sends it).
    let opt = out.len() - usize::from(reply.options_length);
    assert!(out[opt..].starts_with(&[0, 0, 41]), "the OPT is last");
    let length: usize = split(&out[opt + 11..]).iter().map(|(_, data)| 4 + data.len()).sum();
    assert_eq!(
        (opt + 11 + length, [out[opt + 9], out[opt + 10]]),
        (out.len(), (length as u16).to_be_bytes()),
        "whole options"
    );
    (reply, out)
}

/// An option of the reply.
fn find(bytes: &[u8], reply: &Reply, code: u16) -> Option<Vec<u8>> {
    let opt = bytes.len() - usize::from(reply.options_length);
    has(bytes.get(opt + 11..)?, code).map(<[u8]>::to_vec)
}

/// The first such option: of several, the server heeds it alone (RFC 7873 5.2).
fn has(options: &[u8], code: u16) -> Option<&[u8]> {
    split(options).into_iter().find(|one| one.0 == code).map(|one| one.1)
}

fn split(mut rest: &[u8]) -> Vec<(u16, &[u8])> {
    let mut all = Vec::new();
    while let Some((head, tail)) = rest.split_at_checked(4) {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let Some((data, tail)) = tail.split_at_checked(length) else { break };
        all.push((u16::from_be_bytes([head[0], head[1]]), data));
        rest = tail;
    }
    all
}
