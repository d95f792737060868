//! `rollcall import`: zones and settings of other servers as zone TOML.
//!
//! ```text
//! bind      master files ----------------\
//! route53   JSON of the AWS command line --> draft::Draft -> TOML, on standard output or below --out
//! gdnsd     its config and its zones ----/
//! ```
//!
//! What cannot be carried over becomes a note: on standard error, and in comments of the file that it concerns.

mod bind;
mod draft;
mod gdnsd;
mod generate;
mod route53;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Exit, Failure, Outcome, output, progress};
use crate::config::diagnostic::LoadError;
use progress::Progress;

/// `rollcall import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Where from.
    #[command(subcommand)]
    pub from: From,
}

/// What can be imported.
#[derive(Debug, Subcommand)]
pub enum From {
    /// Master files, as BIND, NSD and Knot have them
    Bind(BindArgs),
    /// Record sets of Amazon Route 53, as `aws route53 list-resource-record-sets` prints them
    Route53(Route53Args),
    /// A configuration directory of gdnsd, with its zones
    Gdnsd(GdnsdArgs),
}

/// `rollcall import bind`
#[derive(Debug, Args)]
pub struct BindArgs {
    /// Master files; what they $INCLUDE is read too
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The zone's name, where neither $ORIGIN nor the SOA's owner nor the file's name says it
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,
    /// What to write, and where.
    #[command(flatten)]
    pub to: Target,
}

/// `rollcall import route53`
#[derive(Debug, Args)]
pub struct Route53Args {
    /// JSON of `aws route53 list-resource-record-sets --hosted-zone-id ID`
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// JSON of `aws route53 list-health-checks`
    #[arg(long, value_name = "FILE")]
    pub health_checks: Option<PathBuf>,
    /// JSON of `aws route53 list-cidr-blocks --collection-id ID`, once for each collection, as ID=FILE
    #[arg(long, value_name = "ID=FILE")]
    pub cidr_blocks: Vec<String>,
    /// What to write, and where.
    #[command(flatten)]
    pub to: Target,
}

/// `rollcall import gdnsd`
#[derive(Debug, Args)]
pub struct GdnsdArgs {
    /// The directory that holds `config` and `zones`
    #[arg(value_name = "DIR", default_value = "/etc/gdnsd")]
    pub directory: PathBuf,
    /// What to write, and where.
    #[command(flatten)]
    pub to: Target,
}

/// Where the result goes.
#[derive(Debug, Args)]
pub struct Target {
    /// Write files below this directory, made when missing [default: one file goes to standard output]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Overwrite files that are there
    #[arg(long, requires = "out")]
    pub force: bool,
    /// Exit code 1 when something could not be carried over
    #[arg(long)]
    pub strict: bool,
}

/// Files to write, and what is to be said.
#[derive(Debug, Default)]
struct Imported {
    /// Path below the target, and text.
    files: Vec<(PathBuf, String)>,
    notes: Vec<String>,
    /// Written in the syntax of a later version.
    unread: Vec<String>,
}

pub(super) fn run(args: ImportArgs) -> Outcome {
    let progress = progress::waiting("reading");
    let (imported, to) = match args.from {
        From::Bind(args) => (bind::import(&args, &progress)?, args.to),
        From::Route53(args) => (route53::import(&args)?, args.to),
        From::Gdnsd(args) => (gdnsd::import(&args, &progress)?, args.to),
    };
    drop(progress);
    let exit =
        if to.strict && !(imported.notes.is_empty() && imported.unread.is_empty()) { Exit::No } else { Exit::Done };
    deliver(&imported, &to)?;
    say(&imported);
    Ok(exit)
}

fn deliver(imported: &Imported, to: &Target) -> Result<(), Failure> {
    let Some(directory) = &to.out else {
        let [(_, text)] = &imported.files[..] else {
            return Err(Failure::wrong(format!(
                "these become {} files: say where with --out DIR",
                imported.files.len()
            )));
        };
        return Ok(output::print_last(text)?);
    };
    let paths: Vec<PathBuf> = imported.files.iter().map(|(path, _)| directory.join(path)).collect();
    // Looked at before anything is written: half of an import is worse than none.
    if let Some(there) = paths.iter().find(|path| !to.force && path.exists()) {
        return Err(Failure::new(Exit::No, format!("{} is there already; --force overwrites it", there.display())));
    }
    for (path, (_, text)) in paths.iter().zip(&imported.files) {
        let cannot = |error| Failure::new(Exit::No, format!("{}: cannot be written: {error}", path.display()));
        path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(cannot)?;
        std::fs::write(path, text).map_err(cannot)?;
        output::print_last(&format!("{}\n", path.display()))?;
    }
    Ok(())
}

fn say(imported: &Imported) {
    let mut stderr = std::io::stderr().lock();
    for note in &imported.notes {
        let _ = writeln!(stderr, "note: {}", super::view::words::clean(note));
    }
    for unread in &imported.unread {
        let _ = writeln!(stderr, "note: rollcall {} does not read {unread}", crate::VERSION);
    }
}

/// The errors of a master file, as `validate` shows them.
fn refused(error: &LoadError) -> Failure {
    let rendered: Vec<&str> = error.diagnostics.iter().map(|one| one.rendered.trim_end()).collect();
    Failure::wrong(format!("the zone cannot be read\n{}", rendered.join("\n\n")))
}

/// Reads a file that is named on the command line.
fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::wrong(format!("{}: cannot be read: {error}", path.display())))
}

/// A name for a pool, check, route or map that may stand there: other characters become `-`.
fn safe_name(text: &str) -> String {
    let fits = |char: char| if char.is_ascii_alphanumeric() || "_.:-".contains(char) { char } else { '-' };
    let name: String = text.chars().map(fits).take(63).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

/// `name`, or `name-2` and so on where it is taken.
fn unique(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let name = safe_name(name);
    if !is_taken(&name) {
        return name;
    }
    let numbered = |number: usize| {
        let tail = format!("-{number}");
        let mut short = name.clone();
        short.truncate(63 - tail.len());
        short + &tail
    };
    (2..).map(numbered).find(|name| !is_taken(name)).unwrap_or(name)
}
