//! Which file a successor is started from.
//!
//! An upgrade puts another file under the name that the server was started by, so the name counts, not the file: a rename
//! over it (dpkg), a symlink that leads elsewhere now. The kernel's own word, `/proc/self/exe`, follows the file instead: it
//! ends in ` (deleted)` as soon as the name stands for another one, also between the start of the process and its first look.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::takeover;

/// What Linux puts behind the name of a program whose file has been unlinked or replaced (proc(5)).
const DELETED: &[u8] = b" (deleted)";
/// The running program's file, whatever its name is now, and though it has none (proc(5)).
const RUNNING: &str = "/proc/self/exe";

/// The program as it was started.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// Absolute: the server may stand elsewhere by then.
    path: PathBuf,
    arguments: Vec<OsString>,
}

/// A command that starts the program, not run yet.
pub(super) struct Start {
    pub(super) command: Command,
    /// Where that is not what lies under the program's name: what the operator should know.
    pub(super) note: Option<String>,
}

impl Program {
    /// The name it was called by, where that leads to what runs: a symlink to the current release stays one. To be asked
    /// at the start, while the working directory is the caller's.
    pub(super) fn current() -> Result<Program, String> {
        let mut arguments = std::env::args_os();
        let called = arguments.next().map(PathBuf::from).unwrap_or_default();
        if called.is_absolute() && takeover::is_successor() {
            // By the predecessor, who knows the name also while it leads nowhere.
            return Ok(Program { path: called, arguments: arguments.collect() });
        }
        let directories: Vec<PathBuf> = match called.components().count() {
            1 if !called.as_os_str().as_bytes().contains(&b'/') => {
                std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect()
            }
            _ => std::env::current_dir().into_iter().collect(),
        };
        let candidates = directories.into_iter().filter_map(|one| std::path::absolute(one.join(&called)).ok());
        let running = std::env::current_exe().map_err(|error| format!("the running program has no name: {error}"))?;
        Ok(Program { path: choose(candidates, running, identity(Path::new(RUNNING))), arguments: arguments.collect() })
    }

    /// What lies under its name now; where nothing does, the running program once more.
    pub(super) fn start(&self) -> Start {
        let (path, note) = match fs::metadata(&self.path) {
            // Not even a program perhaps: then starting it says so.
            Ok(_) => (self.path.clone(), None),
            Err(error) => {
                let name = self.path.display();
                let note = format!("{name} cannot be found ({error}): started the program that runs already once more");
                (RUNNING.into(), Some(note))
            }
        };
        let mut command = Command::new(path);
        // The successor looks for its own name by this.
        command.arg0(&self.path).args(&self.arguments);
        Start { command, note }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Device and inode of a file that may be run.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(path).ok()?;
    (found.is_file() && found.permissions().mode() & 0o111 != 0).then(|| (found.dev(), found.ino()))
}

/// Of the names that it may have been called by the first that leads to the running file. Where none does any more, the
/// name by which the kernel ran it, without the mark that another file has it now; a candidate of that name first.
fn choose(candidates: impl Iterator<Item = PathBuf>, running: PathBuf, file: Option<(u64, u64)>) -> PathBuf {
    let candidates: Vec<PathBuf> = candidates.collect();
    if let Some(found) = candidates.iter().find(|path| file.is_some() && identity(path) == file) {
        return found.clone();
    }
    let named = without_mark(&running);
    let leads_there = |path: &&PathBuf| path.canonicalize().is_ok_and(|found| found == named);
    candidates.iter().find(leads_there).cloned().unwrap_or(named)
}

/// The name without ` (deleted)`, unless there is a file that is really called so.
fn without_mark(running: &Path) -> PathBuf {
    match running.as_os_str().as_bytes().strip_suffix(DELETED) {
        Some(name) if fs::symlink_metadata(running).is_err() => PathBuf::from(OsStr::from_bytes(name).to_owned()),
        _ => PathBuf::from(OsString::from_vec(running.as_os_str().as_bytes().to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Place {
            Place(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(name)
        }

        fn program(&self, name: &str) -> PathBuf {
            let path = self.path(name);
            fs::write(&path, name).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        }
    }

    #[test]
    fn a_symlink_to_the_release_that_runs_stays_one() {
        let place = Place::new();
        let release = place.program("release-1");
        let link = place.path("rollcall");
        symlink(&release, &link).unwrap();
        let file = identity(&release);
        assert_eq!(choose([place.path("nothing"), link.clone()].into_iter(), release, file), link);
    }

    #[test]
    fn a_file_that_was_replaced_before_the_first_look_is_found_by_its_name() {
        let place = Place::new();
        let running = place.program("rollcall");
        let file = identity(&running);
        place.program("new");
        fs::rename(place.path("new"), &running).unwrap();
        // As the kernel says it then.
        let mut marked = running.clone().into_os_string();
        marked.push(" (deleted)");
        assert_ne!(identity(&running), file);
        assert_eq!(choose([running.clone()].into_iter(), marked.clone().into(), file), running);
        // And where the caller gave it a name that leads nowhere (`exec -a`).
        assert_eq!(choose([place.path("else")].into_iter(), marked.into(), file), running);
        let truly = place.program("truly (deleted)");
        assert_eq!(choose(std::iter::empty(), truly.clone(), None), truly);
    }

    #[test]
    fn another_program_of_the_called_name_is_not_taken_for_it() {
        let place = Place::new();
        let running = place.program("rollcall");
        let other = place.program("other");
        assert_eq!(choose([other].into_iter(), running.clone(), identity(&running)), running);
    }

    #[test]
    fn what_lies_under_the_name_is_started_and_the_running_program_where_nothing_does() {
        let place = Place::new();
        let program = Program { path: place.program("rollcall"), arguments: vec!["serve".into()] };
        let start = program.start();
        assert_eq!((start.command.get_program(), start.note), (program.path.as_os_str(), None));
        fs::remove_file(&program.path).unwrap();
        let start = program.start();
        assert_eq!(start.command.get_program(), RUNNING);
        assert!(start.note.is_some_and(|note| note.contains("cannot be found")));
    }
}
