//! A second opinion on every answer: hickory-server, another implementation, loads the same master file, and both are asked the
//! same over UDP and TCP. Replies agree section by section, but for what [`EXCEPTIONS`] and [`unusual`] list with the reason.
//! An exception says exactly what hickory-server does instead: one that is no longer needed fails here as a wrong answer does.

#[path = "support/hickory.rs"]
mod hickory;
mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory::Hickory;
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use support::server::{Place, Server};
use tokio::runtime::Runtime;

const ORIGIN: &str = "example.com.";

/// What both serve. No owner has a capital, and no target either: names of replies are compared in small letters.
const ZONE: &str = r#"$TTL 300
@             SOA   ns1 hostmaster 1 7200 900 1209600 60
@             NS    ns1
@             NS    ns.elsewhere.example.
@             MX    10 mail
ns1           A     192.0.2.53
www           A     192.0.2.1
www           A     192.0.2.2
www     3600  AAAA  2001:db8::1
mail          A     192.0.2.25
mail          MX    0 mail
text          TXT   "one" "two words"
text          TXT   "three"
_sip._tcp     SRV   1 2 5060 www
caa           CAA   0 issue "ca.example"
pointer       PTR   www
deep.under.ent  A   192.0.2.3
alias         CNAME www
alias2   60   CNAME alias
dangling      CNAME nobody
outside       CNAME www.elsewhere.example.
circle        CNAME circle2
circle2       CNAME circle
into-cut      CNAME host.cut
into-wild     CNAME some.wild
into-ent      CNAME ent
*.wild        A     192.0.2.10
*.wild        TXT   "wild"
explicit.wild AAAA  2001:db8::10
deep.ent.wild AAAA  2001:db8::11
*.aliases     CNAME www
cut           NS    ns.cut
cut           NS    ns.elsewhere.example.
ns.cut        A     192.0.2.60
ns.cut        AAAA  2001:db8::60
below.cut     A     192.0.2.61
bare          NS    ns.elsewhere.example.
"#;

/// Names below [`ORIGIN`] that are asked for beside the owners of [`ZONE`]: between, above and below them, in any case.
const BESIDE: &[&str] = &[
    "nobody",
    "x.www",
    "_tcp",
    "x._tcp",
    "ent",
    "under.ent",
    "x.ent",
    "x.under.ent",
    "x.deep.under.ent",
    "wild",
    "some.wild",
    "a.b.wild",
    "x.explicit.wild",
    "ent.wild",
    "x.ent.wild",
    "aliases",
    "x.aliases",
    "x.alias",
    "x.cut",
    "a.b.cut",
    "x.ns.cut",
    "x.bare",
    "WwW",
    "X.nobody",
    "ALIAS2",
    "sOmE.wIlD",
    "x.CUT",
];

const TYPES: &[RecordType] = &[
    RecordType::A,
    RecordType::AAAA,
    RecordType::NS,
    RecordType::SOA,
    RecordType::CNAME,
    RecordType::MX,
    RecordType::TXT,
    RecordType::SRV,
    RecordType::CAA,
    RecordType::PTR,
    RecordType::DS,
    RecordType::Unknown(65280),
];

const WAYS: &[Way] = &[Way::Udp, Way::Edns(1232), Way::Dnssec, Way::Tcp];

/// A way in which hickory-server's replies differ, and why rollcall's are right.
struct Exception {
    what: &'static str,
    reason: &'static str,
    /// Where it shows, each time.
    concerns: fn(&Question, rollcall: &Reply) -> bool,
    /// Turns rollcall's reply, of which others may have changed a part, into hickory-server's.
    says: fn(&Question, rollcall: &Reply, hickory: &mut Reply),
}

