//! `$GENERATE`, BIND's way of writing many records in one line, written out. Serving does not know it: what is served stands
//! in the file.

use std::fmt::Write;

/// Most records that the lines of one file may come to: a /12 of reverse names.
const MOST: usize = 1 << 20;

/// The text with every `$GENERATE` written out, and how many records came of it. A line that is none of BIND's stays, and is
/// an error when the file is read.
pub(super) fn expand(text: &str) -> (String, usize) {
    let mut out = String::with_capacity(text.len());
    let mut count = 0;
    for line in text.split_inclusive('\n') {
        match line.get(..9).filter(|word| word.eq_ignore_ascii_case("$GENERATE")) {
            Some(_) => match records(&line[9..], MOST - count) {
                Some(records) => {
                    count += records.lines().count();
                    out.push_str(&records);
                }
                None => out.push_str(line),
            },
            None => out.push_str(line),
        }
    }
    (out, count)
}

/// `start-stop[/step] owner [ttl] [class] type data`
fn records(line: &str, room: usize) -> Option<String> {
    let (range, rest) = word(line)?;
    let (owner, rest) = word(rest)?;
    let (start, stop) = range.split_once('-')?;
    let (stop, step) = stop.split_once('/').unwrap_or((stop, "1"));
    let (start, stop, step): (u32, u32, u32) = (start.parse().ok()?, stop.parse().ok()?, step.parse().ok()?);
    if step == 0 || start > stop || ((stop - start) / step) as usize >= room {
        return None;
    }
    let rest = rest.trim_end();
    let mut out = String::new();
    for number in (start..=stop).step_by(step as usize) {
        let _ = writeln!(out, "{} {}", filled(owner, number)?, filled(rest, number)?);
    }
    Some(out)
}

fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    let end = text.find([' ', '\t'])?;
    Some((&text[..end], &text[end..]))
}

/// `$` is the number, `${offset,width,base}` the number shown so, `$$` and `\$` a dollar.
fn filled(text: &str, number: u32) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(at) = rest.find(['$', '\\']) {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        if let Some(after) = tail.strip_prefix("\\$").or_else(|| tail.strip_prefix("$$")) {
            out.push('$');
            rest = after;
        } else if let Some(inner) = tail.strip_prefix("${") {
            let (format, after) = inner.split_once('}')?;
            out.push_str(&shown(format, number)?);
            rest = after;
        } else if let Some(after) = tail.strip_prefix('$') {
            let _ = write!(out, "{number}");
            rest = after;
        } else {
            let escaped = tail.char_indices().nth(2).map_or(tail.len(), |(end, _)| end);
            out.push_str(&tail[..escaped]);
            rest = &tail[escaped..];
        }
    }
    Some(out + rest)
}

fn shown(format: &str, number: u32) -> Option<String> {
    let mut parts = format.split(',').map(str::trim);
    let offset: i64 = parts.next()?.parse().ok()?;
    let width: usize = parts.next().map_or(Some(0), |width| width.parse().ok())?;
    let value = i64::from(number) + offset;
    if value < 0 || width > 63 {
        return None;
    }
    Some(match parts.next().unwrap_or("d") {
        "d" => format!("{value:0width$}"),
        "o" => format!("{value:0width$o}"),
        "x" => format!("{value:0width$x}"),
        "X" => format!("{value:0width$X}"),
        // Nibbles, the lowest first, with dots between: for names in ip6.arpa.
        base @ ("n" | "N") => {
            let digits = format!("{value:0width$x}", width = width.div_ceil(2));
            let nibbles: Vec<String> = digits.chars().rev().map(String::from).collect();
            let text = nibbles.join(".");
            if base == "N" { text.to_ascii_uppercase() } else { text }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_formats_are_written_out() {
        let (text, count) = expand("a A 192.0.2.1\n$GENERATE 1-3 $ PTR host-${0,3,d}.example.\nb A 192.0.2.2\n");
        assert_eq!(count, 3);
        assert_eq!(
            text,
            "a A 192.0.2.1\n1  PTR host-001.example.\n2  PTR host-002.example.\n3  PTR host-003.example.\nb A 192.0.2.2\n"
        );
        assert_eq!(expand("$generate 0-4/2 h${1} 300 IN A 10.0.0.$\n").0.lines().last(), Some("h5  300 IN A 10.0.0.4"));
        assert_eq!(filled("a\\$b$$c\\.d${-1,2,x}", 17).unwrap(), "a$b$c\\.d10");
        assert_eq!(shown("0,4,n", 0x1a).unwrap(), "a.1");
    }

    #[test]
    fn what_is_no_range_stays_for_the_reader_to_refuse() {
        for line in
            ["$GENERATE 3-1 $ A x\n", "$GENERATE 1-2/0 $ A x\n", "$GENERATE x $ A\n", "$GENERATE 0-4294967295 $ A x\n"]
        {
            assert_eq!(expand(line), (line.to_owned(), 0));
        }
    }
}
