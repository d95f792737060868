//! What changed, one event at a time, as the event stream and the list of changes tell it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ReloadStatus, TransitionStatus};
use crate::config::plan::AdminState;

/// One change of anything that an operator would want to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// Its number, as `Last-Event-ID` and `since` take it. Of one process; later ones are greater.
    #[schema(pattern = "^[0-9a-f]{1,16}-[0-9]{1,19}$")]
    pub event: String,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What changed: `kind` names it, `data` tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", content = "data", rename_all = "lowercase")]
pub enum What {
    /// A verdict of an address, or the state of a backend.
    Transition(TransitionStatus),
    /// An operator's word was given, taken back, or ended by itself.
    Override(OverrideChange),
    /// Files were loaded, or refused.
    Reload(Box<ReloadStatus>),
    /// A pool began to answer otherwise: `panic`, `closed`, `diverted`, …
    Pool(PoolChange),
    /// The checker began to doubt itself, or no longer does.
    Frozen(FrozenChange),
}

/// The kinds of [`What`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// [`What::Transition`]
    Transition,
    /// [`What::Override`]
    Override,
    /// [`What::Reload`]
    Reload,
    /// [`What::Pool`]
    Pool,
    /// [`What::Frozen`]
    Frozen,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 5] = [Kind::Transition, Kind::Override, Kind::Reload, Kind::Pool, Kind::Frozen];

    /// As JSON has it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Transition => "transition",
            Kind::Override => "override",
            Kind::Reload => "reload",
            Kind::Pool => "pool",
            Kind::Frozen => "frozen",
        }
    }
}

impl What {
    /// Which kind this is.
    pub fn kind(&self) -> Kind {
        match self {
            What::Transition(_) => Kind::Transition,
            What::Override(_) => Kind::Override,
            What::Reload(_) => Kind::Reload,
            What::Pool(_) => Kind::Pool,
            What::Frozen(_) => Kind::Frozen,
        }
    }
}

/// An override of one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OverrideChange {
    /// `zone/pool/backend`.
    pub backend: String,
    /// `auto`: there is none any more.
    pub state: AdminState,
    /// When it ends by itself.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who; nobody when it ended by itself.
    pub by: Option<String>,
}

/// A pool that answers otherwise in one address family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolChange {
    /// `zone/pool`.
    pub pool: String,
    /// `A` or `AAAA`.
    #[serde(rename = "type")]
    pub rtype: String,
    /// As `state` of a pool's family, or `new`.
    pub from: String,
    /// As `state` of a pool's family.
    pub to: String,
    /// In words: `tier 0: 2 of 3 up, 1 needed`.
    pub why: String,
}

/// The checker's doubt of itself in one address family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FrozenChange {
    /// Whether it doubts from now on.
    pub frozen: bool,
    /// `A` or `AAAA`.
    #[serde(rename = "type")]
    pub rtype: String,
    /// Why, in words.
    pub reason: String,
}

/// Changes in their order, the oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChangesPage {
    /// At most as many as were asked for.
    pub items: Vec<Change>,
    /// What `since` goes on with, whether there is more now or later.
    pub next: String,
    /// Whether more can be had now.
    pub more: bool,
    /// Whether changes between `since` and the first of these are no longer known.
    pub missed: bool,
}

/// The latest transitions, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transitions {
    /// At most as many as were asked for.
    pub items: Vec<TransitionStatus>,
}