/// In the order in which they are applied.
const EXCEPTIONS: &[Exception] = &[
    Exception {
        what: "an alias of a name that does not exist is NOERROR",
        reason: "RFC 6604 3: the RCODE is that of the last name",
        concerns: |question, _| question.is_about("dangling") && question.rtype != RecordType::CNAME,
        says: |_, _, hickory| hickory.rcode = ResponseCode::NoError,
    },
    Exception {
        what: "an alias that ends in the zone, without data, has no SOA behind it",
        reason: "RFC 2308 2.1, 2.2 and 5: without the SOA nobody may cache it",
        concerns: |question, rollcall| {
            let leaves = ["outside", "circle", "circle2", "into-cut"].iter().any(|name| question.is_about(name));
            let is_bare = rollcall.answers.iter().all(|line| line.contains(" in cname "));
            question.rtype != RecordType::CNAME && !rollcall.answers.is_empty() && is_bare && !leaves
        },
        says: |_, _, hickory| hickory.authorities.retain(|line| line != NEGATIVE),
    },
    Exception {
        what: "a wildcard that lacks the type is NXDOMAIN",
        reason: "RFC 4592 2.2.1: the name exists, by synthesis; an NXDOMAIN denies its other types too",
        concerns: |question, _| question.is_wild() == Some(true) && question.wild_data().is_none(),
        says: |_, _, hickory| hickory.rcode = ResponseCode::NXDomain,
    },
    Exception {
        what: "a wildcard answers for names that exist, and for names below those",
        reason: "RFC 4592 2.2.1 and 3.3.1: it stands for what does not exist, at its closest encloser alone",
        concerns: |question, _| question.is_wild() == Some(false) && question.wild_data().is_some(),
        says: |question, _, hickory| {
            hickory.rcode = ResponseCode::NoError;
            hickory.answers = question.wild_data().into_iter().collect();
            hickory.authorities.clear();
        },
    },
    Exception {
        what: "the SOA of a negative answer has the record's own TTL",
        reason: "RFC 2308 3: the lower of that and MINIMUM",
        concerns: |question, rollcall| {
            let is_synthesised = question.is_wild() == Some(false) && question.wild_data().is_some();
            rollcall.answers.is_empty() && question.cut().is_none() && !is_synthesised
        },
        says: |_, _, hickory| {
            if hickory.authorities == [NEGATIVE] {
                hickory.authorities = vec![NEGATIVE.replace(" 60 in ", " 300 in ")];
            }
        },
    },
    Exception {
        what: "a referral has AA",
        reason: "RFC 1035 4.1.1, RFC 1034 4.2.1: what lies below a cut is the child's",
        // Behind an alias AA is the alias's.
        concerns: |question, _| question.cut().is_some() && !question.is_about("into-cut"),
        says: |_, _, hickory| hickory.authoritative = true,
    },
    Exception {
        what: "a referral has no glue",
        reason: "RFC 1034 4.3.2, RFC 9471 3.1: servers below the cut cannot be found without it",
        concerns: |question, _| question.cut() == Some(WITH_GLUE),
        says: |_, _, hickory| {
            if hickory.additionals == records("ns.cut.example.com.", &["a", "aaaa"]) {
                hickory.additionals.clear();
            }
        },
    },
    Exception {
        what: "to a question for NS, and behind an alias, the NS records of a cut are an answer",
        reason: "RFC 1034 4.3.2: they go to the authority section, and the child has the answer",
        concerns: |question, _| {
            question.cut().is_some() && (question.rtype == RecordType::NS || question.is_about("into-cut"))
        },
        says: |_, _, hickory| {
            hickory.answers.append(&mut hickory.authorities);
            hickory.answers.sort();
        },
    },
    Exception {
        what: "a question for NS below a cut with glue is answered with the NS records twice",
        reason: "RFC 2181 5.5: a set is not repeated in another section",
        concerns: |question, _| question.cut() == Some(WITH_GLUE) && question.rtype == RecordType::NS,
        says: |_, rollcall, hickory| hickory.additionals = rollcall.authorities.clone(),
    },
    Exception {
        what: "to a question for SOA the zone's NS records are added, also to a referral and to an alias",
        reason: "RFC 1034 4.3.2 asks for none; where the answer is not this zone's they mislead",
        concerns: |question, rollcall| {
            question.rtype == RecordType::SOA && (!rollcall.answers.is_empty() || question.cut().is_some())
        },
        says: |_, _, hickory| {
            hickory.authorities.extend(records(ORIGIN, &["ns"]));
            hickory.authorities.sort();
        },
    },
    Exception {
        what: "to MX, NS and SRV the addresses of their targets are added",
        reason: "no fault: RFC 1034 4.3.2 has it so; rollcall's answers are minimal, as resolvers ask for what they want",
        concerns: |question, rollcall| !question.targets(rollcall).is_empty(),
        says: |question, rollcall, hickory| {
            let targets = question.targets(rollcall);
            hickory.additionals.extend(targets.iter().flat_map(|target| records(target, &["a", "aaaa"])));
        },
    },
    Exception {
        what: "DO does not come back",
        reason: "RFC 3225 3: it must be copied; hickory-server does so only when it is built with DNSSEC",
        concerns: |question, _| question.way == Way::Dnssec,
        says: |_, _, hickory| hickory.edns = Some(false),
    },
];

