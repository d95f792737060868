//! What one server hands to its successor, and the channel between the two: a unix stream socket that carries JSON, and
//! file descriptors beside it (SCM_RIGHTS, unix(7)).
//!
//! ```text
//! old                                  new, its child
//!  | Hello: sockets, lock, Live  ------> |  loads its files, binds what is new, probes what is new
//!  | <------------------------- Prepared |  (or Refused, with the reason: nothing changed)
//!  | Last: Live as of now, counters ---> |  catches up, reads the sockets beside the old one
//!  | <-------------------------- Serving |
//!  | Left: its last counters, EOF -----> |
//! ```
//!
//! The order follows gdnsd's `replace`. Fields may be added; [`PROTOCOL`] rises when an older server could misread them.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::memory::{Saved, rfc3339};
use crate::transport::{Counted, Label, List};

/// Both sides must speak the same.
pub const PROTOCOL: u32 = 1;
/// Descriptors that go with one octet; the kernel takes 253 (SCM_MAX_FD).
const AT_ONCE: usize = 64;
/// Longest message: the state of some millions of names.
const LONGEST: u64 = 4 << 30;

/// The first message.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the server that is to be replaced.
    pub protocol: u32,
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// What the first descriptors are.
    pub sockets: Vec<Label>,
    /// Where the control listener is, as the configuration has it; its descriptor follows.
    #[serde(default)]
    pub control: Option<String>,
    /// Lists whose sockets a service manager gave.
    #[serde(default)]
    pub managed: Vec<List>,
    /// So is the control listener.
    #[serde(default)]
    pub control_managed: bool,
    /// The lock of `state_dir` is the last descriptor.
    #[serde(default)]
    pub lock: bool,
    /// What is known.
    pub live: Live,
}

/// The second message: what happened since the first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Last {
    /// What is known now.
    pub live: Live,
    /// All that was counted so far.
    #[serde(default)]
    pub counters: Vec<Counted>,
}

/// What the successor says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// It cannot replace the server, and leaves.
    Refused(String),
    /// It could answer from now on.
    Prepared,
    /// It answers.
    Serving(Serving),
}

/// A successor that answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Serving {
    /// Its version.
    pub version: String,
    /// Where it listens, as `status` shows it.
    pub listening: Vec<String>,
    /// It listens where this server's control listener was.
    pub control_taken: bool,
    /// What the operator should know.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The last word of the server that leaves.
#[derive(Debug, Serialize, Deserialize)]
pub struct Left {
    /// All that it counted.
    pub counters: Vec<Counted>,
}

/// What the next server must know to answer as this one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Live {
    /// As `state_dir` keeps it.
    pub saved: Saved,
    /// Results in a row that contradict a verdict, by the probe's fingerprint.
    pub contrary: Vec<(String, u32)>,
    /// Where none is configured.
    pub cookie_secret: [u8; 16],
    /// Of the snapshot that answers.
    pub generation: u64,
    /// The latest, oldest first.
    pub transitions: Vec<LiveTransition>,
    /// How many of the draw counters are UDP workers'.
    pub udp_workers: usize,
    /// Of names that were asked for.
    pub draws: Vec<LiveDraws>,
    /// Answers handed out by `zone/pool/backend`.
    pub answers: Vec<(String, u64)>,
    /// Zones in the order of the numbers by which replies are counted.
    pub traffic_zones: Vec<String>,
}

/// One change of a verdict, or of a backend's state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LiveTransition {
    /// When.
    #[serde(with = "rfc3339")]
    pub at: SystemTime,
    /// `zone/pool/backend`.
    pub id: String,
    /// `None`: the whole backend.
    pub address: Option<IpAddr>,
    /// `up`, `down`, `unknown`, or a state.
    pub from: String,
    /// As above.
    pub to: String,
    /// Why.
    pub reason: String,
    /// From the first contrary result to the verdict.
    pub took: Option<Duration>,
}

