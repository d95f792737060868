//! What survives a restart, in `state_dir`: overrides, verdicts, serials, and the sets last answered.
//!
//! One JSON file with a format version, replaced as a whole: written beside, synced, renamed over, the directory synced.
//! Whatever happens in between (`kill -9`, power, a full disk), the old file or the new one lies there, never half of one.
//! A damaged file is kept for people and read as far as it goes, one of a newer format is set aside whole; neither stops the
//! start: losing what is remembered is better than losing DNS.

mod salvage;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::config::plan::AdminState;

/// Raised when an older program could misread the file. Fields that are only added do not raise it.
const FORMAT: u32 = 1;
const FILE: &str = "state.json";
const TEMPORARY: &str = "state.json.new";
const LOCK: &str = "lock";

/// The open `state_dir`. Holds a lock until dropped, so that two servers never share one.
#[derive(Debug)]
pub struct Memory {
    directory: PathBuf,
    /// Never unlocked by hand: the lock ends with its last descriptor, and a successor may hold another.
    lock: File,
}

/// Everything that is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// Operators' words.
    pub overrides: Vec<SavedOverride>,
    /// One for each probe that has one.
    pub verdicts: Vec<SavedVerdict>,
    /// One for each zone.
    pub serials: Vec<SavedSerial>,
    /// What each pool last answered while healthy, for `on_all_down = "last"`.
    pub answered: Vec<SavedAnswer>,
    /// Backends that start slowly.
    pub starting: Vec<SavedStart>,
    /// When caches forget the addresses that left the answers.
    pub left: Vec<SavedClock>,
    /// The longest TTL answered, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_ttl: Option<u32>,
}

/// A backend that came back and has not its full weight yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedStart {
    /// Without the final dot.
    pub zone: String,
    /// The pool's name.
    pub pool: String,
    /// 1 (A), 28 (AAAA) or 33 (SRV: the host as a whole).
    #[serde(rename = "type")]
    pub rtype: u16,
    /// Which machine: its address, or its name elsewhere, and its port.
    pub machine: String,
    /// When it came back.
    #[serde(with = "rfc3339")]
    pub since: SystemTime,
}

impl SavedStart {
    pub(crate) fn key(&self) -> (String, String, u16, String) {
        (self.zone.clone(), self.pool.clone(), self.rtype, self.machine.clone())
    }
}

/// Something that left the answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedClock {
    /// An address, or the name of a backend elsewhere.
    pub held: String,
    /// From when on no cache holds it.
    #[serde(with = "rfc3339")]
    pub until: SystemTime,
}

/// An override of one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedOverride {
    /// Without the final dot.
    pub zone: String,
    /// The pool's name.
    pub pool: String,
    /// The backend's name.
    pub backend: String,
    /// `up`, `down` or `drain`.
    pub state: AdminState,
    /// When it was said.
    #[serde(with = "rfc3339")]
    pub since: SystemTime,
    /// When it ends by itself.
    #[serde(default, with = "rfc3339::optional", skip_serializing_if = "Option::is_none")]
    pub until: Option<SystemTime>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A probe's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedVerdict {
    /// [`ProbeSpec::fingerprint`](crate::engine::probe::ProbeSpec::fingerprint).
    pub probe: String,
    /// Up or down.
    pub up: bool,
    /// Since when.
    #[serde(with = "rfc3339")]
    pub since: SystemTime,
    /// When the latest result came: a verdict is used at once while this is younger than ten intervals.
    #[serde(with = "rfc3339")]
    pub last: SystemTime,
    /// What the latest probe saw.
    pub reason: String,
    /// What the backend said of itself, as agent-check words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

/// A zone's serial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSerial {
    /// Without the final dot.
    pub zone: String,
    /// As last published.
    pub serial: u32,
}

/// The set a pool last answered in one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedAnswer {
    /// Without the final dot.
    pub zone: String,
    /// The pool's name.
    pub pool: String,
    /// 1 (A) or 28 (AAAA).
    #[serde(rename = "type")]
    pub rtype: u16,
    /// Names of the backends, in the order of the file.
    pub backends: Vec<String>,
}

/// Why the state directory cannot be used. The message names it and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error("state_dir {0}: another rollcall uses it; stop that one, or give each its own state_dir")]
    InUse(PathBuf),
    /// It cannot be made, opened or written.
    #[error("state_dir {path}: {source}; it must be a directory that the server's user may write")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

#[derive(Deserialize)]
struct Header {
    format: u32,
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    version: &'static str,
    #[serde(flatten)]
    saved: &'a Saved,
}

impl Memory {
    /// Opens the directory, which is created (0700) when missing, and reads what was kept.
    pub fn open(directory: &Path) -> Result<(Memory, Saved), OpenError> {
        Memory::open_inheriting(directory, None)
    }

