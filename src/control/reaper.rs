//! Frees what has been replaced, on a thread of its own. Taking a zone of a million records apart takes most of a second:
//! that must fall neither on the supervisor nor on the UDP worker that happens to let go of it last.

use std::any::Any;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Between looks at what others still hold: idle workers let go within a tenth of a second.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Added to the thread's nice value: answers come first.
const NICE: i32 = 5;

/// Something that others may still hold.
pub(super) type Replaced = Arc<dyn Any + Send + Sync>;

/// Handle to the thread; it ends with the handle.
pub(super) struct Reaper {
    inbox: Sender<Replaced>,
}

impl Reaper {
    /// Starts the thread. Without one, what is replaced is freed where it is let go of.
    pub(super) fn start() -> Reaper {
        let (inbox, replaced) = channel();
        thread::Builder::new()
            .name("reaper".to_owned())
            .spawn(move || run(&replaced))
            .map_or_else(|error| tracing::warn!("no thread to free old data with: {error}"), drop);
        Reaper { inbox }
    }

    /// Takes over what has been replaced.
    pub(super) fn take(&self, replaced: Replaced) {
        let _ = self.inbox.send(replaced);
    }
}

fn run(inbox: &Receiver<Replaced>) {
    // On Linux the nice value is the thread's own.
    let _ = rustix::process::nice(NICE);
    let mut held: Vec<Replaced> = Vec::new();
    loop {
        let next = match held.is_empty() {
            true => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => inbox.recv_timeout(LOOK_EVERY),
        };
        match next {
            Ok(replaced) => {
                held.push(replaced);
                held.extend(inbox.try_iter());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Nobody gets at it any more but who holds it already: once this is the last, it stays so.
        held.retain(|replaced| Arc::strong_count(replaced) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Weak;
    use std::sync::mpsc;
    use std::time::Instant;

    /// Says which thread it was freed by.
    struct Tells(mpsc::Sender<Option<String>>);

    impl Drop for Tells {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().name().map(str::to_owned));
        }
    }

    #[test]
    fn what_is_replaced_is_freed_here_once_nobody_else_holds_it() {
        let (freed, told) = mpsc::channel();
        let reaper = Reaper::start();
        let held = Arc::new(Tells(freed));
        reaper.take(held.clone());
        assert!(told.recv_timeout(3 * LOOK_EVERY).is_err(), "somebody holds it");
        drop(held);
        assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap().as_deref(), Some("reaper"));
    }

    #[test]
    fn what_nobody_holds_goes_at_once() {
        let reaper = Reaper::start();
        let one = Arc::new(7);
        let seen: Weak<i32> = Arc::downgrade(&one);
        reaper.take(one);
        let end = Instant::now() + Duration::from_secs(10);
        while seen.strong_count() > 0 {
            assert!(Instant::now() < end);
            thread::yield_now();
        }
    }
}
