//! What changed between two statuses, one line a change: `status --watch` and `demo` where there is no terminal.

use std::collections::BTreeMap;

use super::lines::{self, ToneLine, state_word};
use super::words::{Tone, clean, since, tone};
use crate::control::view::{BackendStatus, FamilyStatus, Status, TransitionStatus};

/// The first lines: every backend and every pool as they are.
pub fn first(status: &Status) -> Vec<ToneLine> {
    let mut all = Vec::new();
    for (zone, pool) in pools(status) {
        for backend in &pool.backends {
            all.push(stamped(status, backend_now(status, backend)));
        }
        for family in &pool.families {
            all.push(stamped(status, answering(zone, &pool.pool, family)));
        }
    }
    all
}

/// The lines of what is different in `new`.
pub fn between(old: &Status, new: &Status) -> Vec<ToneLine> {
    // A transition without an address is an override: told below, with who said it.
    let fresh = || fresh_transitions(old, new).filter(|transition| !transition.address.is_empty());
    let mut all: Vec<ToneLine> = fresh().map(lines::transition_line).collect();
    let mentioned: Vec<&str> = fresh().map(|transition| transition.id.as_str()).collect();

    let before: BTreeMap<&str, &BackendStatus> = backends(old).collect();
    for (id, backend) in backends(new) {
        let Some(was) = before.get(id) else {
            all.push(stamped(new, backend_now(new, backend)));
            continue;
        };
        if was.forced != backend.forced {
            all.push(stamped(new, override_change(backend)));
        } else if was.state != backend.state && !mentioned.contains(&id) {
            all.push(stamped(new, backend_now(new, backend)));
        }
    }
    let now: BTreeMap<&str, &BackendStatus> = backends(new).collect();
    for (id, _) in backends(old).filter(|(id, _)| !now.contains_key(id)) {
        all.push(stamped(new, vec![(Tone::Plain, clean(id)), (Tone::Quiet, " is gone".to_string())]));
    }

    let families: BTreeMap<(&str, &str, &str), &FamilyStatus> = families(old).collect();
    for (key, family) in self::families(new) {
        let same = families.get(&key).is_some_and(|was| was.answering == family.answering && was.state == family.state);
        if !same {
            all.push(stamped(new, answering(key.0, key.1, family)));
        }
    }
    if old.reload != new.reload {
        all.extend(lines::reload(new).into_iter().map(|line| stamped(new, line)));
    }
    all
}

/// Transitions in `new` that came after the last of `old`. The list is cut at its old end, so places say nothing.
fn fresh_transitions<'a>(old: &'a Status, new: &'a Status) -> impl Iterator<Item = &'a TransitionStatus> {
    let start = match old.transitions.last() {
        Some(last) => new.transitions.iter().rposition(|transition| transition == last).map_or(0, |place| place + 1),
        None => 0,
    };
    new.transitions[start..].iter()
}

fn backend_now(status: &Status, backend: &BackendStatus) -> ToneLine {
    let reasons: Vec<String> = backend
        .addresses
        .iter()
        .map(|address| match &address.since {
            Some(then) => {
                format!("{} {} ({})", clean(&address.address), clean(&address.reason), since(&status.now, then))
            }
            None => format!("{} {}", clean(&address.address), clean(&address.reason)).trim_end().to_string(),
        })
        .collect();
    vec![
        (Tone::Plain, format!("{} ", clean(&backend.id))),
        (tone(&backend.state), clean(&backend.state)),
        (Tone::Quiet, format!("  {}", reasons.join(", "))),
    ]
}

fn override_change(backend: &BackendStatus) -> ToneLine {
    let words = match &backend.forced {
        None => "override removed".to_string(),
        Some(forced) => {
            let by = forced.by.as_deref().map(|by| format!(" by {}", clean(by))).unwrap_or_default();
            let reason = forced.reason.as_deref().map(|reason| format!(": {}", clean(reason))).unwrap_or_default();
            format!("override {}{by}{reason}", state_word(forced.state))
        }
    };
    vec![
        (Tone::Plain, format!("{} ", clean(&backend.id))),
        (tone(&backend.state), clean(&backend.state)),
        (Tone::Warn, format!("  {words}")),
    ]
}

fn answering(zone: &str, pool: &str, family: &FamilyStatus) -> ToneLine {
    let answering = if family.answering.is_empty() {
        "nothing".to_string()
    } else {
        family.answering.iter().map(|name| clean(name)).collect::<Vec<_>>().join(", ")
    };
    vec![
        (Tone::Plain, format!("{}/{} {} now answers {answering}", clean(zone), clean(pool), clean(&family.rtype))),
        (tone(&family.state), format!("  {}", clean(&family.why))),
    ]
}

