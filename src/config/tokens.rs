//! Reads `[control]` of the server file and the token file that it names: who may ask the control listener for what.

use std::path::Path;
use std::sync::Arc;

use super::diagnostic::Severity;
use super::keys;
use super::plan::{Scope, Scopes, Token};
use super::reader::{self, Table, Value};
use super::server::directory_of;
use super::source::{Place, Problem, Report};

/// Shortest secret: 20 characters of base64 are 120 bits.
const SHORTEST_SECRET: usize = 20;
/// Longest secret: a header line is no place for more.
const LONGEST_SECRET: usize = 256;

/// `[control]`: the tokens of the file that `tokens` names. `None`: no file is named, and no token is needed.
pub(super) fn read(control: &Table<'_>, path: &Path, report: &mut Report) -> Option<Arc<[Token]>> {
    control.expect_keys(&[&keys::CONTROL], &[], report);
    let value = control.get("tokens")?;
    let name = value.string(report)?;
    let file = std::path::absolute(directory_of(path).join(name)).unwrap_or_else(|_| name.into());
    let Some(number) = report.read(&file, Some(value.place)) else { return Some(Arc::default()) };
    report.keep_secret(number);
    let text = report.text(number);
    let document = reader::parse(&text, number, report);
    let root = Table::root(&document, reader::Piece { file: number, shifts: &[] });
    let found = tokens(&root, report);
    if found.is_empty() && report.error_count() == 0 {
        let help = "add a table: [NAME] with secret = \"…\" and scopes = [\"read\"]".to_owned();
        report.add_file(
            Severity::Error,
            &file,
            "holds no token: nobody could ask the control listener anything",
            Some(help),
        );
    }
    Some(found.into())
}

/// `[NAME]` with `secret` and `scopes`, one table a token.
fn tokens(root: &Table<'_>, report: &mut Report) -> Vec<Token> {
    let mut all: Vec<Token> = Vec::new();
    for (name, value) in root.entries() {
        let Some(table) = value.table(report) else { continue };
        table.expect_keys(&[&keys::TOKEN], &[], report);
        let (Some(secret), Some(scopes)) = (table.get("secret"), table.get("scopes")) else {
            let message = format!("the token {name:?} needs both `secret` and `scopes`");
            report.add(Problem::error(value.key_place, message).key(name));
            continue;
        };
        let (Some(secret), Some(scopes)) =
            (read_secret(&secret, value.key_place, report), read_scopes(&scopes, report))
        else {
            continue;
        };
        if let Some(other) = all.iter().find(|other| other.secret == secret) {
            let message =
                format!("the tokens {:?} and {name:?} have one secret: nobody could tell them apart", other.name);
            report.add(Problem::error(value.key_place, message).key(name));
            continue;
        }
        all.push(Token { name: name.to_owned(), secret, scopes });
    }
    all
}

fn read_secret(value: &Value<'_>, table: Place, report: &mut Report) -> Option<String> {
    // RFC 6750 2.1: what a bearer token may be made of.
    let fits = |text: &&str| {
        (SHORTEST_SECRET..=LONGEST_SECRET).contains(&text.len())
            && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._~+/=".contains(&octet))
    };
    let secret = value.value.as_str().filter(fits).map(str::to_owned);
    if secret.is_none() {
        let message = format!(
            "{:?} must be a string of {SHORTEST_SECRET} to {LONGEST_SECRET} letters, digits and -._~+/= (RFC 6750)",
            value.path
        );
        let help = "`openssl rand -base64 30` makes one".to_owned();
        report.add(Problem::error(table, message).key(value.path.as_str()).help(help));
    }
    secret
}

fn read_scopes(value: &Value<'_>, report: &mut Report) -> Option<Scopes> {
    let words = [("read", Scope::Read), ("write", Scope::Write), ("push", Scope::Push)];
    let items = value.items();
    let mut scopes = Scopes::default();
    for item in &items {
        scopes.add(item.word(&words, report)?);
    }
    if items.is_empty() {
        value.wrong("a list of \"read\", \"write\" and \"push\" that is not empty", report);
        return None;
    }
    Some(scopes)
}
