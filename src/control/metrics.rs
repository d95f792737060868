//! The metrics: what was counted and what holds now, gathered at a scrape and written by prometheus-client. Nothing is kept
//! for them but the counters that there are; no series is made by what clients ask.
//!
//! ```text
//! workers' counters ─┐
//! world, checker ────┼─> Gathered ─> Collector ─> text (OpenMetrics 1.0, or Prometheus 0.0.4)
//! /proc/self ────────┘
//! ```

mod format;
mod process;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::explain::rcode_text;
use super::status::POOL_STATES;
use super::view::{BackendStatus, Health, HookStatus, MemoryStatus, PoolStatus, Status, ZoneStatus};
use super::world::{CheckFigures, SECONDS, Times, slug};
use crate::engine::Transport;
use crate::transport::{BOUNDS, Counted, TYPES, Timed};

/// Every state that a backend can be in, as a label.
const BACKEND_STATES: [&str; 10] =
    ["up", "down", "unknown", "unchecked", "frozen", "draining", "drained", "maintenance", "forced_up", "forced_down"];
/// The commit that the program was built from, where the build says so.
const REVISION: &str = match option_env!("ROLLCALL_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// All that the metrics say, as of one moment.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) status: Status,
    /// By transport and worker.
    pub(crate) counted: Vec<Counted>,
    /// Names of zones by the number under which their replies are counted.
    pub(crate) zones: Vec<String>,
    /// How long publications took.
    pub(crate) publications: Times,
    /// By check.
    pub(crate) checks: BTreeMap<String, CheckFigures>,
    /// By zone, pool and new state.
    pub(crate) transitions: BTreeMap<(String, String, String), u64>,
    /// When the checker's latest result came.
    pub(crate) last_result: Option<SystemTime>,
    /// Unix seconds.
    pub(crate) certificate_ends: Option<i64>,
    /// When the snapshot in force was published.
    pub(crate) stored: SystemTime,
    /// When files were last taken.
    pub(crate) taken: SystemTime,
    /// Reloads taken and refused.
    pub(crate) reloads: [u64; 2],
    pub(crate) started: SystemTime,
}

impl Gathered {
    /// The exposition.
    pub(crate) fn text(self: Box<Self>, openmetrics: bool) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(*self));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(if openmetrics { text } else { format::older(&text) })
    }
}

impl Collector for Gathered {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        self.server(&mut out)?;
        self.traffic(&mut out)?;
        self.pools(&mut out)?;
        self.backends(&mut out)?;
        self.checks(&mut out)?;
        process::write(&mut out, self.started)
    }
}

impl Gathered {
    fn server(&self, out: &mut Out<'_>) -> fmt::Result {
        let (status, nothing) = (&self.status, labels([]));
        let build = labels([("version", crate::VERSION), ("revision", REVISION)]);
        out.gauge("rollcall_build_info", "Version and commit of the running program", [(build, 1.0)])?;
        let ok = flag(status.reload.ok);
        out.gauge("rollcall_config_last_reload_successful", "Whether the last load was taken", [(nothing, ok)])?;
        out.gauge(
            "rollcall_config_last_reload_success_timestamp_seconds",
            "When files were last taken",
            [(labels([]), unix(self.taken))],
        )?;
        let reloads = ["taken", "refused"].into_iter().zip(self.reloads);
        out.counter(
            "rollcall_config_reloads",
            "Reloads since the start",
            reloads.map(|(result, count)| (labels([("result", result)]), count)),
        )?;
        let healths = [("ok", Health::Ok), ("degraded", Health::Degraded), ("critical", Health::Critical)];
        out.gauge(
            "rollcall_health",
            "The whole in one word, as status says it",
            healths.map(|(word, health)| (labels([("state", word)]), flag(status.health == health))),
        )?;
        let frozen = flag(status.frozen.is_some());
        out.gauge(
            "rollcall_frozen",
            "Whether the checker doubts itself: no backend goes down",
            [(labels([]), frozen)],
        )?;
        out.gauge(
            "rollcall_snapshot_generation",
            "Rises with every publication",
            [(labels([]), status.generation as f64)],
        )?;
        out.gauge(
            "rollcall_snapshot_published_timestamp_seconds",
            "When the answers in force were published",
            [(labels([]), unix(self.stored))],
        )?;
        let Times { buckets: counts, took } = &self.publications;
        out.histogram(
            "rollcall_publication_duration_seconds",
            "From the first verdict or command to the answers that follow from it",
            [(labels([]), took.as_secs_f64(), buckets(&SECONDS, counts))],
        )?;
        let serials = status.zones.iter().map(|zone| (labels([("zone", &zone.zone)]), f64::from(zone.serial)));
        out.gauge("rollcall_zone_serial", "SOA serial that is answered", serials)?;
        let records = status.zones.iter().map(|zone| (labels([("zone", &zone.zone)]), zone.records as f64));
        out.gauge("rollcall_zone_records", "Static records", records)?;
        let ends = self.certificate_ends.map(|ends| (labels([]), ends as f64));
        out.gauge(
            "rollcall_tls_not_after_timestamp_seconds",
            "When the certificate of DNS over TLS, HTTPS and QUIC ends",
            ends,
        )?;
        self.told(out)
    }

