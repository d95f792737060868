//! Class CHAOS (RFC 4892): what the server says of itself, when it was told to.

use super::world::*;

const CH: u16 = 3;
const ANY: u16 = 255;

fn chaos(name: &str, qtype: u16) -> Vec<u8> {
    let mut packet = query(name, qtype);
    let at = packet.len() - 2;
    packet[at..].copy_from_slice(&CH.to_be_bytes());
    packet
}

#[test]
fn version_and_id_are_said_in_class_ch() {
    let said: [(&str, &[u8]); 5] = [
        ("version.bind.", b"\x08rollcall"),
        ("VERSION.Server.", b"\x08rollcall"),
        ("hostname.bind.", b"\x06wire-1"),
        ("id.server.", b"\x06wire-1"),
        ("ID.SERVER.", b"\x06wire-1"),
    ];
    for (name, text) in said {
        for qtype in [TXT, ANY] {
            let reply = udp(&chaos(name, qtype));
            assert!(reply.rcode == 0 && reply.authoritative, "{name}");
            let [record] = &reply.answers[..] else { panic!("one record: {name}") };
            assert_eq!((record.rtype, record.class, record.ttl, &record.rdata[..]), (TXT, CH, 0, text), "{name}");
        }
        assert!(udp(&chaos(name, A)).is_empty(), "{name} has no address");
        // In class IN they are names like any other.
        assert_eq!(udp(&query(name, TXT)).rcode, 5);
    }
}

#[test]
fn all_else_in_class_ch_is_refused() {
    for name in ["authors.bind.", "bind.", "server.", ".", "x.version.bind.", "www", "@"] {
        let reply = udp(&chaos(name, TXT));
        assert!(reply.rcode == 5 && reply.is_empty(), "{name}");
    }
    assert_eq!(udp(&chaos("id.server.", 252)).rcode, 5, "a transfer");
}

#[test]
fn what_is_not_set_is_refused() {
    let mut silent = snapshot().clone();
    let options = std::sync::Arc::make_mut(&mut silent.options);
    options.version = rollcall::engine::chaos::record(b"");
    options.id = rollcall::engine::chaos::record(b"");
    let mut out = [0; 512];
    for name in ["version.bind.", "version.server.", "hostname.bind.", "id.server."] {
        let asker = asker(rollcall::engine::Transport::Udp);
        assert_eq!(rollcall::engine::respond(&silent, &asker, &chaos(name, TXT), &mut out).rcode, 5, "{name}");
    }
}
