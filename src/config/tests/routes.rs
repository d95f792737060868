//! Routes and maps: what they become, and what is wrong with them.

use super::*;

/// Pools `a`, `b` and `c` behind a zone's first lines.
const THREE: &str = "[pools.a]\nbackends = [{ address = \"192.0.2.1\" }]\n[pools.b]\nbackends = [{ address = \"192.0.2.2\" }]\n[pools.c]\nbackends = [{ address = \"192.0.2.3\" }]\n";

/// The first error of what follows the zone's first lines and the pools (nine lines), without its file.
fn first_error(text: &str) -> String {
    let errors = errors_after_zone(&format!("{THREE}{text}"));
    errors[0].strip_prefix("zones/z.toml:").unwrap_or(&errors[0]).to_owned()
}

#[test]
fn routes_become_choices_by_index_and_may_lead_to_each_other() {
    let text = r#"
[routes.best]
type = "failover"
trickle = "1%"
choices = ["split", { to = "c" }]
[routes.split]
type = "weighted"
choices = ["a", { to = "b", weight = 3 }]
[routes.sticky]
type = "hash"
ipv4_prefix = 20
choices = [{ to = "a", weight = 2 }, "b"]
[routes.world]
type = "map"
map = "net"
choices = { eu = "a", "eu/de" = "best", default = "c" }
[routes.office]
type = "schedule"
timezone = "Europe/Berlin"
default = "world"
choices = [{ to = "sticky", days = "mon-fri", from = "08:00", until = "18:00" }]
[maps.net]
networks = { eu = ["198.51.100.0/24", "2001:db8::/32"], "eu/de" = "198.51.100.128/25" }
[names]
www = "office"
"#;
    let plan = World::new(&[("zones/z.toml", &format!("{ZONE}{THREE}{text}"))]).plan();
    let route = |name: &str| plan.routes.iter().position(|route| route.name == name).unwrap();
    let to = |name: &str| Target::Route(route(name));
    let pool = |name: &str| Target::Pool(plan.pools.iter().position(|pool| pool.name == name).unwrap());
    assert_eq!(plan.zones[0].names[0].to, to("office"));
    let kind = |name: &str| &plan.routes[route(name)].kind;
    assert_eq!(*kind("best"), RouteKind::Failover { choices: vec![to("split"), pool("c")], trickle: 10 });
    assert_eq!(*kind("split"), RouteKind::Weighted { choices: vec![(pool("a"), 1), (pool("b"), 3)] });
    let key = HashKey::Client { ipv4_prefix: 20, ipv6_prefix: 56 };
    assert_eq!(*kind("sticky"), RouteKind::Hash { choices: vec![(pool("a"), 2), (pool("b"), 1)], key });
    let RouteKind::Schedule { windows, default, .. } = kind("office") else { panic!() };
    assert_eq!((windows.len(), windows[0].1, *default), (1, to("sticky"), to("world")));
    assert_eq!(windows[0].0, Window { days: [true, true, true, true, true, false, false], from: 480, until: 1080 });
    let RouteKind::Map { choices, classes, .. } = kind("world") else { panic!() };
    let order = |text: &str| -> Vec<&str> {
        let (class, _) = classes.table.find(text.parse().unwrap());
        classes.orders[class as usize].iter().map(|&choice| choices[usize::from(choice)].0.as_str()).collect()
    };
    assert_eq!(order("198.51.100.1"), ["eu", "default"]);
    assert_eq!(order("198.51.100.200"), ["eu/de", "eu", "default"]);
    assert_eq!(order("2001:db8::1"), ["eu", "default"]);
    assert_eq!(order("203.0.113.1"), ["default"]);
    assert_eq!(plan.summary()[0].split(": ").last().unwrap(), "2 records, 1 name, 5 routes, 3 pools, 3 backends");
}

#[test]
fn a_fenced_map_tries_its_region_alone() {
    let text = "[routes.r]\ntype = \"map\"\nmap = \"m\"\nfence = true\nchoices = { x = \"a\", default = \"b\" }\n[maps.m]\nnetworks = { x = \"10.0.0.0/8\" }\n[names]\nwww = \"r\"\n";
    let plan = World::new(&[("zones/z.toml", &format!("{ZONE}{THREE}{text}"))]).plan();
    let RouteKind::Map { classes, .. } = &plan.routes[0].kind else { panic!() };
    let orders: Vec<usize> = classes.orders.iter().map(|order| order.len()).collect();
    assert_eq!(orders, [1, 1]);
}

