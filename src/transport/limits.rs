//! How many connections there may be, whole and per client network, and who goes when there are too many.
//!
//! When full, the connection whose last whole message is longest ago goes (RFC 7766 6.2.3 lets a server close idle ones).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Most connections of all stream transports together, however many descriptors there are.
const MOST_CONNECTIONS: usize = 10_000;
/// Fewest, so that TCP works at all under a tiny descriptor limit.
const FEWEST_CONNECTIONS: usize = 8;
/// A client network's part of the whole: an eighth, so that one network cannot push out all others.
const NETWORK_PART: usize = 8;

/// The limits in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) connections: usize,
    pub(super) per_network: usize,
}

impl Limits {
    /// Half the descriptors: the other half is for probes, files and the control listener.
    pub(super) fn from_descriptors(descriptors: u64) -> Limits {
        let half = usize::try_from(descriptors / 2).unwrap_or(usize::MAX);
        let connections = half.clamp(FEWEST_CONNECTIONS, MOST_CONNECTIONS);
        let per_network = (connections / NETWORK_PART).max(FEWEST_CONNECTIONS);
        Limits { connections, per_network }
    }
}

/// All open connections.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    started: Instant,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Arc<Connection>>,
    networks: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Connection {
    network: IpAddr,
    /// Milliseconds after `Admission::started` of the last whole message.
    active: AtomicU64,
    closed: CancellationToken,
}

/// A place among the open connections; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    number: u64,
    connection: Arc<Connection>,
}

impl Admission {
    pub(super) fn new(limits: Limits) -> Arc<Admission> {
        Arc::new(Admission { limits, started: Instant::now(), open: Mutex::default() })
    }

    /// Admits a client, and says how many others had to go for it. `parent` ends all connections.
    pub(super) fn admit(self: &Arc<Admission>, client: IpAddr, parent: &CancellationToken) -> (Place, u64) {
        let network = network_of(client);
        let connection =
            Arc::new(Connection { network, active: AtomicU64::new(self.milliseconds()), closed: parent.child_token() });
        let mut open = self.lock();
        let mut evicted = 0;
        if open.networks.get(&network).is_some_and(|count| *count >= self.limits.per_network) {
            evicted += u64::from(open.evict_idlest(Some(network)));
        }
        if open.connections.len() >= self.limits.connections {
            evicted += u64::from(open.evict_idlest(None));
        }
        let number = open.next;
        open.next += 1;
        open.connections.insert(number, connection.clone());
        *open.networks.entry(network).or_default() += 1;
        drop(open);
        (Place { admission: self.clone(), number, connection }, evicted)
    }

    /// Closes the longest idle connection, if there is one.
    pub(super) fn evict_idlest(&self) -> bool {
        self.lock().evict_idlest(None)
    }

    /// Open connections now.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.lock().connections.len()
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // The table stays whole at every step, so a panic elsewhere under the lock leaves it usable.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// A scan over all: only done when the table is full, over at most [`MOST_CONNECTIONS`] entries.
    fn evict_idlest(&mut self, network: Option<IpAddr>) -> bool {
        let idlest = self
            .connections
            .iter()
            .filter(|(_, one)| network.is_none_or(|network| one.network == network))
            .min_by_key(|(number, one)| (one.active.load(Relaxed), **number))
            .map(|(number, _)| *number);
        let Some(number) = idlest else { return false };
        if let Some(connection) = self.remove(number) {
            connection.closed.cancel();
        }
        true
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Connection>> {
        let connection = self.connections.remove(&number)?;
        if let Some(count) = self.networks.get_mut(&connection.network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&connection.network);
            }
        }
        Some(connection)
    }
}

/// Says that a connection is in use; does not hold its place.
#[derive(Debug, Clone)]
pub(super) struct Activity {
    admission: Arc<Admission>,
    connection: Arc<Connection>,
}

impl Activity {
    /// As [`Place::touch`].
    pub(super) fn touch(&self) {
        self.connection.active.store(self.admission.milliseconds(), Relaxed);
    }
}

impl Place {
    /// For the connection's streams, which may outlive it by a moment.
    pub(super) fn activity(&self) -> Activity {
        Activity { admission: self.admission.clone(), connection: self.connection.clone() }
    }

    /// A whole message came: the connection is the least idle one now.
    pub(super) fn touch(&self) {
        self.connection.active.store(self.admission.milliseconds(), Relaxed);
    }

    /// Ends when the connection has to go.
    pub(super) fn closed(&self) -> &CancellationToken {
        &self.connection.closed
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.lock().remove(self.number);
    }
}

/// The network that shares one allowance: /24 and /48, the most that one customer usually has. With less, who has a /48 would
/// have 256 allowances.
fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(address) => {
            let mut octets = [0; 16];
            octets[..6].copy_from_slice(&address.octets()[..6]);
            IpAddr::from(octets)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn client(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_goes_when_all_places_are_taken() {
        let admission = Admission::new(Limits { connections: 2, per_network: 2 });
        let parent = CancellationToken::new();
        let (first, _) = admission.admit(client("192.0.2.1"), &parent);
        let (second, _) = admission.admit(client("198.51.100.1"), &parent);
        tokio::time::advance(Duration::from_secs(1)).await;
        first.touch();
        let (third, evicted) = admission.admit(client("203.0.113.1"), &parent);
        assert_eq!(evicted, 1);
        assert!(second.closed().is_cancelled());
        assert!(!first.closed().is_cancelled() && !third.closed().is_cancelled());
        assert_eq!(admission.open(), 2);
        drop(second);
        assert_eq!(admission.open(), 2, "an evicted place is freed once");
        drop((first, third));
        assert_eq!(admission.open(), 0);
    }

    #[tokio::test]
    async fn a_network_over_its_part_pushes_out_its_own_only() {
        let admission = Admission::new(Limits { connections: 100, per_network: 1 });
        let parent = CancellationToken::new();
        let (other, _) = admission.admit(client("198.51.100.1"), &parent);
        let (first, _) = admission.admit(client("2001:db8:0:1::1"), &parent);
        let (_second, evicted) = admission.admit(client("2001:db8:0:ff00::1"), &parent);
        assert_eq!(evicted, 1);
        assert!(first.closed().is_cancelled());
        assert!(!other.closed().is_cancelled());
    }

    #[test]
    fn limits_follow_the_descriptors() {
        assert_eq!(Limits::from_descriptors(64).connections, 32);
        assert_eq!(Limits::from_descriptors(1 << 20).connections, MOST_CONNECTIONS);
        assert_eq!(Limits::from_descriptors(4).connections, FEWEST_CONNECTIONS);
    }
}