    /// What is kept in `state_dir`, and what is told to others.
    fn told(&self, out: &mut Out<'_>) -> fmt::Result {
        let memory = self.status.memory.as_ref();
        let stores = |memory: &MemoryStatus| {
            [("state", flag(memory.state_error.is_some())), ("journal", flag(memory.journal_error.is_some()))]
        };
        out.gauge(
            "rollcall_memory_failing",
            "Whether what is to survive a restart could not be written the last time",
            memory.into_iter().flat_map(stores).map(|(store, failing)| (labels([("store", store)]), failing)),
        )?;
        out.gauge(
            "rollcall_journal_waiting",
            "Records of the journal that wait for the disk",
            memory.map(|memory| (labels([]), memory.journal_waiting as f64)),
        )?;
        out.counter(
            "rollcall_journal_lost",
            "Records of the journal for which there was no room",
            memory.map(|memory| (labels([]), memory.journal_lost)),
        )?;
        let hooks = &self.status.hooks;
        out.gauge(
            "rollcall_hook_waiting",
            "Events that wait for a webhook or program",
            hooks.iter().map(|hook| (labels([("hook", &hook.to)]), hook.waiting as f64)),
        )?;
        let events = |hook: &HookStatus| [("delivered", hook.delivered), ("dropped", hook.dropped)];
        out.counter(
            "rollcall_hook_events",
            "Events told to a webhook or program, and those that were not",
            hooks.iter().flat_map(|hook| {
                events(hook).map(|(result, count)| (labels([("hook", &hook.to), ("result", result)]), count))
            }),
        )
    }

