//! Tells others of what happens: webhooks and programs, each with a queue and a task of its own.
//!
//! ```text
//! supervisor --- offer ---> queue (bounded) ---> batch ---> attempt ---> delivered
//!                            | full: the oldest go, counted      ^   | failed
//!                                                                +---+ backoff with jitter, for an hour at most
//! ```
//!
//! Nobody waits for a hook. One batch is under way at a time, so what arrives, arrives in order; an attempt whose answer was
//! lost is made again, so a batch may arrive twice, with the same id. What is not delivered at the end of the process is in
//! the journal alone.

mod queue;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;

use super::events::Event;
use super::view::HookStatus;
use crate::checker;
use crate::config::plan::{HookPlan, HookTarget};
use queue::{Batch, Queue};
use webhook::Webhook;

/// Before the first repetition; each further one waits twice as long.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// After that time a batch is given up, so that news may pass.
const GIVE_UP: Duration = Duration::from_secs(3600);

/// All hooks in force.
#[derive(Default)]
pub(crate) struct Hooks(Vec<Hook>);

struct Hook {
    plan: HookPlan,
    queue: Arc<Queue>,
    task: JoinHandle<()>,
}

/// What is sent: the body of a webhook, and what a program reads.
#[derive(Serialize)]
struct Delivery<'b> {
    id: &'b str,
    node: &'b str,
    version: &'static str,
    /// Events that were dropped before these, since the queue was full or an hour had passed.
    dropped: u64,
    events: &'b [Event],
}

impl Hooks {
    /// Puts another list in force. Hooks that stay keep what waits; those that go deliver it once more, and end.
    pub(crate) fn configure(&mut self, plans: &[HookPlan]) {
        let mut before = std::mem::take(&mut self.0);
        for plan in plans {
            let known = before.iter().position(|hook| hook.plan == *plan);
            let hook = known.map_or_else(|| Hook::start(plan.clone()), |at| before.swap_remove(at));
            self.0.push(hook);
        }
        before.iter().for_each(|hook| hook.queue.close());
    }

    /// Tells those who want to know.
    pub(crate) fn offer(&self, event: &Event) {
        let Some(kind) = event.kind() else { return };
        for hook in self.0.iter().filter(|hook| hook.plan.on.contains(&kind)) {
            if hook.queue.push(event.clone()) {
                let name = name(&hook.plan.target);
                tracing::warn!("{name}: its queue is full, the oldest events are dropped and counted");
            }
        }
    }

    /// Delivers what waits, once and for that long at most: an attempt that takes longer is broken off.
    pub(crate) async fn finish(&mut self, patience: Duration) {
        let hooks = std::mem::take(&mut self.0);
        hooks.iter().for_each(|hook| hook.queue.close());
        let deadline = tokio::time::Instant::now() + patience;
        for Hook { plan, queue, mut task } in hooks {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
            }
            let left = queue.status(String::new()).waiting;
            if left > 0 {
                tracing::warn!("{}: {left} events were not delivered; the journal has them", name(&plan.target));
            }
        }
    }

    pub(crate) fn status(&self) -> Vec<HookStatus> {
        self.0.iter().map(|hook| hook.queue.status(name(&hook.plan.target))).collect()
    }
}

impl Hook {
    fn start(plan: HookPlan) -> Hook {
        let queue = Arc::new(Queue::default());
        let task = tokio::spawn(run(plan.clone(), queue.clone()));
        Hook { plan, queue, task }
    }
}

/// Without what may be a secret: the path of an address.
fn name(target: &HookTarget) -> String {
    match target {
        HookTarget::Webhook { url, .. } => {
            let origin = url.find("://").map_or(0, |at| at + 3);
            let end = url[origin..].find(['/', '?']).map_or(url.len(), |at| origin + at);
            format!("webhook {}", &url[..end])
        }
        HookTarget::Exec { command } => format!("hook {}", command.first().map(String::as_str).unwrap_or_default()),
    }
}

