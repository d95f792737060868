//! `rollcall reload`: loads the files again, waits, and reports.

use std::path::PathBuf;

use super::args::ReloadArgs;
use super::servers::{self, Report};
use super::view::words::clean_lines;
use super::{Exit, Outcome, progress};
use crate::control::view::ReloadStatus;

pub(super) async fn run(args: ReloadArgs, config: Option<PathBuf>) -> Outcome {
    let servers = servers::named(&args.control, config.as_deref())?;
    let waiting = progress::waiting("loading, and waiting for new probes");
    let outcome = servers::each(servers, args.json, async |server| {
        let report = server.client.reload(args.force).await?;
        let exit = if report.ok { Exit::Done } else { Exit::Wrong };
        Ok(Report { text: words(&report), value: report, exit })
    });
    waiting.during(outcome).await
}

fn words(report: &ReloadStatus) -> String {
    let mut text = if report.ok {
        "reloaded: the new data answers\n".to_string()
    } else {
        "refused: the old data goes on answering\n".to_string()
    };
    for line in report.moves.iter().flat_map(crate::control::move_words) {
        text.push_str(&clean_lines(&line));
        text.push('\n');
    }
    let said = if report.rendered.is_empty() { &report.messages } else { &report.rendered };
    for part in said {
        text.push_str(&clean_lines(part));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_shown_with_their_source_where_there_is_one() {
        let mut report = ReloadStatus {
            ok: false,
            at: String::new(),
            cause: "command".to_string(),
            messages: vec!["zones/a.toml:1: bad".to_string()],
            rendered: Vec::new(),
            moves: None,
        };
        assert_eq!(words(&report), "refused: the old data goes on answering\nzones/a.toml:1: bad\n");
        report.rendered = vec!["bad\n  | ^^^".to_string()];
        assert_eq!(words(&report), "refused: the old data goes on answering\nbad\n  | ^^^\n");
        report =
            ReloadStatus { ok: true, messages: vec!["listen: at restart".to_string()], rendered: vec![], ..report };
        assert_eq!(words(&report), "reloaded: the new data answers\nlisten: at restart\n");
    }
}