    fn traffic(&self, out: &mut Out<'_>) -> fmt::Result {
        let mut requests: BTreeMap<[&str; 4], u64> = BTreeMap::new();
        let mut responses: BTreeMap<(&str, String), u64> = BTreeMap::new();
        let mut timed: BTreeMap<&str, Timed> = BTreeMap::new();
        for one in &self.counted {
            let proto = word(one.transport);
            timed.entry(proto).or_default().add(&one.timed);
            for counted in &one.zones {
                let zone = self.zones.get(usize::from(counted.zone)).map_or("other", String::as_str);
                let family = if counted.ipv6 { "2" } else { "1" };
                for ((_, rtype), count) in TYPES.iter().zip(&counted.types).filter(|(_, count)| **count > 0) {
                    *requests.entry([proto, family, rtype, zone]).or_default() += count;
                }
                for (rcode, count) in counted.rcodes.iter().enumerate().filter(|(_, count)| **count > 0) {
                    let known = rcode < crate::transport::RCODES;
                    let rcode = if known { rcode_text(rcode as u16) } else { "other".to_owned() };
                    *responses.entry((zone, rcode)).or_default() += count;
                }
            }
        }
        out.counter(
            "rollcall_dns_requests",
            "Queries answered; family 1 is IPv4, 2 IPv6, as in CoreDNS. Of UDP those that rate limiting let pass",
            requests.into_iter().map(|([proto, family, rtype, zone], count)| {
                (labels([("proto", proto), ("family", family), ("type", rtype), ("zone", zone)]), count)
            }),
        )?;
        out.counter(
            "rollcall_dns_responses",
            "Replies by RCODE",
            responses.iter().map(|((zone, rcode), count)| (labels([("zone", *zone), ("rcode", rcode)]), *count)),
        )?;
        let bounds: Vec<f64> = BOUNDS.iter().map(|&bound| bound as f64 / 1e9).collect();
        out.histogram(
            "rollcall_dns_request_duration_seconds",
            "From the query's octets to the reply's, without the network; over UDP of one batch in 64",
            timed.iter().map(|(proto, timed)| {
                (labels([("proto", *proto)]), timed.nanoseconds as f64 / 1e9, buckets(&bounds, &timed.buckets))
            }),
        )?;
        self.lost(out)
    }

    /// What did not become an ordinary reply.
    fn lost(&self, out: &mut Out<'_>) -> fmt::Result {
        let traffic = &self.status.traffic;
        let dropped = traffic.iter().flat_map(|one| {
            let reasons = [
                ("port", one.dropped_port),
                ("no_query", one.silent),
                ("rate_limit", one.rate_limited),
                ("send_failed", one.send_failed),
                ("panic", one.panics),
            ];
            reasons.map(|(reason, count)| (labels([("proto", &one.transport), ("reason", reason)]), count))
        });
        out.counter("rollcall_dns_dropped", "Queries without a reply", dropped)?;
        let of = |count: fn(&super::view::TrafficStatus) -> u64| {
            traffic.iter().map(move |one| (labels([("proto", &one.transport)]), count(one)))
        };
        out.counter("rollcall_dns_received", "Messages received, whatever became of them", of(|one| one.queries))?;
        out.counter("rollcall_dns_truncated", "Replies with TC", of(|one| one.truncated))?;
        out.counter("rollcall_dns_slipped", "Replies that rate limiting cut to TC", of(|one| one.slipped))?;
        out.counter("rollcall_panics", "Panics contained: each is a defect to report", of(|one| one.panics))?;
        out.counter("rollcall_worker_restarts", "Workers and accept loops started anew", of(|one| one.restarts))?;
        let connections = traffic.iter().filter(|one| one.transport != "udp").flat_map(|one| {
            let events = [("accepted", one.accepted), ("evicted", one.evicted), ("timed_out", one.timed_out)];
            events.map(|(event, count)| (labels([("proto", &one.transport), ("event", event)]), count))
        });
        out.counter("rollcall_dns_connections", "Connections accepted, and closed before their end", connections)
    }

    fn pools(&self, out: &mut Out<'_>) -> fmt::Result {
        let pools = || self.status.zones.iter().flat_map(|zone| zone.pools.iter().map(move |pool| (zone, pool)));
        let families = || pools().flat_map(|(zone, pool)| pool.families.iter().map(move |one| (zone, pool, one)));
        let falls_back = |state: &str| matches!(state, "panic" | "closed" | "diverted");
        out.gauge(
            "rollcall_pool_fallback_active",
            "Whether no tier reaches min_healthy, so that on_all_down answers",
            families().map(|(zone, pool, one)| (family(zone, pool, &one.rtype, []), flag(falls_back(&one.state)))),
        )?;
        out.gauge(
            "rollcall_pool_state",
            "1 for the state that the pool is in",
            families().flat_map(|(zone, pool, one)| {
                let of = |state| (family(zone, pool, &one.rtype, [("state", state)]), flag(one.state == state));
                POOL_STATES.map(of)
            }),
        )?;
        out.gauge(
            "rollcall_pool_ttl_seconds",
            "TTL in force",
            families().map(|(zone, pool, one)| (family(zone, pool, &one.rtype, []), f64::from(one.ttl))),
        )?;
        out.gauge(
            "rollcall_pool_backends",
            "Backends by state",
            pools().flat_map(|(zone, pool)| {
                BACKEND_STATES.map(|state| {
                    let count = pool.backends.iter().filter(|one| slug(&one.state) == state).count();
                    (labels([("zone", zone.zone.as_str()), ("pool", &pool.pool), ("state", state)]), count as f64)
                })
            }),
        )?;
        out.counter(
            "rollcall_transitions",
            "Changes of backends' states, by the new one",
            self.transitions.iter().map(|((zone, pool, to), count)| {
                (labels([("zone", zone.as_str()), ("pool", pool), ("to", to)]), *count)
            }),
        )
    }

