//! End to end: where clients are is read from files that change under the server; two servers of one configuration steer
//! alike; who lives elsewhere is checked by what stands for it.

#[path = "support/mmdb.rs"]
mod mmdb;
mod support;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use support::server::{Place, Server};
use support::{throughout, until};

const WWW: &str = "www.lb.example.com.";
const EUROPE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const AMERICA: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const NOWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

/// A database in which this machine is there.
fn database(path: &str) -> Vec<u8> {
    let place = mmdb::Place { path: path.to_owned(), ..mmdb::Place::default() };
    mmdb::database(&[("127.0.0.0/8".parse().unwrap(), place)])
}

fn mapped(geoip: &str) -> Place {
    let place = Place::with_zone(&format!(
        "[pools.eu]\nbackends = [{{ address = \"{EUROPE}\" }}]\n[pools.na]\nbackends = [{{ address = \"{AMERICA}\" }}]\n\
         [pools.rest]\nbackends = [{{ address = \"{NOWHERE}\" }}]\n[maps.world]\n{geoip}\n\
         [routes.www]\ntype = \"map\"\nmap = \"world\"\nchoices = {{ EU = \"eu\", \"NA/US\" = \"na\", default = \"rest\" }}\n\
         [names]\nwww = \"www\"\n"
    ));
    fs::write(place.path("zones/world.mmdb"), database("EU/DE")).unwrap();
    place
}

fn answers(server: &Server, address: Ipv4Addr) -> bool {
    server.client().addresses(WWW) == [IpAddr::V4(address)]
}

/// Waits until that is answered: a second since the file was written, and half of one more for a busy machine.
#[track_caller]
fn answers_within_a_second(server: &Server, address: Ipv4Addr, written: Instant) {
    until(&format!("{address} answers"), || answers(server, address));
    assert!(written.elapsed() < Duration::from_millis(1500), "live only after {:?}", written.elapsed());
}

#[test]
fn a_database_that_changes_is_read_again_and_a_broken_one_is_not_taken() {
    let place = mapped("geoip = \"world.mmdb\"");
    let server = place.serve();
    assert!(answers(&server, EUROPE));
    // Renamed over, as updaters do it.
    fs::write(place.path("zones/.new"), database("NA/US/CA")).unwrap();
    fs::rename(place.path("zones/.new"), place.path("zones/world.mmdb")).unwrap();
    answers_within_a_second(&server, AMERICA, Instant::now());
    // Written in place.
    fs::write(place.path("zones/world.mmdb"), database("AS/JP")).unwrap();
    answers_within_a_second(&server, NOWHERE, Instant::now());

    let good = database("EU/FR");
    for broken in [&b"no database"[..], &good[..good.len() / 2], &[]] {
        let before = server.status().0["reload"]["at"].clone();
        fs::write(place.path("zones/world.mmdb"), broken).unwrap();
        until("the reload is refused", || {
            let (status, code) = server.status();
            code == 1 && status["reload"]["ok"] == false && status["reload"]["at"] != before
        });
        let messages = server.status().0["reload"]["messages"].to_string();
        assert!(messages.contains("world.mmdb") && messages.contains("lb.toml:"), "{messages}");
        assert!(answers(&server, NOWHERE));
    }
    throughout(Duration::from_millis(300), "what was there answers", || answers(&server, NOWHERE));
    fs::write(place.path("zones/world.mmdb"), good).unwrap();
    answers_within_a_second(&server, EUROPE, Instant::now());
    until("all is well again", || server.status().1 == 0);
    // One that goes is a file that is missing.
    fs::remove_file(place.path("zones/world.mmdb")).unwrap();
    until("the reload is refused", || server.status().1 == 1);
    assert!(answers(&server, EUROPE));
}

