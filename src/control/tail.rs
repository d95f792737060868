//! Live answers as people read them: what `GET /v1/tail` tells of each sample that the transports let pass.

use domain::base::iana::Class;
use domain::base::opt::ClientSubnet;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt};
use domain::base::{Message, ParsedName};
use domain::rdata::ZoneRecordData;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::explain::rcode_text;
use super::status::time_text;
use super::traffic;
use crate::engine::rrtype;
use crate::transport::{Sample, Wanted};

/// Answers a second unless said otherwise.
pub const RATE: u32 = 50;
/// Most answers a second.
pub const MOST_RATE: u32 = 1000;
/// Longest pattern of names, octets: workers match it.
const LONGEST_PATTERN: usize = 255;
/// Most networks of clients.
const MOST_NETWORKS: usize = 64;

/// `GET /v1/tail`: which answers. What is not said is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TailQuery {
    /// Names that fit: `*` any characters, `?` one.
    #[serde(default)]
    pub name: Option<String>,
    /// Sources in these networks, with commas between them.
    #[serde(default)]
    pub client: Option<String>,
    /// `NOERROR`, `NXDOMAIN`, `3`, …
    #[serde(default)]
    pub rcode: Option<String>,
    /// At most so many a second; 50 unless said otherwise, 1000 at most. What is above that is counted as lost.
    #[serde(default)]
    pub rate: Option<u32>,
}

/// One answer that was given. The source of a query is personal data in many places: who may see it needs the scope `write`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TailAnswer)]
pub struct Answer {
    /// When.
    pub at: String,
    /// `udp`, `tcp`, `tls`, `https`, `quic`
    pub transport: String,
    /// The query's source.
    pub client: String,
    /// The client subnet that the reply is for, with its scope: `203.0.113.0/24/24` (RFC 7871).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// The name asked, without the final dot; empty where the query could not be read.
    pub name: String,
    /// `A`, `AAAA`, …
    #[serde(rename = "type")]
    pub rtype: String,
    /// `NOERROR`, …
    pub rcode: String,
    /// Whether it was cut (TC).
    pub truncated: bool,
    /// Type and data of the answer's records, in their order: `A 192.0.2.1`.
    pub answer: Vec<String>,
    /// Of the first record, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// Octets of the reply.
    pub octets: u16,
}

/// What was lost: wanted, but there was no room, or no time within the rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TailLost)]
pub struct Lost {
    /// Since it was said last.
    pub lost: u64,
}

/// The query as the transports take it, and its rate.
pub(crate) fn wanted(query: &TailQuery) -> Result<(Wanted, u32), String> {
    let given =
        |text: &Option<String>| text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let name = given(&query.name).map(|name| name.strip_suffix('.').map(str::to_owned).unwrap_or(name));
    if name.as_ref().is_some_and(|name| name.len() > LONGEST_PATTERN) {
        return Err(format!("name is a pattern of {LONGEST_PATTERN} octets at most"));
    }
    let mut clients = Vec::new();
    for text in given(&query.client).iter().flat_map(|text| text.split(',')).map(str::trim) {
        let network = text.parse().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()));
        clients.push(network.map_err(|_| format!("client \"{text}\" is neither an address nor a network"))?);
    }
    if clients.len() > MOST_NETWORKS {
        return Err(format!("client is {MOST_NETWORKS} networks at most"));
    }
    let rcode = match given(&query.rcode) {
        None => None,
        Some(text) => {
            let number = (0..16).find(|&number: &u8| {
                text.eq_ignore_ascii_case(&rcode_text(number.into())) || text == number.to_string()
            });
            Some(number.ok_or_else(|| format!("rcode \"{text}\" is none of NOERROR, SERVFAIL, NXDOMAIN, REFUSED, …"))?)
        }
    };
    let rate = query.rate.unwrap_or(RATE);
    if rate == 0 || rate > MOST_RATE {
        return Err(format!("rate is from 1 to {MOST_RATE} answers a second"));
    }
    Ok((Wanted { name, clients, rcode }, rate))
}

/// The sample in words. What cannot be read is left out: the copy of a long reply is its beginning.
pub(crate) fn answer(sample: &Sample) -> Answer {
    let octets = sample.octets();
    let mut answer = Answer {
        at: time_text(sample.at),
        transport: traffic::word(sample.transport).to_owned(),
        client: sample.client.to_string(),
        subnet: None,
        name: String::new(),
        rtype: String::new(),
        rcode: String::new(),
        truncated: octets.get(2).is_some_and(|flags| flags & 2 != 0),
        answer: Vec::new(),
        ttl: None,
        octets: sample.length,
    };
    let Ok(message) = Message::from_octets(octets) else { return answer };
    if let Some(Ok(question)) = message.question().next() {
        let name = question.qname().to_string();
        answer.name = if name == "." { name } else { name.trim_end_matches('.').to_owned() };
        answer.rtype = rrtype::text(question.qtype().to_int());
        if question.qclass() != Class::IN {
            answer.rtype = format!("{} {}", question.qclass(), answer.rtype);
        }
    }
    answer.rcode = rcode_text(message.opt_rcode().to_int());
    if let Ok(section) = message.answer() {
        let records = section.limit_to::<ZoneRecordData<&[u8], ParsedName<&[u8]>>>();
        for record in records.map_while(Result::ok) {
            answer.ttl.get_or_insert(record.ttl().as_secs());
            let rtype = rrtype::text(record.rtype().to_int());
            answer.answer.push(format!("{rtype} {}", record.data().display_zonefile(DisplayKind::Simple)));
        }
    }
    let subnet = message.opt().and_then(|opt| opt.opt().iter::<ClientSubnet>().find_map(Result::ok));
    answer.subnet = subnet.map(|one| format!("{}/{}/{}", one.addr(), one.source_prefix_len(), one.scope_prefix_len()));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_or_refused_with_a_reason() {
        let query = |name: &str, client: &str, rcode: &str| TailQuery {
            name: Some(name.to_owned()),
            client: Some(client.to_owned()),
            rcode: Some(rcode.to_owned()),
            rate: None,
        };
        let (read, rate) = wanted(&query("*.lb.example.", "192.0.2.1, 2001:db8::/32", "nxdomain")).unwrap();
        assert_eq!((read.name.as_deref(), read.rcode, rate), (Some("*.lb.example"), Some(3), RATE));
        assert_eq!(read.clients.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.1/32", "2001:db8::/32"]);
        let (read, _) = wanted(&query("", "", "")).unwrap();
        assert!(read.name.is_none() && read.clients.is_empty() && read.rcode.is_none());
        assert!(wanted(&query("", "here", "")).unwrap_err().contains("here"));
        assert!(wanted(&query("", "", "WELL")).unwrap_err().contains("WELL"));
        assert!(wanted(&TailQuery { rate: Some(0), ..TailQuery::default() }).is_err());
    }
}
