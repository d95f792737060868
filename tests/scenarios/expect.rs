//! The steps that ask: one question to the snapshot, and what its answer must be.

use std::net::IpAddr;

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name as HickoryName, RData, Record};
use hickory_proto::serialize::binary::BinDecodable;
use ipnet::IpNet;
use rollcall::engine::name::Name;
use rollcall::engine::{Asker, Transport, respond, rrtype};

use super::{Run, equal};

impl Run {
    fn ask(&self, name: &str, rtype: &str) -> Result<Message, String> {
        self.ask_with(name, rtype, &[])
    }

    /// Asks with one more option, as it stands on the wire.
    fn ask_with(&self, name: &str, rtype: &str, option: &[u8]) -> Result<Message, String> {
        let name = Name::parse(name, Some(&self.origin)).map_err(|error| error.to_string())?;
        let rtype = rrtype::parse(rtype).ok_or("no such type")?;
        let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        query.extend_from_slice(name.as_wire());
        query.extend_from_slice(&rtype.to_be_bytes());
        query.extend_from_slice(&[0, 1]);
        query.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0]);
        let options = [self.subnet.map(client_subnet).unwrap_or_default(), option.to_vec()].concat();
        query.extend_from_slice(&(options.len() as u16).to_be_bytes());
        query.extend_from_slice(&options);
        let asker = Asker { address: self.from, transport: Transport::Udp, worker: 0 };
        let mut out = [0; 4096];
        let reply = respond(self.world.snapshot(), &asker, &query, &mut out);
        Message::from_vec(&out[..reply.length]).map_err(|error| format!("the reply does not parse: {error}"))
    }

    /// A client cookie gets a server cookie; a made-up one is not given back, and the right one is taken (RFC 7873, RFC 9018).
    fn cookie(&self, name: &str, rtype: &str) -> Result<(), String> {
        const CLIENT: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
        let ask = |server: &[u8]| {
            let length = (CLIENT.len() + server.len()) as u8;
            self.ask_with(name, rtype, &[&[0, 10, 0, length], &CLIENT[..], server].concat())
        };
        let given = server_cookie(&ask(&[])?).ok_or("no cookie")?;
        let made_up = [0x11; 16];
        let instead = server_cookie(&ask(&made_up)?).ok_or("no cookie for a made-up one")?;
        if given.len() != 16 || instead == made_up || instead != given {
            return Err(format!("given {given:?}, and {instead:?} for a made-up one"));
        }
        let message = ask(&given)?;
        if message.answers.is_empty() { Err("no answer to the right cookie".to_owned()) } else { Ok(()) }
    }

    pub(super) fn expect(&self, name: &str, rtype: &str, verb: &str, rest: &[&str]) -> Result<(), String> {
        let rcode = |message: &Message| format!("{:?}", message.metadata.response_code).to_uppercase();
        match verb {
            "=" | "order" => {
                let message = self.ask(name, rtype)?;
                let mut seen: Vec<String> = message.answers.iter().map(data).collect();
                let text = rest.join(" ");
                let separator = if matches!(rtype, "A" | "AAAA") && !text.contains(';') { ' ' } else { ';' };
                let mut wanted: Vec<String> =
                    text.split(separator).map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect();
                if verb == "=" {
                    seen.sort();
                    wanted.sort();
                }
                if rcode(&message) != "NOERROR" || seen != wanted {
                    return Err(format!("answered {} {seen:?}", rcode(&message)));
                }
                Ok(())
            }
            "->" => {
                let message = self.ask(name, rtype)?;
                let wanted = rest.first().copied().unwrap_or_default().to_uppercase();
                let (wanted, negative) = if wanted == "NODATA" { ("NOERROR".into(), true) } else { (wanted, false) };
                let negative = negative || wanted == "NXDOMAIN";
                if rcode(&message) != wanted || !message.answers.is_empty() {
                    let seen: Vec<String> = message.answers.iter().map(data).collect();
                    return Err(format!("answered {} {seen:?}", rcode(&message)));
                }
                if negative && !message.authorities.iter().any(|one| one.record_type().to_string() == "SOA") {
                    return Err("no SOA in the authority section".to_owned());
                }
                Ok(())
            }
            "gives" => {
                let message = self.ask(name, rtype)?;
                let seen: Vec<String> =
                    message.answers.iter().map(|one| format!("{} {}", type_text(one), data(one))).collect();
                let text = rest.join(" ");
                let (wanted, records) = text.split_once(':').unwrap_or((&text, ""));
                if rcode(&message) != wanted.to_uppercase() || seen != items(records) {
                    return Err(format!("answered {} {seen:?}", rcode(&message)));
                }
                Ok(())
            }
            "authority" | "additional" => {
                let message = self.ask(name, rtype)?;
                let section = if verb == "authority" { &message.authorities } else { &message.additionals };
                let mut wanted = items(&rest.join(" "));
                let with_data = wanted.first().is_some_and(|one| one.split(' ').count() > 2);
                let shown = |one: &Record| match with_data {
                    true => format!("{} {} {}", one.name, type_text(one), data(one)),
                    false => format!("{} {}", one.name, type_text(one)),
                };
                let mut seen: Vec<String> = section.iter().map(shown).collect();
                seen.sort();
                wanted.sort();
                if seen != wanted { Err(format!("there stands {seen:?}")) } else { Ok(()) }
            }
            "aa" | "no-aa" => {
                let message = self.ask(name, rtype)?;
                let wanted = verb == "aa";
                if message.metadata.authoritative != wanted { Err(format!("AA is {}", !wanted)) } else { Ok(()) }
            }
            "truncated" => match self.ask(name, rtype)? {
                message if message.metadata.truncation => Ok(()),
                message => Err(format!("not truncated: {} records", message.answers.len())),
            },
            "cookie" => self.cookie(name, rtype),
            "never" | "counts" => {
                let (rounds, rest) = rounds(rest)?;
                for _ in 0..rounds {
                    let mut seen: Vec<String> = self.ask(name, rtype)?.answers.iter().map(data).collect();
                    seen.sort();
                    seen.dedup();
                    if verb == "counts" {
                        equal("distinct records", seen.len(), rest.first().ok_or("counts takes a number")?)?;
                    } else if let Some(one) = seen.iter().find(|one| rest.contains(&one.as_str())) {
                        return Err(format!("{one} was answered"));
                    }
                }
                Ok(())
            }
            "turns" => {
                let mut places = self.places.borrow_mut();
                for _ in 0..=2 * rest.len() {
                    let seen: Vec<String> = self.ask(name, rtype)?.answers.iter().map(data).collect();
                    let key = format!("{name} {rtype}");
                    let from_here = || rest.iter().position(|one| seen.first().is_some_and(|first| first == one));
                    let at = places.get(&key).copied().or_else(from_here).unwrap_or(0) % rest.len().max(1);
                    let wanted: Vec<&str> = rest.iter().copied().cycle().skip(at).take(seen.len().max(1)).collect();
                    if seen != wanted {
                        return Err(format!("answered {seen:?}, not {wanted:?}"));
                    }
                    places.insert(key, at + 1);
                }
                Ok(())
            }
            "first" => {
                let seen: Vec<String> = rest.iter().map(|_| self.first(name, rtype)).collect::<Result<_, _>>()?;
                if seen != rest { Err(format!("first places: {seen:?}")) } else { Ok(()) }
            }
            "shares" => self.shares(name, rtype, rest),
            "rcode" => {
                let seen = rcode(&self.ask(name, rtype)?);
                let wanted = rest.first().copied().unwrap_or_default();
                if seen != wanted { Err(format!("answered {seen}")) } else { Ok(()) }
            }
            "ttl" => {
                let message = self.ask(name, rtype)?;
                let section = if message.answers.is_empty() { &message.authorities } else { &message.answers };
                let ttls: Vec<u32> = section.iter().map(|record| record.ttl).collect();
                let wanted: u32 = rest.first().and_then(|text| text.parse().ok()).ok_or("ttl takes a number")?;
                if ttls.is_empty() || ttls.iter().any(|&ttl| ttl != wanted) {
                    return Err(format!("TTLs {ttls:?}"));
                }
                Ok(())
            }
            "scope" => {
                let message = self.ask(name, rtype)?;
                let option = message.edns.as_ref().and_then(|edns| edns.option(EdnsCode::Subnet).cloned());
                let seen = match option {
                    Some(EdnsOption::Subnet(subnet)) => subnet.scope_prefix().to_string(),
                    _ => "-".to_owned(),
                };
                if rest != [seen.as_str()] { Err(format!("scope {seen}")) } else { Ok(()) }
            }
            "serial" => {
                let message = self.ask(name, rtype)?;
                let serial = message.answers.iter().chain(&message.authorities).find_map(|record| match &record.data {
                    RData::SOA(soa) => Some(soa.serial),
                    _ => None,
                });
                let wanted: u32 = rest.first().and_then(|text| text.parse().ok()).ok_or("serial takes a number")?;
                if serial != Some(wanted) { Err(format!("serial {serial:?}")) } else { Ok(()) }
            }
            "note" => {
                let message = self.ask(name, rtype)?;
                let text = message.edns.as_ref().and_then(|edns| {
                    let others = edns.options().as_ref().iter().filter(|(code, _)| *code != EdnsCode::Subnet);
                    others.map(|(_, option)| format!("{option:?}")).next()
                });
                let octets = rest.join(" ").bytes().map(|octet| octet.to_string()).collect::<Vec<_>>().join(", ");
                match (rest, text) {
                    (["-"], None) => Ok(()),
                    (["-"], Some(text)) => Err(format!("an option: {text}")),
                    (_, Some(text)) if text.contains(&octets) => Ok(()),
                    (_, text) => Err(format!("options: {text:?}")),
                }
            }
            other => Err(format!("no step {other}")),
        }
    }

    fn first(&self, name: &str, rtype: &str) -> Result<String, String> {
        let message = self.ask(name, rtype)?;
        message.answers.first().map(data).ok_or_else(|| "no answer".to_owned())
    }

    /// Over every window of the draws made here, each stays within two of its share.
    fn shares(&self, name: &str, rtype: &str, rest: &[&str]) -> Result<(), String> {
        let mut rounds = 100;
        let mut weights: Vec<(&str, f64)> = Vec::new();
        for word in rest {
            match (word.strip_prefix('x'), word.rsplit_once('=')) {
                (Some(count), _) => rounds = count.parse().map_err(|_| "x takes a number")?,
                (None, Some((address, weight))) => {
                    weights.push((address, weight.parse().map_err(|_| "a weight is a number")?));
                }
                _ => return Err(format!("not a share: {word}")),
            }
        }
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut errors = vec![(0f64, 0f64, 0f64); weights.len()];
        for _ in 0..rounds * total as usize {
            let first = self.first(name, rtype)?;
            if !weights.iter().any(|(address, _)| *address == first) {
                return Err(format!("{first} was answered"));
            }
            for ((address, weight), (error, low, high)) in weights.iter().zip(&mut errors) {
                *error += f64::from(u8::from(*address == first)) - weight / total;
                *low = low.min(*error);
                *high = high.max(*error);
            }
        }
        for ((address, _), (_, low, high)) in weights.iter().zip(errors) {
            if high - low > 2.0 {
                return Err(format!("{address} strayed {:.2} answers from its share", high - low));
            }
        }
        Ok(())
    }
}

