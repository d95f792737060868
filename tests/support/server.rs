//! The real program as a child process, in a directory of its own, on free ports.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::dns::Client;
use super::{DEADLINE, eventually};

/// The server file of most stories: free ports, one worker.
pub const SERVER_FILE: &str = r#"
zones = "zones"
state_dir = "state"
[listen]
dns = ["127.0.0.1:0"]
control = "127.0.0.1:0"
[dns]
udp_workers = 1
[dns.rate_limit]
enabled = false
"#;

/// A directory with a server file and zones.
pub struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// A place with [`SERVER_FILE`] and no zone yet.
    pub fn new() -> Place {
        let place = Place { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(place.path("zones")).unwrap();
        place.write("rollcall.toml", SERVER_FILE);
        place
    }

    /// A place with one zone, `lb.example.com`, of which `rest` is the part after the NS record.
    pub fn with_zone(rest: &str) -> Place {
        let place = Place::new();
        place.write("zones/lb.toml", &zone(rest));
        place
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file in place.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Replaces a file as editors do: written beside, renamed over.
    pub fn replace(&self, name: &str, text: &str) {
        let path = self.path(name);
        let beside = path.with_extension("new~");
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, &path).unwrap();
    }

    /// The program with `--config`, not run yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.arg("--config").arg(self.path("rollcall.toml")).args(arguments).current_dir(self.directory.path());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Serves, and waits until it is ready.
    pub fn serve(&self) -> Server {
        let mut server = self.spawn();
        server.wait_ready();
        server
    }

    /// Serves with a command of one's own, and waits until it is ready.
    pub fn serve_by(&self, command: Command) -> Server {
        let mut server = Server::spawn(command);
        server.wait_ready();
        server
    }

    /// Serves; not ready yet.
    pub fn spawn(&self) -> Server {
        Server::spawn(self.command(&["serve"]))
    }
}

/// A zone file with `www` to begin with.
pub fn zone(rest: &str) -> String {
    format!("zone = \"lb.example.com\"\nttl = 5\n[records]\n\"@\" = {{ NS = \"ns.example.net.\" }}\n{rest}")
}

/// The program, with nothing inherited that would change it.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
    command.env_remove("RUST_LOG").env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

/// A running server; killed when dropped.
pub struct Server {
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    /// Processes that replaced it, killed with it.
    successors: Vec<u32>,
    /// Where it answers.
    pub dns: SocketAddr,
    /// Its control listener, as `--control` takes it.
    pub control: String,
    /// From its start to the line that said "ready".
    pub ready_after: Duration,
    started: Instant,
}

impl Server {
    /// A command that serves sooner or later.
    pub fn started(command: Command) -> Server {
        Server::spawn(command)
    }

    fn spawn(mut command: Command) -> Server {
        let started = Instant::now();
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let kept = log.clone();
        let reader = std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        });
        let dns = SocketAddr::from(([0, 0, 0, 0], 0));
        Server {
            process,
            log,
            reader: Some(reader),
            successors: Vec::new(),
            dns,
            control: String::new(),
            ready_after: Duration::ZERO,
            started,
        }
    }

    /// Waits for the line that says where it listens.
    pub fn wait_ready(&mut self) {
        let line = self.wait_log(" ready: ");
        self.ready_after = self.started.elapsed();
        let (_, addresses) = line.split_once(" ready: ").unwrap();
        for address in addresses.split(", ") {
            if let Some(dns) = address.strip_prefix("udp+tcp ") {
                self.dns = dns.parse().unwrap();
            } else if let Some(control) = address.strip_prefix("control ") {
                self.control = control.to_string();
            }
        }
    }

    /// Waits for a line of the log that contains `text`.
    #[track_caller]
    pub fn wait_log(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let ended = self.process.try_wait().unwrap();
            if ended.is_some()
                && self.successors.is_empty()
                && let Some(reader) = self.reader.take()
            {
                // The last lines may still be on their way.
                reader.join().unwrap();
            }
            if let Some(line) = self.log().into_iter().find(|line| line.contains(text)) {
                return line;
            }
            if ended.is_some() || start.elapsed() > DEADLINE {
                panic!("the log never said {text:?} (ended: {ended:?}):\n{}", self.log().join("\n"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// All that was logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// A DNS client of it.
    pub fn client(&self) -> Client {
        Client::new(self.dns)
    }

    /// Runs a command against it: `status`, `state`, …
    pub fn run(&self, arguments: &[&str]) -> Output {
        program().args(arguments).args(["--control", &self.control]).output().unwrap()
    }

    /// `status --json`, and its exit code.
    pub fn status(&self) -> (Value, i32) {
        let output = self.run(&["status", "--json"]);
        let value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("status: {error}: {}", String::from_utf8_lossy(&output.stderr)));
        (value, output.status.code().unwrap())
    }

    /// One backend of `status --json`.
    pub fn backend(&self, id: &str) -> Value {
        let (status, _) = self.status();
        let zones = status["zones"].as_array().unwrap();
        let pools = zones.iter().flat_map(|zone| zone["pools"].as_array().unwrap());
        let mut backends = pools.flat_map(|pool| pool["backends"].as_array().unwrap());
        backends.find(|backend| backend["id"] == id).unwrap_or_else(|| panic!("no backend {id}")).clone()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the server ends", || self.process.try_wait().unwrap())
    }

    /// `kill -9`, and gone.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.wait().signal(), Some(9));
    }

    /// `rollcall replace`: the process that answers now.
    #[track_caller]
    pub fn replace(&mut self) -> u32 {
        let output = self.run(&["replace", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let replaced: Value = serde_json::from_slice(&output.stdout).unwrap();
        let pid = u32::try_from(replaced["pid"].as_u64().unwrap()).unwrap();
        self.successors.push(pid);
        pid
    }

    /// Notes a process that replaced it, so that it is killed in the end.
    pub fn replaced_by(&mut self, pid: u32) {
        self.successors.push(pid);
    }

    /// The process that answers now.
    pub fn answering(&self) -> u32 {
        self.successors.last().copied().unwrap_or(self.id())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for successor in &self.successors {
            let _ = kill(Pid::from_raw(i32::try_from(*successor).unwrap()), Signal::SIGKILL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the server:\n{}", self.log().join("\n"));
        }
    }
}

/// Standard error of a finished command.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output of a finished command.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a path exists.
pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
