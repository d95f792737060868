//! The schema for editors: what loads validates against it, and what the reader refuses for its keys or values does not.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use jsonschema::Validator;
use serde_json::Value;

#[test]
fn every_example_and_every_zone_fits() {
    let (zone, server) = (validator("zone"), validator("server"));
    let mut count = 0;
    let mut open = vec![root().join("examples"), root().join("zones")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                let is_server = path.file_name().is_some_and(|name| name == "rollcall.toml");
                let text = fs::read_to_string(&path).unwrap();
                fits(if is_server { &server } else { &zone }, &text, &path.display().to_string());
                count += 1;
            }
        }
    }
    assert!(count >= 10, "only {count} files were found");
}

#[test]
fn every_complete_file_in_the_documents_fits() {
    let (zone, server) = (validator("zone"), validator("server"));
    let mut documents = vec![root().join("README.md")];
    documents.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut count = 0;
    for document in documents.into_iter().filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(&document).unwrap();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(kind) = line.strip_prefix("```toml ").map(str::trim) else { continue };
            let body: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            let body = body.join("\n");
            fits(if kind == "server" { &server } else { &zone }, &body, &document.display().to_string());
            count += 1;
        }
    }
    assert!(count >= 3, "the documents hold only {count} complete files");
}

/// What is wrong with each of these the reader says too: the schema is no stricter than it, and no blinder in these.
#[test]
fn wrong_files_do_not_fit_and_do_not_load() {
    let zone = "zone = \"lb.example.com\"\n[records]\n\"@\" = { NS = \"ns.example.net.\" }\n";
    let pool = |keys: &str| format!("{zone}[pools.web]\n{keys}\nbackends = [{{ address = \"192.0.2.1\" }}]\n");
    let backend = |keys: &str| format!("{zone}[pools.web]\nbackends = [{{ {keys} }}]\n");
    let check = |keys: &str| format!("{zone}[checks.web]\n{keys}\n");
    let name = |value: &str| format!("{}[names]\n{value}\n", pool(""));
    let zones = [
        format!("{zone}[pool.web]\n"),
        "[records]\n\"@\" = { NS = \"ns.example.net.\" }\n".to_owned(),
        zone.replace("[records]", "ttl = -1\n[records]"),
        zone.replace("[records]", "ttl = \"30\"\n[records]"),
        zone.replace("NS = ", "SOA = "),
        format!("{zone}api.eu = {{ A = \"192.0.2.1\" }}\n"),
        format!("{zone}a = {{ A = [] }}\n"),
        format!("{zone}a = {{ A = 1 }}\n"),
        format!("{zone}a = {{ A = {{ ttl = 3 }} }}\n"),
        format!("{zone}[soa]\nrname = \"admin@example.com\"\n"),
        format!("{zone}[soa]\nserial = \"today\"\n"),
        pool("polcy = \"weighted\""),
        pool("policy = \"weightd\""),
        pool("answers = 0"),
        pool("min_healthy = 0"),
        pool("min_healthy = \"half\""),
        pool("on_all_down = { too = \"x\" }"),
        pool("on_all_down = \"panic\""),
        pool("ttl = { max = 60 }"),
        pool("initial = true"),
        pool("check = \"a\"\nchecks = [\"b\"]"),
        backend("name = \"a\""),
        backend("address = \"web.example.com\""),
        backend("address = \"192.0.2.1\", weight = 65536"),
        backend("address = \"192.0.2.1\", state = \"off\""),
        backend("address = \"192.0.2.1\", wieght = 1"),
        backend("address = \"192.0.2.1\", name = \"a b\""),
        backend("address = \"192.0.2.1\", port = 0"),
        backend("address = \"192.0.2.1\", labels = { rack = 7 }"),
        format!("{zone}[pools.web]\nbackends = []\n"),
        check("port = 80"),
        check("type = \"tpc\""),
        check("type = \"tcp\"\nport = 80\npath = \"/\""),
        check("type = \"http\"\nexpect = \"x\""),
        check("type = \"http\"\ntls = { verify = false }"),
        check("type = \"https\"\ntls = { insecure = true }"),
        check("type = \"http\"\ninterval = 5"),
        check("type = \"http\"\ninterval = \"soon\""),
        check("type = \"http\"\njitter = 10"),
        check("type = \"http\"\npath = \"healthz\""),
        check("type = \"http\"\nexpect_status = [99]"),
        check("type = \"http\"\nfall = 0"),
        check("type = \"http\"\nwatch = \"yes\""),
        name("www = 1"),
        name("www = { ttl = 5 }"),
        name("www = { to = \"web\", type = \"MX\" }"),
        name("www = []"),
        name("www = { to = \"web\", answers = 1001 }"),
    ];
    let servers = [
        "zone = \"zones\"\n",
        "state_dir = \"\"\n",
        "[listen]\ndns = [\"127.0.0.1\"]\n",
        "[listen]\ndsn = [\"127.0.0.1:53\"]\n",
        "[listen]\ncontrol = \"unix:\"\n",
        "[dns]\nmax_udp_payload = 511\n",
        "[dns.cookies]\nsecrets = [\"secret\"]\n",
        "[dns.rate_limit]\nslip = 11\n",
        "[dns.rate_limit]\nexempt = [\"here\"]\n",
        "[log]\nlevel = \"loud\"\n",
        "[tls]\ncert = \"x.pem\"\n",
    ];
    let (of_zone, of_server) = (validator("zone"), validator("server"));
    for text in &zones {
        assert!(!of_zone.is_valid(&json(text)), "the schema takes\n{text}");
        assert!(!loads("", text), "the reader takes\n{text}");
    }
    for text in servers {
        assert!(!of_server.is_valid(&json(text)), "the schema takes\n{text}");
        assert!(!loads(text, zone), "the reader takes\n{text}");
    }
    // What they are made of is right.
    for text in
        [zone.to_owned(), pool(""), backend("address = \"192.0.2.1\""), check("type = \"http\""), name("www = \"web\"")]
    {
        fits(&of_zone, &text, &text);
        assert!(loads("", &text), "{text}");
    }
}