#[test]
fn a_list_of_networks_that_changes_is_read_again() {
    let place = mapped("file = \"networks.csv\"\ngeoip = \"world.mmdb\"");
    place.write("zones/networks.csv", "network,region\n198.51.100.0/24,NA/US\n");
    let server = place.serve();
    assert!(answers(&server, EUROPE));
    place.write("zones/networks.csv", "network,region\n127.0.0.0/16,NA/US\n");
    answers_within_a_second(&server, AMERICA, Instant::now());
    place.write("zones/networks.csv", "network,region\n127.0.0.0/33,NA/US\n");
    until("the reload is refused", || server.status().1 == 1);
    assert!(server.status().0["reload"]["messages"].to_string().contains("networks.csv:2"), "the line is named");
    assert!(answers(&server, AMERICA));
}

/// The first address that `server` gives to that network (RFC 7871).
fn owner(server: SocketAddr, network: [u8; 3]) -> [u8; 4] {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let [a, b, c] = network;
    let name = b"\x03www\x02lb\x07example\x03com\x00";
    let header = [7, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    let opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, a, b, c];
    socket.send(&[&header[..], name, &[0, 1, 0, 1], &opt].concat()).unwrap();
    let mut reply = [0; 512];
    let length = socket.recv(&mut reply).unwrap();
    // Behind the header, the question, and the fixed part of the answer's one record.
    let at = 12 + name.len() + 4 + 12;
    assert!(length >= at + 4 && reply[7] == 1, "one answer");
    reply[at..at + 4].try_into().unwrap()
}

/// A second server needs no time to find the first, nor to learn anything from it: it answers at once, and alike.
#[test]
fn two_servers_of_one_configuration_answer_at_once_and_give_every_client_the_same() {
    let backends: String =
        (1..=7).map(|n| format!("{{ name = \"b{n}\", address = \"192.0.2.{n}\", weight = {n} }},")).collect();
    let zone = format!("[pools.web]\npolicy = \"hash\"\nbackends = [{backends}]\n[names]\nwww = \"web\"\n");
    let (one, two) = (Place::with_zone(&zone), Place::with_zone(&zone));
    let (one, two) = (one.serve(), two.serve());
    for server in [&one, &two] {
        let reply = server.client().ask(WWW, RecordType::A);
        assert_eq!((reply.rcode, reply.addresses.len()), (ResponseCode::NoError, 1));
    }
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..2000u32 {
        let [_, a, b, c] = (number * 7919).to_be_bytes();
        let (first, second) = (owner(one.dns, [a, b, c]), owner(two.dns, [a, b, c]));
        assert_eq!(first, second, "{a}.{b}.{c}.0/24");
        seen.insert(first);
    }
    assert_eq!(seen.len(), 7, "everybody owns somebody");
}

#[test]
fn a_backend_elsewhere_is_left_when_its_target_is_gone() {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let place = Place::with_zone(&format!(
        "[checks.vendor]\ntype = \"tcp\"\ntarget = \"{}\"\ninterval = \"200ms\"\nfall = 1\nrise = 1\n\
         [pools.here]\nbackends = [{{ address = \"{NOWHERE}\" }}]\n\
         [pools.vendor]\ncheck = \"vendor\"\nbackends = [{{ name = \"v\", cname = \"lb.vendor.net.\" }}]\n\
         [routes.www]\ntype = \"failover\"\nchoices = [\"vendor\", \"here\"]\n[names]\nwww = \"www\"\n",
        target.local_addr().unwrap()
    ));
    let server = place.serve();
    assert_eq!(server.client().addresses(WWW), [] as [IpAddr; 0], "the CNAME alone");
    let backend = server.backend("lb.example.com/vendor/v");
    assert_eq!((&backend["state"], &backend["addresses"][0]["address"]), (&"up".into(), &"lb.vendor.net.".into()));
    drop(target);
    until("the address answers", || answers(&server, NOWHERE));
    assert_eq!(server.backend("lb.example.com/vendor/v")["addresses"][0]["reason"], "connection refused");
}
