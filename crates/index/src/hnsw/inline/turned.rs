//! The edges back to a new element, made with those that it has.

use crate::storage::page::Tid;
use crate::work::memory::{OutOfMemory, append, push};

/// Edges that lead to a new element, as the codes of its own list tell them: the residual there is the one here turned
/// round ([`rabitq::encode_both`](crate::quant::rabitq::encode_both)).
#[derive(Debug)]
pub(super) struct Turned {
    to: Tid,
    /// where they begin, and their factors
    edges: Vec<(Tid, [f32; 2])>,
    codes: Vec<u8>,
}

impl Default for Turned {
    fn default() -> Self {
        Turned { to: Tid::INVALID, edges: Vec::new(), codes: Vec::new() }
    }
}

impl Turned {
    /// Begins those that lead to the element at `to`, or to one that is not placed yet.
    pub(super) fn begin(&mut self, to: Tid) {
        self.to = to;
        self.edges.clear();
        self.codes.clear();
    }

    /// The element has its place.
    pub(super) fn placed(&mut self, to: Tid) {
        self.to = to;
    }

    /// Whether it is the element that they lead to.
    pub(super) fn lead_to(&self, tid: Tid) -> bool {
        self.to == tid
    }

    /// Adds the edge from an element, given its factors and the code of the edge there.
    pub(super) fn add(&mut self, from: Tid, factors: [f32; 2], code: &[u8]) -> Result<(), OutOfMemory> {
        append(&mut self.codes, code)?;
        if let Some(turned) = self.codes.len().checked_sub(code.len()).and_then(|at| self.codes.get_mut(at..))
        {
            turned.iter_mut().for_each(|byte| *byte = !*byte);
        }
        push(&mut self.edges, (from, factors))
    }

    /// The edge between two elements, when it is one of these: its factors and its code.
    pub(super) fn find(&self, from: Tid, to: Tid, size: usize) -> Option<([f32; 2], &[u8])> {
        if to != self.to {
            return None;
        }
        let at = self.edges.iter().position(|edge| edge.0 == from)?;
        Some((self.edges.get(at)?.1, self.codes.get(at * size..(at + 1) * size)?))
    }

    /// Bytes that it holds.
    pub(super) fn allocated(&self) -> usize {
        self.edges.capacity() * size_of::<(Tid, [f32; 2])>() + self.codes.capacity()
    }
}
