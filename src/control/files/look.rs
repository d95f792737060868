//! What lies on disk: which paths matter (symlinks followed step by step), which directories to watch for them, and a
//! cheap look at each file. Reads files and metadata, blocks, decides nothing.
//!
//! ```text
//! watched           zones/lb.toml -> ..data/lb.toml        ..data -> ..2026_01/        (a mounted ConfigMap)
//! paths that matter zones, zones/lb.toml, zones/..data, zones/..2026_01/lb.toml
//! directories       the parent of each of them: editors rename over files, so a watch on a file would die with it
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use siphasher::sip128::{Hasher128, SipHasher13};

/// As many links as Linux itself follows in one path.
const MAX_LINKS: usize = 40;
/// Coarsest clock that stamps files on common file systems (one tick).
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// Paths that matter, and how each file looks.
#[derive(Debug, Default, Clone)]
pub(crate) struct Look {
    /// Physical paths: files, links on the way to them, and the directories that hold them.
    pub(crate) paths: BTreeSet<PathBuf>,
    /// Zone directories: every zone file that appears in them matters.
    pub(crate) zone_directories: BTreeSet<PathBuf>,
    /// Directories to watch: the parents of all these.
    pub(crate) parents: BTreeSet<PathBuf>,
    /// Every file (and every watched path that is none), by the path it was named by.
    pub(crate) files: BTreeMap<PathBuf, FileLook>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileLook {
    stamp: Stamp,
    /// Content, when it could be read.
    content: Option<u128>,
}

/// What `stat` says; equal stamps are taken for equal contents.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stamp {
    Missing(io::ErrorKind),
    Directory { readable: bool, changed: (i64, i64) },
    File { device: u64, inode: u64, size: u64, modified: (i64, i64), changed: (i64, i64), mode: u32, owner: (u32, u32) },
}

impl Look {
    /// Looks at everything that `watched` leads to. Contents are read only where `before` has another stamp.
    pub(crate) fn take(watched: &[PathBuf], before: &Look) -> Look {
        let mut look = Look::default();
        for path in watched {
            let place = look.follow(path);
            if !place.is_dir() {
                look.add_file(path, before);
                continue;
            }
            let members = zone_files(&place);
            look.files.insert(path.clone(), FileLook { stamp: Stamp::of(path), content: None });
            look.parents.insert(place.clone());
            for member in members.unwrap_or_default() {
                look.follow(&member);
                look.add_file(&member, before);
            }
            look.zone_directories.insert(place);
        }
        look
    }

    /// Whether an event at this path matters. `path` is physical: a watched directory and a name in it.
    pub(crate) fn matters(&self, path: &Path) -> bool {
        self.paths.contains(path)
            || path.file_name().is_some_and(is_zone_file)
                && path.parent().is_some_and(|parent| self.zone_directories.contains(parent))
    }

    /// Whether files look as they did in `before`: the same ones, the same contents, as readable as then.
    pub(crate) fn same_as(&self, before: &Look) -> bool {
        self.files.len() == before.files.len()
            && self.files.iter().all(|(path, file)| before.files.get(path).is_some_and(|other| file.same_as(other)))
    }

    /// Whether `stat` says the same of everything that matters: other files may come and go beside the zones.
    pub(crate) fn same_stamps(&self, before: &Look) -> bool {
        self.files.len() == before.files.len()
            && self
                .files
                .iter()
                .all(|(path, file)| before.files.get(path).is_some_and(|other| file.stamp.same_as(&other.stamp)))
    }

    /// Whether anything may have changed after `moment`; says yes when in doubt. What is missing and was not missing in
    /// `before` may be so for a moment only.
    pub(crate) fn changed_since(&self, moment: SystemTime, before: &Look) -> bool {
        self.files.iter().any(|(path, file)| match file.stamp {
            Stamp::Missing(_) => before.files.get(path) != Some(file),
            _ => file.changed_since(moment),
        })
    }

