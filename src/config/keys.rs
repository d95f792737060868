//! Every key of the server file and of zone files, in one table a section: what a key is called and what may stand there.
//!
//! The reader refuses keys that are not here, and `rollcall schema` tells editors the rest, so a new key is one line in
//! this file and one row in `docs/configuration.md`, which says what it is for. Tests hold the three together.

use super::pools::{MOST_ANSWERS, MOST_TTL};

/// A table of the configuration.
#[derive(Debug)]
pub(crate) struct Section {
    /// Name in the schema, e.g. `backend`.
    pub(crate) name: &'static str,
    /// The heading in `docs/configuration.md` whose tables have a row for each key; empty where keys say it themselves.
    pub(crate) heading: &'static str,
    /// Where the heading has several tables: the words that the paragraph before the table begins with.
    pub(crate) intro: &'static str,
    /// In the order of the reference.
    pub(crate) keys: &'static [Key],
}

/// A key and what may stand there.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) value: Kind,
    pub(crate) required: bool,
    /// What it is for, where no row of the reference says it.
    pub(crate) text: &'static str,
}

/// What may stand at a key.
#[derive(Debug)]
pub(crate) enum Kind {
    Boolean,
    /// A whole number in that range.
    Integer(u64, u64),
    /// The same, from below zero.
    Signed(i64, i64),
    /// Latitude and longitude, degrees.
    Coordinates,
    /// A date and a time with its offset from UTC.
    Moment,
    String,
    /// A string of one octet at least.
    NotEmpty,
    /// A string of that many octets at most.
    Text(usize),
    /// `"500ms"`, `"10s"`, `"5m"`
    Duration,
    /// `"50%"`
    Share,
    /// One of these.
    Word(&'static [&'static str]),
    /// A name of pools, checks and backends.
    Name,
    /// An IP address.
    Address,
    /// An IP address with a port.
    SocketAddress,
    /// An IP network with its prefix length.
    Network,
    /// A string of that form, as a regular expression.
    Form(&'static str),
    /// One, or a list of them.
    OneOrMany(&'static Kind),
    /// A list, at least that long.
    List(&'static Kind, usize),
    /// Any of these.
    Either(&'static [Kind]),
    /// A table with the keys of a section.
    Table(&'static Section),
    /// A table whose keys are names that users choose.
    Named(&'static Kind),
    /// A table whose keys are owner names.
    Owners(&'static Kind),
    /// A table whose keys are record types.
    Types(&'static Kind),
    /// A table of strings.
    Strings,
    /// A table whose keys are regions, `default` among them.
    Regions(&'static Kind),
    /// A table with the keys of the first section, and those of the section that its `type` names.
    ByType(&'static Section, &'static [(&'static str, &'static [&'static Section])]),
}

const fn key(name: &'static str, value: Kind) -> Key {
    Key { name, value, required: false, text: "" }
}

impl Key {
    const fn required(self) -> Key {
        Key { required: true, ..self }
    }

    const fn says(self, text: &'static str) -> Key {
        Key { text, ..self }
    }
}

impl Section {
    /// Whether this version knows a key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known.name == key)
    }
}

const fn section(name: &'static str, heading: &'static str, keys: &'static [Key]) -> Section {
    Section { name, heading, intro: "", keys }
}

const PORT: Kind = Kind::Integer(1, 65_535);
const SECONDS: Kind = Kind::Integer(0, MOST_TTL);
const ANSWERS: Kind = Kind::Integer(1, MOST_ANSWERS);
const NAMES: Kind = Kind::List(&Kind::Name, 0);
/// More threads than this are a slip of the finger.
pub(super) const MOST_WORKERS: u64 = 1024;
/// Longest NSID (RFC 5001 sets none), version and id: they go into every reply that asks for them.
pub(super) const LONGEST_ID: usize = 128;
/// More results in a row than this would take hours to decide.
pub(super) const MOST_IN_A_ROW: u64 = 1000;

/// `rollcall.toml`
pub(crate) static SERVER: Section = section(
    "server",
    "Server file: `rollcall.toml` / Top level",
    &[
        key("zones", Kind::Either(&[Kind::String, Kind::List(&Kind::String, 1)])),
        key("state_dir", Kind::NotEmpty),
        key("user", Kind::NotEmpty),
        key("listen", Kind::Table(&LISTEN)).says("Where the server listens."),
        key("tls", Kind::Table(&TLS)).says("The certificate for DNS over TLS, HTTPS and QUIC."),
        key("dns", Kind::Table(&DNS)).says("What shapes replies."),
        key("control", Kind::Table(&CONTROL)).says("Who may ask the control listener."),
        key("log", Kind::Table(&LOG)).says("What is logged, and how."),
        key("checker", Kind::Table(&CHECKER)).says("What checks may do, and when the checker doubts itself."),
        key("reload", Kind::Table(&RELOAD)).says("How much a reload may move."),
        key("events", Kind::Table(&EVENTS)).says("Whom to tell of what happens."),
        key("checks", CHECKS).says("Checks that every zone may use."),
        key("pools", POOLS).says("Pools that every zone may use."),
        key("routes", ROUTES).says("Routes that every zone may use."),
        key("maps", MAPS).says("Maps that every zone may use."),
    ],
);

pub(crate) static LISTEN: Section = section(
    "listen",
    "`[listen]`",
    &[
        key("dns", Kind::OneOrMany(&Kind::SocketAddress)),
        key("tls", Kind::OneOrMany(&Kind::SocketAddress)),
        key("https", Kind::OneOrMany(&Kind::SocketAddress)),
        key("quic", Kind::OneOrMany(&Kind::SocketAddress)),
        key("control", Kind::Either(&[Kind::SocketAddress, Kind::Form("^unix:.+$")])),
    ],
);

pub(crate) static CONTROL: Section = section("control", "`[control]`", &[key("tokens", Kind::String)]);

/// A table of the file of tokens, which is no part of the schemas.
pub(crate) static TOKEN: Section = section(
    "token",
    "",
    &[key("secret", Kind::String).required(), key("scopes", Kind::List(&Kind::String, 1)).required()],
);

pub(crate) static TLS: Section =
    section("tls", "`[tls]`", &[key("cert", Kind::String).required(), key("key", Kind::String).required()]);

pub(crate) static DNS: Section = section(
    "dns",
    "`[dns]`",
    &[
        key("udp_workers", Kind::Integer(0, MOST_WORKERS)),
        key("max_udp_payload", Kind::Integer(512, 4096)),
        key("nsid", Kind::Text(LONGEST_ID)),
        key("version", Kind::Text(LONGEST_ID)),
        key("id", Kind::Text(LONGEST_ID)),
        key("cookies", Kind::Table(&COOKIES)).says("DNS cookies (RFC 7873, RFC 9018)."),
        key("rate_limit", Kind::Table(&RATE_LIMIT)).says("Response rate limiting."),
    ],
);

pub(crate) static COOKIES: Section = section(
    "cookies",
    "`[dns.cookies]`",
    &[key("enabled", Kind::Boolean), key("secrets", Kind::OneOrMany(&Kind::Form("^[0-9A-Fa-f]{32}$")))],
);

pub(crate) static RATE_LIMIT: Section = section(
    "rate_limit",
    "`[dns.rate_limit]`",
    &[
        key("enabled", Kind::Boolean),
        key("responses_per_second", Kind::Integer(1, 1_000_000)),
        key("slip", Kind::Integer(0, 10)),
        key("ipv4_prefix", Kind::Integer(8, 32)),
        key("ipv6_prefix", Kind::Integer(16, 128)),
        key("log_only", Kind::Boolean),
        key("exempt", Kind::OneOrMany(&Kind::Network)),
    ],
);

pub(crate) static CHECKER: Section = section(
    "checker",
    "`[checker]`",
    &[
        key("exec", Kind::Boolean),
        key("doubt", Kind::Either(&[Kind::Share, Kind::Word(&["off"])])),
        key("canaries", Kind::OneOrMany(&Kind::SocketAddress)),
    ],
);

pub(crate) static RELOAD: Section = section("reload", "`[reload]`", &[key("max_shift", Kind::Share)]);

pub(crate) static EVENTS: Section = section(
    "events",
    "",
    &[
        key("webhook", Kind::List(&Kind::Table(&WEBHOOK), 0)).says("HTTP servers that are sent what happens, signed."),
        key("exec", Kind::List(&Kind::Table(&EVENT_EXEC), 0)).says("Programs that are run for what happens."),
    ],
);

const EVENT_KINDS: Kind =
    Kind::OneOrMany(&Kind::Word(&["transition", "pool", "frozen", "reload-failed", "override", "reload", "server"]));

pub(crate) static WEBHOOK: Section = section(
    "webhook",
    "`[[events.webhook]]` and `[[events.exec]]`",
    &[
        key("url", Kind::Form("^https?://[^/?#@\\s]+([/?][^#\\s]*)?$")).required(),
        key("secret", Kind::NotEmpty).required(),
        key("ca", Kind::NotEmpty),
        key("on", EVENT_KINDS),
        key("timeout", Kind::Duration),
    ],
);

pub(crate) static EVENT_EXEC: Section = section(
    "event_exec",
    "`[[events.webhook]]` and `[[events.exec]]`",
    &[key("command", Kind::List(&Kind::String, 1)).required(), key("on", EVENT_KINDS), key("timeout", Kind::Duration)],
);

pub(crate) static LOG: Section = section(
    "log",
    "`[log]`",
    &[
        key("level", Kind::Word(&["off", "error", "warn", "info", "debug", "trace"])),
        key("format", Kind::Word(&["text", "json"])),
    ],
);

/// A zone file.
pub(crate) static ZONE: Section = section(
    "zone",
    "Zone file: `zones/NAME.toml` / Top level",
    &[
        key("zone", Kind::NotEmpty).required(),
        key("ttl", SECONDS),
        key("zonefile", Kind::String),
        key("soa", Kind::Table(&SOA)).says("The zone's SOA record; every key has a default."),
        key("records", Kind::Owners(&Kind::Types(&DATA))).says("Static data: owner = { TYPE = value }."),
        key("checks", CHECKS).says("How backends are probed, by name."),
        key("pools", POOLS).says("Backends and how one is chosen, by name."),
        key("routes", ROUTES).says("What chooses among pools, by name."),
        key("maps", MAPS).says("Where clients are, by name."),
        key("names", Kind::Owners(&NAME_VALUE)).says("Balanced names: owner = \"POOL\"."),
    ],
);

pub(crate) static SOA: Section = section(
    "soa",
    "`[soa]`",
    &[
        key("mname", Kind::String),
        key("rname", Kind::Form("^(@|[^@]*)$")),
        key("ttl", SECONDS),
        key("negative_ttl", SECONDS),
        key("refresh", SECONDS),
        key("retry", SECONDS),
        key("expire", SECONDS),
        key("serial", Kind::Either(&[Kind::Word(&["auto"]), Kind::Integer(0, u32::MAX as u64)])),
    ],
);

/// The value of a record type: RDATA, a list of it, or these with a TTL.
const DATA: Kind = Kind::Either(&[Kind::String, Kind::List(&Kind::String, 1), Kind::Table(&RECORD)]);

pub(crate) static RECORD: Section = section(
    "record",
    "",
    &[
        key("ttl", SECONDS).says("TTL of these records, seconds."),
        key("data", Kind::Either(&[Kind::String, Kind::List(&Kind::String, 1)]))
            .required()
            .says("RDATA in presentation form, or a list of it."),
    ],
);

const CHECKS: Kind = Kind::Named(&Kind::ByType(&CHECK, CHECK_TYPES));

/// Each type of check, and the sections with its keys.
pub(crate) const CHECK_TYPES: &[(&str, &[&Section])] = &[
    ("tcp", &[&CHECK_TIMING, &CHECK_NETWORK, &CHECK_WATCH, &CHECK_TCP]),
    ("http", &[&CHECK_TIMING, &CHECK_NETWORK, &CHECK_WATCH, &CHECK_HTTP]),
    ("https", &[&CHECK_TIMING, &CHECK_NETWORK, &CHECK_WATCH, &CHECK_HTTP, &CHECK_HTTPS]),
    ("grpc", &[&CHECK_TIMING, &CHECK_NETWORK, &CHECK_WATCH, &CHECK_GRPC]),
    ("dns", &[&CHECK_TIMING, &CHECK_NETWORK, &CHECK_DNS]),
    ("tls", &[&CHECK_TIMING, &CHECK_NETWORK, &CHECK_WATCH, &CHECK_CERTIFICATE]),
    ("icmp", &[&CHECK_TIMING, &CHECK_ICMP]),
    ("exec", &[&CHECK_TIMING, &CHECK_EXEC]),
    ("file", &[&CHECK_TIMING, &CHECK_FILE]),
    ("push", &[&CHECK_PUSH]),
    ("agent", &[&CHECK_TIMING, &CHECK_NETWORK, &CHECK_WATCH, &CHECK_AGENT]),
    ("of", &[&CHECK_OF]),
];

const fn check(name: &'static str, intro: &'static str, keys: &'static [Key]) -> Section {
    Section { name, heading: "`[checks.NAME]`", intro, keys }
}

/// What every check has.
pub(crate) static CHECK: Section = check(
    "check",
    "",
    &[key(
        "type",
        Kind::Word(&["tcp", "http", "https", "grpc", "dns", "tls", "icmp", "exec", "file", "push", "agent", "of"]),
    )
    .required()],
);

/// When, and how often.
pub(crate) static CHECK_TIMING: Section = check(
    "check_timing",
    "",
    &[
        key("interval", Kind::Duration),
        key("timeout", Kind::Duration),
        key("fall", IN_A_ROW),
        key("rise", IN_A_ROW),
        key("fast_interval", Kind::Duration),
        key("jitter", Kind::Share),
        key("invert", Kind::Boolean),
        key("forgive", IN_A_ROW),
    ],
);

/// Where a probe of a network service connects to.
pub(crate) static CHECK_NETWORK: Section =
    check("check_network", "", &[key("port", PORT), key("source", Kind::Address), key("target", Kind::NotEmpty)]);

pub(crate) static CHECK_WATCH: Section = check("check_watch", "", &[key("watch", Kind::Boolean)]);

pub(crate) static CHECK_TCP: Section =
    check("check_tcp", "`tcp` passes", &[key("send", Kind::String), key("expect", Kind::String)]);

pub(crate) static CHECK_HTTP: Section = check(
    "check_http",
    "`http` and `https` pass",
    &[
        key("path", Kind::Form("^/[^\\s#]*$")),
        key("host", HOST),
        key("method", Kind::Form("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}$")),
        key("headers", Kind::Strings),
        key("expect_status", Kind::OneOrMany(&STATUS)),
        key("expect_body", Kind::String),
        key("feedback", Kind::Boolean),
    ],
);

pub(crate) static CHECK_HTTPS: Section =
    check("check_https", "`http` and `https` pass", &[key("tls", Kind::Table(&CHECK_TLS))]);

pub(crate) static CHECK_GRPC: Section = check(
    "check_grpc",
    "`grpc` passes",
    &[
        key("service", Kind::String),
        key("host", HOST),
        key("tls", Kind::Either(&[Kind::Boolean, Kind::Table(&CHECK_TLS)])),
    ],
);

pub(crate) static CHECK_DNS: Section = check(
    "check_dns",
    "`dns` passes",
    &[
        key("name", Kind::NotEmpty).required(),
        key("rtype", Kind::String),
        key("expect_rcode", Kind::OneOrMany(&Kind::Either(&[Kind::String, Kind::Integer(0, 4095)]))),
        key("expect", Kind::String),
    ],
);

/// Of type `tls`.
pub(crate) static CHECK_CERTIFICATE: Section = check(
    "check_certificate",
    "`tls` passes",
    &[key("days", Kind::Integer(0, 3650)), key("host", HOST), key("tls", Kind::Table(&CHECK_TLS))],
);

pub(crate) static CHECK_ICMP: Section =
    check("check_icmp", "", &[key("source", Kind::Address), key("target", Kind::NotEmpty)]);

pub(crate) static CHECK_EXEC: Section = check(
    "check_exec",
    "",
    &[key("port", PORT), key("target", Kind::NotEmpty), key("command", Kind::List(&Kind::String, 1)).required()],
);

pub(crate) static CHECK_FILE: Section = check(
    "check_file",
    "`file` passes",
    &[key("file", Kind::NotEmpty).required(), key("default", Kind::Word(&["up", "down"]))],
);

pub(crate) static CHECK_PUSH: Section = check(
    "check_push",
    "",
    &[
        key("ttl", Kind::Duration),
        key("fall", IN_A_ROW),
        key("rise", IN_A_ROW),
        key("invert", Kind::Boolean),
        key("forgive", IN_A_ROW),
    ],
);

pub(crate) static CHECK_AGENT: Section =
    check("check_agent", "`agent` passes", &[key("send", Kind::String), key("feedback", Kind::Boolean)]);

pub(crate) static CHECK_OF: Section = check(
    "check_of",
    "",
    &[
        key("need", Kind::Integer(0, 256)),
        key("checks", Kind::List(&Kind::Form("^!?[A-Za-z0-9_.:-]{1,63}$"), 1)).required(),
        key("invert", Kind::Boolean),
    ],
);

pub(crate) static CHECK_TLS: Section = section(
    "check_tls",
    "",
    &[
        key("verify", Kind::Boolean)
            .says("Whether the backend's certificate must be valid for its host. Default: true."),
        key("ca", Kind::String).says("PEM file of the authorities that are trusted, in place of the system's."),
        key("server_name", HOST).says("The name asked for and verified, where it differs from `host`."),
        key("cert", Kind::String).says("PEM file of the certificate that is shown to the backend. Needs `key`."),
        key("key", Kind::String).says("PEM file of that certificate's private key."),
    ],
);

const IN_A_ROW: Kind = Kind::Integer(1, MOST_IN_A_ROW);
const HOST: Kind = Kind::Form("^[A-Za-z0-9_.:\\[\\]-]{1,255}$");
const STATUS: Kind = Kind::Either(&[Kind::Integer(100, 999), Kind::Form("^[1-9][0-9]{2}( *- *[1-9][0-9]{2})?$")]);

const POOLS: Kind = Kind::Named(&Kind::Table(&POOL));

pub(crate) static POOL: Section = section(
    "pool",
    "`[pools.NAME]`",
    &[
        key("backends", Kind::List(&Kind::Table(&BACKEND), 1)).required(),
        key("check", Kind::Name),
        key("checks", NAMES),
        key("policy", Kind::Word(&["round-robin", "weighted", "random", "hash", "least-load"])),
        key("answers", ANSWERS),
        key("min_healthy", Kind::Either(&[Kind::Integer(1, 65_535), Kind::Share])),
        key(
            "on_all_down",
            Kind::Either(&[
                Kind::Word(&["open", "every", "last", "nodata", "servfail", "refused"]),
                Kind::Table(&DIVERT),
            ]),
        ),
        key("initial", Kind::Word(&["wait", "up", "down"])),
        key("ttl", TTL),
        key("key", HASH_KEY).says("What a hash is of: the client's network, or the name that is asked for."),
        key("ipv4_prefix", Kind::Integer(0, 32)).says("Length of the prefix that is one IPv4 client. Default: 24."),
        key("ipv6_prefix", Kind::Integer(0, 128)).says("Length of the prefix that is one IPv6 client. Default: 56."),
        key("at", Kind::Coordinates).says("Where the pool is, [latitude, longitude], for routes of type nearest."),
        key("family", Kind::Word(&["independent", "together"]))
            .says("Whether A and AAAA name the same hosts to one client. Default: independent."),
        key("spread", Kind::String).says("A label: the addresses of an answer come from different values of it."),
        key("slow_start", Kind::Duration),
        key("maintenance", MAINTENANCE),
        key("max_failover", Kind::Duration),
    ],
);

const MAINTENANCE: Kind = Kind::List(&Kind::Table(&WINDOW), 0);

/// A maintenance window.
pub(crate) static WINDOW: Section = section(
    "maintenance",
    "",
    &[
        key("from", Kind::Moment).required().says("When it begins."),
        key("to", Kind::Moment).required().says("When it ends."),
    ],
);

const HASH_KEY: Kind = Kind::Word(&["client", "name"]);

const ROUTES: Kind = Kind::Named(&Kind::ByType(&ROUTE, ROUTE_TYPES));

/// Each type of route, and the section with its own keys.
const ROUTE_TYPES: &[(&str, &[&Section])] = &[
    ("map", &[&ROUTE_MAP]),
    ("nearest", &[&ROUTE_NEAREST]),
    ("weighted", &[&ROUTE_WEIGHTED]),
    ("failover", &[&ROUTE_FAILOVER]),
    ("hash", &[&ROUTE_HASH]),
    ("schedule", &[&ROUTE_SCHEDULE]),
];

/// What every route has.
pub(crate) static ROUTE: Section = section(
    "route",
    "`[routes.NAME]`",
    &[key("type", Kind::Word(&["map", "nearest", "weighted", "failover", "hash", "schedule"]))
        .required()
        .says("What chooses.")],
);

pub(crate) static ROUTE_FAILOVER: Section = section(
    "route_failover",
    "`[routes.NAME]`",
    &[
        key("choices", Kind::List(&Kind::Either(&[Kind::Name, Kind::Table(&CHOICE)]), 1))
            .required()
            .says("Pools or routes; the first that lives answers."),
        key("trickle", Kind::Share).says("The share that goes to the next living choice all the same. Default: none."),
    ],
);

pub(crate) static ROUTE_WEIGHTED: Section =
    section("route_weighted", "`[routes.NAME]`", &[key("choices", WEIGHTED_CHOICES).required().says(WEIGHTED_TEXT)]);

pub(crate) static ROUTE_HASH: Section = section(
    "route_hash",
    "`[routes.NAME]`",
    &[
        key("choices", WEIGHTED_CHOICES).required().says(WEIGHTED_TEXT),
        key("key", HASH_KEY).says("What the hash is of: the client's network, or the name that is asked for."),
        key("ipv4_prefix", Kind::Integer(0, 32)).says("Length of the prefix that is one IPv4 client. Default: 24."),
        key("ipv6_prefix", Kind::Integer(0, 128)).says("Length of the prefix that is one IPv6 client. Default: 56."),
    ],
);

pub(crate) static ROUTE_MAP: Section = section(
    "route_map",
    "`[routes.NAME]`",
    &[
        key("choices", Kind::Regions(&Kind::Name))
            .required()
            .says("The pool or route of each region; `default` for all others."),
        key("map", Kind::Name).required().says("The map that says where a client is."),
        key("fence", Kind::Boolean)
            .says("Whether clients of a region stay there when its choice is down. Default: false."),
    ],
);

pub(crate) static ROUTE_NEAREST: Section = section(
    "route_nearest",
    "`[routes.NAME]`",
    &[
        key("choices", Kind::List(&Kind::Either(&[Kind::Name, Kind::Table(&NEAREST_CHOICE)]), 1))
            .required()
            .says("Pools or routes, each with the place it is at."),
        key("map", Kind::Name).required().says("The map that says where a client is."),
    ],
);

pub(crate) static ROUTE_SCHEDULE: Section = section(
    "route_schedule",
    "`[routes.NAME]`",
    &[
        key("choices", Kind::List(&Kind::Table(&SCHEDULE_CHOICE), 1))
            .required()
            .says("When which pool or route answers; the first that fits."),
        key("timezone", Kind::String).says("The clock's zone, as in Europe/Berlin. Default: UTC."),
        key("default", Kind::Name).required().says("The pool or route of all other times."),
        key("fence", Kind::Boolean).says("Whether the choice of the moment is kept when it is down. Default: false."),
    ],
);

const WEIGHTED_CHOICES: Kind = Kind::List(&Kind::Either(&[Kind::Name, Kind::Table(&WEIGHTED_CHOICE)]), 1);
const WEIGHTED_TEXT: &str = "Pools or routes, each with its weight.";
const TO: Key = key("to", Kind::Name).required().says("A pool or a route.");

pub(crate) static CHOICE: Section = section("choice", "", &[TO]);

pub(crate) static WEIGHTED_CHOICE: Section = section(
    "weighted_choice",
    "",
    &[TO, key("weight", Kind::Integer(0, 65_535)).says("Its share; 0 waits until all others are down. Default: 1.")],
);

pub(crate) static NEAREST_CHOICE: Section = section(
    "nearest_choice",
    "",
    &[
        TO,
        key("at", Kind::Coordinates).says("[latitude, longitude]; the pool's own where it is left out."),
        key("bias", Kind::Signed(-99, 99)).says("Draws clients from farther away, or, below zero, fewer of them."),
    ],
);

pub(crate) static SCHEDULE_CHOICE: Section = section(
    "schedule_choice",
    "",
    &[
        TO,
        key("days", Kind::String).says("\"mon-fri\", \"sat,sun\". Default: every day."),
        key("from", TIME_OF_DAY).says("When it begins. Default: 00:00."),
        key("until", TIME_OF_DAY).says("When it ends. Default: 24:00."),
    ],
);

const TIME_OF_DAY: Kind = Kind::Form("^([01][0-9]|2[0-4]):[0-5][0-9]$");

const MAPS: Kind = Kind::Named(&Kind::Table(&MAP));

pub(crate) static MAP: Section = section(
    "map",
    "`[maps.NAME]`",
    &[
        key("geoip", Kind::OneOrMany(&Kind::String)).says("MaxMind databases: country or city, and ASN."),
        key("networks", Kind::Owners(&Kind::OneOrMany(&Kind::Network)))
            .says("Networks by region: { office = [\"192.0.2.0/24\"] }."),
        key("file", Kind::String).says("A CSV file of lines network,region."),
    ],
);

pub(crate) static DIVERT: Section =
    section("divert", "", &[key("to", Kind::Name).required().says("The pool that answers instead.")]);

const TTL: Kind = Kind::Either(&[SECONDS, Kind::Table(&ADAPTIVE_TTL)]);

pub(crate) static ADAPTIVE_TTL: Section = section(
    "adaptive_ttl",
    "",
    &[
        key("max", SECONDS).required().says("Most seconds: while all is calm."),
        key("min", SECONDS).required().says("Least seconds: while a verdict may change."),
    ],
);

pub(crate) static BACKEND: Section = section(
    "backend",
    "A backend",
    &[
        key("name", Kind::Name),
        key("address", Kind::Either(&[Kind::Address, Kind::List(&Kind::Address, 1)])),
        key("cname", Kind::NotEmpty),
        key("port", PORT),
        key("ports", Kind::NotEmpty),
        key("target", Kind::NotEmpty),
        key("weight", Kind::Integer(0, 65_535)),
        key("tier", Kind::Integer(0, 65_535)),
        key("host", HOST),
        key("state", Kind::Word(&["auto", "up", "down", "drain"])),
        key("check", Kind::Name),
        key("checks", NAMES),
        key("labels", Kind::Strings),
        key("maintenance", MAINTENANCE),
    ],
);

const NAME_VALUE: Kind = Kind::Either(&[Kind::Name, Kind::Table(&NAME), Kind::List(&Kind::Table(&NAME), 1)]);

pub(crate) static NAME: Section = section(
    "name",
    "`[names]`: balanced names",
    &[
        key("to", Kind::Name).required(),
        key("type", Kind::Word(&["A", "AAAA", "SRV", "HTTPS", "SVCB"])),
        key("ttl", TTL),
        key("answers", ANSWERS),
        key("params", Kind::String),
        key("max_failover", Kind::Duration),
    ],
);
