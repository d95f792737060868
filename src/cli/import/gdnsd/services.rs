//! service_types as checks.

use super::super::draft::{Item, Val};
use super::super::unique;
use super::vscf::Vscf;

/// What a list of service types comes to.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Service {
    /// Checks that must all pass.
    pub(super) checks: Vec<String>,
    /// One of them is always down.
    pub(super) is_down: bool,
}

/// The service types, as far as they are used.
#[derive(Debug)]
pub(super) struct Services {
    types: Vec<(String, Vscf)>,
    made: Vec<(String, Option<String>)>,
    pub(super) items: Vec<Item>,
    pub(super) notes: Vec<String>,
}

impl Services {
    pub(super) fn new(config: &Vscf) -> Services {
        let types = config.get("service_types").map(|types| types.entries().to_vec()).unwrap_or_default();
        Services { types, made: Vec::new(), items: Vec::new(), notes: Vec::new() }
    }

    /// The checks for a value of `service_types`; none is "up", as gdnsd's default.
    pub(super) fn of(&mut self, value: Option<&Vscf>) -> Service {
        let mut service = Service::default();
        for name in value.map(Vscf::texts).unwrap_or_default() {
            match name.as_str() {
                "up" => {}
                "down" => service.is_down = true,
                _ => self.add(&name, &mut service),
            }
        }
        service
    }

    pub(super) fn unused(&self) -> Vec<&str> {
        let is_used = |name: &String| self.made.iter().any(|(made, _)| made == name);
        self.types.iter().map(|(name, _)| name).filter(|name| !is_used(name)).map(String::as_str).collect()
    }

    fn add(&mut self, name: &str, service: &mut Service) {
        if let Some((_, known)) = self.made.iter().find(|(made, _)| made == name) {
            service.checks.extend(known.clone());
            return;
        }
        let Some((_, kind)) = self.types.iter().find(|(known, _)| known == name) else {
            self.notes.push(format!("service type {name:?} is not defined: what uses it counts as up"));
            self.made.push((name.to_owned(), None));
            return;
        };
        let kind = kind.clone();
        if kind.get("plugin").and_then(Vscf::text) == Some("static") {
            service.is_down |=
                kind.get("state").and_then(Vscf::text).is_some_and(|state| state.eq_ignore_ascii_case("down"));
        }
        service.is_down |= kind.get("plugin").and_then(Vscf::text) == Some("null");
        let made = self.make(name, &kind);
        service.checks.extend(made.clone());
        self.made.push((name.to_owned(), made));
    }

    fn make(&mut self, name: &str, kind: &Vscf) -> Option<String> {
        let text = |key: &str| kind.get(key).and_then(Vscf::text);
        let number = |key: &str, default: i64| text(key).and_then(|text| text.parse().ok()).unwrap_or(default);
        let mut own: Vec<&str> = Vec::new();
        let mut keys = match text("plugin") {
            Some("http_status") => {
                own.extend(["port", "url_path", "vhost", "ok_codes"]);
                let mut keys = vec![("type", Val::text("http"))];
                keys.extend(text("port").and_then(|port| port.parse().ok()).map(|port| ("port", Val::Int(port))));
                keys.extend(text("url_path").map(|path| ("path", Val::text(path))));
                keys.extend(text("vhost").map(|host| ("host", Val::text(host))));
                let codes = kind.get("ok_codes").map_or_else(|| vec!["200".to_owned()], Vscf::texts);
                let codes = codes.iter().filter_map(|code| code.parse().ok()).map(Val::Int);
                keys.push(("expect_status", Val::List(codes.collect())));
                keys
            }
            Some("tcp_connect") => {
                own.push("port");
                vec![("type", Val::text("tcp")), ("port", Val::Int(number("port", 0)))]
            }
            Some("extmon") => {
                own.push("cmd");
                let command = kind.get("cmd").map(Vscf::texts).unwrap_or_default();
                self.notes.push(format!(
                    "service type {name:?} runs {command:?}: gdnsd puts %%ITEM%% in place of the address, rollcall sets ROLLCALL_ADDRESS; look at the check"
                ));
                vec![("type", Val::text("exec")), ("command", Val::list(command))]
            }
            Some("static" | "null") => return None,
            other => {
                self.notes.push(format!(
                    "service type {name:?} is of plugin {}, which is not carried over: what uses it counts as up",
                    other.unwrap_or("?")
                ));
                return None;
            }
        };
        let interval = number("interval", 10);
        // rollcall's timeout may be the interval, gdnsd's must be less.
        let timeout = number("timeout", (interval / 2).max(1));
        keys.push(("interval", Val::Text(format!("{interval}s"))));
        keys.push(("timeout", Val::Text(format!("{}s", timeout.min(interval)))));
        keys.push(("fall", Val::Int(number("down_thresh", 10))));
        keys.push(("rise", Val::Int(number("up_thresh", 20))));
        keys.push(("forgive", Val::Int(number("ok_thresh", 10))));
        own.extend(["plugin", "interval", "timeout", "down_thresh", "up_thresh", "ok_thresh"]);
        let left: Vec<&str> =
            kind.entries().iter().map(|(key, _)| key.as_str()).filter(|key| !own.contains(key)).collect();
        if !left.is_empty() {
            self.notes.push(format!("service type {name:?}: {} is not carried over", left.join(", ")));
        }
        let name = unique(name, |name| self.items.iter().any(|item| item.name == name));
        self.items.push(Item::new(&name, keys));
        Some(name)
    }
}
