//! End to end: others are told of what happens, by signed requests and by programs, in order, also when they fail at first.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use ring::hmac;
use serde_json::Value;
use support::server::{Place, SERVER_FILE, Server, stderr, stdout, zone};
use support::{throughout, until};

const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwQ2hvb3Nl";

const ZONE: &str = "[checks.beat]\ntype = \"push\"\nttl = \"1h\"\nfall = 1\nrise = 1\n\
    [pools.web]\ncheck = \"beat\"\ninitial = \"up\"\n\
    backends = [{ name = \"a\", address = \"192.0.2.1\" }, { name = \"b\", address = \"192.0.2.2\" }]\n\
    [names]\nwww = \"web\"\n";

/// One request as it came.
#[derive(Debug, Clone)]
struct Request {
    path: String,
    id: String,
    timestamp: String,
    signature: String,
    body: Vec<u8>,
}

impl Request {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// As the documents have it.
    fn is_signed(&self) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64.decode(SECRET.as_bytes()).unwrap());
        let signed = [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", &self.body].concat();
        let Some(signature) = self.signature.strip_prefix("v1,") else { return false };
        hmac::verify(&key, &signed, &BASE64.decode(signature.as_bytes()).unwrap()).is_ok()
    }
}

/// An HTTP server that answers with the statuses it is given, then with 204.
struct Receiver {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    statuses: Arc<Mutex<Vec<&'static str>>>,
}

impl Receiver {
    fn start(statuses: &[&'static str]) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Receiver {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            statuses: Arc::new(Mutex::new(statuses.iter().rev().copied().collect())),
        };
        let (requests, statuses) = (receiver.requests.clone(), receiver.statuses.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (requests, statuses) = (requests.clone(), statuses.clone());
                std::thread::spawn(move || serve(&stream, &requests, &statuses));
            }
        });
        receiver
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// All events of all requests that were answered well, in order.
    fn events(&self, skipped: usize) -> Vec<Value> {
        let requests = self.requests();
        requests.iter().skip(skipped).flat_map(|one| one.json()["events"].as_array().unwrap().clone()).collect()
    }
}

