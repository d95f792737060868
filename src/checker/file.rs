//! The `file` check: another system writes who is up into a file (gdnsd's extfile). One reader a file serves all its backends.
//!
//! ```text
//! # NAME words                    a backend's address or name, and agent-check words
//! 192.0.2.10  up
//! b           down # disk full
//! c           drain 50%
//! up                              words alone: all that no other line names
//! ```
//!
//! Changes are found within a quarter of a second, by the file's size, inode and time: it may lie on any file system. A file
//! with a line that cannot be read is not taken: what was read before stays, and the reason says so.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::Report;
use super::watch::Ended;
use crate::engine::feedback::{Health, Said};
use crate::engine::probe::FileProbe;

/// Between two looks at a file.
const LOOK: Duration = Duration::from_millis(250);
/// Largest file, octets.
const LARGEST: u64 = 16 << 20;

/// The files that are read, shared for as long as a target uses them.
#[derive(Default)]
pub(super) struct Files(HashMap<PathBuf, Weak<Reader>>);

/// A file that is read. Dropping it ends its task.
struct Reader {
    content: watch::Receiver<Option<Arc<Content>>>,
    task: tokio::task::AbortHandle,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) struct FileTarget {
    probe: FileProbe,
    reader: Arc<Reader>,
    /// What the latest probe said.
    last: Mutex<Option<Verdict>>,
}

/// A file as it was read last.
#[derive(Debug, Default, PartialEq)]
struct Content {
    addresses: HashMap<IpAddr, Said>,
    names: HashMap<String, Said>,
    others: Option<Said>,
    /// Why the present file is not taken.
    problem: Option<String>,
}

type Verdict = (bool, String, Option<Said>);

impl Files {
    /// To be called on the runtime.
    pub(super) fn target(&mut self, probe: &FileProbe) -> FileTarget {
        let known = self.0.get(&probe.path).and_then(Weak::upgrade);
        let reader = known.unwrap_or_else(|| {
            self.0.retain(|_, reader| reader.strong_count() > 0);
            let (sender, content) = watch::channel(None);
            let task = tokio::spawn(read_on(probe.path.clone(), sender)).abort_handle();
            let reader = Arc::new(Reader { content, task });
            self.0.insert(probe.path.clone(), Arc::downgrade(&reader));
            reader
        });
        FileTarget { probe: probe.clone(), reader, last: Mutex::new(None) }
    }
}

pub(super) async fn probe(target: &FileTarget) -> Report {
    let mut content = target.reader.content.clone();
    let content = match content.wait_for(Option::is_some).await {
        Ok(content) => content.clone().unwrap_or_default(),
        Err(_) => return Report::Unknown,
    };
    let (passed, reason, said) = content.verdict(&target.probe);
    *target.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((passed, reason.clone(), said.clone()));
    // A line that is gone takes its words with it: the file says everything each time.
    let said = said.map_or_else(Said::nothing_special, |said| Said { whole: true, ..said });
    Report::Heard { passed, reason, said }
}

/// Ends when the file says something else of the target than its latest probe did.
pub(super) async fn changed(target: Arc<FileTarget>) -> Ended {
    let mut content = target.reader.content.clone();
    let differs = |content: &Option<Arc<Content>>| {
        let now = content.as_ref().map(|content| content.verdict(&target.probe));
        now.is_some() && now != *target.last.lock().unwrap_or_else(PoisonError::into_inner)
    };
    match content.wait_for(differs).await {
        Ok(_) => Ended::Broken,
        Err(_) => Ended::NotOpened,
    }
}

impl Content {
    fn verdict(&self, probe: &FileProbe) -> Verdict {
        let line = self.addresses.get(&probe.address).or_else(|| self.names.get(&probe.backend));
        let (passed, mut reason) = match line.or(self.others.as_ref()) {
            None => {
                let word = if probe.default_up { "up" } else { "down" };
                (probe.default_up, format!("no line names it: {word} by default"))
            }
            Some(said) => {
                let down = matches!(said.health, Some(Health::Down | Health::Failed | Health::Stopped));
                let words = said.to_string();
                let mut reason = format!("the file says {:?}", if words.is_empty() { "up" } else { &words });
                if !said.note.is_empty() {
                    reason.push_str(&format!(": {}", said.note));
                }
                (!down, reason)
            }
        };
        if let Some(problem) = &self.problem {
            reason.push_str(&format!(" ({problem})"));
        }
        (passed, reason, line.or(self.others.as_ref()).cloned())
    }

