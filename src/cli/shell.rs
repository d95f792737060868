//! `rollcall completions` and `rollcall man`: what a shell and `man` are told about the command line. Both are made from
//! the same types as the parser and the help, so they cannot disagree with either.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, ValueEnum};
use roff::{Roff, roman};

use super::args::Cli;
use super::{Exit, Failure, Outcome, output};

/// `rollcall completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `rollcall man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Where to write rollcall.1, rollcall-serve.1, …; made when missing
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// The shells with a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

pub(super) fn completions(args: &CompletionsArgs) -> Outcome {
    output::print_last(&script(args.shell))?;
    Ok(Exit::Done)
}

pub(super) fn man(args: &ManArgs) -> Outcome {
    let cannot = |what: &Path, error: io::Error| {
        Failure::new(Exit::No, format!("{}: cannot be written: {error}", what.display()))
    };
    std::fs::create_dir_all(&args.directory).map_err(|error| cannot(&args.directory, error))?;
    for (name, page) in pages()? {
        let path = args.directory.join(name);
        std::fs::write(&path, page).map_err(|error| cannot(&path, error))?;
    }
    Ok(Exit::Done)
}

fn script(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rollcall", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// File name and text of each page: the program's, and one for each command however deep.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    let mut open = vec![command];
    while let Some(command) = open.pop() {
        open.extend(command.get_subcommands().filter(|inner| !inner.is_hide_set()).cloned());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let (has_commands, name) = (command.has_subcommands(), command.get_bin_name().unwrap_or("rollcall").to_owned());
        // A page is named as what is typed: rollcall-import-bind.
        let title = name.replace(' ', "-");
        let man = clap_mangen::Man::new(command.display_name(title)).manual("rollcall");
        let mut page = Vec::new();
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        if has_commands {
            man.render_subcommands_section(&mut page)?;
        }
        after_help(&help).to_writer(&mut page)?;
        pages.push((man.get_filename(), page));
    }
    Ok(pages)
}

/// The examples and what is said below them. Lines that are indented stay as they are; `man` fills the others.
fn after_help(help: &str) -> Roff {
    let mut page = Roff::new();
    let mut is_plain = true;
    for (number, line) in help.lines().enumerate() {
        let indented = line.starts_with("  ");
        match line {
            "Examples:" => {
                page.control("SH", ["EXAMPLES"]);
                continue;
            }
            _ if number == 0 => {
                page.control("SH", ["NOTES"]);
            }
            "" => {
                if is_plain {
                    page.control("PP", []);
                }
                continue;
            }
            _ => {}
        }
        // A line of a list (`up     counts as up`) keeps its place too.
        let keeps = indented || line.contains("   ");
        if keeps == is_plain {
            page.control(if keeps { "nf" } else { "fi" }, []);
            if !keeps {
                page.control("PP", []);
            }
            is_plain = !keeps;
        }
        page.text([roman(line)]);
    }
    if !is_plain {
        page.control("fi", []);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_examples() {
        let pages = pages().unwrap();
        let text = |name: &str| {
            let page = pages.iter().find(|(file, _)| file == name).unwrap_or_else(|| panic!("no {name}"));
            String::from_utf8_lossy(&page.1).into_owned()
        };
        for command in Cli::command().get_subcommands() {
            let page = text(&format!("rollcall-{}.1", command.get_name()));
            assert!(page.contains("\n.SH EXAMPLES\n"), "{page}");
        }
        assert!(text("rollcall.1").contains("rollcall\\-state(1)"));
        assert!(text("rollcall-import-bind.1").contains("rollcall import bind"));
    }

    #[test]
    fn every_script_knows_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell:?} lacks {}", command.get_name());
            }
        }
    }
}
