//! Giving up root and capabilities once everything is bound, and asking for enough file descriptors.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, User, geteuid, initgroups, setgid, setuid};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// The user could not be become.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PrivilegeError {
    /// Cause and remedy.
    pub message: String,
}

/// Becomes `user` for good: groups, group, user. Root and every capability are gone afterwards, which is verified.
///
/// Does nothing where the process already is that user. Call it once all sockets are bound.
pub fn become_user(user: &str) -> Result<(), PrivilegeError> {
    let wrong = |message: String| PrivilegeError { message };
    let entry = match User::from_name(user) {
        Ok(Some(entry)) => entry,
        Ok(None) => {
            return Err(wrong(format!(
                "user = \"{user}\": there is no such user; create it with `useradd --system {user}` or leave the key out"
            )));
        }
        Err(error) => {
            return Err(wrong(format!("user = \"{user}\" cannot be looked up: {error}")));
        }
    };
    if !geteuid().is_root() {
        if geteuid() == entry.uid {
            return Ok(());
        }
        return Err(wrong(format!(
            "user = \"{user}\": only root can become another user; start as root, or as {user}, or leave the key out"
        )));
    }
    if entry.uid.is_root() {
        return Ok(());
    }
    let name =
        std::ffi::CString::new(user).map_err(|_| wrong(format!("user = {user:?}: a user's name holds no NUL")))?;
    let step = |step: &str, error| wrong(format!("cannot become user \"{user}\": {step}: {error}"));
    initgroups(&name, entry.gid).map_err(|error| step("initgroups", error))?;
    setgid(entry.gid).map_err(|error| step("setgid", error))?;
    setuid(entry.uid).map_err(|error| step("setuid", error))?;
    if setuid(Uid::from_raw(0)).is_ok() {
        return Err(wrong(format!("became user \"{user}\", yet root could be regained; stopping")));
    }
    match kept_capabilities() {
        None => Ok(()),
        Some(kept) => Err(wrong(format!("became user \"{user}\", yet capabilities {kept} were kept; stopping"))),
    }
}

/// Lays down the calling thread's capabilities: CAP_NET_BIND_SERVICE has done its work once every socket is bound. Kept is
/// CAP_NET_RAW, where it was given: checks of type `icmp` open their sockets when they begin. Root without `user` stays root.
///
/// Linux knows capabilities of threads, not of processes, and each thread can lay down its own alone: whichever begins
/// before the sockets are bound calls this first, and the one that binds calls it afterwards, so that all later ones
/// have none to begin with.
pub fn lay_down_capabilities() -> Result<(), PrivilegeError> {
    if geteuid().is_root() {
        return Ok(());
    }
    let wrong = |error| PrivilegeError { message: format!("capabilities are kept although all is bound: {error}") };
    let CapabilitySets { effective, permitted, inheritable } = capabilities(None).map_err(wrong)?;
    let kept = |set: CapabilitySet| set & CapabilitySet::NET_RAW;
    if kept(permitted) == permitted && kept(inheritable) == inheritable {
        return Ok(());
    }
    let left =
        CapabilitySets { effective: kept(effective), permitted: kept(permitted), inheritable: kept(inheritable) };
    set_capabilities(None, left).map_err(wrong)
}

/// Permitted capabilities that are left, as the kernel prints them; `None`: none, or no `/proc` to read them from.
fn kept_capabilities() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"))?;
    let kept = line.trim();
    kept.bytes().any(|digit| digit != b'0').then(|| kept.to_owned())
}

/// Raises the soft limit on open files to the hard one and returns what now holds.
pub fn raise_descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 0;
    };
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        return hard;
    }
    soft
}

/// The limit on open files that holds now.
pub(super) fn descriptor_limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::transport::check_readable_after_drop;

    /// Set for the process that gives up root, so that this one keeps it.
    const CHILD: &str = "ROLLCALL_TEST_BECOME";

    #[test]
    fn root_is_given_up_for_good_and_an_unreadable_key_is_found() {
        if !geteuid().is_root() {
            eprintln!("skipped: only root can become another user");
            return;
        }
        if let Some(key) = std::env::var_os(CHILD) {
            let key = Path::new(&key);
            check_readable_after_drop(&[key], "nobody").unwrap();
            become_user("nobody").unwrap();
            assert!(!geteuid().is_root());
            assert!(setuid(Uid::from_raw(0)).is_err());
            assert_eq!(kept_capabilities(), None);
            let error = check_readable_after_drop(&[key], "nobody").unwrap_err();
            assert!(error.message.contains("chgrp nobody"), "{error}");
            become_user("nobody").unwrap();
            become_user("root").unwrap_err();
            // Leaves at once: what the test harness does next may need root.
            #[expect(clippy::disallowed_methods, reason = "a child process of a test")]
            std::process::exit(42);
        }
        let key = tempfile::NamedTempFile::new().unwrap();
        let name = "transport::privilege::tests::root_is_given_up_for_good_and_an_unreadable_key_is_found";
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, key.path())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(42));
    }

    #[test]
    fn an_unknown_user_is_named_with_the_remedy() {
        let error = become_user("no-such-user-here").unwrap_err();
        assert!(error.message.contains("useradd --system no-such-user-here"), "{error}");
    }
}
