//! Loads and reloads: one at a time, a plan waits for its first verdicts, and what is refused changes nothing.

use std::time::{Instant, SystemTime};

use tokio::sync::oneshot;

use super::super::files::{Edited, Watched};
use super::super::handle::ReloadCause;
use super::super::shift;
use super::super::status;
use super::super::view::{Moves, ReloadStatus, What};
use super::{LOADER_NICE, Loaded, Pending, Supervisor, WAIT};
use crate::config::diagnostic::{Diagnostic, LoadError, Severity};
use crate::config::plan::{Plan, ServerPlan};

/// Messages of a load that the changes keep: thousands of changes are kept, and a broken file has hundreds of messages. Status
/// has them all.
const MOST_TOLD: usize = 20;

impl Supervisor {
    /// One load at a time; what is asked meanwhile is one more load afterwards.
    pub(super) fn ask_load(
        &mut self,
        cause: ReloadCause,
        reply: Option<oneshot::Sender<ReloadStatus>>,
        edited: Option<Edited>,
    ) {
        if self.loading {
            self.asked.push_back((cause, reply, edited));
            return;
        }
        self.loading = true;
        self.waiters.extend(reply);
        let (file, loads) = (self.config_file.clone(), self.loads.clone());
        let load = move || {
            // Loading a large zone takes a core for seconds: answers come first. The nice value is the thread's own on
            // Linux, and the thread ends with the load.
            let _ = rustix::process::nice(LOADER_NICE);
            let began = SystemTime::now();
            // A load that never ended would be the last one: no other starts before it is done.
            let result = std::panic::catch_unwind(|| crate::config::load(file.as_deref())).unwrap_or_else(|_| {
                let message = "reading it failed inside rollcall; that is a defect, please report it".to_owned();
                let file = file.clone().unwrap_or_default();
                Err(LoadError { diagnostics: vec![Diagnostic::about_file(Severity::Error, &file, message, None)] })
            });
            let stale = cause == ReloadCause::Edit && edited.is_some_and(|edited| !edited.still_holds());
            let _ = loads.blocking_send(Loaded { result, cause, began, stale });
        };
        if let Err(error) = std::thread::Builder::new().name("loader".to_owned()).spawn(load) {
            self.loading = false;
            let file = self.config_file.clone().unwrap_or_default();
            let message = format!("no thread to load with: {error}");
            let error = LoadError { diagnostics: vec![Diagnostic::about_file(Severity::Error, &file, message, None)] };
            let waiters = std::mem::take(&mut self.waiters);
            self.refuse_load(&error, SystemTime::now(), cause.word(), waiters);
        }
    }

    pub(super) fn loaded(&mut self, load: Loaded) {
        self.loading = false;
        let waiters = std::mem::take(&mut self.waiters);
        let cause = load.cause;
        match load.result {
            // Somebody is still writing: what was read may be half a file. Another edit follows.
            _ if load.stale && waiters.is_empty() => tracing::debug!("files changed while they were read"),
            Ok(plan) => self.take_plan(plan, cause, waiters),
            Err(error) => self.refuse_load(&error, load.began, cause.word(), waiters),
        }
        let mut next: Option<(ReloadCause, Option<Edited>)> = None;
        while let Some((cause, reply, edited)) = self.asked.pop_front() {
            self.waiters.extend(reply);
            // A command takes what lies there, whatever else was asked.
            let cause = match next.as_ref().map_or(ReloadCause::Edit, |(known, _)| *known) {
                _ if cause == ReloadCause::Force => cause,
                ReloadCause::Edit => cause,
                known => known,
            };
            next = Some((cause, edited));
        }
        if let Some((cause, edited)) = next {
            self.ask_load(cause, None, edited);
        }
    }

