//! The `exec` check: a program decides. It passes when it exits with 0; the first line it says is the reason.
//!
//! There is no shell. The program gets nothing of the server's environment but what is listed here, no input, and a process
//! group of its own, which is killed whole at the timeout, when the check is removed, and when the program has ended: what it
//! leaves running behind it goes too.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::{Report, reason};
use crate::engine::probe::{ExecProbe, ProbeKind, ProbeSpec};

/// Programs at once: each is a process, and they share the machine with DNS.
const MOST_AT_ONCE: usize = 32;
/// How much of each output is kept, octets; the rest is read and thrown away.
const KEPT_OUTPUT: usize = 4096;
/// Longest reason, characters.
const LONGEST_REASON: usize = 200;
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Limits how many run.
#[derive(Clone)]
pub(super) struct Programs(Arc<Semaphore>);

impl Default for Programs {
    fn default() -> Programs {
        Programs(Arc::new(Semaphore::new(MOST_AT_ONCE)))
    }
}

/// Kills a process group when dropped: a probe may be given up at any moment.
pub(super) struct Group(Pid);

impl Group {
    /// Of a child that was given a group of its own; `None` when it has ended already.
    pub(super) fn of(child: &Child) -> Option<Group> {
        let pid = child.id().and_then(|id| i32::try_from(id).ok())?;
        Some(Group(Pid::from_raw(pid)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // ESRCH: nobody is left.
        let _ = killpg(self.0, Signal::SIGKILL);
    }
}

pub(super) async fn probe(spec: &ProbeSpec, programs: &Programs) -> Report {
    let ProbeKind::Exec(exec) = &spec.kind else {
        return Report::Failed("not an exec check".into());
    };
    let Ok(_permit) = programs.0.acquire().await else {
        return Report::Unable("the checker ends".into());
    };
    let deadline = Instant::now() + spec.timing.timeout;
    let mut child = match command(spec, exec).spawn() {
        Ok(child) => child,
        Err(error) => return not_started(&error, &exec.command[0]),
    };
    let Some(group) = Group::of(&child) else {
        return Report::Unable("the program ended before it was seen".into());
    };
    let ended = timeout_at(deadline, run(&mut child)).await;
    drop(group);
    match ended {
        Err(_) => {
            // Killed with its group; what is left is to take note of its end.
            let _ = child.wait().await;
            let timeout = humantime::format_duration(spec.timing.timeout);
            Report::TimedOut(format!("{} still ran after {timeout}", exec.command[0]))
        }
        Ok(Err(error)) => Report::Unable(format!("the program cannot be waited for: {error}")),
        Ok(Ok((status, said))) => judge(status, &said),
    }
}

fn command(spec: &ProbeSpec, exec: &ExecProbe) -> Command {
    let mut command = Command::new(&exec.command[0]);
    command
        .args(&exec.command[1..])
        .env_clear()
        .env("PATH", PATH)
        .env("ROLLCALL_ADDRESS", spec.target.ip().to_string())
        .env("ROLLCALL_BACKEND", &exec.backend)
        .env("ROLLCALL_HOST", &exec.host)
        .env("ROLLCALL_TIMEOUT_MS", spec.timing.timeout.as_millis().to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if spec.target.port() != 0 {
        command.env("ROLLCALL_PORT", spec.target.port().to_string());
    }
    command
}

/// Reads while the program runs, so that it never waits for a full pipe; its end decides, not that of its children, who may
/// hold the pipe open.
pub(super) async fn run(child: &mut Child) -> io::Result<(ExitStatus, String)> {
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let status = {
        let out = child.stdout.take();
        let err = child.stderr.take();
        let reading = async {
            tokio::join!(collect(out, &mut said), collect(err, &mut complained));
        };
        tokio::pin!(reading);
        let mut read = false;
        let status = loop {
            tokio::select! {
                () = &mut reading, if !read => read = true,
                status = child.wait() => break status?,
            }
        };
        if !read {
            // What the program wrote is in the pipe already: one look takes it.
            let _ = futures_util::poll!(&mut reading);
        }
        status
    };
    let first = |output: &[u8]| {
        let text = String::from_utf8_lossy(output);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        line.chars().filter(|char| !char.is_control()).take(LONGEST_REASON).collect::<String>()
    };
    let line = first(&said);
    Ok((status, if line.is_empty() { first(&complained) } else { line }))
}

async fn collect(output: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut output) = output else { return };
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        let room = KEPT_OUTPUT - kept.len();
        kept.extend_from_slice(&buffer[..length.min(room)]);
    }
}

fn judge(status: ExitStatus, said: &str) -> Report {
    let with = |what: String| if said.is_empty() { what } else { format!("{what}: {said}") };
    match (status.code(), status.signal()) {
        (Some(0), _) => Report::Passed(if said.is_empty() { "exit 0".to_owned() } else { said.to_owned() }),
        (Some(code), _) => Report::Failed(with(format!("exit {code}"))),
        (None, Some(signal)) => Report::Failed(with(format!("killed by signal {signal}"))),
        (None, None) => Report::Failed(with(status.to_string())),
    }
}

fn not_started(error: &io::Error, program: &str) -> Report {
    match reason::of_io(error) {
        Report::Unable(why) => Report::Unable(why),
        _ => Report::Broken(format!("{program} cannot be run: {error}")),
    }
}
