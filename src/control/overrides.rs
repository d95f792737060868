//! Operators' words about backends: kept by name, so that they outlive reloads and restarts, and ended by the clock.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::memory::SavedOverride;
use super::zone_text;
use crate::config::plan::{AdminState, BackendPlan, PoolPlan};
use crate::engine::glob::matches;

/// `zone/pool/backend`, the zone without its final dot.
pub(crate) type BackendKey = (String, String, String);

pub(crate) fn backend_key(pool: &PoolPlan, backend: &BackendPlan) -> BackendKey {
    (zone_text(&pool.zone), pool.name.clone(), backend.name.clone())
}

/// All overrides.
#[derive(Debug, Default, Clone)]
pub(crate) struct Overrides(BTreeMap<BackendKey, Override>);

/// One override.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// `auto` removes it.
    pub state: AdminState,
    /// When it was said.
    pub since: SystemTime,
    /// When it ends by itself.
    pub until: Option<SystemTime>,
    /// Why.
    pub reason: Option<String>,
    /// Who.
    pub by: Option<String>,
}

impl Overrides {
    pub(crate) fn restore(saved: &[SavedOverride], now: SystemTime) -> Overrides {
        let entries = saved.iter().filter(|one| one.until.is_none_or(|until| until > now)).map(|one| {
            let key = (one.zone.clone(), one.pool.clone(), one.backend.clone());
            let entry = Override {
                state: one.state,
                since: one.since,
                until: one.until,
                reason: one.reason.clone(),
                by: one.by.clone(),
            };
            (key, entry)
        });
        Overrides(entries.collect())
    }

    pub(crate) fn saved(&self) -> Vec<SavedOverride> {
        self.0
            .iter()
            .map(|((zone, pool, backend), one)| SavedOverride {
                zone: zone.clone(),
                pool: pool.clone(),
                backend: backend.clone(),
                state: one.state,
                since: one.since,
                until: one.until,
                reason: one.reason.clone(),
                by: one.by.clone(),
            })
            .collect()
    }

    /// What was said of that backend.
    pub(crate) fn of(&self, pool: &PoolPlan, backend: &BackendPlan) -> Option<&Override> {
        // A key is three new strings, and mostly nothing was said of anybody.
        if self.0.is_empty() { None } else { self.0.get(&backend_key(pool, backend)) }
    }

    /// Whether some end by themselves.
    pub(crate) fn any_ends(&self) -> bool {
        self.0.values().any(|one| one.until.is_some())
    }

    /// `auto` removes.
    pub(crate) fn set(&mut self, key: BackendKey, entry: Override) {
        if entry.state == AdminState::Auto {
            self.0.remove(&key);
        } else {
            self.0.insert(key, entry);
        }
    }

    /// Removes and returns those whose time has come.
    pub(crate) fn expire(&mut self, now: SystemTime) -> Vec<BackendKey> {
        let gone: Vec<BackendKey> = self
            .0
            .iter()
            .filter(|(_, one)| one.until.is_some_and(|until| until <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &gone {
            self.0.remove(key);
        }
        gone
    }
}

/// Whether `text` matches `pattern`, as [`matches`] has it.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    matches(pattern.as_bytes(), text.as_bytes())
}

/// Whether the pattern names the backend of that id: by its whole id, by pool and name, or by name alone; each part a glob.
pub(crate) fn names_backend(pattern: &str, id: &str) -> bool {
    let (parts, wanted): (Vec<&str>, Vec<&str>) = (id.split('/').collect(), pattern.split('/').collect());
    let Some(skip) = parts.len().checked_sub(wanted.len()) else { return false };
    wanted.iter().zip(&parts[skip..]).all(|(wanted, part)| glob(wanted, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_named_by_as_much_of_its_id_as_is_said() {
        let id = "lb.example.com/web/b1";
        for pattern in ["b1", "b*", "web/b1", "*/b1", "lb.example.com/web/b1", "*/*/*"] {
            assert!(names_backend(pattern, id), "{pattern}");
        }
        for pattern in ["", "b2", "api/b1", "web", "other/web/b1", "x/lb.example.com/web/b1"] {
            assert!(!names_backend(pattern, id), "{pattern}");
        }
    }

    #[test]
    fn an_override_ends_by_itself_and_auto_removes_it() {
        let start = SystemTime::UNIX_EPOCH;
        let key = || ("z".to_owned(), "p".to_owned(), "b".to_owned());
        let one = |state, until| Override { state, since: start, until, reason: None, by: None };
        let mut overrides = Overrides::default();
        let later = start + std::time::Duration::from_secs(60);
        overrides.set(key(), one(AdminState::Down, Some(later)));
        assert!(overrides.expire(start).is_empty());
        assert_eq!(overrides.expire(later), [key()]);
        overrides.set(key(), one(AdminState::Drain, None));
        overrides.set(key(), one(AdminState::Auto, None));
        assert!(overrides.0.is_empty());
    }
}
