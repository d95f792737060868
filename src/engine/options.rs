//! The OPT record of a reply (RFC 6891) and its options: NSID, cookie, client subnet, keepalive, extended error.

use std::sync::atomic::Ordering;

use super::answer::rcode;
use super::query::{Edns, Query, Subnet};
use super::reply::{Section, Writer};
use super::rrtype;
use super::snapshot::{Options, Snapshot};
use super::{Asker, Transport};

/// Idle seconds that a TCP client is told, in units of 100 ms (RFC 7828 3.1).
const KEEPALIVE: u16 = 100;
/// OPT without options.
const BARE: usize = 11;

/// What goes into the reply's OPT; nothing when none was asked.
pub(super) struct ReplyOptions<'s> {
    edns: Option<&'s Edns<'s>>,
    subnet: Option<Subnet<'s>>,
    settings: &'s Options,
    cookie: Option<[u8; 24]>,
    keepalive: bool,
    nsid: bool,
    cookie_valid: bool,
}

impl<'s> ReplyOptions<'s> {
    /// Decides which options are answered.
    pub(super) fn new(snapshot: &'s Snapshot, asker: &Asker, query: &'s Query<'s>) -> ReplyOptions<'s> {
        let settings: &Options = &snapshot.options;
        let Some(edns) = &query.edns else { return ReplyOptions::plain(snapshot, query) };
        let cookie = edns
            .cookie
            .and_then(|cookie| settings.cookies.reply(cookie, asker.address, snapshot.clock.load(Ordering::Relaxed)));
        ReplyOptions {
            edns: Some(edns),
            subnet: edns.subnet,
            settings,
            cookie_valid: cookie.is_some_and(|(_, valid)| valid),
            cookie: cookie.map(|(cookie, _)| cookie),
            // RFC 7828 3.2.1: never over UDP; DoH and DoQ have their own ways.
            keepalive: edns.keepalive && matches!(asker.transport, Transport::Tcp | Transport::Tls),
            nsid: edns.nsid && !settings.nsid.is_empty(),
        }
    }

    /// An OPT without options, if any was asked.
    pub(super) fn plain(snapshot: &'s Snapshot, query: &'s Query<'s>) -> ReplyOptions<'s> {
        ReplyOptions {
            edns: query.edns.as_ref(),
            subnet: None,
            settings: &snapshot.options,
            cookie: None,
            keepalive: false,
            nsid: false,
            cookie_valid: false,
        }
    }

    /// Octets to keep free: OPT and everything in it but the extended error, which goes in when there is room.
    pub(super) fn length(&self) -> usize {
        if self.edns.is_some() { BARE + self.options_length() } else { 0 }
    }

    fn options_length(&self) -> usize {
        let subnet = self.subnet.map_or(0, |subnet| 8 + subnet.address.len());
        let nsid = if self.nsid { 4 + self.settings.nsid.len() } else { 0 };
        subnet + nsid + if self.cookie.is_some() { 28 } else { 0 } + if self.keepalive { 6 } else { 0 }
    }

    /// Whether the query carried a valid server cookie.
    pub(super) fn cookie_valid(&self) -> bool {
        self.cookie_valid
    }

    /// The RCODE for a client that asks for a cookie alone, without a question (RFC 7873 5.4).
    pub(super) fn cookie_alone(&self) -> u16 {
        let server_part = self.edns.and_then(|edns| edns.cookie).is_some_and(|cookie| cookie.len() > 8);
        match self.cookie {
            // Cookies are off: then it is a query without a question.
            None => rcode::FORMERR,
            Some(_) if server_part && !self.cookie_valid => rcode::BADCOOKIE,
            Some(_) => rcode::NOERROR,
        }
    }

    /// Writes the OPT; nothing when EDNS was not asked. `scope` is what the answer depended on of the client's subnet.
    /// Returns its octets.
    pub(super) fn write(
        &self,
        rcode: u16,
        scope: u8,
        error: Option<(u16, &'static str)>,
        writer: &mut Writer<'_, '_>,
    ) -> usize {
        let Some(edns) = self.edns else { return 0 };
        let options = self.options_length();
        let mut length = options;
        let mark = writer.mark();
        let error = error.filter(|(_, text)| {
            let fits = writer.room(BARE + options + 6 + text.len()).is_ok();
            writer.rewind(mark);
            fits
        });
        if let Some((_, text)) = error {
            length += 6 + text.len();
        }
        let Ok(out) = writer.room(BARE + length) else { return 0 };
        out[0] = 0;
        out[1..3].copy_from_slice(&rrtype::OPT.to_be_bytes());
        out[3..5].copy_from_slice(&self.settings.max_udp_payload.max(super::MIN_UDP as u16).to_be_bytes());
        out[5] = (rcode >> 4) as u8;
        out[6] = 0;
        out[7] = if edns.dnssec_ok { 0x80 } else { 0 };
        out[8] = 0;
        out[9..11].copy_from_slice(&(length as u16).to_be_bytes());
        let mut rest = &mut out[BARE..];
        if self.nsid {
            rest = put(rest, 3, &[&self.settings.nsid]);
        }
        if let Some(subnet) = self.subnet {
            let family = subnet.family.to_be_bytes();
            // Without a prefix the source address decided, which the asker alone may know (RFC 7871 7.2.1).
            let scope = if subnet.source == 0 { 0 } else { scope };
            rest = put(rest, 8, &[&family, &[subnet.source, scope], subnet.address]);
        }
        if let Some(cookie) = &self.cookie {
            rest = put(rest, 10, &[cookie]);
        }
        if self.keepalive {
            rest = put(rest, 11, &[&KEEPALIVE.to_be_bytes()]);
        }
        if let Some((code, text)) = error {
            put(rest, 15, &[&code.to_be_bytes(), text.as_bytes()]);
        }
        writer.count(Section::Additional, 1);
        BARE + length
    }
}

/// One option; returns what is left of the room.
fn put<'o>(out: &'o mut [u8], code: u16, pieces: &[&[u8]]) -> &'o mut [u8] {
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    out[..2].copy_from_slice(&code.to_be_bytes());
    out[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    let mut at = 4;
    for piece in pieces {
        out[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    }
    &mut out[at..]
}