    fn backends(&self, out: &mut Out<'_>) -> fmt::Result {
        out.gauge(
            "rollcall_backend_state",
            "1 for the state that the backend is in",
            self.each_backend().flat_map(|(zone, pool, one)| {
                BACKEND_STATES
                    .map(|state| (backend(zone, pool, one, [("state", state)]), flag(slug(&one.state) == state)))
            }),
        )?;
        out.counter(
            "rollcall_backend_answers",
            "Answers in which the backend stood first",
            self.each_backend().map(|(zone, pool, one)| (backend(zone, pool, one, []), one.answers)),
        )?;
        out.gauge(
            "rollcall_backend_answering",
            "Whether the backend may be answered now",
            self.each_backend().map(|(zone, pool, one)| {
                (backend(zone, pool, one, []), flag(one.addresses.iter().any(|address| address.answering)))
            }),
        )?;
        out.gauge(
            "rollcall_backend_weight",
            "Weight in force: as configured, or as load and the backend's own word make it",
            self.each_backend().map(|(zone, pool, one)| {
                let weight = one.addresses.iter().find_map(|address| address.weight).unwrap_or(one.weight);
                (backend(zone, pool, one, []), f64::from(weight))
            }),
        )
    }

    fn checks(&self, out: &mut Out<'_>) -> fmt::Result {
        let uses = || {
            self.each_backend().flat_map(|(zone, pool, one)| {
                let checks =
                    one.addresses.iter().flat_map(|address| address.checks.iter().map(move |one| (address, one)));
                checks.map(move |(address, check)| {
                    let more = [("check", check.check.as_str()), ("address", &address.address)];
                    (backend(zone, pool, one, more), check)
                })
            })
        };
        let up = uses().filter(|(_, check)| check.verdict != "unknown");
        out.gauge(
            "rollcall_check_up",
            "Verdict of the check",
            up.map(|(of, check)| (of, flag(check.verdict == "up"))),
        )?;
        out.gauge(
            "rollcall_check_last_duration_seconds",
            "How long the latest probe took",
            uses().filter_map(|(of, check)| Some((of, check.latency_ms? as f64 / 1e3))),
        )?;
        out.histogram(
            "rollcall_check_duration_seconds",
            "How long probes took",
            self.checks.iter().map(|(check, figures)| {
                (
                    labels([("check", check)]),
                    figures.times.took.as_secs_f64(),
                    buckets(&SECONDS, &figures.times.buckets),
                )
            }),
        )?;
        let results = self.checks.iter().flat_map(|(check, figures)| {
            let results = ["passed", "failed"].into_iter().zip(figures.results);
            results.map(move |(result, count)| (labels([("check", check.as_str()), ("result", result)]), count))
        });
        out.counter("rollcall_check_results", "Results of probes", results)?;
        self.checker(out)
    }

