//! Health checks of Route 53 as checks.

use std::collections::HashMap;

use super::super::draft::{Item, Val};
use super::super::unique;
use super::input::{HealthCheck, HealthCheckConfig, HealthChecks};

/// The checks that are used, made as they are asked for.
#[derive(Debug, Default)]
pub(super) struct Checks {
    known: HashMap<String, HealthCheckConfig>,
    /// By identifier, and by the address that is probed in place of the backend's.
    made: HashMap<(String, Option<String>), Option<String>>,
    pub(super) items: Vec<Item>,
    pub(super) notes: Vec<String>,
}

impl Checks {
    pub(super) fn new(input: HealthChecks) -> Checks {
        let known = input.checks.into_iter().map(|HealthCheck { id, health_check_config }| (id, health_check_config));
        Checks { known: known.collect(), ..Checks::default() }
    }

    /// The name of the check for a record set that answers these addresses; `None` when it counts as healthy always.
    pub(super) fn use_for(&mut self, id: &str, answered: &[String]) -> Option<String> {
        let Some(config) = self.known.get(id).cloned() else {
            self.note(format!("health check {id} is not in the file of health checks: its records count as healthy"));
            return None;
        };
        // What is probed is what is answered, or it has to be said.
        let target = config.address.clone().filter(|address| answered.iter().any(|one| one != address));
        let made = (id.to_owned(), target.clone());
        if let Some(name) = self.made.get(&made) {
            return name.clone();
        }
        // Entered first: calculated checks that name themselves end here.
        self.made.insert(made.clone(), None);
        let name = self.make(id, &config, target.as_deref(), answered);
        self.made.insert(made, name.clone());
        name
    }

    fn make(
        &mut self,
        id: &str,
        config: &HealthCheckConfig,
        target: Option<&str>,
        answered: &[String],
    ) -> Option<String> {
        if config.disabled {
            self.note(format!("health check {id} is disabled, so its records count as healthy"));
            return None;
        }
        let mut keys = match config.kind.as_str() {
            "CALCULATED" => self.calculated(id, config, answered)?,
            "TCP" | "HTTP" | "HTTPS" | "HTTP_STR_MATCH" | "HTTPS_STR_MATCH" => self.probe(id, config, target),
            other => {
                self.note(format!(
                    "health check {id} is of type {other}, which rollcall has no like of: its records count as healthy"
                ));
                return None;
            }
        };
        if config.inverted {
            keys.push(("invert", Val::Bool(true)));
        }
        let short: String = id.chars().take(8).collect();
        let name = unique(&format!("hc-{short}"), |name| self.items.iter().any(|item| item.name == name));
        self.items.push(Item::new(&name, keys));
        Some(name)
    }

    fn probe(&mut self, id: &str, config: &HealthCheckConfig, target: Option<&str>) -> Vec<(&'static str, Val)> {
        let kind = match config.kind.as_str() {
            "TCP" => "tcp",
            kind if kind.starts_with("HTTPS") => "https",
            _ => "http",
        };
        let interval = config.request_interval.unwrap_or(30);
        let threshold = config.failure_threshold.unwrap_or(3);
        // Connecting may take 4 s, the status 2 s more, a body to look at 2 s more; over TCP connecting may take 10 s.
        let timeout = match config.kind.as_str() {
            "TCP" => 10,
            "HTTP" | "HTTPS" => 6,
            _ => 8,
        };
        let default_port = match kind {
            "tcp" => None,
            "https" => Some(443),
            _ => Some(80),
        };
        let mut keys = vec![("type", Val::text(kind))];
        if let Some(port) = config.port.filter(|port| Some(*port) != default_port) {
            keys.push(("port", Val::Int(port.into())));
        }
        if kind != "tcp" {
            if let Some(path) = config.resource_path.as_deref().filter(|path| !path.is_empty()) {
                let slash = if path.starts_with('/') { "" } else { "/" };
                keys.push(("path", Val::Text(format!("{slash}{path}"))));
            }
            if let Some(host) = &config.domain_name {
                keys.push(("host", Val::text(host)));
            }
            if let Some(text) = &config.search_string {
                keys.push(("expect_body", Val::text(text)));
            }
        }
        if kind == "https" {
            // Route 53 never verifies certificates.
            keys.push(("tls", Val::table([("verify", Val::Bool(false))])));
            self.note(format!(
                "health check {id}: the certificate is not verified, as with Route 53; remove tls.verify to do so"
            ));
        }
        keys.push(("interval", Val::Text(format!("{interval}s"))));
        keys.push(("timeout", Val::Text(format!("{}s", timeout.min(interval)))));
        keys.push(("fall", Val::Int(threshold.into())));
        keys.push(("rise", Val::Int(threshold.into())));
        if let Some(target) = target {
            keys.push(("target", Val::text(target)));
            self.note(format!("health check {id} probes {target}, which is not the address that is answered"));
        }
        if config.address.is_none() && config.domain_name.is_some() {
            self.note(format!(
                "health check {id} looks {} up and probes what it finds; here the answered address is probed, with that host",
                config.domain_name.as_deref().unwrap_or_default()
            ));
        }
        keys
    }

    fn calculated(
        &mut self,
        id: &str,
        config: &HealthCheckConfig,
        answered: &[String],
    ) -> Option<Vec<(&'static str, Val)>> {
        let children: Vec<String> =
            config.child_health_checks.iter().filter_map(|child| self.use_for(child, answered)).collect();
        let lost = config.child_health_checks.len() - children.len();
        let need = config.health_threshold.unwrap_or(0);
        if children.is_empty() {
            self.note(format!("calculated health check {id} has no child left: its records count as healthy"));
            return None;
        }
        if lost > 0 {
            self.note(format!(
                "calculated health check {id}: {lost} of its children count as healthy always and are left out"
            ));
        }
        let need = need.saturating_sub(u32::try_from(lost).unwrap_or(u32::MAX));
        Some(vec![("type", Val::text("of")), ("need", Val::Int(need.into())), ("checks", Val::list(children))])
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}