/// The SOA of negative answers.
const NEGATIVE: &str = "example.com. 60 in soa ns1.example.com. hostmaster.example.com. 1 7200 900 1209600 60";

/// The cut of [`ZONE`] that has glue, and the one that has none.
const WITH_GLUE: &str = "cut.example.com.";
const WITHOUT_GLUE: &str = "bare.example.com.";

/// A question out of the ordinary: RCODE and number of answers here, and those there where they differ, with the reason.
type Unusual = (&'static str, Question, Said, Option<(Said, &'static str)>);
type Said = (ResponseCode, usize);

fn unusual() -> Vec<Unusual> {
    // hickory-proto reads 16 as BADSIG, which is the same number in TSIG records.
    use ResponseCode::{BADSIG as BADVERS, NoError, NotImp, Refused, ServFail};
    let www = Question::new("www.example.com.", RecordType::A, Way::Udp);
    let apex = Question::new(ORIGIN, RecordType::SOA, Way::Udp);
    let foreign = Question::new("elsewhere.example.", RecordType::SOA, Way::Udp);
    let of_type = |rtype| Question { rtype, way: Way::Tcp, ..apex.clone() };
    let of_class = |class| Question { class, ..www.clone() };
    let with_opcode = |opcode, question: &Question| Question { opcode, ..question.clone() };
    let ignored = "QCLASS is ignored there: data of class IN for a question of another class";
    vec![
        ("another zone", foreign.clone(), (Refused, 0), None),
        ("a transfer", of_type(RecordType::AXFR), (Refused, 0), None),
        (
            "an incremental transfer",
            of_type(RecordType::IXFR),
            (Refused, 0),
            Some(((NoError, 0), "taken for a type like others there, which the name does not have")),
        ),
        (
            "ANY",
            Question { rtype: RecordType::ANY, ..www.clone() },
            (NoError, 1),
            Some(((NoError, 2), "RFC 8482 4.1 there, one set of several; 4.2 here, an HINFO")),
        ),
        ("class CH", of_class(DNSClass::CH), (Refused, 0), Some(((NoError, 2), ignored))),
        ("class HS", of_class(DNSClass::HS), (Refused, 0), Some(((NoError, 2), ignored))),
        ("class NONE", of_class(DNSClass::NONE), (Refused, 0), Some(((NoError, 2), ignored))),
        ("class ANY", of_class(DNSClass::ANY), (Refused, 0), Some(((NoError, 2), ignored))),
        ("EDNS version 1", Question { way: Way::Version(1), ..www.clone() }, (BADVERS, 0), None),
        ("STATUS", with_opcode(OpCode::Status, &www), (NotImp, 0), None),
        (
            "NOTIFY",
            with_opcode(OpCode::Notify, &apex),
            (Refused, 0),
            Some(((NotImp, 0), "no fault: this opcode is known here, and refused")),
        ),
        (
            "UPDATE",
            with_opcode(OpCode::Update, &apex),
            (Refused, 0),
            Some(((NotImp, 0), "no fault: this opcode is known here, and refused")),
        ),
        (
            "UPDATE of another zone",
            with_opcode(OpCode::Update, &foreign),
            (Refused, 0),
            Some(((ServFail, 0), "RFC 2136 3.1.2: NOTAUTH, where updates are taken; no server has failed")),
        ),
    ]
}

