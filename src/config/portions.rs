//! Cuts the long tables of a zone's TOML, `[records]` and `[names]`, into portions that are parsed one after the other: a
//! parsed table takes forty times its text, which a million owners at once would make a gigabyte.
//!
//! ```text
//! zone = "example.com"      \
//! [records]                  > the rest: parsed as one document, without what was cut out
//! api.mail = { … }          /
//! www = { A = "192.0.2.1" } \
//! ftp = { A = "192.0.2.2" }  > portions: each parsed as a document of its own
//! ```
//!
//! Only whole statements with a plain key are cut out, so that each means the same alone; whatever looks odd stays in the
//! rest, and a file whose brackets do not match is not cut at all: the parser then says what is wrong with the whole.

use std::borrow::Cow;

use toml_parser::Source;
use toml_parser::lexer::{Token, TokenKind};

use super::reader::{self, Piece, Table};
use super::source::{Mark, Report};

/// A portion ends with the statement that makes it as long as this. Parsing one takes forty times as much.
const PORTION: usize = 64 * 1024;

/// A table that is cut into portions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Long {
    Records,
    Names,
}

/// A zone's TOML, cut.
#[derive(Debug)]
pub(super) struct Document<'t> {
    file: usize,
    whole: &'t str,
    rest: Cow<'t, str>,
    /// Where octets of the rest stand in the whole: from each offset on, so much farther.
    shifts: Vec<(usize, usize)>,
    portions: Vec<Portion>,
}

/// Some statements of a table, by their place in the whole.
#[derive(Debug, Clone, Copy)]
struct Portion {
    table: Long,
    start: usize,
    end: usize,
}

impl<'t> Document<'t> {
    /// Cuts the text of file number `file`.
    pub(super) fn new(whole: &'t str, file: usize) -> Document<'t> {
        let portions = Cutter::default().cut(whole);
        let mut document = Document { file, whole, rest: Cow::Borrowed(whole), shifts: Vec::new(), portions };
        if !document.portions.is_empty() {
            let (mut rest, mut at, mut taken) = (String::new(), 0, 0);
            for portion in &document.portions {
                rest.push_str(&whole[at..portion.start]);
                at = portion.end;
                taken += portion.end - portion.start;
                document.shifts.push((rest.len(), taken));
            }
            rest.push_str(&whole[at..]);
            document.shifts.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    earlier.1 = later.1;
                }
                same
            });
            document.rest = Cow::Owned(rest);
        }
        document
    }

    /// The text of all that was not cut out, and its place.
    pub(super) fn rest(&self) -> (&str, Piece<'_>) {
        (&self.rest, Piece { file: self.file, shifts: &self.shifts })
    }

    /// Hands every portion of `table` to `read`. As with a file that is parsed whole, a slip of syntax anywhere hides what
    /// else is wrong: what was said since `mark` is taken back, and `false` returned.
    pub(super) fn each(
        &self,
        table: Long,
        mark: Mark,
        report: &mut Report,
        read: &mut dyn FnMut(&Table<'_>, &mut Report),
    ) -> bool {
        let mut is_broken = false;
        for portion in self.portions.iter().filter(|portion| portion.table == table) {
            let shifts = [(0, portion.start)];
            let piece = Piece { file: self.file, shifts: &shifts };
            let (parsed, errors) = reader::parse_piece(&self.whole[portion.start..portion.end], piece, self.whole);
            if errors.is_empty() && !is_broken {
                let path = if table == Long::Names { "names" } else { "records" };
                read(&Table { path: path.to_owned(), ..Table::root(&parsed, piece) }, report);
            } else if !errors.is_empty() {
                if !is_broken {
                    report.rewind(mark);
                }
                is_broken = true;
                errors.into_iter().for_each(|problem| report.add(problem));
            }
        }
        // The names are read first: when they cannot be, the records are still looked through.
        if is_broken && table == Long::Names {
            self.each(Long::Records, report.mark(), report, &mut |_, _| {});
        }
        !is_broken
    }

    /// Reports the slips of syntax in all portions.
    pub(super) fn check(&self, report: &mut Report) {
        let mark = report.mark();
        if self.each(Long::Names, mark, report, &mut |_, _| {}) {
            self.each(Long::Records, mark, report, &mut |_, _| {});
        }
    }
}

/// Reads tokens and finds where statements begin and end.
#[derive(Debug, Default)]
struct Cutter {
    portions: Vec<Portion>,
    /// The long table that statements belong to now.
    table: Option<Long>,
    statement: Statement,
    start: usize,
    /// Brackets that are open.
    open: Vec<TokenKind>,
}

