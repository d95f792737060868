//! The language of gdnsd's config: hashes, arrays and strings (gdnsd.config(5), "LOW-LEVEL SYNTAX").

use std::path::{Path, PathBuf};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Vscf {
    Text(String),
    List(Vec<Vscf>),
    Hash(Vec<(String, Vscf)>),
}

/// Deepest nesting of values and of files: deeper is a loop or a slip.
const DEEPEST: usize = 50;

impl Vscf {
    pub(super) fn text(&self) -> Option<&str> {
        if let Vscf::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Vscf> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// A hash's entries; of anything else none.
    pub(super) fn entries(&self) -> &[(String, Vscf)] {
        if let Vscf::Hash(entries) = self { entries } else { &[] }
    }

    /// A list's items; anything else is a list of one, as gdnsd has it.
    pub(super) fn items(&self) -> Vec<&Vscf> {
        if let Vscf::List(items) = self { items.iter().collect() } else { vec![self] }
    }

    pub(super) fn texts(&self) -> Vec<String> {
        self.items().into_iter().filter_map(|item| item.text().map(str::to_owned)).collect()
    }

    pub(super) fn is_true(&self) -> bool {
        self.text().is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }
}

/// Reads a file and what it includes: a hash at the top.
pub(super) fn read(path: &Path) -> Result<Vscf, String> {
    read_file(path, 0)
}

fn read_file(path: &Path, depth: usize) -> Result<Vscf, String> {
    let octets = std::fs::read(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
    let mut parser = Parser { octets: &octets, at: 0, path, depth };
    parser.blank();
    let value = if parser.peek() == Some(b'[') { parser.value()? } else { Vscf::Hash(parser.pairs(None)?) };
    parser.blank();
    if parser.peek().is_some() { Err(parser.wrong("there is more than one value")) } else { Ok(value) }
}

struct Parser<'t> {
    octets: &'t [u8],
    at: usize,
    path: &'t Path,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    fn wrong(&self, why: &str) -> String {
        let before = &self.octets[..self.at.min(self.octets.len())];
        let line = before.iter().filter(|&&octet| octet == b'\n').count() + 1;
        format!("{}:{line}: {why}", self.path.display())
    }

