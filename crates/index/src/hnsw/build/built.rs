//! A graph that was built.

use super::Elements;
use super::graph::EQUAL;
use super::rows::NONE;
use super::score::Codes;
use crate::hnsw::params::HEAP_TIDS;
use crate::space::Space;
use crate::storage::page::Tid;
use crate::work::memory::OutOfMemory;

/// A finished graph.
#[derive(Debug)]
pub struct Graph<S> {
    pub(super) elements: Elements<S>,
    /// in place of values
    pub(super) codes: Option<Codes>,
    pub(super) entry: Option<u32>,
    pub(super) unreachable: usize,
}

/// What an edge is to its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// leads to the owner's anchor
    Anchor,
    /// leads to an element whose anchor is the owner
    Child,
    /// the heuristic has chosen it
    Chosen,
    /// another edge is closer to its end than the owner is
    Spare,
}

/// An edge of a list.
#[derive(Clone, Copy, Debug)]
pub struct ListedEdge {
    /// the node it leads to
    pub node: u32,
    /// its length
    pub distance: f32,
    /// what it is to the list's owner
    pub role: Role,
}

/// One element of a graph.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a, S> {
    elements: &'a Elements<S>,
    node: u32,
}

impl<S: Space> Graph<S> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.elements.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes `out` what a node's code stands for, where [only codes](Builder::keep_codes) are kept; returns false where
    /// values are.
    pub(crate) fn decode(&self, node: u32, out: &mut [f32]) -> bool {
        match &self.codes {
            Some(codes) if (node as usize) < self.len() => codes.decode(node, out),
            _ => return false,
        }
        true
    }

    /// The element every search begins with, one of the highest level.
    pub fn entry(&self) -> Option<u32> {
        self.entry
    }

    /// How many elements were given an edge, there being no way of mutual edges to or from the others.
    pub fn reattached(&self) -> usize {
        self.unreachable
    }

    /// The element at `node`, by the order of the rows; none beyond the last.
    pub fn element(&self, node: u32) -> Option<Element<'_, S>> {
        ((node as usize) < self.len()).then_some(Element { elements: &self.elements, node })
    }

    /// The elements in the order of their rows.
    pub fn elements(&self) -> impl ExactSizeIterator<Item = Element<'_, S>> {
        (0..self.len() as u32).map(|node| Element { elements: &self.elements, node })
    }
}

impl<'a, S: Space> Element<'a, S> {
    /// The number neighbours name it by: its place in the order of the rows.
    pub fn node(&self) -> u32 {
        self.node
    }

    /// Its highest layer.
    pub fn level(&self) -> u8 {
        self.elements.rows.get(self.node).level
    }

    /// Its heap TIDs, 1 to 10 of them, in the order they came; the others are invalid.
    pub fn heap_tids(&self) -> [Tid; HEAP_TIDS] {
        self.elements.rows.tids(self.node).0
    }

    /// Its first heap TID.
    pub fn first_heap_tid(&self) -> Tid {
        self.elements.rows.tids(self.node).0[0]
    }

    /// All its other heap TIDs, the latest first: any number where [elements are shared](Builder::share_elements).
    pub fn other_heap_tids(&self) -> impl Iterator<Item = Tid> + 'a {
        self.elements.rows.other_tids(self.node)
    }

    /// Its value, as it was pushed.
    pub fn value(&self) -> &'a [u8] {
        self.elements.values.get(self.node as usize)
    }

    /// Its anchor: the neighbour in layer 0 that it hangs below in the tree that holds the graph together. The entry
    /// point has one of those that hang below it, an element without others none.
    pub fn anchor(&self) -> Option<u32> {
        let anchor = self.elements.rows.get(self.node).hash;
        // one that hangs elsewhere is its own
        (anchor != NONE && anchor != self.node).then_some(anchor)
    }

    /// Makes `out` its edges in `layer`, nearest first; none above its level.
    pub(crate) fn edges(&self, layer: u8, out: &mut Vec<ListedEdge>) -> Result<(), OutOfMemory> {
        out.clear();
        if layer > self.level() {
            return Ok(());
        }
        let (lists, at) = self.elements.list(self.node, layer);
        out.try_reserve(lists.slots())?;
        let list = lists.lock(at);
        out.extend((0..list.len()).map(|at| {
            let node = list.node(at);
            let role = match list.closer(at) {
                _ if layer == 0 && self.anchor() == Some(node) => Role::Anchor,
                _ if layer == 0 && self.elements.rows.get(node).hash == self.node => Role::Child,
                closer if closer >= EQUAL => Role::Chosen,
                _ => Role::Spare,
            };
            ListedEdge { node, distance: list.distance(at), role }
        }));
        Ok(())
    }

    /// Its neighbours in `layer`, nearest first, in layer 0 the anchor before them; none above its level.
    pub fn neighbours(&self, layer: u8) -> impl Iterator<Item = u32> + 'a {
        let elements = self.elements;
        let list = (layer <= self.level()).then(|| elements.list(self.node, layer));
        let anchor = self.anchor().filter(|_| layer == 0);
        let others = list.into_iter().flat_map(|(lists, at)| lists.ids(at));
        anchor.into_iter().chain(others.filter(move |&node| Some(node) != anchor))
    }
}
