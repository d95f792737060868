//! Files in, plan or exact messages out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::diagnostic::LoadError;
use super::plan::*;
use super::*;
use crate::engine::probe::ProbeKind;

mod checks;
mod errors;
mod files;
mod plans;
mod routes;
mod server;
mod services;

/// A directory with files in it.
struct World {
    directory: tempfile::TempDir,
}

const ZONE: &str = "zone = \"example.com\"\n[records]\n\"@\" = { NS = \"ns1.example.net.\" }\n";

impl World {
    fn new(files: &[(&str, &str)]) -> World {
        let world = World { directory: tempfile::tempdir().unwrap() };
        world.write("rollcall.toml", "");
        std::fs::create_dir(world.path("zones")).unwrap();
        files.iter().for_each(|(name, text)| world.write(name, text));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn load(&self) -> Result<Plan, LoadError> {
        load(Some(&self.path("rollcall.toml")))
    }

    fn plan(&self) -> Plan {
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Errors, one a line, paths relative to the directory.
    fn errors(&self) -> Vec<String> {
        let error = self.load().expect_err("this must not load");
        assert!(!error.diagnostics.is_empty());
        self.lines(&error.diagnostics)
    }

    fn warnings(&self) -> Vec<String> {
        self.lines(&self.plan().warnings)
    }

    fn lines(&self, all: &[diagnostic::Diagnostic]) -> Vec<String> {
        let prefix = format!("{}/", self.directory.path().display());
        all.iter().map(|each| each.to_string().replace(&prefix, "")).collect()
    }
}

/// Errors of a zone file.
fn zone_errors(text: &str) -> Vec<String> {
    World::new(&[("zones/z.toml", text)]).errors()
}

/// Errors of what follows a good zone's first lines (three of them).
fn errors_after_zone(rest: &str) -> Vec<String> {
    zone_errors(&format!("{ZONE}{rest}"))
}

fn server_errors(text: &str) -> Vec<String> {
    World::new(&[("rollcall.toml", text), ("zones/z.toml", ZONE)]).errors()
}

/// A zone's checks, pools and names of every kind.
const POOLS: &str = r#"
[soa]
rname = "admin"
[checks.web]
type = "http"
port = 8080
path = "/healthz"
interval = "5s"
[checks.same]
type = "http"
port = 8080
path = "/healthz"
interval = "5s"
[checks.tcp]
type = "tcp"
interval = "1s"
jitter = "5%"
[pools.web]
checks = ["web", "tcp"]
policy = "weighted"
ttl = { max = 60, min = 5 }
min_healthy = "50%"
on_all_down = { to = "spare" }
backends = [
  { name = "a", address = "192.0.2.10", port = 81, weight = 3, host = "a.example", labels = { rack = "1" } },
  { address = ["192.0.2.11", "2001:db8::11"], check = "same", state = "drain" },
  { name = "c", address = "192.0.2.12", tier = 1, checks = [] },
]
[pools.spare]
check = "same"
backends = [{ address = "192.0.2.11" }]
[names]
www = "web"
"@" = { to = "spare", type = "A", ttl = 10, answers = 2 }
"*.apps" = [{ to = "web", type = "A" }, { to = "spare", type = "AAAA" }]
"#;
