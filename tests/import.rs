//! Importing and exporting with the real program: what is imported validates and is served alike, what is exported reads
//! back without a difference.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Output;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use rollcall::engine::name::Name;
use rollcall::engine::rrtype;
use support::backend::Backend;
use support::server::{Place, program, stderr, stdout};
use support::until;

/// Is no test: the backends of all others run in it.
#[test]
fn run_as_backend() {
    support::backend::run_as_backend();
}

/// Every kind of line and of data that a master file may hold.
const MASTER: &str = r#"; a zone with a bit of everything
$TTL 1h
@       IN SOA ns1 hostmaster.example.com. ( 2024010101 2h 15m 2w 300 )
        IN NS  ns1
        IN NS  ns2.example.net.
        IN MX  10 mail
        IN MX  20 mail.example.net.
        TXT    "v=spf1 -all" "second string"
        CAA    0 issue "ca.example; account=\"1\""
ns1     A      192.0.2.53
        AAAA   2001:db8::53
www 300 A      192.0.2.1
www 300 A      192.0.2.2
mail    A      192.0.2.25
alias   CNAME  www
*.wild  TXT    "a \"quoted\" \\ back\\slash \200"
under_score  TXT plain
sp\032ace    A 192.0.2.9
dot\.ted     A 192.0.2.10
_sip._tcp SRV  0 5 5060 sip
@       HTTPS  1 . alpn=h2,h3 ipv4hint=192.0.2.1
svc     SVCB   0 www
naptr   NAPTR  100 50 "s" "z3950+I2L+I2C" "" _z3950._tcp
tlsa    TLSA   3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
sshfp   SSHFP  4 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ds      DS     60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118
ds      NS     ns.example.net.
loc     LOC    51 30 12.748 N 00 07 39.611 W 0.00m 0.00m 0.00m 0.00m
uri     URI    10 1 "https://example.com/a b"
hinfo   HINFO  "a cpu" os
rp      RP     admin txt
ptr     PTR    host.example.net.
dname   DNAME  other.example.
odd     TYPE65280 \# 4 0a000001
empty   TYPE65281 \# 0
eui     EUI48  00-00-5e-00-53-2a
$INCLUDE more.inc sub
"#;

const INCLUDED: &str = "@ A 192.0.2.77\nhost 60 TXT \"included\"\n";

fn place_with_master() -> Place {
    let place = Place::new();
    place.write("example.com.zone", MASTER);
    place.write("more.inc", INCLUDED);
    place
}

/// Serving the master file and serving what is imported from it answer alike, record by record.
#[test]
fn an_imported_zone_answers_as_its_master_file() {
    let place = place_with_master();
    let output = run(program().args(["import", "bind"]).arg(place.path("example.com.zone")));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("1 files it includes"), "{}", stderr(&output));
    let toml = stdout(&output);
    place.write("zones/example.com.toml", &toml);
    let imported = export(&place);
    fs::remove_file(place.path("zones/example.com.toml")).unwrap();
    for name in ["example.com.zone", "more.inc"] {
        fs::copy(place.path(name), place.path("zones").join(name)).unwrap();
    }
    let served = export(&place);
    assert_eq!(records(&imported), records(&served));
    assert!(records(&served).len() > 30, "{served}");

    // And on the wire: every owner and type, asked of both, octet for octet.
    let other = Place::new();
    other.write("zones/example.com.toml", &toml);
    let (original, imported) = (place.serve(), other.serve());
    for key in records(&served).keys() {
        let (owner, rtype) = key.split_once(' ').unwrap();
        assert_eq!(reply(original.dns, owner, rtype), reply(imported.dns, owner, rtype), "{key}");
    }
}

/// What a server answers to one question without EDNS.
fn reply(server: SocketAddr, owner: &str, rtype: &str) -> Vec<u8> {
    let origin = Name::parse("example.com.", None).unwrap();
    let mut query = vec![1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(Name::parse(owner, Some(&origin)).unwrap().as_wire());
    query.extend_from_slice(&rrtype::parse(rtype).unwrap().to_be_bytes());
    query.extend_from_slice(&rrtype::CLASS_IN.to_be_bytes());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(support::DEADLINE)).unwrap();
    socket.connect(server).unwrap();
    socket.send(&query).unwrap();
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer).unwrap();
    assert!(answer[7] > 0 || answer[9] > 0, "{owner} {rtype}: neither an answer nor a referral");
    answer[..length].to_vec()
}