    pub(super) fn refuse_load(
        &mut self,
        error: &LoadError,
        began: SystemTime,
        cause: &str,
        waiters: Vec<oneshot::Sender<ReloadStatus>>,
    ) {
        // Files that only the new text names, a certificate still to come perhaps: creating them is an edit too.
        // What changed before this load is refused already: only what changes after its beginning is an edit.
        let named = error.diagnostics.iter().map(|diagnostic| diagnostic.file.clone());
        self.watched.send_if_modified(|watched| {
            let known = watched.paths.len();
            for file in named {
                if !watched.paths.contains(&file) {
                    watched.paths.push(file);
                }
            }
            let more = watched.paths.len() > known;
            if more {
                watched.loaded = began;
            }
            more
        });
        for diagnostic in &error.diagnostics {
            tracing::error!("reload refused, the old data goes on serving: {}", diagnostic.rendered);
        }
        let status = ReloadStatus {
            ok: false,
            at: status::time_text(SystemTime::now()),
            cause: cause.to_owned(),
            messages: error.diagnostics.iter().map(ToString::to_string).collect(),
            rendered: error.diagnostics.iter().map(|diagnostic| diagnostic.rendered.clone()).collect(),
            moves: None,
        };
        if let Some(pending) = &mut self.pending {
            pending.refused = Some(status.clone());
        }
        self.tell_load(&status);
        self.finish_reload(status, waiters);
    }

    pub(super) fn finish_reload(&mut self, status: ReloadStatus, waiters: Vec<oneshot::Sender<ReloadStatus>>) {
        self.reloads[usize::from(!status.ok)] += u64::from(status.cause != ReloadCause::Start.word());
        if status.ok {
            self.taken = SystemTime::now();
        }
        self.reload = status.clone();
        let mut told = status.clone();
        told.messages.truncate(MOST_TOLD);
        told.rendered.truncate(MOST_TOLD);
        self.world.say(SystemTime::now(), What::Reload(Box::new(told)));
        for waiter in waiters {
            let _ = waiter.send(status.clone());
        }
        // A new status is news for those who watch, even when no answer changed.
        self.generations.send_modify(|_| {});
    }

    /// Gives the plan's probes to the checker, and installs it once the awaited ones have a verdict.
    pub(super) fn take_plan(&mut self, plan: Plan, cause: ReloadCause, waiters: Vec<oneshot::Sender<ReloadStatus>>) {
        let now = self.now();
        let prepared = self.world.prepare(plan, now);
        let mut waiters = waiters;
        let mut removed = Vec::new();
        let mut deadline = Instant::now() + WAIT;
        if let Some(overtaken) = self.pending.take() {
            waiters.extend(overtaken.waiters);
            removed = self.world.abandon(Some(&prepared));
            // Reloads do not lengthen the wait: not that of the start at all, later only by probes that are new with them.
            if !*self.ready.borrow() || prepared.waiting.is_subset(&overtaken.prepared.waiting) {
                deadline = overtaken.deadline;
            }
        }
        for id in &removed {
            self.cadences.remove(id);
        }
        self.checker.change(removed, prepared.added.clone());
        self.pending = Some(Pending { prepared, deadline, cause, waiters, refused: None });
        if self.pending.as_ref().is_some_and(|pending| pending.prepared.waiting.is_empty()) {
            self.install();
        }
    }

    pub(super) fn wait_is_over(&mut self) {
        if let Some(pending) = &self.pending
            && Instant::now() >= pending.deadline
        {
            tracing::warn!("{} probes gave no verdict within 5 s: they count as up", pending.prepared.waiting.len());
            self.install();
        }
    }