/// Each form of a value that the reference shows.
#[test]
fn every_form_of_a_value_fits_and_loads() {
    let zone = r#"
zone = "lb.example.com."
ttl = 0
[soa]
mname = "ns1"
rname = "@"
serial = 7
[records]
"@" = { NS = ["ns1", "ns2.example.net."], MX = { ttl = 5, data = "10 mail" }, TXT = 'a "quoted" text' }
"*.dev" = { CNAME = "www" }
odd = { TYPE65280 = '\# 4 0A000001', caa = '0 issue "ca.example"' }
[checks."a.b:c-d_e"]
type = "tcp"
port = 80
interval = "1m 30s"
timeout = "1500ms"
jitter = "12.5%"
source = "2001:db8::1"
send = "PING\r\n"
expect = ""
[checks.web]
type = "https"
method = "head"
headers = { "X-A" = "b" }
expect_status = [200, "300-399", "404"]
tls = { verify = false, server_name = "www.example.com" }
[pools.web]
checks = ["a.b:c-d_e", "web"]
ttl = { max = 60, min = 5 }
min_healthy = "50%"
on_all_down = { to = "other" }
backends = [{ address = ["2001:db8::1"], name = "a", weight = 0, tier = 3, labels = { rack = "7" } }]
[pools.other]
min_healthy = 1
backends = [{ address = "192.0.2.1", check = "web", host = "www.example.com:8443", state = "drain" }]
[names]
"@" = "web"
www = [{ to = "web", type = "A" }, { to = "other", type = "AAAA", ttl = 3, answers = 1 }]
"#;
    let server = r#"
zones = "zones"
[listen]
dns = "127.0.0.1:0"
control = "unix:control.sock"
[dns.cookies]
secrets = "000102030405060708090a0b0c0d0e0f"
[dns.rate_limit]
exempt = ["192.0.2.0/24", "2001:db8::/32", "192.0.2.1"]
[checks.shared]
type = "http"
"#;
    assert!(loads(server, &zone.replace("source = \"2001:db8::1\"\n", "")));
    fits(&validator("zone"), zone, "the zone");
    fits(&validator("server"), server, "the server file");
}

fn validator(kind: &str) -> Validator {
    let output = Command::cargo_bin("rollcall").unwrap().args(["schema", kind]).output().unwrap();
    assert!(output.status.success());
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    jsonschema::meta::validate(&schema).expect("the schema is a schema");
    jsonschema::draft202012::new(&schema).unwrap()
}

#[track_caller]
fn fits(validator: &Validator, text: &str, what: &str) {
    let errors: Vec<String> =
        validator.iter_errors(&json(text)).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}");
}

/// As editors see TOML: dates are strings.
fn json(text: &str) -> Value {
    fn convert(value: toml::Value) -> Value {
        match value {
            toml::Value::String(text) => text.into(),
            toml::Value::Integer(number) => number.into(),
            toml::Value::Float(number) => number.into(),
            toml::Value::Boolean(value) => value.into(),
            toml::Value::Datetime(time) => time.to_string().into(),
            toml::Value::Array(items) => items.into_iter().map(convert).collect(),
            toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, convert(value))).collect(),
        }
    }
    convert(toml::Value::Table(text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"))))
}

fn loads(server: &str, zone: &str) -> bool {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("zones")).unwrap();
    fs::write(place.path().join("zones/zone.toml"), zone).unwrap();
    let file = place.path().join("rollcall.toml");
    fs::write(&file, server).unwrap();
    validate(&file)
}

fn validate(file: &Path) -> bool {
    Command::cargo_bin("rollcall").unwrap().arg("validate").arg("--config").arg(file).output().unwrap().status.success()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