#[derive(Debug, Clone)]
struct Question {
    name: String,
    rtype: RecordType,
    class: DNSClass,
    opcode: OpCode,
    way: Way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Udp,
    /// UDP with so much room.
    Edns(u16),
    /// UDP with DO.
    Dnssec,
    /// UDP with another version of EDNS.
    Version(u8),
    Tcp,
}

/// What is compared. Records are lines, in small letters, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reply {
    rcode: ResponseCode,
    authoritative: bool,
    truncated: bool,
    recursion_desired: bool,
    recursion_available: bool,
    /// DO, where there is an OPT.
    edns: Option<bool>,
    /// As asked, letter by letter.
    question: Vec<String>,
    answers: Vec<String>,
    authorities: Vec<String>,
    additionals: Vec<String>,
    /// Octets behind the last record.
    behind: usize,
}

impl Question {
    fn new(name: &str, rtype: RecordType, way: Way) -> Question {
        Question { name: name.to_owned(), rtype, class: DNSClass::IN, opcode: OpCode::Query, way }
    }

    /// In small letters.
    fn lower_name(&self) -> String {
        self.name.to_lowercase()
    }

    fn is_about(&self, name: &str) -> bool {
        self.lower_name().strip_suffix(ORIGIN).is_some_and(|labels| labels.trim_end_matches('.') == name)
    }

    /// The cut to which the reply refers, be it behind an alias. DS at a cut is the parent's (RFC 4035 3.1.4.1).
    fn cut(&self) -> Option<&'static str> {
        if self.is_about("into-cut") {
            return (self.rtype != RecordType::CNAME).then_some(WITH_GLUE);
        }
        let name = self.lower_name();
        let holds = |cut: &&str| match name.strip_suffix(*cut) {
            Some("") => self.rtype != RecordType::DS,
            Some(labels) => labels.ends_with('.'),
            None => false,
        };
        [WITH_GLUE, WITHOUT_GLUE].into_iter().find(holds)
    }

    /// For a name below that of the wildcard with data: whether the wildcard stands for it.
    fn is_wild(&self) -> Option<bool> {
        let name = self.lower_name();
        let labels = name.strip_suffix(".wild.example.com.")?;
        let exists = ["explicit", "ent"].iter().any(|label| labels.rsplit('.').next() == Some(label));
        (labels != "*").then_some(!exists)
    }

    /// What the wildcard has of this type.
    fn wild_data(&self) -> Option<String> {
        let data = match self.rtype {
            RecordType::A => "192.0.2.10",
            RecordType::TXT => "wild",
            _ => return None,
        };
        Some(format!("{} 300 in {} {data}", self.name, self.rtype).to_lowercase())
    }

    /// The names to which the answers point, if they are of a type that points.
    fn targets(&self, reply: &Reply) -> Vec<String> {
        let points = [RecordType::MX, RecordType::NS, RecordType::SRV].contains(&self.rtype);
        // Not those of aliases.
        let asked = format!(" in {} ", self.rtype).to_lowercase();
        let answers = reply.answers.iter().filter(|line| points && line.contains(&asked));
        answers.filter_map(|line| line.rsplit(' ').next().map(str::to_owned)).collect()
    }

    fn octets(&self) -> Vec<u8> {
        let mut query = Message::query();
        query.metadata.op_code = self.opcode;
        query.metadata.recursion_desired = self.way == Way::Udp;
        let mut question = Query::query(Name::from_ascii(&self.name).unwrap(), self.rtype);
        question.set_query_class(self.class);
        query.add_query(question);
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        match self.way {
            Way::Udp | Way::Tcp => return query.to_vec().unwrap(),
            Way::Edns(room) => _ = edns.set_max_payload(room),
            Way::Dnssec => _ = edns.set_dnssec_ok(true),
            Way::Version(version) => _ = edns.set_version(version),
        }
        query.edns = Some(edns);
        query.to_vec().unwrap()
    }
}