fn serve(stream: &TcpStream, requests: &Mutex<Vec<Request>>, statuses: &Mutex<Vec<&'static str>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut headers = std::collections::HashMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let mut body = vec![0; headers["content-length"].parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
        let (id, timestamp, signature) =
            (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
        assert_eq!(header("content-type"), "application/json");
        requests.lock().unwrap().push(Request { path, id, timestamp, signature, body });
        let status = statuses.lock().unwrap().pop().unwrap_or("204 No Content");
        let mut stream = stream;
        // A redirect leads to this server: who follows it would be counted.
        let _ = write!(stream, "HTTP/1.1 {status}\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
    }
}

fn place(events: &str) -> Place {
    let place = Place::with_zone(ZONE);
    place.write("webhook.secret", &format!("whsec_{SECRET}\n"));
    place.write("rollcall.toml", &format!("{SERVER_FILE}{events}"));
    place
}

fn push(server: &Server, backend: &str, word: &str) {
    let output = server.run(&["push", &format!("lb.example.com/web/{backend}"), "--status", word]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_receiver_that_fails_at_first_gets_everything_signed_in_batches_and_in_order() {
    let receiver = Receiver::start(&["500 Internal Server Error", "302 Found"]);
    let events = format!(
        "[[events.webhook]]\nurl = \"http://{}/hook?key=1\"\nsecret = \"webhook.secret\"\ntimeout = \"5s\"\n",
        receiver.address
    );
    let place = place(&events);
    let mut server = place.serve();
    for round in 0..5 {
        push(&server, "a", if round % 2 == 0 { "down # disk" } else { "up" });
        let wanted = if round % 2 == 0 { "down" } else { "up" };
        until("it is seen", || server.backend("lb.example.com/web/a")["state"] == wanted);
    }
    push(&server, "b", "down");
    until("the pool panics", || server.status().1 == 3);
    let said = server.run(&["state", "*/web/b", "drain", "--reason", "new disk"]);
    assert_eq!(said.status.code(), Some(0), "{}", stderr(&said));
    server.wait_log("status 500; trying again");
    let failing = server.status().0["hooks"][0].clone();
    assert!(failing["error"].is_string() && failing["waiting"].as_u64().unwrap() > 0, "{failing}");
    assert_eq!(failing["to"], format!("webhook http://{}", receiver.address), "no path: it may be a secret");
    assert!(stdout(&server.run(&["status"])).contains("events wait"));
    server.wait_log("delivered again");
    until("all is delivered", || server.status().0["hooks"][0]["waiting"] == 0);

    let requests = receiver.requests();
    assert!(requests.iter().all(Request::is_signed), "{requests:#?}");
    assert!(requests.iter().all(|one| one.path == "/hook?key=1"), "no redirect is followed");
    assert_eq!((&requests[0].id, &requests[1].id), (&requests[2].id, &requests[2].id), "one delivery, three attempts");
    assert_eq!((&requests[0].body, &requests[1].body), (&requests[2].body, &requests[2].body));
    let events = receiver.events(2);
    let of_a: Vec<&str> = events
        .iter()
        .filter(|one| one["event"] == "transition" && one["id"] == "lb.example.com/web/a")
        .map(|one| one["to"].as_str().unwrap())
        .collect();
    assert_eq!(of_a, ["down", "up", "down", "up", "down"], "{events:#?}");
    assert!(requests.len() - 2 < events.len(), "what came meanwhile went together: {} requests", requests.len());
    let kinds: Vec<&str> = events.iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"pool") && kinds.contains(&"override"), "{kinds:?}");
    assert!(!kinds.contains(&"start") && !kinds.contains(&"load"), "not asked for: {kinds:?}");
    let mut ids: Vec<&String> = requests[2..].iter().map(|one| &one.id).collect();
    ids.dedup();
    assert_eq!(ids.len(), requests.len() - 2, "each its own id");
    assert_eq!(requests[2].json()["dropped"], 0);

    // A refused reload is told; what waits at a stop is delivered before the end.
    place.write("zones/lb.toml", "nonsense");
    assert_eq!(server.run(&["reload"]).status.code(), Some(2));
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    let last = receiver.events(2).pop().unwrap();
    assert_eq!((&last["event"], &last["ok"]), (&"load".into(), &false.into()), "{last}");
}

/// A receiver that never answers and a client that never reads: a stop waits for both at the same time, and not for long.
#[test]
fn a_stop_is_over_in_time_whoever_hangs() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let events = format!(
        "[[events.webhook]]\nurl = \"http://{}/\"\nsecret = \"webhook.secret\"\ntimeout = \"10s\"\n",
        silent.local_addr().unwrap()
    );
    let place = place(&events);
    let mut server = place.serve();
    push(&server, "a", "down");
    until("it waits", || server.status().0["hooks"][0]["waiting"].as_u64() > Some(0));
    let mut client = TcpStream::connect(server.dns).unwrap();
    client.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let query = b"\0\x24\0\x01\0\0\0\x01\0\0\0\0\0\0\x03www\x02lb\x07example\x03com\0\0\x01\0\x01";
    let many = query.repeat(1000);
    while client.write_all(&many).is_ok() {}
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let begun = Instant::now();
    assert_eq!(server.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_millis(6500), "{:?}", begun.elapsed());
    let log = server.log().join("\n");
    assert!(log.contains("events were not delivered; the journal has them"), "{log}");
    assert!(log.contains("did not end in time"), "the client did hold the stop up: {log}");
}

