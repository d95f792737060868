//! What control borrows for its hooks: the checker's way to reach others, with the same care (no proxy, no shell, no child
//! left behind).

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{Instant, timeout_at};

use super::exec::{Group, PATH, run};
use super::{Report, reason, tls};
use crate::engine::probe::TlsProbe;

/// TLS settings that trust the system's authorities, or those of `ca` (PEM); without `used`, none at all.
pub(crate) fn client_tls(used: bool, ca: Option<Arc<[u8]>>) -> Result<ClientConfig, String> {
    match used {
        true => tls::client_config(&TlsProbe { verify: true, ca, server_name: None, client: None }, None),
        false => tls::unused(),
    }
}

/// Why a request came to nothing, as the reasons of probes say it.
pub(crate) fn error_words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    match reason::of_chain(error) {
        Report::Passed(why)
        | Report::Failed(why)
        | Report::TimedOut(why)
        | Report::Unable(why)
        | Report::Broken(why) => why,
        _ => "failed".to_owned(),
    }
}

/// Runs a program that reads `input`, without a shell and with nothing of this process' environment. The error: it could not
/// be run, ended with another code than 0, or ran longer than `limit` and was killed with all that it had started.
pub(crate) async fn run_program(
    words: &[String],
    environment: &[(&str, String)],
    input: &[u8],
    limit: Duration,
) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let deadline = Instant::now() + limit;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("cannot be run: {error}"))?;
    let group = Group::of(&child);
    let stdin = child.stdin.take();
    let feeding = async {
        if let Some(mut stdin) = stdin {
            // A program that does not want to read need not.
            let _ = stdin.write_all(input).await;
        }
        std::future::pending::<()>().await;
    };
    let ended = timeout_at(deadline, async {
        tokio::select! {
            ended = run(&mut child) => ended,
            () = feeding => unreachable!("it goes on for ever"),
        }
    })
    .await;
    drop(group);
    let (status, said) = match ended {
        Err(_) => {
            let _ = child.wait().await;
            return Err(format!("still ran after {}", humantime::format_duration(limit)));
        }
        Ok(Err(error)) => return Err(format!("cannot be waited for: {error}")),
        Ok(Ok(ended)) => ended,
    };
    if status.success() {
        return Ok(());
    }
    Err(if said.is_empty() { status.to_string() } else { format!("{status}: {said}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn a_program_reads_its_input_and_its_end_decides() {
        let long = Duration::from_secs(20);
        let place = tempfile::tempdir().unwrap();
        let kept = place.path().join("kept");
        let script = format!("cat > {}; test \"$ROLLCALL_EVENTS\" = 2", kept.display());
        // More than a pipe holds.
        let input = vec![b'x'; 300_000];
        let environment = [("ROLLCALL_EVENTS", "2".to_owned())];
        assert_eq!(run_program(&shell(&script), &environment, &input, long).await, Ok(()));
        assert_eq!(std::fs::read(kept).unwrap(), input);
        let failed = run_program(&shell("echo no pager >&2; exit 3"), &[], &input, long).await;
        assert_eq!(failed, Err("exit status: 3: no pager".to_owned()));
        assert_eq!(run_program(&shell("exit 0"), &[], &input, long).await, Ok(()), "it need not read");
        let missing = run_program(&["/nonexistent/program".to_owned()], &[], &input, long).await;
        assert!(missing.unwrap_err().starts_with("cannot be run"));
        let slow = run_program(&shell("sleep 60"), &[], &input, Duration::from_millis(50)).await;
        assert_eq!(slow, Err("still ran after 50ms".to_owned()));
    }
}