    /// White space, and comments to the end of the line.
    fn blank(&mut self) {
        while let Some(octet) = self.peek() {
            match octet {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'#' | b';' => {
                    while self.peek().is_some_and(|octet| octet != b'\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn comma(&mut self) {
        self.blank();
        if self.peek() == Some(b',') {
            self.at += 1;
            self.blank();
        }
    }

    fn pairs(&mut self, close: Option<u8>) -> Result<Vec<(String, Vscf)>, String> {
        let mut pairs: Vec<(String, Vscf)> = Vec::new();
        loop {
            self.blank();
            if self.peek() == close {
                if close.is_some() {
                    self.at += 1;
                }
                return Ok(pairs);
            }
            if self.peek() == Some(b'$') {
                for included in self.include()? {
                    let Vscf::Hash(more) = included else {
                        return Err(self.wrong("what is included here must be keys and values"));
                    };
                    pairs.extend(more);
                }
                self.comma();
                continue;
            }
            let key = self.string()?;
            self.blank();
            if self.peek() != Some(b'=') {
                return Err(self.wrong(&format!("{key:?} must be followed by => and its value")));
            }
            self.at += 1;
            if self.peek() == Some(b'>') {
                self.at += 1;
            }
            let value = self.value()?;
            if pairs.iter().any(|(known, _)| *known == key) {
                return Err(self.wrong(&format!("the key {key:?} is here twice")));
            }
            pairs.push((key, value));
            self.comma();
        }
    }

    fn value(&mut self) -> Result<Vscf, String> {
        self.blank();
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong("nested too deep"));
        }
        let value = match self.peek() {
            Some(b'{') => {
                self.at += 1;
                Vscf::Hash(self.pairs(Some(b'}'))?)
            }
            Some(b'[') => {
                self.at += 1;
                let mut items = Vec::new();
                loop {
                    self.blank();
                    if self.peek() == Some(b']') {
                        self.at += 1;
                        break Vscf::List(items);
                    }
                    items.push(self.value()?);
                    self.comma();
                }
            }
            Some(b'$') => match self.include()?.pop() {
                Some(value) => value,
                None => return Err(self.wrong("nothing is included here")),
            },
            _ => Vscf::Text(self.string()?),
        };
        self.depth -= 1;
        Ok(value)
    }

    /// `$include{path}`, where the path may be a glob or a directory.
    fn include(&mut self) -> Result<Vec<Vscf>, String> {
        if !self.octets[self.at..].starts_with(b"$include{") {
            return Err(self.wrong("only $include{…} may begin with \"$\""));
        }
        self.at += b"$include{".len();
        self.blank();
        let pattern = self.string()?;
        self.blank();
        if self.peek() != Some(b'}') {
            return Err(self.wrong("the \"}\" of $include is missing"));
        }
        self.at += 1;
        let base = self.path.parent().unwrap_or(Path::new(""));
        files(&base.join(pattern)).iter().map(|path| read_file(path, self.depth + 1)).collect()
    }

    fn string(&mut self) -> Result<String, String> {
        let quoted = self.peek() == Some(b'"');
        self.at += usize::from(quoted);
        let mut octets = Vec::new();
        loop {
            match self.peek() {
                None if quoted => return Err(self.wrong("a quote is not closed")),
                Some(b'"') if quoted => {
                    self.at += 1;
                    break;
                }
                Some(b'\\') => {
                    self.at += 1;
                    octets.push(self.escaped()?);
                }
                Some(octet) if !quoted && b"][}{;#,\"= \t\r\n".contains(&octet) => break,
                None => break,
                Some(octet) => {
                    octets.push(octet);
                    self.at += 1;
                }
            }
        }
        if octets.is_empty() && !quoted {
            return Err(self.wrong("a key or a value is missing"));
        }
        Ok(String::from_utf8_lossy(&octets).into_owned())
    }

    fn escaped(&mut self) -> Result<u8, String> {
        let digits = self.octets.get(self.at..self.at + 3).filter(|digits| digits.iter().all(u8::is_ascii_digit));
        if let Some(digits) = digits {
            let value = digits.iter().fold(0u16, |value, digit| value * 10 + u16::from(digit - b'0'));
            self.at += 3;
            return u8::try_from(value).map_err(|_| self.wrong("an escape is above 255"));
        }
        let octet = self.peek().ok_or_else(|| self.wrong("a backslash at the end"))?;
        self.at += 1;
        Ok(octet)
    }
}

/// A file, the files of a directory, or those that a glob in the last part names.
fn files(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (directory, pattern) = if path.is_dir() {
        (path, "*".to_owned())
    } else if name.contains(['*', '?']) {
        (path.parent().unwrap_or(Path::new("")), name)
    } else {
        return vec![path.to_owned()];
    };
    let Ok(entries) = std::fs::read_dir(directory) else { return vec![path.to_owned()] };
    let fits = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        path.is_file() && !name.starts_with('.') && crate::control::glob(&pattern, &name)
    };
    let mut all: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(fits).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vscf, String> {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("more"), "b = 2").unwrap();
        std::fs::write(place.path().join("list"), "[ x y ]").unwrap();
        std::fs::write(place.path().join("config"), text).unwrap();
        read(&place.path().join("config"))
    }

    #[test]
    fn the_three_examples_of_the_manual_mean_the_same() {
        let one = parse("options = {\n  listen = [ 192.0.2.1, 192.0.2.2 ],\n}\n").unwrap();
        assert_eq!(one, parse("\"options\" => { # so\n  listen => [ 192.0.2.1 192.0.2.2 ] ; or so\n}").unwrap());
        assert_eq!(one, parse("options={listen=[192.0.2.1 192.0.2.2]}").unwrap());
        assert_eq!(one.get("options").unwrap().get("listen").unwrap().texts(), ["192.0.2.1", "192.0.2.2"]);
    }

    #[test]
    fn strings_are_escaped_and_files_included() {
        let value = parse("a = \"white space\", b = white\\ space, c = ex\\097mpl\\e, d => %multifo!x").unwrap();
        let texts: Vec<&str> = value.entries().iter().filter_map(|(_, value)| value.text()).collect();
        assert_eq!(texts, ["white space", "white space", "example", "%multifo!x"]);
        let value = parse("a = 1 $include{more} c = $include{ \"list\" }").unwrap();
        assert_eq!(value.get("b").unwrap().text(), Some("2"));
        assert_eq!(value.get("c").unwrap().texts(), ["x", "y"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a={}\\[\\]\",$#;\\\\0-9 \n!]{0,60}") {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("config");
            std::fs::write(&path, &text).unwrap();
            let _ = read(&path);
        }
    }

    #[test]
    fn slips_are_said_with_their_line() {
        for (text, why) in [
            ("a = 1\nb 2", ":2: \"b\" must be followed"),
            ("a = {", "missing"),
            ("a = \"x", "not closed"),
            ("a = 1 a = 2", "twice"),
            ("a = $include{none}", "cannot be read"),
            ("a = \\999", "above 255"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(parse(&format!("a = {}", "[".repeat(1000))).is_err());
    }
}