impl Reply {
    fn read(octets: &[u8]) -> Reply {
        let mut decoder = BinDecoder::new(octets);
        let message = Message::read(&mut decoder).unwrap_or_else(|error| panic!("{error}: {octets:02x?}"));
        let section = |records: &[Record]| {
            let mut lines: Vec<String> = records.iter().map(line).collect();
            lines.sort();
            lines
        };
        Reply {
            rcode: message.metadata.response_code,
            authoritative: message.metadata.authoritative,
            truncated: message.metadata.truncation,
            recursion_desired: message.metadata.recursion_desired,
            recursion_available: message.metadata.recursion_available,
            edns: message.edns.as_ref().map(|edns| edns.flags().dnssec_ok),
            question: message.queries.iter().map(ToString::to_string).collect(),
            answers: section(&message.answers),
            authorities: section(&message.authorities),
            additionals: section(&message.additionals),
            behind: decoder.len(),
        }
    }
}

/// Name, TTL, class, type and data.
fn line(record: &Record) -> String {
    let Record { name, ttl, dns_class, data, .. } = record;
    format!("{name} {ttl} {dns_class} {} {data}", record.record_type()).to_lowercase()
}

/// The owners of [`ZONE`], in full.
fn owners() -> impl Iterator<Item = String> {
    let words = ZONE.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    words.map(|owner| if owner == "@" { ORIGIN.to_owned() } else { format!("{owner}.{ORIGIN}") })
}

/// Records of [`ZONE`] whose data are names or addresses, as [`line`] has them.
fn records(owner: &str, types: &[&str]) -> Vec<String> {
    let all = owners().zip(ZONE.lines().skip(1));
    let mut found = Vec::new();
    for (_, text) in all.filter(|(each, _)| each == owner) {
        let words: Vec<&str> = text.split_whitespace().skip(1).collect();
        let (ttl, words) = if words[0].parse::<u32>().is_ok() { (words[0], &words[1..]) } else { ("300", &words[..]) };
        let rtype = words[0].to_lowercase();
        if types.contains(&rtype.as_str()) {
            let is_relative_name = rtype == "ns" && !words[1].ends_with('.');
            let rest = if is_relative_name { format!(".{ORIGIN}") } else { String::new() };
            found.push(format!("{owner} {ttl} in {rtype} {}{rest}", words[1]));
        }
    }
    found
}

/// A server, asked again and again.
struct Asked {
    udp: UdpSocket,
    tcp: TcpStream,
}

impl Asked {
    fn new(server: SocketAddr) -> Asked {
        const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        udp.connect(server).unwrap();
        udp.set_read_timeout(PATIENCE).unwrap();
        let tcp = TcpStream::connect(server).unwrap();
        tcp.set_read_timeout(PATIENCE).unwrap();
        Asked { udp, tcp }
    }

    fn ask(&mut self, question: &Question) -> Reply {
        let query = question.octets();
        let reply = if question.way == Way::Tcp { self.over_tcp(&query) } else { self.over_udp(&query) };
        let reply = reply.unwrap_or_else(|error| panic!("{question:?}: no answer: {error}"));
        assert_eq!(reply[..2], query[..2], "{question:?}: the ID comes back");
        Reply::read(&reply)
    }

    fn over_udp(&mut self, query: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut reply = vec![0; 65535];
        self.udp.send(query)?;
        let length = self.udp.recv(&mut reply)?;
        reply.truncate(length);
        Ok(reply)
    }

    fn over_tcp(&mut self, query: &[u8]) -> std::io::Result<Vec<u8>> {
        let length = u16::try_from(query.len()).unwrap().to_be_bytes();
        self.tcp.write_all(&[&length, query].concat())?;
        let mut length = [0; 2];
        self.tcp.read_exact(&mut length)?;
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        self.tcp.read_exact(&mut reply)?;
        Ok(reply)
    }
}

