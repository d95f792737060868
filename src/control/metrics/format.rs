//! From OpenMetrics 1.0 to Prometheus' text format 0.0.4, for those who do not ask for the newer one: curl, promtool, and
//! older agents. A counter's `# HELP` and `# TYPE` name it with `_total`; units and the end are not said.

/// The same metrics in the older format.
pub(super) fn older(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len() + 1024);
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let counter = lines.peek().is_some_and(|next| next.starts_with("# TYPE ") && next.ends_with(" counter"));
            describe(&mut text, "# HELP ", help, counter);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            describe(&mut text, "# TYPE ", kind, kind.ends_with(" counter"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn describe(text: &mut String, what: &str, rest: &str, counter: bool) {
    let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    text.push_str(what);
    text.push_str(name);
    text.push_str(if counter { "_total " } else { " " });
    text.push_str(rest);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_their_series_are() {
        let openmetrics = "# HELP a counts\n# TYPE a counter\na_total{b=\"# HELP\"} 1\n# HELP c holds\n# TYPE c gauge\n\
                           # UNIT c seconds\nc 2\n# EOF\n";
        let expected = "# HELP a_total counts\n# TYPE a_total counter\na_total{b=\"# HELP\"} 1\n# HELP c holds\n\
                        # TYPE c gauge\nc 2\n";
        assert_eq!(older(openmetrics), expected);
    }
}
