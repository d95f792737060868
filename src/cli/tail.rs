//! `rollcall tail`: live answers, line by line, until the reader leaves.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc;

use super::args::{ControlArgs, parse_duration};
use super::view::lines::{ToneLine, time_of_day};
use super::view::words::{Tone, clean};
use super::watch::stop;
use super::{Exit, Failure, Outcome, output, servers};
use crate::control::client::{ClientError, Tapped, to_json};
use crate::control::tail::{Answer, RATE, TailQuery};

/// Answers that wait to be printed; the servers' own rate bounds them.
const PENDING: usize = 256;

/// `rollcall tail`
#[derive(Debug, Args)]
pub struct TailArgs {
    /// Only names that fit: * any text, ? one character
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Only to these addresses or networks
    #[arg(long, value_name = "NET", value_delimiter = ',', value_parser = super::args::parse_client)]
    pub client: Vec<String>,
    /// Only with this RCODE: NXDOMAIN, SERVFAIL, REFUSED, …
    #[arg(long, value_name = "RCODE")]
    pub rcode: Option<String>,
    /// At most so many answers a second from each server
    #[arg(long, value_name = "NUMBER", default_value_t = RATE, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rate: u32,
    /// Ends by itself after that time
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// One JSON document a line
    #[arg(long)]
    pub json: bool,
    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

pub(super) async fn run(args: TailArgs, config: Option<PathBuf>) -> Outcome {
    let servers = servers::named(&args.control, config.as_deref())?;
    let query = TailQuery {
        name: args.name,
        client: (!args.client.is_empty()).then(|| args.client.join(",")),
        rcode: args.rcode,
        rate: Some(args.rate),
    };
    let several = servers.len() > 1;
    let (sender, mut told) = mpsc::channel(PENDING);
    for server in servers {
        let mut answers = server.client.tail(&query).await?;
        let (sender, name) = (sender.clone(), server.client.address().to_owned());
        tokio::spawn(async move {
            loop {
                let next = answers.next().await;
                let over = !matches!(next, Ok(Some(_)));
                if sender.send((name.clone(), next)).await.is_err() || over {
                    return;
                }
            }
        });
    }
    drop(sender);
    let end = args.duration.map(|duration| tokio::time::Instant::now() + duration);
    loop {
        let next = match end {
            None => told.recv().await,
            Some(end) => match tokio::time::timeout_at(end, told.recv()).await {
                Ok(next) => next,
                Err(_) => return Ok(Exit::Done),
            },
        };
        // `None`: every server has ended its stream.
        let Some((server, said)) = next else { return Ok(Exit::Done) };
        if show(&server, said, several, args.json)? {
            return Ok(Exit::Done);
        }
    }
}

/// The JSON: an answer, and whose it is where several servers are asked.
#[derive(Serialize)]
struct Document<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<&'s str>,
    #[serde(flatten)]
    answer: Answer,
}

/// Prints; whether the reader left.
fn show(server: &str, said: Result<Option<Tapped>, ClientError>, several: bool, json: bool) -> Result<bool, Failure> {
    let server = several.then_some(server);
    match said {
        Err(error) if !several => Err(error.into()),
        Err(error) => {
            output::complain(&error.to_string());
            Ok(false)
        }
        Ok(None) => {
            output::complain(&format!("{} has ended the tail", server.unwrap_or("the server")));
            Ok(false)
        }
        Ok(Some(Tapped::Lost(lost))) => {
            output::complain(&format!("{} more, lost: above the rate, or no room", lost.lost));
            Ok(false)
        }
        Ok(Some(Tapped::Answer(answer))) if json => {
            let document = to_json(&Document { server, answer: *answer }, false);
            stop(output::print(&(document + "\n")))
        }
        Ok(Some(Tapped::Answer(answer))) => stop(super::watch::print_lines(&[line(&answer, server)])),
    }
}

fn line(answer: &Answer, server: Option<&str>) -> ToneLine {
    let tone = match answer.rcode.as_str() {
        "NOERROR" => Tone::Good,
        "NXDOMAIN" => Tone::Warn,
        _ => Tone::Bad,
    };
    let mut line = vec![(Tone::Quiet, format!("{}  ", time_of_day(&answer.at)))];
    line.extend(server.map(|server| (Tone::Quiet, format!("{server}  "))));
    line.push((Tone::Quiet, format!("{} {}", clean(&answer.transport), clean(&answer.client))));
    line.extend(answer.subnet.as_ref().map(|subnet| (Tone::Quiet, format!(" for {}", clean(subnet)))));
    line.push((Tone::Strong, format!("  {}", clean(&answer.name))));
    line.push((Tone::Plain, format!(" {}  ", clean(&answer.rtype))));
    line.push((tone, clean(&answer.rcode)));
    if answer.truncated {
        line.push((Tone::Warn, " TC".to_owned()));
    }
    if !answer.answer.is_empty() {
        let records = answer.answer.iter().map(|one| clean(one)).collect::<Vec<_>>().join(", ");
        line.push((Tone::Plain, format!("  {records}")));
    }
    line.extend(answer.ttl.map(|ttl| (Tone::Quiet, format!("  ttl {ttl}"))));
    line
}

#[cfg(test)]
mod tests {
    use super::super::view::text;
    use super::*;

    #[test]
    fn an_answer_is_one_line() {
        let mut answer = Answer {
            at: "2026-11-21T02:53:02.123Z".to_owned(),
            transport: "udp".to_owned(),
            client: "192.0.2.7".to_owned(),
            subnet: Some("203.0.113.0/24/16".to_owned()),
            name: "www.lb.example.com".to_owned(),
            rtype: "A".to_owned(),
            rcode: "NOERROR".to_owned(),
            truncated: false,
            answer: vec!["A 192.0.2.10".to_owned(), "A 192.0.2.11".to_owned()],
            ttl: Some(20),
            octets: 80,
        };
        assert_eq!(
            text::line(&line(&answer, None), false),
            "02:53:02.123  udp 192.0.2.7 for 203.0.113.0/24/16  www.lb.example.com A  NOERROR  A 192.0.2.10, A 192.0.2.11  ttl 20\n"
        );
        answer = Answer {
            answer: Vec::new(),
            subnet: None,
            ttl: None,
            rcode: "SERVFAIL\u{1b}".to_owned(),
            truncated: true,
            ..answer
        };
        assert_eq!(
            text::line(&line(&answer, Some("ns1:1")), false),
            "02:53:02.123  ns1:1  udp 192.0.2.7  www.lb.example.com A  SERVFAIL\u{fffd} TC\n"
        );
    }
}
