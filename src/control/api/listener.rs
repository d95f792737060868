//! The control listener's socket: bound early, while the process may still be root, and read later.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::plan::ControlAddress;

/// Owner and group may write; who may connect is who may write.
const SOCKET_MODE: u32 = 0o660;

/// A bound control socket that nobody reads yet. A unix socket's file is removed when this is dropped.
#[derive(Debug)]
pub struct ControlListener {
    pub(super) socket: Socket,
    address: ControlAddress,
    pub(super) file: Option<SocketFile>,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A listener that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ControlBindError {
    /// Address, cause, remedy.
    pub message: String,
}

/// A socket's file, removed when dropped unless another has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    stays: Arc<AtomicBool>,
}

impl ControlListener {
    /// Binds `address`, which loading has found fit: beyond loopback only with tokens. A unix socket gets mode 0660; a file left by a dead server is replaced, one of a living is not.
    pub fn bind(address: &ControlAddress) -> Result<ControlListener, ControlBindError> {
        match address {
            ControlAddress::Tcp(address) => bind_tcp(*address),
            ControlAddress::Unix(path) => bind_unix(path),
        }
    }

    /// Takes a listener over that somebody else has bound: the server that this one replaces, or the service manager. The
    /// address is the one configured. With `owned`, a unix socket's file is this server's to remove.
    pub fn adopt(address: &ControlAddress, socket: OwnedFd, owned: bool) -> Result<ControlListener, ControlBindError> {
        let refuse = |error: io::Error| ControlBindError {
            message: format!("the control listener that was inherited cannot be used: {error}"),
        };
        match address {
            ControlAddress::Tcp(_) => {
                let listener = TcpListener::from(socket);
                let bound = listener.set_nonblocking(true).and_then(|()| listener.local_addr()).map_err(refuse)?;
                Ok(ControlListener { socket: Socket::Tcp(listener), address: ControlAddress::Tcp(bound), file: None })
            }
            ControlAddress::Unix(path) => {
                let listener = UnixListener::from(socket);
                listener.set_nonblocking(true).map_err(refuse)?;
                let file = fs::symlink_metadata(path).ok().filter(|_| owned).map(|found| SocketFile::new(path, &found));
                Ok(ControlListener { socket: Socket::Unix(listener), address: address.clone(), file })
            }
        }
    }

    /// The listener once more, for a successor.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        match &self.socket {
            Socket::Tcp(listener) => Ok(listener.try_clone()?.into()),
            Socket::Unix(listener) => Ok(listener.try_clone()?.into()),
        }
    }

    /// Set to true, it leaves a unix socket's file where it is: a successor listens there.
    pub fn file_stays(&self) -> Arc<AtomicBool> {
        self.file.as_ref().map(|file| file.stays.clone()).unwrap_or_default()
    }

    /// What was bound, port 0 resolved.
    pub fn address(&self) -> &ControlAddress {
        &self.address
    }

    /// Gives a unix socket's file to the user that the process is about to become. Nothing to do for TCP.
    pub fn give_to(&self, uid: u32, gid: u32) -> io::Result<()> {
        match &self.file {
            Some(file) => std::os::unix::fs::chown(&file.path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> Result<ControlListener, ControlBindError> {
    let refuse = |message: String| ControlBindError { message };
    let listener = TcpListener::bind(address).map_err(|error| {
        refuse(match error.kind() {
            ErrorKind::AddrInUse => format!(
                "control listener {address}: the port is taken; `ss -ltnp 'sport = :{}'` shows by whom, listen.control chooses another",
                address.port()
            ),
            ErrorKind::PermissionDenied => {
                format!("control listener {address}: ports below 1024 need root or CAP_NET_BIND_SERVICE")
            }
            ErrorKind::AddrNotAvailable => format!("control listener {address}: this machine has no such address"),
            _ => format!("control listener {address}: {error}"),
        })
    })?;
    let bound = listener
        .set_nonblocking(true)
        .and_then(|()| listener.local_addr())
        .map_err(|error| refuse(format!("control listener {address}: {error}")))?;
    Ok(ControlListener { socket: Socket::Tcp(listener), address: ControlAddress::Tcp(bound), file: None })
}

fn bind_unix(path: &Path) -> Result<ControlListener, ControlBindError> {
    let refuse =
        |cause: String| ControlBindError { message: format!("control listener unix:{}: {cause}", path.display()) };
    remove_stale(path).map_err(&refuse)?;
    let listener = UnixListener::bind(path).map_err(|error| {
        refuse(match error.kind() {
            ErrorKind::NotFound => "its directory does not exist; create it first".to_string(),
            ErrorKind::PermissionDenied => "this user may not create files in that directory".to_string(),
            ErrorKind::AddrInUse => "another server has just taken it".to_string(),
            ErrorKind::InvalidInput => "a socket's path may have 107 octets at most".to_string(),
            _ => error.to_string(),
        })
    })?;
    // Between bind and this the umask decides; any umask in use keeps others from writing, hence from connecting.
    let metadata = fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))
        .and_then(|()| fs::symlink_metadata(path))
        .map_err(|error| refuse(error.to_string()))?;
    let file = SocketFile::new(path, &metadata);
    listener.set_nonblocking(true).map_err(|error| refuse(error.to_string()))?;
    let address = ControlAddress::Unix(path.to_path_buf());
    Ok(ControlListener { socket: Socket::Unix(listener), address, file: Some(file) })
}

/// Removes the file of a socket on which nobody answers. Anything else that stands there stays, and is said.
fn remove_stale(path: &Path) -> Result<(), String> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    if !metadata.file_type().is_socket() {
        return Err("something that is not a socket stands there; remove it, or choose another path".to_string());
    }
    match UnixStream::connect(path) {
        Ok(_) => Err("another server answers there; stop it, or choose another path".to_string()),
        // Only this says for sure that nobody listens: a full backlog or a missing right would say otherwise.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| format!("left by a server that died, and cannot be removed: {error}"))
        }
        Err(error) => Err(format!("a socket stands there, and whether anybody listens cannot be told: {error}")),
    }
}

impl SocketFile {
    fn new(path: &Path, metadata: &fs::Metadata) -> SocketFile {
        let identity = (metadata.dev(), metadata.ino());
        SocketFile { path: path.to_path_buf(), identity, stays: Arc::default() }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.stays.load(Ordering::Relaxed) {
            return;
        }
        let same = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if same {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(address: &ControlAddress) -> String {
        ControlListener::bind(address).unwrap_err().message
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let address = ControlAddress::Unix(path.clone());

        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a dead server leaves its file");
        let living = ControlListener::bind(&address).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);

        assert!(error(&address).contains("another server answers"), "{}", error(&address));
        drop(living);
        assert!(!path.exists(), "a server that ends removes its file");
    }

    #[test]
    fn what_is_not_a_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert!(error(&ControlAddress::Unix(path.clone())).contains("not a socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    }

    #[test]
    fn a_file_that_took_the_place_of_the_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let listener = ControlListener::bind(&ControlAddress::Unix(path.clone())).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "data").unwrap();
        drop(listener);
        assert!(path.exists());
    }

    #[test]
    fn errors_name_address_and_remedy() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let message = error(&ControlAddress::Tcp(address));
        assert!(message.contains(&address.to_string()) && message.contains("taken"), "{message}");
        let message = error(&ControlAddress::Unix("/nowhere/at/all.sock".into()));
        assert!(message.contains("directory does not exist"), "{message}");
        let message = error(&ControlAddress::Unix(format!("/tmp/{}", "x".repeat(200)).into()));
        assert!(message.contains("107"), "{message}");
    }
}
