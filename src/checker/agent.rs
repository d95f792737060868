//! The `agent` check: one line of words from an agent beside the backend, as HAProxy's agent-check has it.
//!
//! Like HAProxy, what a line does not say stays: only `up` takes a `down` back. Unlike HAProxy, an agent that cannot be
//! reached fails the check, since here it may be the only one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::reason::{self, CONNECT_TIMEOUT, RESPONSE_TIMEOUT};
use super::{Report, tcp};
use crate::engine::feedback::{Health, Said};
use crate::engine::probe::{AgentProbe, ProbeSpec};

/// Longest line, octets.
const LONGEST_LINE: usize = 1024;

pub(super) struct AgentTarget {
    spec: Arc<ProbeSpec>,
    send: Option<String>,
    feedback: bool,
    /// The last line that spoke of it said so.
    down: AtomicBool,
}

impl AgentTarget {
    pub(super) fn new(spec: &Arc<ProbeSpec>, agent: &AgentProbe) -> AgentTarget {
        let down = AtomicBool::new(false);
        AgentTarget { spec: spec.clone(), send: agent.send.clone(), feedback: agent.feedback, down }
    }
}

pub(super) async fn probe(target: &AgentTarget) -> Report {
    let deadline = Instant::now() + target.spec.timing.timeout;
    let mut stream = match timeout_at(deadline, tcp::connect(target.spec.target, target.spec.source)).await {
        Err(_) => return Report::TimedOut(CONNECT_TIMEOUT.into()),
        Ok(Err(error)) => return reason::of_io(&error),
        Ok(Ok(stream)) => stream,
    };
    match timeout_at(deadline, line(&mut stream, target.send.as_deref())).await {
        Err(_) => Report::TimedOut(RESPONSE_TIMEOUT.into()),
        Ok(Err(error)) => reason::of_io(&error),
        Ok(Ok(line)) => report(target, &line),
    }
}

/// What the agent says up to the end of its line or of the connection.
async fn line(stream: &mut TcpStream, send: Option<&str>) -> io::Result<String> {
    if let Some(send) = send {
        stream.write_all(send.as_bytes()).await?;
    }
    let mut line = Vec::new();
    let mut buffer = [0; 256];
    while line.len() < LONGEST_LINE {
        let length = match stream.read(&mut buffer).await {
            Ok(length) => length,
            // An agent that closes without reading what was sent resets the connection behind its line.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !line.is_empty() => 0,
            Err(error) => return Err(error),
        };
        line.extend_from_slice(&buffer[..length]);
        if length == 0 || buffer[..length].contains(&b'\n') {
            break;
        }
    }
    let end = line.iter().position(|&octet| octet == b'\n').unwrap_or(line.len().min(LONGEST_LINE));
    Ok(String::from_utf8_lossy(&line[..end]).trim().to_owned())
}

fn report(target: &AgentTarget, line: &str) -> Report {
    if line.is_empty() {
        return Report::Failed("the agent said nothing".into());
    }
    let shown: String = line.chars().filter(|char| !char.is_control()).take(100).collect();
    let Some(said) = Said::read(line) else {
        return Report::Failed(format!("the agent said {shown:?}, which has no word that is known"));
    };
    match said.health {
        Some(Health::Up) => target.down.store(false, Relaxed),
        Some(Health::Down | Health::Failed | Health::Stopped) => target.down.store(true, Relaxed),
        None => {}
    }
    let down = target.down.load(Relaxed);
    let mut reason = format!("the agent says {shown:?}");
    if down && said.health.is_none() {
        reason.push_str(" and has not taken its \"down\" back");
    }
    if target.feedback {
        Report::Heard { passed: !down, reason, said }
    } else if down {
        Report::Failed(reason)
    } else {
        Report::Passed(reason)
    }
}
