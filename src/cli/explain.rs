//! `rollcall explain`: which answer a client gets, and every step that led to it.

use std::path::PathBuf;

use super::args::ExplainArgs;
use super::view::words::clean;
use super::{Exit, Outcome, connect, output};
use crate::control::client::to_json;
use crate::control::view::{ExplainQuery, Explanation};

pub(super) async fn run(args: ExplainArgs, config: Option<PathBuf>) -> Outcome {
    let client = connect(&args.control, config.as_deref())?;
    let query =
        ExplainQuery { name: args.name, rtype: Some(args.rtype), client: args.client.map(|client| client.to_string()) };
    let explanation = client.explain(&query).await?;
    let text = if args.json { to_json(&explanation, true) + "\n" } else { words(&explanation) };
    output::print_last(&text)?;
    Ok(if explanation.zone.is_some() && explanation.exists { Exit::Done } else { Exit::No })
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

    #[test]
    fn answer_and_steps_are_listed_in_order() {
        let explanation = Explanation {
            question: "www.lb.example.com. A".to_string(),
            zone: Some("lb.example.com".to_string()),
            exists: true,
            rcode: "NOERROR".to_string(),
            answer: vec!["www.lb.example.com. 30 A 192.0.2.10".to_string()],
            steps: vec!["pool web".to_string(), "tier 0".to_string()],
        };
        assert_eq!(
            words(&explanation),
            "www.lb.example.com. A: NOERROR, from zone lb.example.com\n  www.lb.example.com. 30 A 192.0.2.10\nwhy:\n  1. pool web\n  2. tier 0\n"
        );
        let nowhere =
            Explanation { zone: None, rcode: "REFUSED".to_string(), answer: vec![], steps: vec![], ..explanation };
        assert_eq!(words(&nowhere), "www.lb.example.com. A: REFUSED, no zone here holds the name\n");
    }
}
