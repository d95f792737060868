//! `rollcall explain`: which answer a client gets, and every step that led to it.

use std::path::PathBuf;

use super::args::ExplainArgs;
use super::servers::{self, Report};
use super::view::words::clean;
use super::{Exit, Outcome};
use crate::control::view::{ExplainQuery, Explanation};

pub(super) async fn run(args: ExplainArgs, config: Option<PathBuf>) -> Outcome {
    let servers = servers::named(&args.control, config.as_deref())?;
    let query = &ExplainQuery {
        name: args.name,
        rtype: Some(args.rtype),
        client: args.client,
        shares: args.shares || !args.down.is_empty(),
        down: Some(args.down.join(",")).filter(|down| !down.is_empty()),
    };
    servers::each(servers, args.json, async |server| {
        let explanation = server.client.explain(query).await?;
        let found = explanation.zone.is_some() && explanation.exists;
        let exit = if found { Exit::Done } else { Exit::No };
        Ok(Report { text: words(&explanation), value: explanation, exit })
    })
    .await
}

fn words(explanation: &Explanation) -> String {
    let mut text = format!("{}: {}", clean(&explanation.question), clean(&explanation.rcode));
    match &explanation.zone {
        Some(zone) => text.push_str(&format!(", from zone {}\n", clean(zone))),
        None => text.push_str(", no zone here holds the name\n"),
    }
    for record in &explanation.answer {
        text.push_str(&format!("  {}\n", clean(record)));
    }
    if explanation.answer.is_empty() && explanation.zone.is_some() {
        text.push_str("  no records\n");
    }
    if let Some(shares) = &explanation.shares {
        text.push_str("shares of the first place:\n");
        for share in shares {
            text.push_str(&format!("  {:7.3} %  {}\n", share.share * 100.0, clean(&share.backend)));
        }
        if shares.is_empty() {
            text.push_str("  none: no address is answered\n");
        }
    }
    if !explanation.steps.is_empty() {
        text.push_str("why:\n");
    }
    for (index, step) in explanation.steps.iter().enumerate() {
        text.push_str(&format!("{:3}. {}\n", index + 1, clean(step)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::view::Share;

    #[test]
    fn answer_and_steps_are_listed_in_order() {
        let explanation = Explanation {
            question: "www.lb.example.com. A".to_string(),
            zone: Some("lb.example.com".to_string()),
            exists: true,
            rcode: "NOERROR".to_string(),
            answer: vec!["www.lb.example.com. 30 A 192.0.2.10".to_string()],
            steps: vec!["pool web".to_string(), "tier 0".to_string()],
            scope: None,
            shares: None,
        };
        assert_eq!(
            words(&explanation),
            "www.lb.example.com. A: NOERROR, from zone lb.example.com\n  www.lb.example.com. 30 A 192.0.2.10\nwhy:\n  1. pool web\n  2. tier 0\n"
        );
        let shares = vec![
            Share { backend: "lb/web/a".to_string(), share: 0.75 },
            Share { backend: "lb/web/b".to_string(), share: 0.25 },
        ];
        let shown = words(&Explanation { shares: Some(shares), ..explanation.clone() });
        assert!(shown.contains("first place:\n   75.000 %  lb/web/a\n   25.000 %  lb/web/b\nwhy:"), "{shown}");
        let nowhere =
            Explanation { zone: None, rcode: "REFUSED".to_string(), answer: vec![], steps: vec![], ..explanation };
        assert_eq!(words(&nowhere), "www.lb.example.com. A: REFUSED, no zone here holds the name\n");
    }
}