    /// The same where the server that this one replaces handed its lock over. A lock of another directory is let go.
    pub fn open_inheriting(directory: &Path, lock: Option<File>) -> Result<(Memory, Saved), OpenError> {
        let unusable = |source| OpenError::Unusable { path: directory.to_path_buf(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
        let own = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(directory.join(LOCK))
            .map_err(unusable)?;
        let identity = |file: &File| file.metadata().ok().map(|found| (found.dev(), found.ino()));
        let lock = lock.filter(|lock| identity(lock) == identity(&own)).unwrap_or(own);
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(OpenError::InUse(directory.to_path_buf())),
            Err(error) => return Err(unusable(error.into())),
        }
        let memory = Memory { directory: directory.to_path_buf(), lock };
        let saved = memory.read();
        Ok((memory, saved))
    }

    /// The lock once more, for a successor: it holds while one of both is open.
    pub fn duplicate_lock(&self) -> io::Result<File> {
        self.lock.try_clone()
    }

    /// Replaces what is kept. When this returns `Ok`, it is on disk; when not, what was kept before still is.
    pub fn save(&self, saved: &Saved) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(&Written { format: FORMAT, version: crate::VERSION, saved })?;
        text.push(b'\n');
        let temporary = self.directory.join(TEMPORARY);
        let written = write_synced(&temporary, &text)
            .and_then(|()| fs::rename(&temporary, self.directory.join(FILE)))
            .and_then(|()| File::open(&self.directory)?.sync_all());
        if written.is_err() {
            // On a full disk every octet counts; what is left of the attempt is worth nothing.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn read(&self) -> Saved {
        let path = self.directory.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Saved::default(),
            Err(error) => return self.set_aside(&path, &error.to_string()),
        };
        let why = match serde_json::from_slice::<Header>(&text) {
            Ok(Header { format: FORMAT }) => match serde_json::from_slice(&text) {
                Ok(saved) => return saved,
                Err(error) => error.to_string(),
            },
            // Another version's: not this one's to take apart.
            Ok(Header { format }) => {
                let why = format!("format {format}, and this version of rollcall reads {FORMAT}");
                return self.set_aside(&path, &why);
            }
            Err(error) => error.to_string(),
        };
        match salvage::salvage(&text, FORMAT) {
            Some(found) => self.keep_rest(&path, &why, found),
            None => self.set_aside(&path, &why),
        }
    }

    /// Goes on with what can still be read of a damaged file, which is kept for people.
    fn keep_rest(&self, path: &Path, why: &str, found: salvage::Salvaged) -> Saved {
        let aside = self.name_aside();
        // Linked, not renamed: until the rest is written, what lies there must still be found.
        let linked =
            aside.filter(|aside| fs::hard_link(path, aside).or_else(|_| fs::copy(path, aside).map(drop)).is_ok());
        let aside = match &linked {
            Some(aside) => format!("the file as it was is now {}", aside.display()),
            None => "the file will be overwritten".to_owned(),
        };
        tracing::error!("{}: {why}; {}; {aside}", path.display(), found.words());
        if let Err(error) = self.save(&found.saved) {
            tracing::error!("state could not be written: {error}");
        }
        found.saved
    }

    /// A name that is free.
    fn name_aside(&self) -> Option<PathBuf> {
        let mut names = (1..100).map(|number| self.directory.join(format!("{FILE}.unreadable-{number}")));
        names.find(|aside| fs::symlink_metadata(aside).is_err())
    }

    /// Keeps a file that cannot be used under another name, for people; earlier ones are not overwritten.
    fn set_aside(&self, path: &Path, why: &str) -> Saved {
        let renamed = self.name_aside().and_then(|aside| fs::rename(path, &aside).ok().map(|()| aside));
        let lost = "starting without kept overrides, verdicts and serials";
        match renamed {
            Some(aside) => tracing::error!("{}: {why}; {lost}; the file is now {}", path.display(), aside.display()),
            None => tracing::error!("{}: {why}; {lost}; the file will be overwritten", path.display()),
        }
        Saved::default()
    }
}

fn write_synced(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Times as people and scripts read them.
pub(super) mod rfc3339 {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        // A clock before 1970 is a clock not set yet, and humantime refuses to print it.
        serializer.collect_str(&humantime::format_rfc3339_nanos((*time).max(SystemTime::UNIX_EPOCH)))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map_err(D::Error::custom)
    }

    pub(super) mod optional {
        use std::time::SystemTime;

        use serde::{Deserialize, Deserializer, Serializer, de::Error};

        pub(in super::super) fn serialize<S: Serializer>(
            time: &Option<SystemTime>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<SystemTime>, D::Error> {
            let text: Option<String> = Option::deserialize(deserializer)?;
            text.map(|text| humantime::parse_rfc3339(&text).map_err(D::Error::custom)).transpose()
        }
    }
}

#[cfg(test)]
mod tests;
