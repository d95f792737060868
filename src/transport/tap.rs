//! A tap of live replies: off until somebody asks, sampled, and lossy. A worker looks at one flag a batch, on a line that it
//! writes anyway; while it is off that is all. While it is on, replies that somebody wants are copied into the worker's own
//! ring, and what finds it full is lost and counted: whoever watches never holds up whoever answers.
//!
//! ```text
//! worker -> flag? -> filters -> ring of its own (try, never wait) <- Tapped::take, by whoever watches
//! ```

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use super::counters::Counters;
use crate::engine::Transport;
use crate::engine::glob::matches;

/// Octets of a reply that are kept: the question and some thirty addresses.
const KEPT: usize = 512;
/// Samples that a worker's ring holds.
const RING: usize = 128;
/// Samples that wait for one who watches.
const WAITING: usize = 1024;
/// The longest name as text.
const LONGEST: usize = 255;

/// One reply.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When it was made.
    pub at: SystemTime,
    /// Over what.
    pub transport: Transport,
    /// The query's source.
    pub client: IpAddr,
    /// Octets of the whole reply.
    pub length: u16,
    octets: [u8; KEPT],
}

impl Sample {
    /// The reply, or its beginning.
    pub fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.length).min(KEPT)]
    }
}

/// Which replies are wanted; what is not said is not asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of names that fit: `*` any characters, `?` one; without the final dot, in any case.
    pub name: Option<String>,
    /// To sources in these networks; any of them.
    pub clients: Vec<ipnet::IpNet>,
    /// With that RCODE, as the header has it.
    pub rcode: Option<u8>,
}

impl Wanted {
    /// Whether it is wanted. Allocates nothing.
    fn fits(&self, client: IpAddr, reply: &[u8]) -> bool {
        if self.rcode.is_some_and(|rcode| reply.get(3).is_none_or(|flags| flags & 15 != rcode)) {
            return false;
        }
        if !self.clients.is_empty() && !self.clients.iter().any(|network| network.contains(&client)) {
            return false;
        }
        let Some(pattern) = &self.name else { return true };
        let mut text = [0; LONGEST];
        let length = asked_name(reply, &mut text);
        matches(pattern.as_bytes(), &text[..length])
    }
}

/// The name that is asked, as text in lower case; nothing where there is none. Returns its length.
fn asked_name(reply: &[u8], text: &mut [u8; LONGEST]) -> usize {
    let (mut at, mut length) = (12, 0);
    while let Some(&label) = reply.get(at) {
        let end = at + 1 + usize::from(label);
        let Some(octets) = reply.get(at + 1..end).filter(|octets| !octets.is_empty() && label < 64) else { break };
        if length > 0 && length < LONGEST {
            text[length] = b'.';
            length += 1;
        }
        for &octet in octets {
            let Some(place) = text.get_mut(length) else { return length };
            *place = octet.to_ascii_lowercase();
            length += 1;
        }
        at = end;
    }
    length
}

/// A worker's end of the tap. The flag stands first, on the line that the worker has anyway.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Tap {
    on: AtomicBool,
    /// Made when the tap is opened first.
    ring: OnceLock<Ring>,
    lost: AtomicU64,
    wanted: Arc<ArcSwap<Vec<Wanted>>>,
}

#[derive(Debug)]
struct Ring {
    sender: SyncSender<Sample>,
    /// For whoever watches; workers never touch it.
    receiver: Mutex<Receiver<Sample>>,
}

impl Tap {
    pub(super) fn new(wanted: Arc<ArcSwap<Vec<Wanted>>>) -> Tap {
        Tap { wanted, ..Tap::default() }
    }

    /// Whether anybody watches.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Keeps a copy where somebody wants it and the ring has room.
    #[cold]
    pub(super) fn offer(&self, transport: Transport, client: IpAddr, reply: &[u8]) {
        let Some(ring) = self.ring.get() else { return };
        if !self.wanted.load().iter().any(|wanted| wanted.fits(client, reply)) {
            return;
        }
        let mut octets = [0; KEPT];
        let kept = reply.len().min(KEPT);
        octets[..kept].copy_from_slice(&reply[..kept]);
        let sample = Sample { at: SystemTime::now(), transport, client, length: reply.len() as u16, octets };
        // Never waits. Nobody waits for it either: a receiver that slept would have to be woken under a lock.
        if ring.sender.try_send(sample).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    fn open(&self) {
        self.ring.get_or_init(|| {
            let (sender, receiver) = sync_channel(RING);
            Ring { sender, receiver: Mutex::new(receiver) }
        });
        self.on.store(true, Relaxed);
    }

    fn drain(&self, mut each: impl FnMut(Sample)) -> u64 {
        if let Some(ring) = self.ring.get() {
            let receiver = ring.receiver.lock().unwrap_or_else(PoisonError::into_inner);
            receiver.try_iter().take(RING).for_each(&mut each);
        }
        self.lost.swap(0, Relaxed)
    }
}

/// Everybody who watches.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    all: Mutex<Vec<Watcher>>,
    /// What any of them wants.
    pub(super) wanted: Arc<ArcSwap<Vec<Wanted>>>,
}

#[derive(Debug)]
struct Watcher {
    number: u64,
    wanted: Wanted,
    waiting: VecDeque<Sample>,
    lost: u64,
}

/// One who watches. The tap is off again when the last is dropped.
#[derive(Debug)]
pub struct Tapped {
    counters: Arc<Counters>,
    number: u64,
}