    fn checker(&self, out: &mut Out<'_>) -> fmt::Result {
        let probing = &self.status.probing;
        let one = |value: u64| [(labels([]), value as f64)];
        let count = |value: u64| [(labels([]), value)];
        out.gauge("rollcall_checker_targets", "What is probed", one(probing.targets))?;
        out.gauge("rollcall_checker_in_flight", "Probes under way", one(probing.in_flight))?;
        out.gauge("rollcall_checker_watches", "Connections held by watch", one(probing.watches))?;
        out.counter(
            "rollcall_checker_late",
            "Probes begun late by more than a tenth of their interval",
            count(probing.late),
        )?;
        out.gauge(
            "rollcall_checker_lateness_max_seconds",
            "The largest lateness of a probe since the start",
            [(labels([]), Duration::from_millis(probing.latest_ms).as_secs_f64())],
        )?;
        out.counter(
            "rollcall_checker_unable",
            "Probes not made for want of something on this host",
            count(probing.unable),
        )?;
        out.counter(
            "rollcall_checker_panics",
            "Probes that panicked: each is a defect to report",
            count(probing.panics),
        )?;
        out.gauge(
            "rollcall_checker_last_result_timestamp_seconds",
            "When the latest result of all came",
            self.last_result.map(|at| (labels([]), unix(at))),
        )
    }

    fn each_backend(&self) -> impl Iterator<Item = (&ZoneStatus, &PoolStatus, &BackendStatus)> {
        self.status.zones.iter().flat_map(|zone| {
            zone.pools.iter().flat_map(move |pool| pool.backends.iter().map(move |backend| (zone, pool, backend)))
        })
    }
}

/// Labels of one series.
struct Labels<'l>(Vec<(&'static str, &'l str)>);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

fn labels<'l, const COUNT: usize>(pairs: [(&'static str, &'l str); COUNT]) -> Labels<'l> {
    Labels(pairs.into())
}

fn family<'l, const COUNT: usize>(
    zone: &'l ZoneStatus,
    pool: &'l PoolStatus,
    rtype: &'l str,
    more: [(&'static str, &'l str); COUNT],
) -> Labels<'l> {
    Labels([("zone", zone.zone.as_str()), ("pool", &pool.pool), ("type", rtype)].into_iter().chain(more).collect())
}

fn backend<'l, const COUNT: usize>(
    zone: &'l ZoneStatus,
    pool: &'l PoolStatus,
    backend: &'l BackendStatus,
    more: [(&'static str, &'l str); COUNT],
) -> Labels<'l> {
    let id = [("zone", zone.zone.as_str()), ("pool", &pool.pool), ("backend", &backend.backend)];
    Labels(id.into_iter().chain(more).collect())
}

/// Writes one family of metrics after the other.
struct Out<'e>(DescriptorEncoder<'e>);

impl Out<'_> {
    fn gauge<'l>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        series.into_iter().try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }

    /// `name` without `_total`, which is written behind it.
    fn counter<'l>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        series.into_iter().try_for_each(|(labels, value)| {
            family.encode_family(&labels)?.encode_counter::<Labels<'_>, u64, u64>(&value, None)
        })
    }

    /// One counter of seconds, `name` without `_seconds_total`.
    fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
        family.encode_counter::<Labels<'_>, f64, f64>(&value, None)
    }

    /// Series with the sum and the buckets, each with its upper bound and what fell into it alone.
    fn histogram<'l>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l>, f64, Vec<(f64, u64)>)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        series.into_iter().try_for_each(|(labels, sum, buckets)| {
            let count = buckets.iter().map(|(_, count)| count).sum();
            family.encode_family(&labels)?.encode_histogram::<Labels<'_>>(sum, count, &buckets, None)
        })
    }
}

/// Bounds with their counts; the last is that of all others.
fn buckets(bounds: &[f64], counts: &[u64]) -> Vec<(f64, u64)> {
    let bounds = bounds.iter().copied().chain([f64::INFINITY]);
    bounds.enumerate().map(|(at, bound)| (bound, counts.get(at).copied().unwrap_or(0))).collect()
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn unix(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn word(transport: Transport) -> &'static str {
    super::traffic::word(transport)
}
