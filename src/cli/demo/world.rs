//! Everything that a demo consists of, started in the order in which one thing needs the other, and taken down again.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::super::serve::{self, RunningServer, ServeOptions};
use super::super::view::screen::Process;
use super::super::{Exit, Failure};
use super::farm::{Done, Farm};
use super::{ask, remote};
use crate::config;
use crate::config::plan::ControlAddress;
use crate::control::Control;
use crate::control::api::{ControlListener, serve_router};
use crate::control::client::address_text;
use crate::engine::Transport;

/// The zone as it lies in the project, to be served by hand too.
const ZONE: &str = include_str!("../../../zones/demo.toml");
/// The port in it, which the demo replaces with the one that its backends got.
const ZONE_PORT: &str = "port          = 8080";
/// The names whose answers are shown. The first holds every backend: kills are timed by it.
const NAMES: [&str; 3] = ["www.demo.test", "weighted.demo.test", "failover.demo.test"];
/// Verdicts on living loopback backends take milliseconds; the introduction waits no longer than this.
const READY_PATIENCE: Duration = Duration::from_millis(1_500);
/// Between two questions while a kill is timed.
const TIMING_STEP: Duration = Duration::from_millis(5);
/// With every backend dead the pool fails open: the killed one stays, and the timing ends.
const TIMING_PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct World {
    hands: Arc<Hands>,
    server: RunningServer,
    control: String,
    door: String,
    door_stop: oneshot::Sender<()>,
    door_task: JoinHandle<std::io::Result<()>>,
    directory: Directory,
}

/// What kills and revives, by key or from another terminal, and times what follows.
pub(super) struct Hands {
    farm: Farm,
    dns: SocketAddr,
    notes: mpsc::Sender<String>,
}

impl World {
    /// Starts everything. The receiver yields what happens: kills, revivals, and how long the answers took to follow.
    pub(super) async fn start() -> Result<(World, mpsc::Receiver<String>), Failure> {
        let failed =
            |what: &str, error: &dyn std::fmt::Display| Failure::new(Exit::No, format!("demo: {what}: {error}"));
        let farm =
            Farm::start().await.map_err(|error| failed("cannot start the backends on 127.0.0.11 to 14", &error))?;
        let directory = Directory::create(farm.port()).map_err(|error| failed("cannot write its files", &error))?;
        let server = start_server(&directory).await?;
        let dns = server
            .dns
            .iter()
            .find_map(|(transport, address)| (*transport == Transport::Udp).then_some(*address))
            .ok_or_else(|| failed("the server", &"listens nowhere"))?;
        let control = server.control_address.clone().ok_or_else(|| failed("the server", &"has no control listener"))?;
        let _ = tokio::time::timeout(READY_PATIENCE, server.control.ready()).await;

        let (notes, received) = mpsc::channel(64);
        let hands = Arc::new(Hands { farm, dns, notes });
        let listener = ControlListener::bind(&ControlAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))))
            .map_err(|error| failed("its own listener", &error))?;
        let door = address_text(listener.address());
        let (door_stop, stopped) = oneshot::channel();
        let door_task = tokio::spawn(serve_router(listener, remote::router(hands.clone()), None, async move {
            let _ = stopped.await;
        }));
        Ok((World { hands, server, control, door, door_stop, door_task, directory }, received))
    }

    /// Takes everything down; the files go with it.
    pub(super) async fn stop(self) {
        let _ = self.door_stop.send(());
        let _ = self.door_task.await;
        self.server.stop().await;
        drop(self.directory);
    }

    pub(super) fn control(&self) -> Control {
        self.server.control.clone()
    }

    pub(super) fn zone_file(&self) -> PathBuf {
        self.directory.zone_file()
    }

    /// The questions to ask, each a command.
    pub(super) fn questions(&self) -> Vec<String> {
        let (address, port) = (self.hands.dns.ip(), self.hands.dns.port());
        let asked = NAMES.into_iter().map(|name| (name, "A")).chain([("alias.demo.test", "A"), ("demo.test", "TXT")]);
        asked.map(|(name, rtype)| format!("dig @{address} -p {port} {name} {rtype}")).collect()
    }

    /// How another terminal kills a backend and brings it back.
    pub(super) fn kill_commands(&self) -> Vec<String> {
        ["kill", "revive"].map(|verb| format!("{} demo {verb} b2 --control {}", program(), self.door)).to_vec()
    }

    /// What an operator would do to it.
    pub(super) fn operator_commands(&self) -> Vec<String> {
        let (program, control) = (program(), &self.control);
        vec![
            format!("{program} state 'demo.test/*/b3' drain --reason demo --control {control}"),
            format!("{program} explain failover.demo.test --control {control}"),
            format!("{program} status --control {control}"),
            format!("{program} state 'demo.test/*/b3' auto --control {control}"),
        ]
    }

    pub(super) async fn processes(&self) -> Vec<Process> {
        self.hands.farm.processes().await
    }

    /// What a client gets now for each name.
    pub(super) async fn answers(&self) -> Vec<(String, String)> {
        let mut answers = Vec::new();
        for name in NAMES {
            answers.push((format!("{name} A"), ask::ask_in_words(self.hands.dns, name).await));
        }
        answers
    }

    /// Kills a backend that lives, revives one that does not.
    pub(super) async fn toggle(&self, index: usize) {
        if let Some(process) = self.processes().await.get(index)
            && let Err(error) = self.hands.set(&process.name, !process.alive).await
        {
            remote::note(&self.hands.notes, error);
        }
    }
}