    /// What could be read before, with the reason why the new file is not taken.
    fn kept(&self, problem: String) -> Content {
        Content {
            addresses: self.addresses.clone(),
            names: self.names.clone(),
            others: self.others.clone(),
            problem: Some(problem),
        }
    }
}

async fn read_on(path: PathBuf, sender: watch::Sender<Option<Arc<Content>>>) {
    let mut seen = None;
    loop {
        let before = sender.borrow().clone();
        let (path, known) = (path.clone(), seen);
        // Files may lie where reading them takes long.
        let read = tokio::task::spawn_blocking(move || look(&path, known, before.is_none())).await;
        if let Ok((stamp, Some(read))) = read {
            // Still being written: the next look decides.
            seen = stamp;
            let before = sender.borrow().clone().unwrap_or_default();
            let content = read.unwrap_or_else(|problem| before.kept(problem));
            if let Some(problem) = &content.problem {
                tracing::warn!("{problem}");
            }
            sender.send_replace(Some(Arc::new(content)));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Device, inode, length, and when it was changed.
type Stamp = (u64, u64, u64, i64, i64);

/// Reads the file when it is not as it was known; `first`: also when it is not there.
fn look(path: &Path, known: Option<Stamp>, first: bool) -> (Option<Stamp>, Option<Result<Content, String>>) {
    let stamp = |found: &std::fs::Metadata| (found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec());
    let before = std::fs::metadata(path);
    let now = before.as_ref().ok().map(stamp);
    if now == known && !first {
        return (now, None);
    }
    let said = |why: String| format!("{}: {why}; it stays as it was", path.display());
    let found = match before {
        // A file that is not there names nobody.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (None, Some(Ok(Content::default()))),
        Err(error) => return (None, Some(Err(said(error.to_string())))),
        Ok(found) if !found.is_file() => return (now, Some(Err(said("is not a regular file".to_owned())))),
        Ok(found) if found.len() > LARGEST => return (now, Some(Err(said("is larger than 16 MiB".to_owned())))),
        Ok(found) => found,
    };
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) => return (now, Some(Err(said(error.to_string())))),
    };
    if text.len() as u64 != found.len() {
        return (known, None);
    }
    (now, Some(read(&String::from_utf8_lossy(&text)).map_err(said)))
}

fn read(text: &str) -> Result<Content, String> {
    let mut content = Content::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, words) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        // A first word that is one of an agent's: the line is about everybody.
        if Said::read(name).is_some() {
            content.others = Said::read(line);
            continue;
        }
        let Some(said) = Said::read(words) else {
            return Err(format!("line {} has no word that is known: {line:?}", number + 1));
        };
        match name.parse() {
            Ok(address) => _ = content.addresses.insert(address, said),
            Err(_) => _ = content.names.insert(name.to_owned(), said),
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str, backend: &str, default_up: bool) -> (bool, String) {
        let address = [192, 0, 2, 10].into();
        let probe = FileProbe { path: PathBuf::new(), backend: backend.to_owned(), address, default_up };
        let (passed, reason, _) = read(text).unwrap().verdict(&probe);
        (passed, reason)
    }

    #[test]
    fn lines_name_backends_by_address_or_name_and_the_rest_is_default() {
        let text = "# states\n\n192.0.2.10\tup\r\nb down # disk full\nc drain 50%\n";
        assert_eq!(verdict(text, "a", false), (true, "the file says \"up\"".to_owned()));
        assert!(verdict(text, "b", true).0, "the address wins over the name");
        let named = &text.replace("192.0.2.10", "192.0.2.11");
        assert_eq!(verdict(named, "b", true), (false, "the file says \"down\": disk full".to_owned()));
        assert_eq!(verdict(named, "c", false), (true, "the file says \"drain 50%\"".to_owned()));
        assert_eq!(verdict(named, "d", true), (true, "no line names it: up by default".to_owned()));
        assert_eq!(verdict(named, "d", false), (false, "no line names it: down by default".to_owned()));
        assert!(verdict("down\nd up\n", "d", false).0);
        assert!(!verdict("down\nd up\n", "e", true).0);
    }

    #[test]
    fn a_line_that_cannot_be_read_names_its_number() {
        assert_eq!(read("a up\nb dwon\n"), Err("line 2 has no word that is known: \"b dwon\"".to_owned()));
        assert_eq!(read("a\n"), Err("line 1 has no word that is known: \"a\"".to_owned()));
    }
}