fn stamped(status: &Status, line: ToneLine) -> ToneLine {
    std::iter::once((Tone::Quiet, format!("{}  ", lines::time_of_day(&status.now)))).chain(line).collect()
}

fn pools(status: &Status) -> impl Iterator<Item = (&str, &crate::control::view::PoolStatus)> {
    status.zones.iter().flat_map(|zone| zone.pools.iter().map(move |pool| (zone.zone.as_str(), pool)))
}

fn backends(status: &Status) -> impl Iterator<Item = (&str, &BackendStatus)> {
    pools(status).flat_map(|(_, pool)| pool.backends.iter().map(|backend| (backend.id.as_str(), backend)))
}

fn families(status: &Status) -> impl Iterator<Item = ((&str, &str, &str), &FamilyStatus)> {
    pools(status).flat_map(|(zone, pool)| {
        pool.families.iter().map(move |family| ((zone, pool.pool.as_str(), family.rtype.as_str()), family))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{sample, text};
    use super::*;
    use crate::config::plan::AdminState;
    use crate::control::view::OverrideStatus;

    fn words(lines: Vec<ToneLine>) -> String {
        lines.iter().map(|line| text::line(line, false)).collect()
    }

    #[test]
    fn nothing_new_is_no_line() {
        let mut later = sample::status();
        later.now = "2026-11-21T03:00:01.000Z".to_string();
        assert_eq!(words(between(&sample::status(), &later)), "");
    }

    #[test]
    fn a_verdict_is_one_line_with_its_reason_and_one_for_the_answers() {
        let old = sample::status();
        let mut new = sample::status();
        let pool = &mut new.zones[0].pools[0];
        pool.backends[0].state = "down".to_string();
        pool.families[0].answering = vec!["spare".to_string()];
        pool.families[0].why = "tier 1: 1 of 1 up".to_string();
        new.transitions.push(TransitionStatus {
            at: "2026-11-21T03:00:00.500Z".to_string(),
            id: "lb.example.com/web/a".to_string(),
            address: "192.0.2.10".to_string(),
            from: "up".to_string(),
            to: "down".to_string(),
            reason: "status 503".to_string(),
            took_ms: Some(1_420),
        });
        assert_eq!(
            words(between(&old, &new)),
            "03:00:00.500  lb.example.com/web/a 192.0.2.10  up -> down  status 503  1.42 s after the first sign\n\
             03:00:00.000  lb.example.com/web A now answers spare  tier 1: 1 of 1 up\n"
        );
    }

    #[test]
    fn transitions_are_told_once_though_the_list_is_cut() {
        let mut old = sample::status();
        let mut new = sample::status();
        let numbered =
            |number: u32| TransitionStatus { reason: number.to_string(), ..sample::status().transitions[0].clone() };
        old.transitions = (0..100).map(numbered).collect();
        new.transitions = (2..102).map(numbered).collect();
        let fresh: Vec<&str> = fresh_transitions(&old, &new).map(|transition| transition.reason.as_str()).collect();
        assert_eq!(fresh, ["100", "101"]);
    }

    #[test]
    fn overrides_reloads_and_backends_that_come_and_go_are_told() {
        let old = sample::status();
        let mut new = sample::status();
        let backends = &mut new.zones[0].pools[0].backends;
        backends[1].forced = Some(OverrideStatus {
            state: AdminState::Down,
            since: new.now.clone(),
            until: None,
            reason: Some("rack 7".to_string()),
            by: Some("bob".to_string()),
        });
        backends[1].state = "forced down".to_string();
        backends.remove(3);
        backends.push(sample::backend("fresh", "192.0.2.99", "up", "status 200"));
        new.reload.ok = false;
        new.reload.cause = "edit".to_string();
        new.reload.messages = vec!["zones/lb.toml:3: no".to_string()];
        let words = words(between(&old, &new));
        for line in [
            "lb.example.com/web/b forced down  override down by bob: rack 7\n",
            "lb.example.com/web/spare is gone\n",
            "lb.example.com/web/fresh up  192.0.2.99 status 200 (12m)\n",
            "reload refused 2m 0s ago (edit)",
            "zones/lb.toml:3: no\n",
        ] {
            assert!(words.contains(line), "{line:?} is not in\n{words}");
        }
    }
}