    fn add_file(&mut self, path: &Path, before: &Look) {
        let stamp = Stamp::of(path);
        let content = match before.files.get(path) {
            Some(known) if known.stamp == stamp => known.content,
            _ if matches!(stamp, Stamp::File { .. }) => hash(path).ok(),
            _ => None,
        };
        self.files.insert(path.to_path_buf(), FileLook { stamp, content });
    }

    /// Follows links one by one, noting each, and returns where the path ends.
    fn follow(&mut self, path: &Path) -> PathBuf {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let mut todo: VecDeque<OsString> = steps(&absolute);
        let mut place = PathBuf::from("/");
        let mut links = 0;
        while let Some(step) = todo.pop_front() {
            if step == ".." {
                place.pop();
                continue;
            }
            let next = place.join(&step);
            let target = if links < MAX_LINKS { fs::read_link(&next).ok() } else { None };
            let Some(target) = target else {
                place = next;
                continue;
            };
            links += 1;
            self.note(&next);
            if target.is_absolute() {
                place = PathBuf::from("/");
            }
            for step in steps(&target).into_iter().rev() {
                todo.push_front(step);
            }
        }
        self.note(&place);
        // The directory itself may be renamed away and another take its place.
        if let Some(parent) = place.parent() {
            self.note(parent);
        }
        place
    }

    /// Notes a path and the directory in which to watch for it; where that is missing, what would bring it back.
    fn note(&mut self, path: &Path) {
        let mut path = path;
        while let Some(parent) = path.parent() {
            self.paths.insert(path.to_path_buf());
            if parent.is_dir() {
                self.parents.insert(parent.to_path_buf());
                return;
            }
            path = parent;
        }
    }
}

impl FileLook {
    fn same_as(&self, other: &FileLook) -> bool {
        match (&self.stamp, &other.stamp) {
            (Stamp::File { .. }, Stamp::File { .. }) => self.content == other.content,
            (one, two) => one.same_as(two),
        }
    }

    fn changed_since(&self, moment: SystemTime) -> bool {
        let (Stamp::File { changed, .. } | Stamp::Directory { changed, .. }) = self.stamp else {
            return false;
        };
        let (seconds, nanoseconds) = changed;
        let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else {
            return false;
        };
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds) + CLOCK_TICK >= moment
    }
}

impl Stamp {
    fn of(path: &Path) -> Stamp {
        match fs::metadata(path) {
            Err(error) => Stamp::Missing(error.kind()),
            Ok(data) if data.is_dir() => {
                Stamp::Directory { readable: fs::read_dir(path).is_ok(), changed: (data.ctime(), data.ctime_nsec()) }
            }
            Ok(data) => Stamp::File {
                device: data.dev(),
                inode: data.ino(),
                size: data.size(),
                modified: (data.mtime(), data.mtime_nsec()),
                changed: (data.ctime(), data.ctime_nsec()),
                mode: data.mode(),
                owner: (data.uid(), data.gid()),
            },
        }
    }

    /// A directory is the same while it can be read: what it holds is looked at file by file.
    fn same_as(&self, other: &Stamp) -> bool {
        match (self, other) {
            (Stamp::Directory { readable: one, .. }, Stamp::Directory { readable: two, .. }) => one == two,
            (one, two) => one == two,
        }
    }
}

/// Whether a name in a zone directory is a zone: `*.toml` and `*.zone` not beginning with a dot.
pub(crate) fn is_zone_file(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    !name.starts_with(b".") && (name.ends_with(b".toml") || name.ends_with(b".zone"))
}

fn zone_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if is_zone_file(&entry.file_name()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn steps(path: &Path) -> VecDeque<OsString> {
    let step = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(step).collect()
}

fn hash(path: &Path) -> io::Result<u128> {
    let mut file = File::open(path)?;
    let mut hasher = SipHasher13::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish128().as_u128()),
            Ok(length) => hasher.write(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
