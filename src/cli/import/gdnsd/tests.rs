//! A directory with each plugin, by what it becomes.

use std::collections::BTreeMap;

use super::*;
use crate::cli::import::Target;
use crate::cli::progress;

fn import_of(config: &str, zone: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("zones")).unwrap();
    std::fs::write(place.path().join("config"), config).unwrap();
    let head = "@ SOA ns1 hostmaster ( 1 7200 900 1209600 900 )\n@ NS ns1\nns1 A 192.0.2.53\n";
    std::fs::write(place.path().join("zones/example.com"), format!("{head}{zone}")).unwrap();
    let to = Target { out: None, force: false, strict: false };
    let args = GdnsdArgs { directory: place.path().to_owned(), to };
    let imported = import(&args, &progress::waiting("")).unwrap_or_else(|failure| panic!("{failure:?}"));
    let files = imported.files.into_iter().map(|(path, text)| (path.display().to_string(), text));
    (files.collect(), imported.notes)
}

#[track_caller]
fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "lacks\n{part}\nin\n{text}");
    }
}

const SERVICES: &str = "service_types => { web => { plugin => http_status, port => 8080, url_path => /ok, vhost => \
    www.example.com, down_thresh => 3, up_thresh => 2, ok_thresh => 4, interval => 8 } }\n";

#[test]
fn addresses_checks_and_ttls_are_carried_over() {
    let config = format!(
        "options => {{ listen => [ 192.0.2.53, \"[2001:db8::53]:5353\" ], zones_default_ttl => 300, chaos_response => x }}
        {SERVICES}
        plugins => {{
          multifo => {{
            service_types => web
            www => {{ up_thresh => 0.3, addrs_v4 => [ 192.0.2.1, 192.0.2.2 ], addrs_v6 => [ 2001:db8::1 ] }}
            idle => {{ a => 192.0.2.9 }}
          }}
          simplefo => {{ fo => {{ service_types => up, primary => 192.0.2.3, secondary => 192.0.2.4 }} }}
          weighted => {{ wt => {{ lb01 => [ 192.0.2.5, 30 ], lb02 => [ 192.0.2.6, 10 ] }} }}
          static => {{ s => 192.0.2.7, c => other.example.net. }}
        }}"
    );
    let zone = "www 300/30 DYNA multifo!www\nfo 60/60 DYNA simplefo!fo\nwt DYNA weighted!wt ; so\ns 20 DYNA static!s\nc 20 DYNC static!c\nx.@Z TXT hello\n";
    let (files, notes) = import_of(&config, zone);
    let (server, zone) = (&files["rollcall.toml"], &files["zones/example.com.toml"]);
    holds(server, &["dns     = [\"192.0.2.53:53\", \"[2001:db8::53]:5353\"]"]);
    holds(
        server,
        &[
            "[checks.web]",
            "type          = \"http\"",
            "expect_status = [200]",
            "interval      = \"8s\"",
            "timeout       = \"4s\"",
        ],
    );
    holds(server, &["fall          = 3", "rise          = 2", "forgive"]);
    holds(server, &["[pools.www]\ncheck       = \"web\"\nmin_healthy = \"30%\"\non_all_down = \"every\""]);
    holds(server, &["{ name = \"1\", address = [\"192.0.2.1\", \"2001:db8::1\"] },"]);
    holds(server, &["{ name = \"secondary\", address = \"192.0.2.4\", tier = 1 },", "weight = 30 }"]);
    holds(zone, &["www = { to = \"www\", ttl = { max = 300, min = 30 } }", "fo = { to = \"fo\", ttl = 60 }"]);
    holds(zone, &["wt = { to = \"wt\", ttl = { max = 300, min = 150 } }"]);
    holds(
        zone,
        &[
            "s = { A = { ttl = 20, data = \"192.0.2.7\" } }",
            "c = { CNAME = { ttl = 20, data = \"other.example.net.\" } }",
        ],
    );
    holds(zone, &["x = { TXT = \"hello\" }"]);
    for said in ["options not carried over: chaos_response", "multifo!idle", "weighted!wt: up_thresh"] {
        assert!(notes.iter().any(|note| note.contains(said)), "{said}: {notes:#?}");
    }
}

#[test]
fn datacenters_become_routes() {
    let config = format!(
        "{SERVICES} plugins => {{
          multifo => {{ eu => {{ a => 192.0.2.1, b => 192.0.2.2 }} }}
          metafo => {{ resources => {{ all => {{
            service_types => web
            datacenters => [ dc1, dc2, dc3 ]
            dcmap => {{ dc1 => %multifo!eu, dc2 => {{ lb => 192.0.2.3 }}, dc3 => fallback.example.net. }}
          }} }} }}
          geoip => {{
            maps => {{ world => {{
              geoip2_db => City.mmdb, datacenters => [ d1, d2 ]
              map => {{ EU => {{ default => [ d1, d2 ], FR => [ d1 ] }}, default => [ d2, d1 ] }}
              nets => {{ 10.0.0.0/8 => d1, 192.168.0.0/16 => [ d1 ] }}
            }}, near => {{ geoip2_db => City.mmdb, datacenters => [ d1, d2 ], auto_dc_coords => {{ d1 => [ 50.1, 8.7 ], d2 => [ 38.9, -77 ] }} }} }}
            resources => {{
              geo => {{ map => world, dcmap => {{ d1 => %multifo!eu, d2 => [ 192.0.2.8 ] }} }}
              auto => {{ map => near, dcmap => {{ d1 => 192.0.2.6, d2 => 192.0.2.7 }} }}
            }}
          }}
        }}"
    );
    let zone = "all DYNA metafo!all\none DYNA metafo!all/dc2\ngeo DYNA geoip!geo\nauto DYNA geoip!auto\n";
    let (files, notes) = import_of(&config, zone);
    let (server, zone) = (&files["rollcall.toml"], &files["zones/example.com.toml"]);
    holds(server, &["[routes.all]\ntype    = \"failover\"\nchoices = [\"eu\", \"all-dc2\"]"]);
    holds(server, &["check       = \"web\"", "networks = { \"to:d1\" = [\"10.0.0.0/8\", \"192.168.0.0/16\"] }"]);
    holds(
        server,
        &["choices = { EU = \"geo-d1-d2\", \"EU/FR\" = \"eu\", \"to:d1\" = \"eu\", default = \"geo-d2-d1\" }"],
    );
    holds(
        server,
        &[
            "{ to = \"auto-d1\", at = [50.1, 8.7] }",
            "type    = \"nearest\"",
            "{ to = \"auto-d2\", at = [38.9, -77.0] }",
        ],
    );
    holds(zone, &["one = { to = \"all-dc2\"", "all = { to = \"all\""]);
    assert!(notes.iter().any(|note| note.contains("datacenter dc3 is the name")), "{notes:#?}");
}

#[test]
fn what_is_not_known_is_said() {
    let zone = "a DYNA nonsense!x\nb DYNA multifo!none\nc DYNA weighted!cn\n";
    let config = "plugins => { multifo => {}, weighted => { cn => { a => [ x.example.net., 3 ] } } }";
    let (_, notes) = import_of(config, zone);
    for said in ["the plugin \"nonsense\"", "multifo!none: there is no such resource", "a is \"x.example.net.\""] {
        assert!(notes.iter().any(|note| note.contains(said)), "{said}: {notes:#?}");
    }
}