impl Hands {
    /// Makes a backend live or not, says so, and times how long the answers take to follow.
    pub(super) async fn set(self: &Arc<Hands>, name: &str, alive: bool) -> Result<String, String> {
        let start = Instant::now();
        let (done, address) = match self.farm.set(name, alive).await {
            None => {
                return Err(format!("there is no backend {name:?}; the demo has b1, b2, b3 and b4"));
            }
            Some(Err(error)) => return Err(format!("{name} cannot be revived: {error}")),
            Some(Ok(done)) => done,
        };
        let said = match done {
            Done::Nothing if alive => return Ok(format!("{name} lives already")),
            Done::Nothing => return Ok(format!("{name} is dead already")),
            Done::Killed => format!("{name} killed: its listener and connections are closed"),
            Done::Revived => format!("{name} revived: it listens again"),
        };
        remote::note(&self.notes, said.clone());
        let (hands, name) = (self.clone(), name.to_string());
        tokio::spawn(async move {
            let words = hands.time(&name, address, alive, start).await;
            remote::note(&hands.notes, words);
        });
        Ok(said)
    }

    /// Asks until the answer has `address`, or has it no more.
    async fn time(&self, name: &str, address: IpAddr, alive: bool, start: Instant) -> String {
        while start.elapsed() < TIMING_PATIENCE {
            if let Ok(answer) = ask::ask(self.dns, NAMES[0]).await
                && answer.addresses.contains(&address) == alive
            {
                let took = super::words::took(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
                return match alive {
                    true => format!("{name} is answered again {took} after the revival"),
                    false => format!("{name} left the answers {took} after the kill"),
                };
            }
            tokio::time::sleep(TIMING_STEP).await;
        }
        let seconds = TIMING_PATIENCE.as_secs();
        match alive {
            true => format!("{name} is not answered yet, {seconds} s after the revival"),
            false => format!(
                "{name} is still answered {seconds} s after the kill: with every backend down a pool fails open"
            ),
        }
    }
}

async fn start_server(directory: &Directory) -> Result<RunningServer, Failure> {
    let file = directory.server_file();
    let plan = config::load(Some(&file)).map_err(|error| {
        let said: Vec<&str> = error.diagnostics.iter().map(|diagnostic| diagnostic.rendered.as_str()).collect();
        Failure::wrong(format!("demo: its own files do not load:\n{}", said.join("\n")))
    })?;
    serve::start(ServeOptions { config_file: Some(file), plan })
        .await
        .map_err(|error| Failure::new(Exit::Wrong, format!("demo: {error}")))
}

/// The demo's files, removed when dropped.
struct Directory {
    path: PathBuf,
}

impl Directory {
    fn create(port: u16) -> std::io::Result<Directory> {
        let path = nix::unistd::mkdtemp(&std::env::temp_dir().join("rollcall-demo-XXXXXX"))?;
        let directory = Directory { path };
        std::fs::create_dir(directory.path.join("zones"))?;
        std::fs::write(directory.zone_file(), zone_text(port))?;
        std::fs::write(
            directory.server_file(),
            "zones = \"zones\"\n\n[listen]\ndns = [\"127.0.0.1:0\"]\ncontrol = \"127.0.0.1:0\"\n",
        )?;
        Ok(directory)
    }

