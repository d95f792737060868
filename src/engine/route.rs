//! Which pool answers this client: a route, prepared. Everything that health decides is decided when publishing: failover is
//! the choice that it leads to, a map holds for every address the choice that lives, splits and hashes hold living choices
//! alone. A query walks down, a step a level, and lands at a view.
//!
//! ```text
//! Map (client's region) --> Split (a share to the canary) --> Leaf: the view of a pool, and its counter
//!                      \--> Leaf                         \--> Leaf
//! ```

use std::sync::Arc;

use super::client::{Client, HashKey};
use super::draw::Draws;
use super::ranges::ByAddress;
use super::rendezvous::Rendezvous;
use super::share::Firsts;

/// A prepared route. Children stand before their parents, the root last: every walk ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    nodes: Box<[Node]>,
}

/// One step. Children are indices of nodes that stand before it.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A pool answers.
    Leaf {
        /// Index into [`super::snapshot::Snapshot::views`]; never a program again.
        view: u32,
        /// Its counter, from the name's first on.
        counter: u32,
    },
    /// Shares kept.
    Split {
        /// Which child has each draw.
        firsts: Firsts,
        /// At least one.
        children: Box<[u32]>,
        /// As a leaf's.
        counter: u32,
    },
    /// By the client's address.
    Map {
        /// Index into `children` for every address; one of [`super::client::as_seen`].
        table: Arc<ByAddress<u16>>,
        /// At least one.
        children: Box<[u32]>,
    },
    /// By rendezvous.
    Hash {
        /// What is hashed.
        key: HashKey,
        /// As many members as children.
        table: Rendezvous,
        /// At least one.
        children: Box<[u32]>,
    },
}

impl Node {
    /// Where it leads to.
    pub fn children(&self) -> &[u32] {
        match self {
            Node::Leaf { .. } => &[],
            Node::Split { children, .. } | Node::Map { children, .. } | Node::Hash { children, .. } => children,
        }
    }

    /// As [`Node::children`], to be renumbered.
    pub fn children_mut(&mut self) -> &mut [u32] {
        match self {
            Node::Leaf { .. } => &mut [],
            Node::Split { children, .. } | Node::Map { children, .. } | Node::Hash { children, .. } => children,
        }
    }
}

/// Where a walk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Landing {
    /// The view that answers.
    pub view: u32,
    /// The counter it draws from.
    pub counter: u32,
    /// SCOPE PREFIX-LENGTH: leading bits of the client's address, as it was asked for, that led here.
    pub bits: u8,
}

impl Program {
    /// A program of these nodes; `None` when there is none, or when one does not stand behind its children.
    pub fn new(nodes: Vec<Node>) -> Option<Program> {
        let sound = nodes.iter().enumerate().all(|(at, node)| {
            let (children, members) = match node {
                Node::Leaf { .. } => return true,
                Node::Split { children, .. } | Node::Map { children, .. } => (children, children.len()),
                Node::Hash { children, table, .. } => (children, table.len()),
            };
            !children.is_empty() && members == children.len() && children.iter().all(|&child| (child as usize) < at)
        });
        (sound && !nodes.is_empty()).then(|| Program { nodes: nodes.into() })
    }

    /// The nodes, the root last.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Walks down for that client and question (`name`, wire form), drawing from the counters that begin at `first`.
    pub fn walk(&self, client: &Client, name: &[u8], draws: Option<&Draws>, first: u32) -> Landing {
        let draw = |counter: u32| draws.map_or(0, |draws| draws.next(first + counter));
        let mut bits = 0;
        let mut at = self.nodes.len() - 1;
        loop {
            let (children, chosen) = match &self.nodes[at] {
                Node::Leaf { view, counter } => return Landing { view: *view, counter: first + counter, bits },
                Node::Split { firsts, children, counter } => (children, firsts.at(draw(*counter))),
                Node::Map { table, children } => {
                    let (child, decided) = client.find(table);
                    bits = bits.max(decided);
                    (children, usize::from(child))
                }
                Node::Hash { key, table, children } => {
                    let (hash, hashed) = client.hash(*key, name);
                    bits = bits.max(client.scope_of_hash(*key, hashed));
                    (children, table.first(hash))
                }
            };
            at = children[chosen.min(children.len() - 1)] as usize;
        }
    }

    /// Whether both lead everybody to the same; `same` compares two views, the first one of `self`.
    pub fn same(&self, other: &Program, same: impl Fn(u32, u32) -> bool) -> bool {
        self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(|pair| match pair {
                (Node::Leaf { view: one, counter: a }, Node::Leaf { view: two, counter: b }) => {
                    a == b && same(*one, *two)
                }
                (one, two) => one == two,
            })
    }
}