/// The counters of one name and type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveDraws {
    /// The zone's apex.
    pub zone: String,
    /// The owner name.
    pub owner: String,
    /// 1 or 28.
    #[serde(rename = "type")]
    pub rtype: u16,
    /// Which of the name's counters, where routes draw from several.
    #[serde(default)]
    pub at: u32,
    /// By worker; `None`: never drawn from.
    pub counters: Vec<Option<u32>>,
}

/// One end of the channel.
#[derive(Debug)]
pub struct Channel(UnixStream);

impl Channel {
    /// Both ends. The second is for the child's standard input: the one descriptor that std hands over safely.
    pub fn pair() -> io::Result<(Channel, OwnedFd)> {
        let (own, other) = UnixStream::pair()?;
        Ok((Channel(own), other.into()))
    }

    /// The end that is this process's standard input, which then reads from `/dev/null`.
    pub fn from_stdin() -> io::Result<Channel> {
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        // Says whether it is a socket at all.
        stream.peer_addr()?;
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        Ok(Channel(stream))
    }

    /// How long one read or write may take.
    pub fn limit(&self, patience: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(patience)?;
        self.0.set_write_timeout(patience)
    }

    /// The same end once more.
    pub fn try_clone(&self) -> io::Result<Channel> {
        self.0.try_clone().map(Channel)
    }

    /// Sends a message.
    pub fn send<T: Serialize>(&self, message: &T) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let mut stream = &self.0;
        stream.write_all(&(text.len() as u64).to_be_bytes())?;
        stream.write_all(&text)
    }

    /// Sends descriptors; the other end must know how many.
    pub fn send_descriptors(&self, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        for some in descriptors.chunks(AT_ONCE) {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !ancillary.push(SendAncillaryMessage::ScmRights(some)) {
                return Err(io::Error::other("no room for descriptors"));
            }
            sendmsg(&self.0, &[IoSlice::new(b"d")], &mut ancillary, SendFlags::empty())?;
        }
        Ok(())
    }

    /// Receives a message; `UnexpectedEof` when the other end is gone.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<T> {
        let mut stream = &self.0;
        let mut length = [0; 8];
        stream.read_exact(&mut length)?;
        let length = u64::from_be_bytes(length);
        if length > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a message of rollcall's"));
        }
        let mut text = Vec::new();
        stream.take(length).read_to_end(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Receives that many descriptors.
    pub fn receive_descriptors(&self, count: usize) -> io::Result<Vec<OwnedFd>> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut octet = [0];
            let received =
                recvmsg(&self.0, &mut [IoSliceMut::new(&mut octet)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
            let before = all.len();
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(some) = message {
                    all.extend(some);
                }
            }
            if received.bytes == 0 || all.len() == before {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn messages_and_many_descriptors_pass() {
        let (old, new) = Channel::pair().unwrap();
        let new = Channel(UnixStream::from(new));
        let sockets: Vec<UdpSocket> = (0..150).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        old.send(&Reply::Refused("no".to_owned())).unwrap();
        let descriptors: Vec<BorrowedFd> = sockets.iter().map(AsFd::as_fd).collect();
        old.send_descriptors(&descriptors).unwrap();
        old.send(&Reply::Prepared).unwrap();
        assert!(matches!(new.receive::<Reply>().unwrap(), Reply::Refused(why) if why == "no"));
        let got = new.receive_descriptors(150).unwrap();
        for (sent, got) in sockets.iter().zip(got) {
            assert_eq!(UdpSocket::from(got).local_addr().unwrap(), sent.local_addr().unwrap());
        }
        assert!(matches!(new.receive::<Reply>().unwrap(), Reply::Prepared));
        drop(old);
        assert_eq!(new.receive::<Reply>().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_an_older_server_does_not_say_has_a_default() {
        let hello = r#"{"protocol":1,"version":"0.1.0","pid":7,"sockets":[],"live":{"generation":3}}"#;
        let hello: Hello = serde_json::from_str(hello).unwrap();
        assert_eq!((hello.live.generation, hello.lock, hello.control), (3, false, None));
    }
}
