//! A gdnsd 3 configuration directory as server file and zone TOML. Written by its manual pages (gdnsd.config(5),
//! gdnsd.zonefile(5), gdnsd-plugin-*(8)).
//!
//! | there | here |
//! |---|---|
//! | service_types | checks |
//! | multifo | a pool, `on_all_down = "every"` |
//! | simplefo | a pool with two tiers |
//! | weighted | a pool, policy `weighted`; with groups a pool for each and a route |
//! | metafo | a route of type `failover` |
//! | geoip | a map, and a route of type `map` or `nearest` |
//! | DYNA, DYNC | names |

mod plugins;
mod services;
mod vscf;
mod zones;

use std::fmt::Write;
use std::path::Path;

use super::draft::{Val, inline, put_head};
use super::{GdnsdArgs, Imported, Progress, bind};
use crate::cli::Failure;
use crate::config::keys;
use plugins::Plugins;
use vscf::Vscf;

/// Options that are about the process, the socket's buffers or threads: nothing here depends on them.
const WITHOUT_MEANING: &[&str] = &[
    "tcp_threads",
    "udp_threads",
    "tcp_fastopen",
    "tcp_backlog",
    "udp_rcvbuf",
    "udp_sndbuf",
    "run_dir",
    "state_dir",
    "weaker_security",
    "acme_challenge_ttl",
    "acme_challenge_dns_ttl",
    "zones_strict_data",
    "zones_rfc1035_threads",
    "lock_mem",
];

pub(super) fn import(args: &GdnsdArgs, progress: &Progress) -> Result<Imported, Failure> {
    let directory = &args.directory;
    let path = directory.join("config");
    // Without a file gdnsd has its defaults.
    let config = if path.exists() { vscf::read(&path).map_err(Failure::wrong)? } else { Vscf::Hash(Vec::new()) };
    let mut plugins = Plugins::new(&config, directory);
    let options = config.get("options").cloned().unwrap_or(Vscf::Hash(Vec::new()));
    let default_ttl = options.get("zones_default_ttl").and_then(Vscf::text).and_then(|ttl| ttl.parse().ok());
    let mut zone_notes = Vec::new();
    let mut imported = Imported::default();
    for path in zones::files(&directory.join("zones"))? {
        progress.say(format!("reading {}", path.display()));
        let mut notes = Vec::new();
        let draft = zones::draft(&path, default_ttl.unwrap_or(86_400), &mut plugins, &mut notes)?;
        imported.files.push((Path::new("zones").join(bind::file_name(&draft.zone)), draft.write(&notes)));
        zone_notes.extend(notes.into_iter().map(|note| format!("{}: {note}", path.display())));
    }
    if imported.files.is_empty() {
        return Err(Failure::wrong(format!("{} holds no zone", directory.join("zones").display())));
    }
    let (listen, mut notes) = listen(&options);
    plugins.note_unused();
    notes.append(&mut plugins.notes);
    let head = [format!("Imported from {} (gdnsd) by rollcall {}.", directory.display(), crate::VERSION)];
    let mut server = String::new();
    put_head(&head, &notes, &mut server);
    let _ =
        write!(server, "zones = \"zones\"\n\n[listen]\ndns     = {}\ncontrol = \"127.0.0.1:8053\"\n", inline(&listen));
    plugins.parts.put(&keys::SERVER, &mut server);
    imported.unread = plugins.parts.unread(&keys::SERVER);
    imported.files.insert(0, ("rollcall.toml".into(), server));
    imported.notes = notes.into_iter().chain(zone_notes).collect();
    Ok(imported)
}

/// The addresses to listen on, and what of the options is left behind.
fn listen(options: &Vscf) -> (Val, Vec<String>) {
    let mut notes = Vec::new();
    let port = options.get("dns_port").and_then(Vscf::text).unwrap_or("53").to_owned();
    let mut addresses: Vec<String> = match options.get("listen") {
        None => vec!["any".to_owned()],
        Some(Vscf::Hash(entries)) => {
            for (address, settings) in entries.iter().filter(|(_, settings)| !settings.entries().is_empty()) {
                let keys: Vec<&str> = settings.entries().iter().map(|(key, _)| key.as_str()).collect();
                notes.push(format!("options.listen.{address}: {} is not carried over", keys.join(", ")));
            }
            entries.iter().map(|(address, _)| address.clone()).collect()
        }
        Some(other) => other.texts(),
    };
    if addresses == ["any"] {
        addresses = vec!["0.0.0.0".to_owned(), "::".to_owned()];
    }
    let listen = addresses.iter().filter_map(|address| {
        if let Ok(address) = address.parse::<std::net::IpAddr>() {
            return Some(std::net::SocketAddr::new(address, port.parse().ok()?).to_string());
        }
        Some(address.parse::<std::net::SocketAddr>().ok()?.to_string())
    });
    let listen = Val::list(listen.collect::<Vec<_>>());
    let carried = ["listen", "dns_port", "zones_default_ttl"];
    let left: Vec<&str> = options
        .entries()
        .iter()
        .map(|(key, _)| key.as_str())
        .filter(|key| !carried.contains(key) && !WITHOUT_MEANING.contains(key))
        .collect();
    if !left.is_empty() {
        notes.push(format!("options not carried over: {}", left.join(", ")));
    }
    (listen, notes)
}

#[cfg(test)]
mod tests;
