//! Writes MaxMind databases for tests (format 2.0): a tree of IPv6 prefixes, IPv4 at `::/96`, and what is said of each.
#![allow(dead_code, unreachable_pub)] // Each test uses its part.

use ipnet::IpNet;

/// What is said of a network.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Place {
    /// `NA/US/CA/San Francisco`, or its beginning.
    pub path: String,
    /// Latitude and longitude.
    pub at: Option<(f64, f64)>,
    /// Number of the autonomous system.
    pub asn: Option<u32>,
}

enum Value {
    Map(Vec<(&'static str, Value)>),
    List(Vec<Value>),
    Text(String),
    Double(f64),
    U16(u16),
    U32(u32),
    U64(u64),
}

/// The octets of a database that says so.
pub fn database(places: &[(IpNet, Place)]) -> Vec<u8> {
    // Each node's two sides: another node, or the data of that place.
    let mut nodes: Vec<[Side; 2]> = vec![[Side::Empty; 2]];
    for (number, (network, _)) in places.iter().enumerate() {
        let (bits, length) = match network.trunc() {
            IpNet::V4(network) => (u128::from(u32::from(network.addr())), network.prefix_len() + 96),
            IpNet::V6(network) => (u128::from(network.addr()), network.prefix_len()),
        };
        let mut at = 0;
        for bit in 0..length {
            let side = usize::from(bits >> (127 - bit) & 1 == 1);
            if bit + 1 == length {
                nodes[at][side] = Side::Place(number);
            } else {
                at = match nodes[at][side] {
                    Side::Node(next) => next,
                    // A network around this one: what it says holds for both halves, until one says otherwise.
                    outer => {
                        nodes.push([outer; 2]);
                        nodes[at][side] = Side::Node(nodes.len() - 1);
                        nodes.len() - 1
                    }
                };
            }
        }
    }
    let mut data = Vec::new();
    let offsets: Vec<usize> = places
        .iter()
        .map(|(_, place)| {
            let offset = data.len();
            put(&mut data, &record(place));
            offset
        })
        .collect();
    let count = nodes.len();
    let mut octets = Vec::new();
    for side in nodes.iter().flatten() {
        let number = match side {
            Side::Empty => count,
            Side::Node(next) => *next,
            Side::Place(number) => count + 16 + offsets[*number],
        };
        octets.extend_from_slice(&(number as u32).to_be_bytes());
    }
    octets.extend_from_slice(&[0; 16]);
    octets.extend_from_slice(&data);
    octets.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    let metadata = Value::Map(vec![
        ("node_count", Value::U32(count as u32)),
        ("record_size", Value::U16(32)),
        ("ip_version", Value::U16(6)),
        ("database_type", Value::Text("Test-City".to_owned())),
        ("languages", Value::List(vec![Value::Text("en".to_owned())])),
        ("binary_format_major_version", Value::U16(2)),
        ("binary_format_minor_version", Value::U16(0)),
        ("build_epoch", Value::U64(1_700_000_000)),
        ("description", Value::Map(vec![("en", Value::Text("a test".to_owned()))])),
    ]);
    put(&mut octets, &metadata);
    octets
}

#[derive(Clone, Copy)]
enum Side {
    Empty,
    Node(usize),
    Place(usize),
}

fn record(place: &Place) -> Value {
    let mut parts = place.path.split('/').filter(|part| !part.is_empty()).map(str::to_owned);
    let mut fields = Vec::new();
    let coded = |key, code| Value::Map(vec![(key, Value::Text(code))]);
    if let Some(continent) = parts.next() {
        fields.push(("continent", coded("code", continent)));
    }
    if let Some(country) = parts.next() {
        fields.push(("country", coded("iso_code", country)));
    }
    if let Some(subdivision) = parts.next() {
        fields.push(("subdivisions", Value::List(vec![coded("iso_code", subdivision)])));
    }
    if let Some(city) = parts.next() {
        fields.push(("city", Value::Map(vec![("names", coded("en", city))])));
    }
    if let Some((latitude, longitude)) = place.at {
        let point = vec![("latitude", Value::Double(latitude)), ("longitude", Value::Double(longitude))];
        fields.push(("location", Value::Map(point)));
    }
    if let Some(asn) = place.asn {
        fields.push(("autonomous_system_number", Value::U32(asn)));
    }
    Value::Map(fields)
}

fn put(octets: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Map(fields) => {
            head(octets, 7, fields.len());
            for (key, value) in fields {
                put(octets, &Value::Text((*key).to_owned()));
                put(octets, value);
            }
        }
        Value::List(items) => {
            head(octets, 11, items.len());
            items.iter().for_each(|item| put(octets, item));
        }
        Value::Text(text) => {
            head(octets, 2, text.len());
            octets.extend_from_slice(text.as_bytes());
        }
        Value::Double(number) => {
            head(octets, 3, 8);
            octets.extend_from_slice(&number.to_be_bytes());
        }
        Value::U16(number) => whole(octets, 5, &number.to_be_bytes()),
        Value::U32(number) => whole(octets, 6, &number.to_be_bytes()),
        Value::U64(number) => whole(octets, 9, &number.to_be_bytes()),
    }
}

fn whole(octets: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    head(octets, kind, bytes.len());
    octets.extend_from_slice(bytes);
}

/// The control octet: type and size, types above 7 in an octet of their own.
fn head(octets: &mut Vec<u8>, kind: u8, size: usize) {
    assert!(size < 29 + 256, "sizes of tests are small");
    let short = size.min(29) as u8;
    if kind > 7 {
        octets.extend_from_slice(&[short, kind - 7]);
    } else {
        octets.push(kind << 5 | short);
    }
    if size >= 29 {
        octets.push((size - 29) as u8);
    }
}