/// What a statement has shown of itself so far.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Statement {
    /// Nothing but blanks.
    #[default]
    Blank,
    /// A comment alone.
    Comment,
    /// `[` at its start.
    Header,
    /// One key.
    Key,
    /// One key and a value.
    Plain,
    /// Something else.
    Odd,
}

impl Cutter {
    fn cut(mut self, text: &str) -> Vec<Portion> {
        for token in Source::new(text).lex() {
            if !self.take(token, text) {
                return Vec::new();
            }
        }
        if self.open.is_empty() { self.portions } else { Vec::new() }
    }

    /// Whether the brackets match so far.
    fn take(&mut self, token: Token, text: &str) -> bool {
        let kind = token.kind();
        if self.open.is_empty() && matches!(kind, TokenKind::Newline | TokenKind::Eof) {
            self.end_statement(token.span().end(), text);
            return true;
        }
        self.statement = match (self.statement, kind) {
            (statement, TokenKind::Whitespace) => statement,
            (Statement::Blank, TokenKind::Comment) => Statement::Comment,
            (Statement::Blank, TokenKind::LeftSquareBracket) => Statement::Header,
            (Statement::Blank, TokenKind::Atom | TokenKind::BasicString | TokenKind::LiteralString) => Statement::Key,
            (Statement::Key, TokenKind::Equals) => Statement::Plain,
            (Statement::Blank | Statement::Key, _) => Statement::Odd,
            (statement, _) => statement,
        };
        match kind {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => self.open.push(kind),
            TokenKind::RightSquareBracket => return self.open.pop() == Some(TokenKind::LeftSquareBracket),
            TokenKind::RightCurlyBracket => return self.open.pop() == Some(TokenKind::LeftCurlyBracket),
            _ => {}
        }
        true
    }

    fn end_statement(&mut self, end: usize, text: &str) {
        let start = std::mem::replace(&mut self.start, end);
        match (std::mem::take(&mut self.statement), self.table) {
            (Statement::Header, _) => self.table = long_table(&text[start..end]),
            (Statement::Plain, Some(table)) => match self.portions.last_mut() {
                Some(last) if last.end == start && last.table == table && last.end - last.start < PORTION => {
                    last.end = end;
                }
                _ => self.portions.push(Portion { table, start, end }),
            },
            (Statement::Blank | Statement::Comment, Some(_)) => {
                if let Some(last) = self.portions.last_mut().filter(|last| last.end == start) {
                    last.end = end;
                }
            }
            _ => {}
        }
    }
}

fn long_table(header: &str) -> Option<Long> {
    let header = header.split('#').next().unwrap_or_default().trim();
    match header.strip_prefix('[')?.strip_suffix(']')?.trim() {
        "records" => Some(Long::Records),
        "names" => Some(Long::Names),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> (String, Vec<&str>) {
        let document = Document::new(text, 0);
        let portions = document.portions.iter().map(|portion| &text[portion.start..portion.end]).collect();
        let (rest, piece) = document.rest();
        for (at, word) in rest.char_indices().filter(|(_, char)| char.is_alphanumeric()) {
            let place = piece.place(at..at + 1);
            assert_eq!(&text[place.start..place.end], word.to_string());
        }
        (rest.to_owned(), portions)
    }

    #[test]
    fn plain_statements_of_long_tables_are_cut_out_and_nothing_else() {
        let text = "a = 1\n[records] # x\nw = { A = \"x\\n[y]\" }\n\"b.c\" = [ # [\n 1,\n]\r\n# c\nd.e = { A = \"f\" }\ng = '''\n[h]\n'''\n\
                    [pools.i]\nj = 1\n[ names ]\nk = \"l\"";
        let (rest, portions) = cut(text);
        assert_eq!(rest, "a = 1\n[records] # x\nd.e = { A = \"f\" }\n[pools.i]\nj = 1\n[ names ]\n");
        assert_eq!(
            portions,
            ["w = { A = \"x\\n[y]\" }\n\"b.c\" = [ # [\n 1,\n]\r\n# c\n", "g = '''\n[h]\n'''\n", "k = \"l\""]
        );
    }

    #[test]
    fn what_is_no_plain_document_is_left_whole() {
        for text in [
            "[records]\na = { A = \"x\"\n[pools.x]\nb = 1\n",
            "[records]\na = ]\nb = 1\n",
            "[records]\na = [ 1 }\nb = 1\n",
            "[[records]]\na = 1\n",
            "[records.a]\nA = \"x\"\n",
            "records = { a = 1 }\n",
            "[checks.records]\nnames = 1\n",
        ] {
            assert_eq!(cut(text), (text.to_owned(), Vec::new()));
        }
    }
}