#[test]
fn hooks_come_and_go_with_a_reload_and_choose_what_they_are_told() {
    let (first, second) = (Receiver::start(&[]), Receiver::start(&[]));
    let hook = |receiver: &Receiver, on: &str| {
        format!("[[events.webhook]]\nurl = \"http://{}/\"\nsecret = \"webhook.secret\"\non = {on}\n", receiver.address)
    };
    let place = place(&hook(&first, "[\"override\", \"reload\"]"));
    let server = place.serve();
    until("the load is told", || first.events(0).iter().any(|one| one["event"] == "load"));
    place.replace("rollcall.toml", &format!("{SERVER_FILE}{}", hook(&second, "\"override\"")));
    let output = server.run(&["reload"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let before = first.events(0).len();
    push(&server, "a", "down");
    until("a is down", || server.backend("lb.example.com/web/a")["state"] == "down");
    assert_eq!(server.run(&["state", "*/web/a", "drain"]).status.code(), Some(0));
    until("the second is told", || !second.events(0).is_empty());
    let kinds: Vec<Value> = second.events(0).iter().map(|one| one["event"].clone()).collect();
    assert_eq!(kinds, ["override"], "and of nothing else");
    throughout(std::time::Duration::from_millis(300), "the first is gone", || first.events(0).len() <= before + 1);
}

#[test]
fn a_program_reads_what_happened_and_is_run_again_when_it_fails() {
    let place = Place::with_zone(ZONE);
    let program = place.path("page");
    let script = "#!/bin/sh\nif [ ! -e \"$1.tried\" ]; then : > \"$1.tried\"; cat > /dev/null; echo no line >&2; exit 7; fi\n\
                  cat >> \"$1\"; echo >> \"$1\"; env >> \"$1.env\"\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let told = place.path("told");
    let events = format!(
        "[[events.exec]]\ncommand = [\"{}\", \"{}\"]\non = [\"transition\", \"server\"]\n",
        program.display(),
        told.display()
    );
    place.write("rollcall.toml", &format!("{SERVER_FILE}{events}"));
    let mut server = place.serve();
    server.wait_log("exit status: 7: no line; trying again");
    push(&server, "a", "down");
    let events = || -> Vec<Value> {
        let text = fs::read_to_string(&told).unwrap_or_default();
        let deliveries = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        deliveries.flat_map(|one| one["events"].as_array().unwrap().clone()).collect()
    };
    until("it is told", || events().iter().any(|one| one["event"] == "transition"));
    assert_eq!(events()[0]["event"], "start");
    let environment = fs::read_to_string(place.path("told.env")).unwrap();
    assert!(environment.contains("ROLLCALL_EVENTS=") && !environment.contains("HOME="), "{environment}");
}

#[test]
fn a_replaced_server_tells_each_thing_once() {
    let receiver = Receiver::start(&[]);
    let events = format!("[[events.webhook]]\nurl = \"http://{}/\"\nsecret = \"webhook.secret\"\n", receiver.address);
    let place = place(&events);
    let mut server = place.serve();
    for round in 1..=3 {
        push(&server, "a", "down");
        until("a is down", || server.backend("lb.example.com/web/a")["state"] == "down");
        server.replace();
        push(&server, "a", "up");
        until("a is up", || server.backend("lb.example.com/web/a")["state"] == "up");
        until("all is told", || {
            receiver.events(0).iter().filter(|one| one["event"] == "transition").count() >= 2 * round
        });
    }
    let told = receiver.events(0);
    assert_eq!(told.iter().filter(|one| one["event"] == "transition").count(), 6, "{told:#?}");
}

#[test]
fn wrong_hooks_are_refused_with_their_place() {
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    let refused = |events: &str, expected: &str| {
        place.write("rollcall.toml", &format!("{SERVER_FILE}{events}"));
        let output = place.run(&["validate"]);
        assert_eq!(output.status.code(), Some(2), "{events}");
        let said = stderr(&output);
        assert!(said.contains(expected) && said.contains("rollcall.toml:"), "{expected}:\n{said}");
        assert!(!said.contains("Z2VoZWlt"), "the secret is shown:\n{said}");
    };
    place.write("short", "whsec_Z2VoZWlt\n");
    let hook = |keys: &str| format!("[[events.webhook]]\n{keys}");
    refused(&hook("url = \"https://example.net/\"\n"), "lacks \"secret\"");
    refused(&hook("url = \"ftp://example.net/\"\nsecret = \"short\"\n"), "must be an address like");
    refused(&hook("url = \"https://example.net/\"\nsecret = \"short\"\n"), "24 to 64 octets in base64");
    refused(&hook("url = \"https://example.net/\"\nsecret = \"nowhere\"\n"), "nowhere");
    refused(&hook("urll = \"https://example.net/\"\n"), "did you mean \"url\"?");
    refused(
        &hook("url = \"https://e.example/\"\nsecret = \"short\"\non = [\"transitions\"]\n"),
        "did you mean \"transition\"?",
    );
    refused("[events]\nwebhook = \"https://example.net/\"\n", "must be a list of tables: [[events.webhook]]");
    refused("[[events.exec]]\ncommand = \"/bin/true\"\n", "there is no shell");
    refused("[[events.exec]]\ncommand = [\"true\"]\n", "the absolute path of a program");
    refused("[[events.exec]]\ncommand = [\"/nonexistent\"]\n", "cannot be found");
    // Zone files may name no hook at all.
    place.write("rollcall.toml", SERVER_FILE);
    place.write("zones/lb.toml", &zone("[[events.exec]]\ncommand = [\"/bin/true\"]\n"));
    assert!(stderr(&place.run(&["validate"])).contains("unknown key \"events\""));
}