    fn server_file(&self) -> PathBuf {
        self.path.join("rollcall.toml")
    }

    fn zone_file(&self) -> PathBuf {
        self.path.join("zones/demo.toml")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn zone_text(port: u16) -> String {
    ZONE.replace(ZONE_PORT, &format!("port          = {port}"))
}

/// This program as it was called, so that the printed commands work as they stand.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+".contains(character);
    match Path::new(&called).file_name() {
        Some(_) if called.chars().all(plain) => called,
        _ => "rollcall".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::client::{self, Client};

    #[test]
    fn the_zone_of_the_project_takes_the_port_of_the_demo() {
        assert_eq!(ZONE.matches(ZONE_PORT).count(), 1);
        assert!(zone_text(40_123).contains("port          = 40123"));
        let table: toml::Table = zone_text(40_123).parse().unwrap();
        assert_eq!(table["checks"]["web"]["port"].as_integer(), Some(40_123));
    }

    #[test]
    fn the_files_go_with_the_demo() {
        let directory = Directory::create(1).unwrap();
        let path = directory.path.clone();
        assert!(directory.zone_file().is_file() && directory.server_file().is_file());
        drop(directory);
        assert!(!path.exists());
    }

    /// Far more than anything here takes; only a test that fails reaches it.
    const PATIENCE: Duration = Duration::from_secs(20);

    async fn wait_for_note(notes: &mut mpsc::Receiver<String>, part: &str) -> String {
        let wait = async {
            while let Some(note) = notes.recv().await {
                if note.contains(part) {
                    return note;
                }
            }
            panic!("the demo ended without {part:?}")
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no note with {part:?}"))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_demos_at_once_and_a_kill_in_one_leaves_only_its_answers() {
        let (first, mut notes) = World::start().await.unwrap();
        let (second, _second_notes) = World::start().await.unwrap();
        let door = Client::new(client::parse_address(&first.door).unwrap()).unwrap();

        let said: serde_json::Value = door.post(&["demo", "backends", "b2", "kill"]).await.unwrap();
        assert!(said["said"].as_str().unwrap().contains("b2 killed"), "{said}");
        wait_for_note(&mut notes, "b2 left the answers").await;
        let answer = ask::ask(first.hands.dns, NAMES[0]).await.unwrap();
        assert_eq!(answer.addresses.len(), 3, "{answer:?}");
        assert_eq!(ask::ask(second.hands.dns, NAMES[0]).await.unwrap().addresses.len(), 4);

        door.post::<serde_json::Value>(&["demo", "backends", "b2", "revive"]).await.unwrap();
        wait_for_note(&mut notes, "b2 is answered again").await;
        let error = door.post::<serde_json::Value>(&["demo", "backends", "b9", "kill"]).await.unwrap_err();
        assert!(error.to_string().contains("there is no backend"), "{error}");

        first.stop().await;
        second.stop().await;
    }
}