/// Both servers, with one zone.
struct Both {
    rollcall: Asked,
    hickory: Asked,
    _serving: (Place, Server, Runtime, Hickory),
}

impl Both {
    /// With `more` lines behind those of [`ZONE`].
    fn serve(more: &str) -> Both {
        let zone = format!("{ZONE}{more}");
        let place = Place::new();
        place.write("zones/example.com.zone", &zone);
        let server = place.serve();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let hickory = runtime.block_on(Hickory::serve(&[(ORIGIN, Some(&zone))]));
        Both {
            rollcall: Asked::new(server.dns),
            hickory: Asked::new(hickory.address),
            _serving: (place, server, runtime, hickory),
        }
    }

    fn ask(&mut self, question: &Question) -> (Reply, Reply) {
        (self.rollcall.ask(question), self.hickory.ask(question))
    }
}

/// What hickory-server is expected to say, without the exception that is `left_out`; and the exceptions that are of no effect
/// where they should have one.
fn expected(question: &Question, rollcall: &Reply, left_out: Option<usize>) -> (Reply, Vec<&'static str>) {
    let (mut hickory, mut idle) = (rollcall.clone(), Vec::new());
    for index in concerned(question, rollcall).filter(|&index| Some(index) != left_out) {
        let before = hickory.clone();
        (EXCEPTIONS[index].says)(question, rollcall, &mut hickory);
        if hickory == before {
            idle.push(EXCEPTIONS[index].what);
        }
    }
    (hickory, idle)
}

/// The exceptions that concern a question.
fn concerned(question: &Question, rollcall: &Reply) -> impl Iterator<Item = usize> {
    (0..EXCEPTIONS.len()).filter(|&index| (EXCEPTIONS[index].concerns)(question, rollcall))
}

/// What is wrong, in words.
fn judge(question: &Question, rollcall: &Reply, hickory: &Reply) -> Result<(), String> {
    let (wanted, idle) = expected(question, rollcall, None);
    if let Some(what) = idle.first() {
        return Err(format!("rollcall does as hickory-server does: {what}\n{rollcall:#?}"));
    }
    if *hickory == wanted {
        return Ok(());
    }
    let needless = concerned(question, rollcall).find(|&index| expected(question, rollcall, Some(index)).0 == *hickory);
    Err(match needless {
        Some(index) => format!("no exception any more: {}", EXCEPTIONS[index].what),
        None => format!("rollcall {rollcall:#?}\nhickory {hickory:#?}\nwanted of hickory {wanted:#?}"),
    })
}

#[test]
fn both_give_the_same_answers_but_for_the_exceptions() {
    let mut both = Both::serve("");
    let mut names: Vec<String> = owners().chain(BESIDE.iter().map(|name| format!("{name}.{ORIGIN}"))).collect();
    names.dedup();
    let mut needed = vec![0; EXCEPTIONS.len()];
    let (mut asked, mut plain, mut failures) = (0, 0, Vec::new());
    for name in &names {
        for (&rtype, &way) in TYPES.iter().flat_map(|rtype| WAYS.iter().map(move |way| (rtype, way))) {
            let question = Question::new(name, rtype, way);
            let (rollcall, hickory) = both.ask(&question);
            asked += 1;
            plain += usize::from(rollcall == hickory);
            concerned(&question, &rollcall).for_each(|index| needed[index] += 1);
            if let Err(what) = judge(&question, &rollcall, &hickory) {
                failures.push(format!("{name} {rtype} {way:?}: {what}"));
            }
        }
    }
    println!("{asked} questions, {plain} of them without any exception");
    for (exception, needed) in EXCEPTIONS.iter().zip(needed) {
        println!("{needed:5}: {} ({})", exception.what, exception.reason);
        assert!(needed > 0, "no question needs this exception: {}", exception.what);
    }
    let shown = failures.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {asked} replies differ, of which the first are\n{shown}", failures.len());
}

