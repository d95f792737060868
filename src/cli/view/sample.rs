//! A hand-made status for the tests of the views.

use crate::config::plan::AdminState;
use crate::control::view::{
    AddressStatus, BackendStatus, CheckStatus, DrainStatus, FamilyStatus, Health, NameStatus, OverrideStatus,
    PoolStatus, ProbingStatus, ReloadStatus, Status, TransitionStatus, ZoneStatus,
};

fn at(time: &str) -> String {
    format!("2026-11-21T{time}.000Z")
}

pub(crate) fn backend(name: &str, address: &str, state: &str, reason: &str) -> BackendStatus {
    let verdict = if state == "down" { "down" } else { "up" };
    BackendStatus {
        backend: name.to_string(),
        id: format!("lb.example.com/web/{name}"),
        weight: 1,
        tier: 0,
        configured: AdminState::Auto,
        forced: None,
        state: state.to_string(),
        drain: None,
        maintenance: None,
        starting: None,
        answers: 0,
        addresses: vec![AddressStatus {
            address: address.to_string(),
            answering: state == "up",
            verdict: verdict.to_string(),
            since: Some(at("02:48:00")),
            said: String::new(),
            weight: None,
            reason: reason.to_string(),
            checks: vec![CheckStatus {
                check: "web".to_string(),
                verdict: verdict.to_string(),
                since: Some(at("02:48:00")),
                reason: reason.to_string(),
                last: Some(at("02:59:59")),
                latency_ms: Some(3),
                contrary: 0,
                needed: 3,
            }],
        }],
    }
}

pub(crate) fn status() -> Status {
    let mut a = backend("a", "192.0.2.10", "up", "status 200");
    a.weight = 3;
    a.addresses[0].checks[0].contrary = 1;
    a.addresses[0].checks[0].reason = "status 503".to_string();
    let b = backend("b", "192.0.2.11", "down", "connection refused");
    let mut c = backend("c", "192.0.2.12", "draining", "status 200");
    c.drain = Some(DrainStatus {
        id: "lb.example.com/web/c".to_string(),
        safe_to_stop_at: Some("2026-11-21T03:00:21.500Z".to_string()),
        drained: false,
        answered_by: Vec::new(),
    });
    c.forced = Some(OverrideStatus {
        state: AdminState::Drain,
        since: at("02:50:00"),
        until: Some(at("03:20:00")),
        reason: Some("kernel update".to_string()),
        by: Some("alice".to_string()),
    });
    let mut spare = backend("spare", "198.51.100.9", "unchecked", "");
    spare.tier = 1;
    spare.addresses[0].since = None;
    spare.addresses[0].checks.clear();
    Status {
        version: "0.1.0".to_string(),
        pid: 4242,
        started: at("00:00:00"),
        now: at("03:00:00"),
        generation: 17,
        frozen: None,
        health: Health::Degraded,
        listening: vec!["udp+tcp 127.0.0.1:5300".to_string()],
        traffic: Vec::new(),
        probing: ProbingStatus::default(),
        memory: None,
        hooks: Vec::new(),
        reload: ReloadStatus {
            ok: true,
            at: at("02:58:00"),
            cause: "start".to_string(),
            messages: Vec::new(),
            rendered: Vec::new(),
            moves: None,
        },
        zones: vec![ZoneStatus {
            routes: Vec::new(),
            zone: "lb.example.com".to_string(),
            file: "zones/lb.example.com.toml".to_string(),
            serial: 1_795_231_200,
            records: 5,
            names: vec![NameStatus {
                name: "www.lb.example.com".to_string(),
                rtype: "A".to_string(),
                pool: "web".to_string(),
                ttl: 30,
                answers: 1,
            }],
            pools: vec![PoolStatus {
                pool: "web".to_string(),
                policy: "weighted".to_string(),
                state: "degraded".to_string(),
                families: vec![FamilyStatus {
                    rtype: "A".to_string(),
                    state: "degraded".to_string(),
                    tier: Some(0),
                    why: "tier 0: 1 of 2 up".to_string(),
                    ttl: 30,
                    answering: vec!["a".to_string()],
                }],
                backends: vec![a, b, c, spare],
            }],
        }],
        transitions: vec![TransitionStatus {
            at: "2026-11-21T02:48:00.123Z".to_string(),
            id: "lb.example.com/web/b".to_string(),
            address: "192.0.2.11".to_string(),
            from: "up".to_string(),
            to: "down".to_string(),
            reason: "connection refused".to_string(),
            took_ms: Some(212),
        }],
    }
}
