//! What waits for one hook.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::super::events::Event;
use super::super::view::HookStatus;

/// Events that wait; some 300 octets each.
pub(super) const MOST_WAITING: usize = 4096;
/// Events of one delivery.
pub(super) const AT_ONCE: usize = 100;
/// What follows the first event within that time goes with it.
const GATHER: Duration = Duration::from_millis(200);

/// The queue of one hook.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// Something came, or the end.
    news: Notify,
    end: Notify,
}

#[derive(Default)]
struct Inner {
    events: VecDeque<Event>,
    /// In the batch under way.
    under_way: usize,
    /// Dropped, and the receiver does not know it yet.
    untold: u64,
    dropped: u64,
    delivered: u64,
    error: Option<String>,
    closed: bool,
}

/// What is delivered together.
#[derive(Debug, PartialEq)]
pub(super) struct Batch {
    pub(super) id: String,
    pub(super) events: Vec<Event>,
    pub(super) dropped: u64,
}

impl Queue {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event. `true`: it is the first for which another one had to go.
    pub(super) fn push(&self, event: Event) -> bool {
        let mut inner = self.inner();
        let full = inner.events.len() == MOST_WAITING;
        let first = full && inner.untold == 0;
        if full {
            inner.events.pop_front();
            inner.untold += 1;
            inner.dropped += 1;
        }
        inner.events.push_back(event);
        drop(inner);
        self.news.notify_one();
        first
    }

    /// The next events, when there are some; `None` when the hook has ended.
    pub(super) async fn next(&self) -> Option<Batch> {
        loop {
            let (waiting, closed) = {
                let inner = self.inner();
                (inner.events.len(), inner.closed)
            };
            match waiting {
                0 if closed => return None,
                0 => self.news.notified().await,
                // There is nothing to gather: a pause would only let more be dropped.
                AT_ONCE.. => break,
                _ if closed => break,
                _ => {
                    tokio::select! {
                        () = tokio::time::sleep(GATHER) => {}
                        () = self.closed() => {}
                    }
                    break;
                }
            }
        }
        let mut inner = self.inner();
        let count = inner.events.len().min(AT_ONCE);
        let events: Vec<Event> = inner.events.drain(..count).collect();
        inner.under_way = events.len();
        let dropped = std::mem::take(&mut inner.untold);
        Some(Batch { id: new_id(), events, dropped })
    }

    pub(super) fn delivered(&self, batch: &Batch) {
        let mut inner = self.inner();
        inner.delivered += batch.events.len() as u64;
        inner.under_way = 0;
        inner.error = None;
    }

    pub(super) fn failing(&self, why: &str) {
        self.inner().error = Some(why.to_owned());
    }

    /// The next delivery says that these are missing.
    pub(super) fn given_up(&self, batch: &Batch, why: &str) {
        let mut inner = self.inner();
        let count = batch.events.len() as u64;
        inner.dropped += count;
        inner.untold += count + batch.dropped;
        inner.under_way = 0;
        inner.error = Some(why.to_owned());
    }

    /// What waits is tried once more, and then the hook ends.
    pub(super) fn close(&self) {
        self.inner().closed = true;
        self.news.notify_one();
        self.end.notify_waiters();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inner().closed
    }

    /// Returns when the hook is to end.
    pub(super) async fn closed(&self) {
        let end = self.end.notified();
        tokio::pin!(end);
        // Registered before the look, so that no end is missed.
        end.as_mut().enable();
        if !self.is_closed() {
            end.await;
        }
    }

    pub(super) fn status(&self, to: String) -> HookStatus {
        let inner = self.inner();
        HookStatus {
            to,
            delivered: inner.delivered,
            waiting: inner.events.len() + inner.under_way,
            dropped: inner.dropped,
            error: inner.error.clone(),
        }
    }
}

/// Of one delivery, however often it is tried.
fn new_id() -> String {
    let mut octets = [0; 12];
    let _ = getrandom::fill(&mut octets);
    format!("msg_{}", data_encoding::HEXLOWER.encode(&octets))
}

#[cfg(test)]
mod tests {
    use super::super::super::events::What;
    use super::*;

    fn event(number: usize) -> Event {
        Event { at: String::new(), what: What::OverrideEnded { id: number.to_string() } }
    }

    fn ids(batch: &Batch) -> Vec<String> {
        batch.events.iter().filter_map(|event| event.id().map(str::to_owned)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn events_go_together_in_order_and_no_more_than_a_hundred() {
        let queue = Queue::default();
        (0..250).for_each(|number| _ = queue.push(event(number)));
        for range in [0..100, 100..200, 200..250] {
            let batch = queue.next().await.unwrap();
            assert_eq!(ids(&batch), range.map(|number| number.to_string()).collect::<Vec<_>>());
            queue.delivered(&batch);
        }
        assert_eq!(queue.status(String::new()).delivered, 250);
        queue.close();
        assert_eq!(queue.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_drops_the_oldest_and_says_how_many() {
        let queue = Queue::default();
        let said: Vec<usize> = (0..MOST_WAITING + 10).filter(|&number| queue.push(event(number))).collect();
        assert_eq!(said, [MOST_WAITING], "said once");
        let batch = queue.next().await.unwrap();
        assert_eq!((batch.dropped, ids(&batch)[0].as_str()), (10, "10"));
        queue.given_up(&batch, "status 500");
        let batch = queue.next().await.unwrap();
        assert_eq!(batch.dropped, 110, "and what was given up");
        let status = queue.status("x".to_owned());
        assert_eq!((status.dropped, status.error.as_deref()), (110, Some("status 500")));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_wakes_whoever_waits() {
        let queue = std::sync::Arc::new(Queue::default());
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await }
        });
        tokio::task::yield_now().await;
        queue.close();
        assert_eq!(waiting.await.unwrap(), None);
        queue.closed().await;
    }
}