async fn run(plan: HookPlan, queue: Arc<Queue>) {
    let sender = Sender::new(&plan);
    let name = name(&plan.target);
    let node = node();
    while let Some(batch) = queue.next().await {
        let delivery = Delivery {
            id: &batch.id,
            node: &node,
            version: crate::VERSION,
            dropped: batch.dropped,
            events: &batch.events,
        };
        let Ok(body) = serde_json::to_vec(&delivery) else { continue };
        deliver(&sender, &name, &queue, &batch, &body).await;
    }
}

/// What makes an attempt.
enum Sender {
    Webhook(Webhook),
    Program {
        command: Vec<String>,
        timeout: Duration,
    },
    /// No client could be made: every attempt fails for that.
    None(String),
}

impl Sender {
    fn new(plan: &HookPlan) -> Sender {
        match &plan.target {
            HookTarget::Exec { command } => Sender::Program { command: command.clone(), timeout: plan.timeout },
            HookTarget::Webhook { url, secret, ca } => {
                Webhook::new(url, secret, ca.clone(), plan.timeout).map_or_else(Sender::None, Sender::Webhook)
            }
        }
    }

    async fn send(&self, batch: &Batch, body: &[u8]) -> Result<(), String> {
        match self {
            Sender::Webhook(webhook) => webhook.send(&batch.id, body).await,
            Sender::Program { command, timeout } => {
                let count = batch.events.len().to_string();
                let environment = [("ROLLCALL_DELIVERY", batch.id.clone()), ("ROLLCALL_EVENTS", count)];
                checker::run_program(command, &environment, body, *timeout).await
            }
            Sender::None(why) => Err(why.clone()),
        }
    }
}

/// Tries until it is delivered, an hour has passed, or the hook is to end.
async fn deliver(sender: &Sender, name: &str, queue: &Queue, batch: &Batch, body: &[u8]) {
    let begun = tokio::time::Instant::now();
    let mut backoff = FIRST_BACKOFF;
    let mut failed = false;
    loop {
        let outcome = sender.send(batch, body).await;
        let Err(why) = outcome else {
            if failed {
                tracing::info!("{name}: delivered again");
            }
            queue.delivered(batch);
            return;
        };
        if begun.elapsed() + backoff > GIVE_UP || queue.is_closed() {
            tracing::error!("{name}: {} events are given up: {why}", batch.events.len());
            queue.given_up(batch, &why);
            return;
        }
        if !failed {
            tracing::warn!("{name}: {why}; trying again, with growing pauses, for an hour");
        }
        failed = true;
        queue.failing(&why);
        tokio::select! {
            () = tokio::time::sleep(jittered(backoff)) => {}
            () = queue.closed() => {}
        }
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

/// From half to one and a half of it: many servers must not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    let mut octets = [0; 4];
    let _ = getrandom::fill(&mut octets);
    pause / 2 + pause.mul_f64(f64::from(u32::from_le_bytes(octets)) / f64::from(u32::MAX))
}

/// This machine's name.
fn node() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_not_in_the_name() {
        let url = |url: &str| {
            let secret = crate::config::plan::HookSecret(Arc::from([0; 24]));
            name(&HookTarget::Webhook { url: url.to_owned(), secret, ca: None })
        };
        assert_eq!(url("https://hooks.example.net/T0/B1/geheim"), "webhook https://hooks.example.net");
        assert_eq!(url("http://127.0.0.1:8080?key=geheim"), "webhook http://127.0.0.1:8080");
    }

    #[test]
    fn pauses_differ_by_half() {
        let all: Vec<Duration> = (0..100).map(|_| jittered(Duration::from_secs(10))).collect();
        assert!(all.iter().all(|one| (5..=15).contains(&one.as_secs())));
        assert!(all.iter().any(|one| one.as_secs() < 8) && all.iter().any(|one| one.as_secs() > 12));
    }
}