#[test]
fn what_is_wrong_with_routes_is_said_with_its_place() {
    let table: &[(&str, &str)] = &[
        (
            "[routes.r]",
            "10:9: error: route \"routes.r\" lacks \"type\"; write type = \"failover\", or map, nearest, weighted, hash, schedule",
        ),
        (
            "[routes.r]\ntype = \"failver\"",
            "11:8: error: \"routes.r.type\" must be \"map\", \"nearest\", \"weighted\", \"failover\", \"hash\" or \"schedule\", not \"failver\"; did you mean \"failover\"?",
        ),
        ("[routes.r]\ntype = \"failover\"", "10:9: error: route \"routes.r\" lacks \"choices\""),
        (
            "[routes.r]\ntype = \"failover\"\nchoices = []",
            "12:11: error: \"routes.r.choices\" is empty: a route needs at least one choice",
        ),
        (
            "[routes.r]\ntype = \"failover\"\nchoices = \"a\"",
            "12:11: error: \"routes.r.choices\" must be a list of pools and routes, not \"a\"",
        ),
        (
            "[routes.r]\ntype = \"failover\"\nchoices = [\"a\", \"bb\"]",
            "12:17: error: there is no pool or route \"bb\"",
        ),
        ("[routes.r]\ntype = \"failover\"\nchoices = [\"a\", \"a\"]", "12:17: error: \"a\" is a choice twice"),
        (
            "[routes.r]\ntype = \"failover\"\nchoices = [\"a\"]\nfence = true",
            "13:1: error: unknown key \"fence\" in routes.r; known here: type, choices, trickle",
        ),
        (
            "[routes.r]\ntype = \"failover\"\nchoices = [\"a\"]\ntrickle = \"100%\"",
            "13:11: error: \"routes.r.trickle\" must be a share above \"0%\" and below \"100%\", not \"100%\"",
        ),
        (
            "[routes.r]\ntype = \"weighted\"\nchoices = [{ to = \"a\", weigth = 1 }]",
            "12:24: error: unknown key \"weigth\" in routes.r.choices[0]; did you mean \"weight\"? known here: to, weight",
        ),
        (
            "[routes.r]\ntype = \"weighted\"\nchoices = [{ to = \"a\", weight = -1 }]",
            "12:33: error: \"routes.r.choices[0].weight\" must be a number from 0 to 65535, not -1",
        ),
        (
            "[routes.r]\ntype = \"weighted\"\nchoices = [{ weight = 1 }]",
            "12:12: error: \"routes.r.choices[0]\" does not say where it leads: it lacks \"to\"",
        ),
        (
            "[routes.r]\ntype = \"weighted\"\nchoices = [5]",
            "12:12: error: \"routes.r.choices[0]\" must be the name of a pool or route, or a table like { to = \"web\" }, not 5",
        ),
        (
            "[routes.r]\ntype = \"hash\"\nkey = \"clients\"\nchoices = [\"a\"]",
            "12:7: error: \"routes.r.key\" must be \"client\" or \"name\", not \"clients\"; did you mean \"client\"?",
        ),
        (
            "[routes.r]\ntype = \"map\"\nchoices = { default = \"a\" }",
            "10:9: error: route \"routes.r\" lacks \"map\", which says where clients are",
        ),
        (
            "[routes.r]\ntype = \"map\"\nmap = \"n\"\nchoices = { default = \"a\" }\n[maps.m]\nnetworks = { x = \"10.0.0.0/8\" }",
            "12:7: error: there is no map \"n\"",
        ),
        (
            "[routes.r]\ntype = \"map\"\nmap = \"m\"\nchoices = { x = \"a\" }\n[maps.m]\nnetworks = { x = \"10.0.0.0/8\" }",
            "13:1: error: \"routes.r.choices\" lacks \"default\": who is in no region would get no answer; NODATA for some is cached for all; say what answers them, like default = \"web\"",
        ),
        (
            "[routes.r]\ntype = \"map\"\nmap = \"m\"\nchoices = { europa = \"a\", default = \"b\" }\n[maps.m]\nnetworks = { europe = \"10.0.0.0/8\" }",
            "13:13: error: the map has no region \"europa\"; did you mean \"europe\"?",
        ),
        (
            "[routes.r]\ntype = \"map\"\nmap = \"m\"\nchoices = [\"a\"]\n[maps.m]\nnetworks = { x = \"10.0.0.0/8\" }",
            "13:11: error: \"routes.r.choices\" must be a table of regions, like { eu = \"web-eu\", default = \"web\" }, not a list",
        ),
        (
            "[routes.r]\ntype = \"nearest\"\nmap = \"m\"\nchoices = [{ to = \"a\", at = [1, 2] }]\n[maps.m]\nnetworks = { x = \"10.0.0.0/8\" }",
            "12:7: error: the map \"m\" has no \"geoip\" database, which knows where clients are",
        ),
        (
            "[routes.r]\ntype = \"nearest\"\nchoices = [{ to = \"a\", bias = 100 }]\nmap = \"m\"\n[maps.m]\nnetworks = { x = \"10.0.0.0/8\" }",
            "12:31: error: \"routes.r.choices[0].bias\" must be a number from -99 to 99, not 100",
        ),
        (
            "[routes.r]\ntype = \"schedule\"\ntimezone = \"Europe/Berln\"\ndefault = \"a\"\nchoices = [{ to = \"b\" }]",
            "12:12: error: \"routes.r.timezone\" must be a time zone like \"Europe/Berlin\" or \"UTC\", not \"Europe/Berln\"; did you mean \"Europe/Berlin\"?",
        ),
        (
            "[routes.r]\ntype = \"schedule\"\nchoices = [{ to = \"b\" }]",
            "10:9: error: route \"routes.r\" lacks \"default\": what answers at all other times",
        ),
        (
            "[routes.r]\ntype = \"schedule\"\ndefault = \"a\"\nchoices = [{ to = \"b\", days = \"mon-fry\" }]",
            "13:31: error: \"routes.r.choices[0].days\" must be days like \"mon-fri\" or \"sat,sun\", not \"mon-fry\"",
        ),
        (
            "[routes.r]\ntype = \"schedule\"\ndefault = \"a\"\nchoices = [{ to = \"b\", from = \"8:00\" }]",
            "13:31: error: \"routes.r.choices[0].from\" must be a time of day from \"00:00\" to \"24:00\", not \"8:00\"",
        ),
        (
            "[routes.r]\ntype = \"schedule\"\ndefault = \"a\"\nchoices = [{ to = \"b\", from = \"08:00\", until = \"08:00\" }]",
            "13:12: error: \"routes.r.choices[0]\" is never: it begins at 08:00 and ends at 08:00",
        ),
        (
            "[routes.r]\ntype = \"schedule\"\ndefault = \"a\"\nchoices = [\"b\"]",
            "13:12: error: \"routes.r.choices[0]\" does not say when; write { to = \"web\", days = \"mon-fri\", from = \"08:00\", until = \"18:00\" }",
        ),
        (
            "[routes.a]\ntype = \"failover\"\nchoices = [\"b\"]",
            "10:9: error: \"a\" is both a route and a pool: a name could mean either",
        ),
        ("[routes.r]\ntype = \"failover\"\nchoices = [\"r\"]", "10:9: error: routes lead in a circle: r -> r"),
        (
            "[routes.r]\ntype = \"failover\"\nchoices = [\"s\"]\n[routes.s]\ntype = \"failover\"\nchoices = [\"a\", \"d\"]\n[pools.d]\non_all_down = { to = \"r\" }\nbackends = [{ address = \"192.0.2.4\" }]",
            "10:9: error: routes lead in a circle: d -> r -> s -> d",
        ),
        (
            "[routes.\"x y\"]\ntype = \"failover\"\nchoices = [\"a\"]",
            "10:9: error: a route's name has 1 to 63 letters, digits or \"_.:-\", not \"x y\"",
        ),
        (
            "[names]\nwww = \"d\"\n[routes.r]\ntype = \"failover\"\nchoices = [\"a\"]",
            "11:7: error: there is no pool or route \"d\"",
        ),
    ];
    let wrong: Vec<String> = table
        .iter()
        .map(|(text, expected)| (text, first_error(text), expected))
        .filter(|(_, found, expected)| found != *expected)
        .map(|(text, found, expected)| format!("{text}\n  found    {found}\n  expected {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_wrong_with_maps_is_said_with_its_place() {
    let table: &[(&str, &str)] = &[
        ("[maps.m]", "10:7: error: map \"maps.m\" says nothing: it needs \"networks\", \"file\" or \"geoip\""),
        (
            "[maps.m]\nnetwork = {}",
            "11:1: error: unknown key \"network\" in maps.m; did you mean \"networks\"? known here: geoip, networks, file",
        ),
        (
            "[maps.m]\nnetworks = { x = \"10.0.0.0/33\" }",
            "11:18: error: \"maps.m.networks.x\" must be a network like \"192.0.2.0/24\", not \"10.0.0.0/33\": it is none",
        ),
        (
            "[maps.m]\nnetworks = { x = [\"10.0.0.0/8\", \"10.0.0.1/8\"] }",
            "11:33: error: \"maps.m.networks.x[1]\" must be a network like \"192.0.2.0/24\", not \"10.0.0.1/8\": 10.0.0.1/8 begins at 10.0.0.0",
        ),
        (
            "[maps.m]\nnetworks = { x = \"10.0.0.0/8\", y = \"10.0.0.0/8\" }",
            "11:36: error: the network 10.0.0.0/8 stands twice in this map",
        ),
        (
            "[maps.m]\nnetworks = { default = \"10.0.0.0/8\" }",
            "11:14: error: \"default\" is who is in no region: it cannot be one",
        ),
        (
            "[maps.m]\nnetworks = { \"a//b\" = \"10.0.0.0/8\" }",
            "11:14: error: \"a//b\" is no region's name: letters, digits, \"_.:-\" and spaces, parts joined by \"/\"",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(first_error(text), *expected, "{text}");
    }
    let missing = first_error("[maps.m]\nfile = \"networks.csv\"");
    assert!(missing.starts_with("11:8: error: ") && missing.ends_with("networks.csv does not exist"), "{missing}");
    let missing = first_error("[maps.m]\ngeoip = [\"x.mmdb\"]");
    assert!(missing.starts_with("11:10: error: ") && missing.ends_with("x.mmdb does not exist"), "{missing}");
}

#[test]
fn a_csv_says_its_lines() {
    let map = "[maps.m]\nfile = \"networks.csv\"\n[routes.r]\ntype = \"map\"\nmap = \"m\"\nchoices = { eu = \"a\", default = \"b\" }\n[names]\nwww = \"r\"\n";
    let zone = format!("{ZONE}{THREE}{map}");
    let csv = "network,region\n# a comment\n\n10.0.0.0/8,eu\n 2001:db8::/32 , eu \n::ffff:192.0.2.0/120,eu\n";
    let world = World::new(&[("zones/z.toml", &zone), ("zones/networks.csv", csv)]);
    let plan = world.plan();
    let RouteKind::Map { classes, .. } = &plan.routes[0].kind else { panic!() };
    for (address, length) in [("10.1.2.3", 2), ("2001:db8::1", 2), ("192.0.2.7", 2), ("192.0.3.7", 1)] {
        let (class, _) = classes.table.find(address.parse().unwrap());
        assert_eq!(classes.orders[class as usize].len(), length, "{address}");
    }
    assert!(plan.server.watched.contains(&world.path("zones/networks.csv")));
    world.write(
        "zones/networks.csv",
        "10.0.0.0/8,eu\n\n# so far so good\n10.0.0.0/9\n300.0.0.0/8,eu\n10.0.0.0/8,us\nx,y,z\n",
    );
    assert_eq!(
        world.errors()[..4],
        [
            "zones/networks.csv:4:1: error: a line is \"network,region\", and this has 1 fields",
            "zones/networks.csv:5:1: error: \"300.0.0.0/8\" is no network: it is none",
            "zones/networks.csv:6:1: error: the network 10.0.0.0/8 stands twice in this map",
            "zones/networks.csv:7:1: error: a line is \"network,region\", and this has 3 fields",
        ]
    );
}

#[test]
fn routes_and_maps_of_the_server_file_serve_every_zone_and_use_their_own_kind() {
    let server = "[pools.s]\nbackends = [{ address = \"192.0.2.8\" }]\n[routes.shared]\ntype = \"map\"\nmap = \"m\"\nchoices = { x = \"s\", default = \"s\" }\n[maps.m]\nnetworks = { x = \"10.0.0.0/8\" }\n[routes.idle]\ntype = \"failover\"\nchoices = [\"s\"]\n";
    let zone = |name: &str, rest: &str| {
        format!("zone = \"{name}\"\n[records]\n\"@\" = {{ NS = \"ns.x.\" }}\n[names]\nwww = \"shared\"\n{rest}")
    };
    let own = "[pools.own]\nbackends = [{ address = \"192.0.2.9\" }]\n[routes.mine]\ntype = \"map\"\nmap = \"m\"\nchoices = { x = \"own\", default = \"shared\" }\n";
    let world =
        World::new(&[("rollcall.toml", server), ("zones/a.toml", &zone("a", own)), ("zones/b.toml", &zone("b", ""))]);
    let plan = world.plan();
    let routes: Vec<String> = plan.routes.iter().map(|route| format!("{}{}", route.zone, route.name)).collect();
    assert_eq!(routes, ["a.mine", "a.shared", "b.shared"]);
    let warnings = world.warnings();
    assert!(warnings.iter().any(|line| line.ends_with("no zone uses the route \"idle\"")), "{warnings:?}");
    assert!(warnings.iter().any(|line| line.ends_with("no name answers from the route \"mine\"")), "{warnings:?}");

    world.write("rollcall.toml", &server.replace("default = \"s\"", "default = \"own\""));
    assert_eq!(
        world.errors()[..1],
        [
            "rollcall.toml:6:32: error: there is no pool or route \"own\" in the server file, whose pools and routes cannot use a zone's"
        ]
    );
    world.write("rollcall.toml", server);
    world.write("zones/b.toml", &zone("b", "[routes.shared]\ntype = \"failover\"\nchoices = [\"s\"]\n"));
    assert_eq!(
        world.errors()[..1],
        ["zones/b.toml:6:9: error: the route \"shared\" stands both here and in the server file"]
    );
    world.write("zones/b.toml", &zone("b", "[pools.shared]\nbackends = [{ address = \"192.0.2.9\" }]\n"));
    assert_eq!(
        world.errors()[..1],
        ["rollcall.toml:3:9: error: \"shared\" is both a route and a pool: a name could mean either"]
    );
}

#[test]
fn routes_too_deep_are_refused() {
    let mut text = String::new();
    for number in 0..17 {
        text.push_str(&format!("[routes.r{number}]\ntype = \"failover\"\nchoices = [\"r{}\"]\n", number + 1));
    }
    text.push_str("[routes.r17]\ntype = \"failover\"\nchoices = [\"a\"]\n");
    assert_eq!(first_error(&text), "10:9: error: 18 routes behind each other; at most 16 are followed");
    // And so are far deeper ones, however deep.
    let mut text = String::new();
    for number in 0..3_000 {
        text.push_str(&format!("[routes.r{number}]\ntype = \"failover\"\nchoices = [\"r{}\"]\n", number + 1));
    }
    text.push_str("[routes.r3000]\ntype = \"failover\"\nchoices = [\"a\"]\n");
    assert!(first_error(&text).contains("routes behind each other; at most 16 are followed"));
}

#[test]
fn families_together_make_a_route_above_draw_as_they_do() {
    let pool = |name: &str, keys: &str| {
        format!("[pools.{name}]\n{keys}\nbackends = [{{ address = [\"192.0.2.1\", \"2001:db8::1\"] }}]\n")
    };
    let key = |a: &str, b: &str, route: &str| {
        let (a, b) = (pool("a", a), pool("b", b));
        let zone = format!("{ZONE}{a}{b}[routes.r]\n{route}\nchoices = [\"a\", \"b\"]\n[names]\nwww = \"r\"\n");
        let plan = World::new(&[("zones/z.toml", &zone)]).plan();
        assert!(plan.warnings.is_empty(), "{zone}");
        plan.routes[0].together
    };
    let (weighted, together) = ("type = \"weighted\"", "family = \"together\"");
    let client = |ipv4_prefix, ipv6_prefix| Some(HashKey::Client { ipv4_prefix, ipv6_prefix });
    assert_eq!(key(together, "", weighted), client(24, 56));
    assert_eq!(key("", together, "type = \"failover\"\ntrickle = \"1%\""), client(24, 56));
    assert_eq!(key(together, "", "type = \"failover\""), None);
    assert_eq!(key("policy = \"hash\"", "", weighted), None);
    // The wider of two networks; the name only where all say so.
    let with = |keys: &str| format!("{together}\n{keys}");
    let (narrow, wide, name) = (with("ipv4_prefix = 32"), with("ipv6_prefix = 48"), with("key = \"name\""));
    assert_eq!(key(&narrow, &wide, weighted), client(24, 48));
    assert_eq!(key(&name, &wide, weighted), client(24, 48));
    assert_eq!(key(&name, &name, weighted), Some(HashKey::Name));
}