#[test]
fn an_exported_zone_reads_back_without_a_difference() {
    let place = place_with_master();
    for name in ["example.com.zone", "more.inc"] {
        fs::copy(place.path(name), place.path("zones").join(name)).unwrap();
    }
    let once = export(&place);
    fs::write(place.path("zones/example.com.zone"), &once).unwrap();
    let twice = export(&place);
    assert_eq!(once, twice);
    // BIND's own reader, where it is installed, takes it too and sees the same records.
    if let Some(canonical) = named_checkzone("example.com", &place.path("zones/example.com.zone")) {
        let original = named_checkzone("example.com", &place.path("example.com.zone")).unwrap();
        assert_eq!(canonical, original);
    }
}

/// A running server's export: static records, the serial in force, and who may be answered now.
#[test]
fn an_export_follows_the_verdicts() {
    let [mut a, b] = Backend::several();
    let zone = format!(
        "[checks.web]\ntype = \"http\"\ninterval = \"200ms\"\ntimeout = \"150ms\"\nfall = 1\n\
         [pools.web]\ncheck = \"web\"\nbackends = [{}, {}]\n[names]\nwww = \"web\"\n\"*.apps\" = {{ to = \"web\", ttl = 7 }}\n",
        a.entry("a", ""),
        b.entry("b", "")
    );
    let place = Place::with_zone(&zone);
    let server = place.serve();
    let exported = || {
        let output = run(program().args(["export", "lb.example.com", "--control", &server.control]));
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    until("both are answered", || addresses(&exported(), "www") == [a.ip().to_string(), b.ip().to_string()]);
    a.kill();
    until("a is not answered", || addresses(&exported(), "www") == [b.ip().to_string()]);
    let text = exported();
    assert!(text.contains("; www A: pool web (round-robin, 8 in an answer), tier 0: 1 of 2 up, 1 needed\n"), "{text}");
    assert!(text.contains("; www AAAA: pool web (round-robin, 8 in an answer), has no AAAA address\n"), "{text}");
    let wildcard = text.lines().find(|line| line.starts_with("*.apps ")).unwrap();
    assert_eq!(wildcard.split_whitespace().collect::<Vec<_>>(), ["*.apps", "7", "IN", "A", &b.ip().to_string()]);
    let serial = server.client().ask("lb.example.com.", RecordType::SOA).serial.unwrap();
    assert!(text.contains(&format!(" {serial} 7200 900 ")), "{text}");

    let output = run(program().args(["export", "other.example", "--control", &server.control]));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("no zone here is named other.example"), "{}", stderr(&output));
    // Served again by another server, it answers the same.
    let copy = Place::new();
    copy.write("zones/lb.example.com.zone", &text);
    let copy = copy.serve();
    let reply = copy.client().ask("www.lb.example.com.", RecordType::A);
    assert_eq!((reply.rcode, reply.addresses), (ResponseCode::NoError, vec![b.ip().into()]));
}

#[test]
fn what_is_there_is_not_overwritten_and_strict_says_no() {
    let place = place_with_master();
    let out = place.path("out");
    let import = |more: &[&str]| {
        run(program().args(["import", "bind"]).arg(place.path("example.com.zone")).arg("--out").arg(&out).args(more))
    };
    assert_eq!(import(&[]).status.code(), Some(0));
    let again = import(&[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("is there already; --force"), "{}", stderr(&again));
    assert_eq!(import(&["--force"]).status.code(), Some(0));
    assert_eq!(import(&["--force", "--strict"]).status.code(), Some(1), "notes were made");
}

#[test]
fn wrong_input_is_exit_2_and_says_where() {
    let place = Place::new();
    place.write("bad.zone", "@ SOA a b 1 2 3 4 5\n@ NS ns\nx A 192.0.2.300\n");
    let output = run(program().args(["import", "bind"]).arg(place.path("bad.zone")));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("bad.zone:3"), "{}", stderr(&output));
    place.write("bad.json", "{\"ResourceRecordSets\": [{}]}");
    let output = run(program().args(["import", "route53"]).arg(place.path("bad.json")));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("missing field `Name`"), "{}", stderr(&output));
    place.write("config", "plugins => { multifo => { x = }");
    let output = run(program().args(["import", "gdnsd"]).arg(place.path(".")).arg("--out").arg(place.path("out")));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("config:1"), "{}", stderr(&output));
}

