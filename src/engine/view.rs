//! What a balanced name answers, prepared when publishing; a query only copies.

pub use super::addresses::{Addresses, Form, Member, Pick, PolicyKind};
use super::route::Program;
pub use super::services::{Service, Services};

/// Most addresses of one family in one pool: more could not be answered, even over TCP.
pub const MAX_MEMBERS: usize = 2_000;

/// One pool's answer in one family, as names with one TTL and one `answers` give it; or the way to such an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// The answer.
    pub prepared: Prepared,
    /// Said to those who ask with EDNS when the answer is exceptional (RFC 8914): code and text.
    pub extended_error: Option<(u16, &'static str)>,
    /// The first of the tallies that count its answers, one a record that may stand first, in the order of the records;
    /// [`UNCOUNTED`] where there is none.
    pub tally: u32,
}

/// Beyond all tallies: what is counted there is not counted.
pub const UNCOUNTED: u32 = 1 << 31;

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Prepared {
    /// These addresses.
    Addresses(Addresses),
    /// These records: SRV, SVCB, HTTPS, or the CNAME of a backend elsewhere.
    Services(Services),
    /// No record of the type, with the SOA.
    NoData,
    /// SERVFAIL.
    ServFail,
    /// REFUSED.
    Refused,
    /// What the view answers that the program leads to.
    Route(Program),
}

impl View {
    /// A view whose answers are not counted.
    pub fn new(prepared: Prepared, extended_error: Option<(u16, &'static str)>) -> View {
        View { prepared, extended_error, tally: UNCOUNTED }
    }

    /// Whether the change from `self` to `other` is one that a secondary or a cache would see as new data: a TTL alone is
    /// not.
    pub fn same_but_ttl(&self, other: &View) -> bool {
        match (&self.prepared, &other.prepared) {
            (Prepared::Addresses(one), Prepared::Addresses(two)) => one.same_but_ttl(two),
            (Prepared::Services(one), Prepared::Services(two)) => one.same_but_ttl(two),
            (one, two) => one == two,
        }
    }
}