/// The record's data in presentation form, names absolute; types that few people read by eye as RFC 3597 writes them.
fn data(record: &Record) -> String {
    match &record.data {
        RData::Unknown { code, rdata } if u16::from(*code) == rrtype::DNAME => {
            HickoryName::from_bytes(&rdata.anything).map_or_else(|error| error.to_string(), |name| name.to_string())
        }
        RData::Unknown { rdata, .. } => hex(&rdata.anything),
        data => data.to_string().trim_end().to_owned(),
    }
}

fn hex(octets: &[u8]) -> String {
    let digits: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("\\# {} {digits}", octets.len())
}

fn type_text(record: &Record) -> String {
    rrtype::text(u16::from(record.record_type()))
}

/// The option that tells for whom is asked (RFC 7871 6).
/// Server cookies of a reply, behind the client's eight octets; `None` without the option.
fn server_cookie(message: &Message) -> Option<Vec<u8>> {
    let option = message.edns.as_ref()?.option(EdnsCode::Cookie)?;
    Vec::try_from(option).ok().map(|octets: Vec<u8>| octets[8.min(octets.len())..].to_vec())
}

fn client_subnet(network: IpNet) -> Vec<u8> {
    let (family, octets) = match network.trunc().addr() {
        IpAddr::V4(address) => (1u16, address.octets().to_vec()),
        IpAddr::V6(address) => (2, address.octets().to_vec()),
    };
    let octets = &octets[..usize::from(network.prefix_len()).div_ceil(8)];
    let length = (4 + octets.len()) as u16;
    [&[0, 8][..], &length.to_be_bytes(), &family.to_be_bytes(), &[network.prefix_len(), 0], octets].concat()
}

/// What stands between semicolons.
fn items(text: &str) -> Vec<String> {
    text.split(';').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

/// `xN` among the words, else one round; and the other words.
fn rounds<'w>(words: &[&'w str]) -> Result<(usize, Vec<&'w str>), String> {
    let (counts, others): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with('x'));
    let rounds = counts.first().map_or(Ok(1), |word| word[1..].parse()).map_err(|_| "x takes a number")?;
    Ok((rounds, others))
}