/// The samples in `tests/import`: what comes out validates, as far as this version reads it.
#[test]
fn imported_samples_validate() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let place = Place::new();
    let zones = place.path("zones");
    let route53 = run(program()
        .args(["import", "route53"])
        .arg(samples.join("route53/records.json"))
        .arg("--health-checks")
        .arg(samples.join("route53/checks.json"))
        .arg("--cidr-blocks")
        .arg(format!("c0ffee00-1={}", samples.join("route53/office.json").display()))
        .arg("--out")
        .arg(&zones));
    assert!(route53.status.success(), "{}", stderr(&route53));
    validates(&place.path("rollcall.toml"), &route53);
    let gdnsd =
        run(program().args(["import", "gdnsd"]).arg(samples.join("gdnsd")).arg("--out").arg(place.path("gdnsd")));
    assert!(gdnsd.status.success(), "{}", stderr(&gdnsd));
    validates(&place.path("gdnsd/rollcall.toml"), &gdnsd);

    // Where routes read the client, an export is of one client's answers.
    let export = |directory: &str, client: &str, name: &str| {
        let file = place.path(directory).join("rollcall.toml");
        let arguments = ["export", "example.com", "--offline", "--client", client];
        let output = run(program().args(arguments).arg("--config").arg(file));
        assert!(output.status.success(), "{}", stderr(&output));
        addresses(&stdout(&output), name)
    };
    assert_eq!(export("gdnsd", "198.51.100.7", "intra"), ["192.0.2.42", "192.0.2.43"]);
    assert_eq!(export("gdnsd", "192.0.2.7", "intra"), ["192.0.2.41"]);
    assert_eq!(export("gdnsd", "192.0.2.7", "sites"), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(export(".", "198.51.100.7", "in"), ["192.0.2.41"]);
    assert_eq!(export(".", "192.0.2.7", "in"), ["192.0.2.42"]);
    assert_eq!(export(".", "192.0.2.7", "groups"), ["192.0.2.31", "192.0.2.32", "192.0.2.33"]);
}

/// Whether what was written loads; what a later version alone reads was said, and keeps it from loading.
fn validates(server_file: &Path, import: &Output) {
    let output = run(program().arg("validate").arg("--config").arg(server_file));
    let is_later =
        stderr(import).contains("does not read [routes]") || stderr(import).contains("does not read the type");
    if is_later {
        assert!(stderr(&output).contains("not supported by this version"), "{}", stderr(&output));
    } else {
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

fn run(command: &mut std::process::Command) -> Output {
    command.output().unwrap()
}

fn export(place: &Place) -> String {
    let output = place.run(&["export", "example.com", "--offline"]);
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

/// Records of an export by owner and type, without the order of owners and comments.
fn records(export: &str) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in export.lines().filter(|line| !line.starts_with([';', '$'])) {
        let words: Vec<&str> = line.split_whitespace().collect();
        all.entry(format!("{} {}", words[0], words[3])).or_default().push(words.join(" "));
    }
    all
}

fn addresses(export: &str, owner: &str) -> Vec<String> {
    let lines = export.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|words| words.len() == 5 && words[0] == owner && words[3] == "A")
        .map(|words| words[4].to_owned())
        .collect()
}

/// The zone as BIND's reader has it, one record a line; `None` where there is no `named-checkzone`.
fn named_checkzone(zone: &str, file: &Path) -> Option<Vec<String>> {
    let output = std::process::Command::new("named-checkzone")
        .args(["-q", "-D", "-i", "none", "-k", "ignore", "-o", "-", zone])
        .arg(file)
        .current_dir(file.parent()?)
        .output()
        .ok()?;
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    let mut lines: Vec<String> = stdout(&output)
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        // The serial is the clock's where the zone is not a master file; here it is, so nothing is left out.
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort();
    Some(lines)
}
