//! Nodes of equal value. An element has ten rows; more equal rows are more elements, any number of them, all alike to a
//! search: they would fill every queue and list that one of them gets into, and nothing would lead out. So the table of
//! values says which are equal, and they have
//!
//! - at most half of the list of one of them, in which the heuristic passes over them;
//! - at most half of the queue in a search for their own neighbours, and a small part of it in others.
//!
//! A search meets always the same ones first. So that the others get edges, too, those that an insert gets to know are
//! exchanged for such as a random walk leads to.

use super::graph::{EQUAL, Edge, Lists, rank};
use super::rows::{NONE, Rows};

/// Values whose nodes are counted; those with the fewest give way.
const VALUES: usize = 16;
/// What part of the queue nodes of one value get in a search for a node of another one.
const OTHERS: usize = 16;
/// Random walks that an insert makes among the nodes of its value, and the steps of each.
pub(super) const WALKS: u32 = 4;
const STEPS: u32 = 6;

/// How many of `places` in a list or queue may go to nodes of equal value.
pub(super) fn share(places: usize) -> usize {
    (places / 2).max(1)
}

/// Keeps nodes of equal value from filling a queue: those beyond their share are passed over, which loses nothing, they
/// being all alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares {
    /// whether any nodes have equal values
    pub any: bool,
    /// the first of the nodes that have the value of the one being inserted, or [`NONE`]
    pub own: u32,
    /// places in the queue
    ef: usize,
    /// first nodes of some values, and how many places the nodes of each have
    taken: [(u32, u32); VALUES],
}

impl Shares {
    /// Nothing counted yet.
    pub fn new(any: bool, own: u32) -> Self {
        Shares { any, own, ef: 0, taken: [(NONE, 0); VALUES] }
    }

    /// Starts counting again, in a queue of `ef`.
    pub fn restart(&mut self, ef: usize) {
        self.ef = ef;
        if self.any {
            self.taken = [(NONE, 0); VALUES];
        }
    }

    /// Whether a node is of a value that has its share of places; it takes one otherwise.
    #[inline(always)]
    pub fn used_up(&mut self, rows: &Rows, node: u32) -> bool {
        if !self.any {
            return false;
        }
        match rows.first(node) {
            NONE => false,
            first => self.count(first),
        }
    }

    /// Whether there are more nodes of the value that `first` has than get places.
    pub fn is_used_up(&self, first: u32) -> bool {
        let share = self.share_of(first);
        first != NONE && self.taken.iter().any(|&(value, taken)| value == first && taken as usize > share)
    }

    fn share_of(&self, first: u32) -> usize {
        if first == self.own { share(self.ef) } else { (self.ef / OTHERS).max(1) }
    }

    #[inline(never)]
    fn count(&mut self, first: u32) -> bool {
        let share = self.share_of(first);
        let mut least = 0;
        for at in 0..VALUES {
            let (value, taken) = self.taken[at];
            if value == first {
                self.taken[at].1 += 1;
                return taken as usize >= share;
            }
            if taken < self.taken[least].1 {
                least = at;
            }
        }
        self.taken[least] = (first, 1);
        false
    }
}

/// A random walk from `start` over edges between nodes of equal value. Returns where it ends, and in `edges`
/// such edges from there.
pub(super) fn wander(base_layer: &Lists, start: u32, seed: u32, edges: &mut Vec<Edge>) -> u32 {
    let mut at = start;
    for step in 0..=STEPS {
        base_layer.lock(at as usize).read(edges);
        edges.retain(|e| e.closer == EQUAL);
        if step < STEPS && !edges.is_empty() {
            let turn = rank(seed, step) as usize % edges.len();
            at = edges.get(turn).map_or(at, |e| e.node);
        }
    }
    at
}