#[test]
fn both_treat_unusual_questions_alike_but_for_the_exceptions() {
    let mut both = Both::serve("");
    for (what, question, wanted, exception) in unusual() {
        let (rollcall, hickory) = both.ask(&question);
        let said = |reply: &Reply| (reply.rcode, reply.answers.len());
        assert_eq!(said(&rollcall), wanted, "{what}: rollcall: {rollcall:#?}");
        let there = exception.map_or(wanted, |(there, _)| there);
        let reason = exception.map_or("both agree", |(_, reason)| reason);
        assert_eq!(said(&hickory), there, "{what}: hickory-server ({reason}): {hickory:#?}");
    }
}

#[test]
fn both_refuse_what_is_malformed_and_hickory_answers_responses_too() {
    let mut both = Both::serve("");
    let www = Question::new("www.example.com.", RecordType::A, Way::Udp);
    let cut_short = |flags: u8| [0, 1, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, b'w', b'w'];
    let query = cut_short(0);
    for (who, server) in [("rollcall", &mut both.rollcall), ("hickory", &mut both.hickory)] {
        let reply = server.over_udp(&query).unwrap_or_else(|error| panic!("{who}: {error}"));
        assert_eq!(Reply::read(&reply).rcode, ResponseCode::FormErr, "{who}");
    }
    // RFC 1035 4.1.1: QR says that this is a response. Two servers that answer responses never stop.
    let response = cut_short(0x80);
    both.rollcall.udp.send(&response).unwrap();
    // Its one worker answers in order, so the next reply is that to the next question.
    assert_eq!(both.rollcall.ask(&www).rcode, ResponseCode::NoError);
    let reply = both.hickory.over_udp(&response).expect("no exception any more: a malformed response is answered");
    assert_eq!(Reply::read(&reply).rcode, ResponseCode::FormErr);
}

/// Of what does not fit hickory-server sends a part (RFC 2181 9: the rest of a set is what TC is about), and octets of the first
/// record that did not fit behind it, where no OPT covers them. It takes any size that a client offers; rollcall sends 1232 octets at most.
#[test]
fn both_cut_what_does_not_fit_and_hickory_leaves_a_part() {
    let texts = |owner: &str, count| -> String {
        (0..count).map(|number| format!("{owner} TXT \"{number:02} {}\"\n", "t".repeat(90))).collect()
    };
    let mut both = Both::serve(&[texts("big", 8), texts("huge", 20)].concat());
    let mut ask = |name: &str, way| both.ask(&Question::new(&format!("{name}.{ORIGIN}"), RecordType::TXT, way));
    for (name, way) in [("big", Way::Edns(1232)), ("big", Way::Tcp), ("huge", Way::Tcp)] {
        let (rollcall, hickory) = ask(name, way);
        assert!(!rollcall.truncated && rollcall.answers.len() >= 8, "{name} {way:?}: {rollcall:#?}");
        assert_eq!(rollcall, hickory, "{name} {way:?}: there is room");
    }
    for (name, way) in [("big", Way::Udp), ("huge", Way::Udp), ("huge", Way::Edns(1232))] {
        let (rollcall, hickory) = ask(name, way);
        assert!(rollcall.truncated && hickory.truncated, "{name} {way:?}: TC");
        assert_eq!((rollcall.answers.len(), rollcall.behind), (0, 0), "{name} {way:?}: {rollcall:#?}");
        assert!(!hickory.answers.is_empty(), "{name} {way:?}: no exception any more: {hickory:#?}");
        assert!(hickory.behind > 0 || way != Way::Udp, "{name} {way:?}: no exception any more: {hickory:#?}");
    }
    let (rollcall, hickory) = ask("huge", Way::Edns(4096));
    assert!(rollcall.truncated, "{rollcall:#?}");
    assert!(!hickory.truncated && hickory.answers.len() == 20, "no exception any more: {hickory:#?}");
}