impl Tapped {
    /// Opens the tap.
    pub fn open(counters: Arc<Counters>, wanted: Wanted) -> Tapped {
        let watchers = counters.watchers();
        let mut all = watchers.all.lock().unwrap_or_else(PoisonError::into_inner);
        let number = all.iter().map(|one| one.number + 1).max().unwrap_or_default();
        all.push(Watcher { number, wanted, waiting: VecDeque::new(), lost: 0 });
        watchers.wanted.store(Arc::new(all.iter().map(|one| one.wanted.clone()).collect()));
        counters.taps().for_each(Tap::open);
        drop(all);
        Tapped { counters, number }
    }

    /// What came since it was asked last, and how many replies that were wanted were lost meanwhile. Never waits.
    pub fn take(&self) -> (Vec<Sample>, u64) {
        let mut all = self.counters.watchers().all.lock().unwrap_or_else(PoisonError::into_inner);
        for tap in self.counters.taps() {
            let lost = tap.drain(|sample| {
                for one in all.iter_mut().filter(|one| one.wanted.fits(sample.client, sample.octets())) {
                    if one.waiting.len() < WAITING {
                        one.waiting.push_back(sample.clone());
                    } else {
                        one.lost += 1;
                    }
                }
            });
            // Whose they were is not known once they are lost.
            all.iter_mut().for_each(|one| one.lost += lost);
        }
        let Some(own) = all.iter_mut().find(|one| one.number == self.number) else { return (Vec::new(), 0) };
        let mut samples: Vec<Sample> = own.waiting.drain(..).collect();
        samples.sort_by_key(|sample| sample.at);
        (samples, std::mem::take(&mut own.lost))
    }
}

impl Drop for Tapped {
    fn drop(&mut self) {
        let watchers = self.counters.watchers();
        let mut all = watchers.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.number != self.number);
        watchers.wanted.store(Arc::new(all.iter().map(|one| one.wanted.clone()).collect()));
        if all.is_empty() {
            for tap in self.counters.taps() {
                tap.on.store(false, Relaxed);
                tap.drain(drop);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(name: &str, rcode: u8) -> Vec<u8> {
        let mut octets = vec![0, 0, 0x84, rcode, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            octets.push(label.len() as u8);
            octets.extend_from_slice(label.as_bytes());
        }
        octets.extend_from_slice(&[0, 0, 1, 0, 1]);
        octets
    }

    fn offer(counters: &Counters, client: &str, reply: &[u8]) {
        for tap in counters.taps().filter(|tap| tap.is_on()) {
            tap.offer(Transport::Udp, client.parse().unwrap(), reply);
        }
    }

    fn counters() -> Arc<Counters> {
        let mut counters = Counters::default();
        counters.add(Transport::Udp, 0);
        Arc::new(counters)
    }

    #[test]
    fn it_is_off_until_somebody_watches_and_off_again_after_the_last() {
        let counters = counters();
        let is_on = || counters.taps().any(Tap::is_on);
        assert!(!is_on());
        let (one, two) =
            (Tapped::open(counters.clone(), Wanted::default()), Tapped::open(counters.clone(), Wanted::default()));
        offer(&counters, "192.0.2.1", &reply("www.example", 0));
        assert_eq!(one.take().0.len(), 1);
        assert_eq!(two.take().0.len(), 1, "each has its own");
        drop(one);
        assert!(is_on());
        drop(two);
        assert!(!is_on());
    }

    #[test]
    fn what_is_wanted_is_chosen_by_name_client_and_rcode() {
        let counters = counters();
        let wanted = |name: Option<&str>, clients: &[&str], rcode| Wanted {
            name: name.map(str::to_owned),
            clients: clients.iter().map(|one| one.parse().unwrap()).collect(),
            rcode,
        };
        for (wanted, expected) in [
            (wanted(None, &[], None), 4),
            (wanted(Some("*.lb.example"), &[], None), 2),
            (wanted(Some("WWW.*"), &[], None), 2),
            (wanted(Some("lb.example"), &[], None), 0),
            (wanted(None, &["192.0.2.0/24"], None), 2),
            (wanted(None, &["192.0.2.0/24", "2001:db8::/32"], None), 3),
            (wanted(None, &[], Some(3)), 1),
            (wanted(Some("*.lb.example"), &["192.0.2.0/24"], Some(0)), 1),
        ] {
            let tapped = Tapped::open(counters.clone(), wanted.clone());
            offer(&counters, "192.0.2.1", &reply("Www.LB.example", 0));
            offer(&counters, "198.51.100.1", &reply("www.lb.example", 3));
            offer(&counters, "192.0.2.2", &reply("other.example", 0));
            offer(&counters, "2001:db8::1", &reply("other.example", 0));
            assert_eq!(tapped.take().0.len(), expected, "{wanted:?}");
        }
    }

    #[test]
    fn a_full_ring_loses_and_counts_and_long_replies_are_cut() {
        let counters = counters();
        let tapped = Tapped::open(counters.clone(), Wanted::default());
        let mut long = reply("www.example", 0);
        long.resize(2000, 7);
        for _ in 0..RING + 5 {
            offer(&counters, "192.0.2.1", &long);
        }
        let (samples, lost) = tapped.take();
        assert_eq!((samples.len(), lost), (RING, 5));
        assert_eq!((samples[0].length, samples[0].octets().len()), (2000, KEPT));
        assert_eq!(tapped.take().1, 0);
    }

    #[test]
    fn what_is_no_name_is_no_name_and_no_panic() {
        let mut text = [0; LONGEST];
        for octets in [&[][..], &[0; 12], &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63, 1], &[255; 300]] {
            assert_eq!(asked_name(octets, &mut text), 0);
        }
        let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        assert_eq!(asked_name(&reply(&longest, 0), &mut text), 253);
    }
}