    pub(super) fn install(&mut self) {
        let Some(Pending { prepared, cause, waiters, refused, .. }) = self.pending.take() else { return };
        let now = self.now();
        let moves = (cause != ReloadCause::Start).then(|| self.world.preview(&prepared, now));
        if let Some(moves) = &moves
            && cause != ReloadCause::Force
            && let Some(message) = self.moves_too_much(moves)
        {
            self.refuse_move(message, moves.clone(), cause, waiters);
            return;
        }
        let (removed, replaced) = self.world.install(prepared, now);
        self.reaper.take(replaced);
        self.unlogged.extend(self.world.take_first_failures());
        for id in &removed {
            self.cadences.remove(id);
        }
        self.checker.change(removed, Vec::new());
        self.store(self.world.snapshot().clone());
        self.world.settle(now, self.now());
        self.log_transitions();
        // At once: were the process killed now, the next must know what may have been answered.
        self.unsaved = true;
        // Not while another server keeps the state: two that write one file beside the other take it from each other.
        if let Some(saver) = self.keeper() {
            saver.save(self.world.saved());
        }
        let plan = self.world.plan().clone();
        self.tokens.store(std::sync::Arc::new(plan.server.tokens.clone()));
        self.hooks.configure(&plan.server.hooks);
        self.watched.send_replace(Watched { paths: plan.server.watched.clone(), loaded: plan.began });
        if let Err(error) = crate::telemetry::change(&plan.server.log_level, plan.server.log_json) {
            tracing::warn!("log.level: {error}");
        }
        let mut messages: Vec<String> = plan.warnings.iter().map(ToString::to_string).collect();
        messages.extend(self.at_restart(&plan.server));
        for line in moves.iter().flat_map(shift::words) {
            tracing::info!("reload ({}): {line}", cause.word());
        }
        let cause = cause.word();
        if cause != ReloadCause::Start.word() {
            let (zones, pools) = (plan.zones.len(), plan.pools.len());
            tracing::info!(
                "reload ({cause}): {zones} zones, {pools} pools, generation {}",
                self.world.snapshot().generation
            );
            messages.iter().for_each(|message| tracing::warn!("{message}"));
        }
        let rendered = Vec::new();
        let at = status::time_text(now.wall);
        let status = ReloadStatus { ok: true, at, cause: cause.to_owned(), messages, rendered, moves };
        self.tell_load(&status);
        self.tell_pools();
        self.finish_reload(status, waiters);
        // Told and counted when it was refused; status goes on saying it.
        if let Some(refused) = refused {
            self.reload = refused;
        }
        self.ready.send_replace(true);
    }

    /// Why a reload moves more than `reload.max_shift`, as the plan in force has it, allows.
    fn moves_too_much(&self, moves: &Moves) -> Option<String> {
        let limit = f64::from(self.world.plan().server.max_shift?) / 10.0;
        let most = moves.moved.first().filter(|most| most.percent > limit)?;
        Some(format!(
            "the reload moves {} % of the clients of {} {}, and reload.max_shift allows {limit} %: `rollcall reload --force` \
             takes it all the same",
            most.percent, most.name, most.rtype
        ))
    }

    /// Goes on with the old data: the new plan's probes end, and what it would have done is said.
    fn refuse_move(
        &mut self,
        message: String,
        moves: Moves,
        cause: ReloadCause,
        waiters: Vec<oneshot::Sender<ReloadStatus>>,
    ) {
        let removed = self.world.abandon(None);
        for id in &removed {
            self.cadences.remove(id);
        }
        self.checker.change(removed, Vec::new());
        tracing::error!("reload refused, the old data goes on serving: {message}");
        let at = status::time_text(SystemTime::now());
        let (messages, rendered, cause) = (vec![message], Vec::new(), cause.word().to_owned());
        let status = ReloadStatus { ok: false, at, cause, messages, rendered, moves: Some(moves) };
        self.tell_load(&status);
        self.finish_reload(status, waiters);
    }

    /// Settings that were changed but wait for a restart.
    pub(super) fn at_restart(&self, new: &ServerPlan) -> Vec<String> {
        let Some(old) = &self.bound else { return Vec::new() };
        let listen = |plan: &ServerPlan| {
            (plan.dns.clone(), plan.tls.clone(), plan.https.clone(), plan.quic.clone(), plan.control.clone())
        };
        [
            ("listen", listen(old) != listen(new)),
            ("user", old.user != new.user),
            ("state_dir", old.state_dir != new.state_dir),
            ("dns.udp_workers", old.udp_workers != new.udp_workers),
            ("dns.max_udp_payload", old.dns_options.max_udp_payload < new.dns_options.max_udp_payload),
            ("tls", old.certificate != new.certificate),
        ]
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(key, _)| format!("{key} changed: takes effect at restart"))
        .collect()
    }
}
