//! Small words: how long ago, what colour a state has, and text from outside made safe for a terminal.

use std::time::{Duration, SystemTime};

use crate::control::view::DrainStatus;

/// What a piece of text means to the eye. Colour is never the only bearer of meaning: the word says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As the terminal has it.
    Plain,
    /// Headings.
    Strong,
    /// Up.
    Good,
    /// Down.
    Bad,
    /// Somebody should look.
    Warn,
    /// In the background.
    Quiet,
}

/// The tone of a backend's or a pool's state.
pub fn tone(state: &str) -> Tone {
    match state {
        "up" | "healthy" | "ok" | "alive" | "forced up" => Tone::Good,
        "down" | "panic" | "closed" | "failed" | "critical" => Tone::Bad,
        "forced down" | "draining" | "drained" | "maintenance" | "degraded" | "partly" | "diverted" | "frozen" => {
            Tone::Warn
        }
        "draining (says the backend)" | "in maintenance (says the backend)" => Tone::Warn,
        "unknown" | "unchecked" => Tone::Quiet,
        _ => Tone::Plain,
    }
}

/// From `then` to `now` (RFC 3339) as `45s`, `12m`, `3h 5m`, `2d 4h`; what cannot be read is shown as it is.
pub fn since(now: &str, then: &str) -> String {
    match (humantime::parse_rfc3339(now), humantime::parse_rfc3339(then)) {
        (Ok(now), Ok(then)) => short(distance(then, now)),
        _ => clean(then),
    }
}

/// A time to come or gone, never earlier than it is: `12:03:42Z`, with the day where that is another one.
pub fn moment(now: &str, at: &str) -> String {
    let Ok(time) = humantime::parse_rfc3339(at) else { return clean(at) };
    let text = humantime::format_rfc3339_seconds(time + Duration::from_millis(999)).to_string();
    match (text.split_once('T'), now.split_once('T')) {
        (Some((day, time)), Some((today, _))) if day == today => time.to_string(),
        _ => text,
    }
}

/// When a backend that is out of service can be stopped.
pub fn drain_words(now: &str, drain: &DrainStatus) -> String {
    match &drain.safe_to_stop_at {
        _ if !drain.answered_by.is_empty() => {
            let pools: Vec<String> = drain.answered_by.iter().map(|pool| clean(pool)).collect();
            format!("not safe to stop: its address is answered by {}", pools.join(", "))
        }
        Some(at) if drain.drained => format!("safe to stop since {}", moment(now, at)),
        None => "safe to stop: no cache holds it".to_string(),
        Some(at) => format!("safe to stop at {} (in {})", moment(now, at), since(at, now)),
    }
}

/// A duration to two units, rounded down.
pub fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) if minutes < 10 => format!("{minutes}m {}s", seconds % 60),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// `38 ms`, `1.52 s`
pub fn took(milliseconds: u64) -> String {
    if milliseconds < 1_000 {
        return format!("{milliseconds} ms");
    }
    format!("{}.{:02} s", milliseconds / 1_000, milliseconds % 1_000 / 10)
}

/// Text that came from outside (a backend's words, an operator's reason) without what could steer a terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// As [`clean`], for text of several lines.
pub fn clean_lines(text: &str) -> String {
    text.lines().map(|line| clean(&line.replace('\t', "    "))).collect::<Vec<_>>().join("\n")
}

/// `1 zone`, `3 zones`
pub fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

fn distance(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_to_read() {
        let start = "2026-11-21T02:00:00.000Z";
        for (then, words) in [
            ("2026-11-21T02:00:00.900Z", "0s"),
            ("2026-11-21T02:00:45Z", "45s"),
            ("2026-11-21T02:03:05Z", "3m 5s"),
            ("2026-11-21T02:12:05Z", "12m"),
            ("2026-11-21T05:05:00Z", "3h 5m"),
            ("2026-11-23T06:00:00Z", "2d 4h"),
        ] {
            assert_eq!(since(then, start), words);
        }
        assert_eq!(since(start, "later\u{1b}"), "later\u{fffd}");
        assert_eq!(since(start, "2026-11-21T03:00:00Z"), "0s", "a clock that was set back");
        assert_eq!((took(38), took(1_523)), ("38 ms".to_string(), "1.52 s".to_string()));
    }

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(clean_lines("a\n\tb\u{7}"), "a\n    b\u{fffd}");
    }
}
