//! The tree that holds layer 0 together. Edges are directed, and adding one to a full list drops another, which
//! may have been the only way to a node, or the only way back. So some edges are never dropped: each element
//! but the root has an
//! *anchor*, has an edge to it and one back from it, and anchors lead to the root. Then every element leads to
//! every other, whatever else lists hold. (src/hnsw/README.md says how later changes keep that.)
//!
//! The tree grows over edges that stand in both lists, breadth first from the entry point, and few hang below
//! one element, so that no list is full of what it cannot drop. What is left then is given edges: an element
//! that a list of the tree leads to gets the edge back; another one gets a pair of edges with the nearest
//! element of the tree that can spare one. By inner product there may be as many of these as others, all near
//! the same few long vectors, whose lists everybody needs: so no list spares more than a few.

use std::sync::atomic::AtomicBool;

use super::Elements;
use super::graph::{CHOSEN, Edge};
use super::insert::{Scratch, Stop, add, nearest, remove};
use super::rows::NONE;
use super::score::{Exact, Score};
use crate::space::Space;
use crate::work::workers::Workers;

/// Nodes between two looks at the clock.
const STRIDE: u32 = 4096;
/// Children that a node of the tree takes while others may take them.
const CHILDREN: usize = 2;
/// Children that it may have where lists are short; in others a quarter of the list.
const MOST: usize = 3;
/// Steps down the tree that go to the nearest child.
const NEAREST_STEPS: u32 = 4;

/// The tree while it grows. A node's anchor is kept in `hash`, which has served its purpose. `next` chains the
/// nodes that the tree will grow from; then it counts, from [`NONE`] on, the edges that a node's list has
/// spared. For a node outside the tree it is one inside whose list leads there, or [`NONE`].
struct Tree<'a, S> {
    elements: &'a mut Elements<S>,
    /// nodes in the tree
    len: u32,
    /// room for a list
    edges: Vec<Edge>,
    /// room for what a search finds
    near: Vec<Edge>,
}

/// Which nodes outside the tree are given edges.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// none: they have edges to and from the tree
    None,
    /// those with an edge from the tree
    Half,
    /// all
    Whole,
}

/// Gives every node an anchor, that of `entry` being one of those below it; returns how many had to be given edges.
/// Where `is_root` names nodes, these hang elsewhere and are their own anchors here, and the tree grows from all of
/// them.
pub(super) fn span<S: Space>(
    elements: &mut Elements<S>,
    entry: u32,
    is_root: &dyn Fn(u32) -> bool,
    scratch: &mut Scratch,
    workers: &mut Workers<'_>,
) -> Result<usize, Stop> {
    let nodes = elements.rows.len() as u32;
    let mut first = None;
    for node in 0..nodes {
        let root = is_root(node);
        let row = elements.rows.get_mut(node);
        (row.hash, row.next) = (if root { node } else { NONE }, NONE);
        first = first.or(root.then_some(node));
    }
    let (edges, near) = scratch.take_edges();
    let mut tree = Tree { elements, len: 0, edges, near };
    match first {
        None => tree.grow(entry, entry, workers),
        Some(first) => {
            for root in (first..nodes).filter(|&node| is_root(node)) {
                tree.grow(root, root, workers);
            }
        }
    }
    let start = first.unwrap_or(entry);
    let mut unreachable = 0;
    for given in [Lost::None, Lost::Half, Lost::Whole] {
        for node in 0..nodes {
            if tree.len == nodes {
                break;
            }
            // what is given edges takes its time
            if node.is_multiple_of(STRIDE) || given == Lost::Whole && !tree.has(node) {
                workers.poll_when_due();
            }
            if tree.has(node) {
                continue;
            }
            let anchor = match given {
                Lost::None => tree.mutual(node),
                Lost::Half => tree.noted(node),
                Lost::Whole => match tree.noted(node) {
                    None => Some(tree.find_anchor(node, start, scratch)?),
                    noted => noted,
                },
            };
            let Some(anchor) = anchor else { continue };
            tree.grow(node, anchor, workers);
            if given != Lost::None {
                unreachable += 1;
                let distance = tree.distance(node, anchor);
                tree.link(node, Edge { node: anchor, distance, closer: CHOSEN });
            }
        }
    }
    if first.is_none() {
        let below = tree.below(entry).next();
        tree.elements.rows.get_mut(entry).hash = below.unwrap_or(NONE);
    }
    Ok(unreachable)
}

impl<S: Space> Tree<'_, S> {
    fn anchor(&self, node: u32) -> u32 {
        self.elements.rows.get(node).hash
    }

    fn has(&self, node: u32) -> bool {
        self.anchor(node) != NONE
    }

    fn leads(&self, from: u32, to: u32) -> bool {
        self.elements.base_layer.ids(from as usize).any(|id| id == to)
    }

    /// The nodes whose anchor is `node`.
    fn below(&self, node: u32) -> impl Iterator<Item = u32> {
        self.elements.base_layer.ids(node as usize).filter(move |&id| id != node && self.anchor(id) == node)
    }

    fn distance(&self, from: u32, to: u32) -> f32 {
        let score = Exact(&*self.elements);
        score.distance(score.prepare(from), to)
    }

    /// The nearest node of the tree that has mutual edges with `node`.
    fn mutual(&self, node: u32) -> Option<u32> {
        let mut ids = self.elements.base_layer.ids(node as usize);
        ids.find(|&id| self.has(id) && self.leads(id, node) && self.takes(id))
    }

    /// The node of the tree that was noted for `node`, if its list still leads there.
    fn noted(&self, node: u32) -> Option<u32> {
        let from = self.elements.rows.get(node).next;
        (from != NONE && self.leads(from, node) && self.takes(from)).then_some(from)
    }

    /// Whether few enough nodes hang below `node` that its list can still change.
    fn takes(&self, node: u32) -> bool {
        self.below(node).count() < (self.elements.base_layer.slots() / 4).max(MOST)
    }

    /// Adds `start`, below `anchor`, and what mutual edges connect with it.
    fn grow(&mut self, start: u32, anchor: u32, workers: &mut Workers<'_>) {
        let Elements { base_layer, rows, .. } = &mut *self.elements;
        let row = rows.get_mut(start);
        (row.hash, row.next) = (anchor, NONE);
        let (mut head, mut tail) = (start, start);
        while head != NONE {
            self.len += 1;
            if self.len.is_multiple_of(STRIDE) {
                workers.poll_when_due();
            }
            let mut children = 0;
            for id in base_layer.ids(head as usize) {
                let row = rows.get_mut(id);
                if row.hash != NONE {
                    continue;
                }
                if children < CHILDREN && base_layer.ids(id as usize).any(|back| back == head) {
                    (row.hash, row.next) = (head, NONE);
                    rows.get_mut(tail).next = id;
                    tail = id;
                    children += 1;
                } else if row.next == NONE {
                    row.next = head;
                }
            }
            head = core::mem::replace(&mut rows.get_mut(head).next, NONE);
        }
    }

    /// Gives `node` an edge from a node of the tree, which `entry` is one of, and answers which.
    fn find_anchor(&mut self, node: u32, entry: u32, scratch: &mut Scratch) -> Result<u32, Stop> {
        let mut near = core::mem::take(&mut self.near);
        self.elements.base_layer.lock(node as usize).read(&mut near);
        if !near.iter().any(|e| self.has(e.node)) {
            // The layers above may have led to what layer 0 does not.
            let exact = Exact(&*self.elements);
            let search = (0, self.elements.ef_construction);
            // this thread stops by unwinding
            let never = AtomicBool::new(false);
            nearest(self.elements, exact, (node, entry), search, scratch, &never, &mut near)?;
        }
        near.retain(|e| self.has(e.node));
        let anchor = match near.iter().find(|e| self.spare(node, **e)) {
            Some(anchor) => anchor.node,
            None => self.descend(node, near.first().map_or(entry, |e| e.node)),
        };
        self.near = near;
        Ok(anchor)
    }

    /// Gives `node` an edge from a node below `start` in the tree: a few steps down to the nearest child of
    /// each, then to any, or the tree would grow there alone, and so deep that the way down takes longer and
    /// longer. Returns with the new anchor. There is one: nothing hangs below a leaf, so that it can spare an
    /// edge.
    fn descend(&mut self, node: u32, start: u32) -> u32 {
        let (mut owner, mut steps) = (start, 0u32);
        loop {
            let distance = self.distance(node, owner);
            if self.spare(node, Edge { node: owner, distance, closer: CHOSEN }) {
                return owner;
            }
            let any = |child: u32| (child ^ node).wrapping_mul(0x9e37_79b9).wrapping_add(steps) as f32;
            let rank = |child| if steps < NEAREST_STEPS { self.distance(node, child) } else { any(child) };
            match self.below(owner).min_by(|&a, &b| rank(a).total_cmp(&rank(b))) {
                Some(child) => owner = child,
                None => return owner,
            }
            steps = steps.saturating_add(1);
        }
    }

    /// Puts `node` into the list of the node of the tree that `to` leads to; returns false when that cannot
    /// spare an edge, or has spared enough.
    fn spare(&mut self, node: u32, to: Edge) -> bool {
        let owner = to.node;
        let full = self.elements.base_layer.lock(owner as usize).is_full();
        let spared = self.elements.rows.get(owner).next.wrapping_sub(NONE);
        if full && spared as usize >= (self.elements.base_layer.slots() / 16).max(1) || !self.takes(owner) {
            return false;
        }
        let given = self.link(owner, Edge { node, ..to });
        if given && full {
            self.elements.rows.get_mut(owner).next = NONE.wrapping_add(spared + 1);
        }
        given
    }

    /// Puts an edge into the list of `owner`, where it is full in the place of one that the tree does not need:
    /// of those the farthest that another edge is closer to, or else the farthest. Returns false when all are
    /// needed.
    fn link(&mut self, owner: u32, edge: Edge) -> bool {
        let mut edges = core::mem::take(&mut self.edges);
        let mut list = self.elements.base_layer.lock(owner as usize);
        list.read(&mut edges);
        let stands = edges.iter().any(|e| e.node == edge.node);
        let mut room = true;
        if !stands && list.is_full() {
            let needless = |e: &Edge| self.anchor(e.node) != owner && self.anchor(owner) != e.node;
            let pruned = edges.iter().rposition(|e| e.closer != CHOSEN && needless(e));
            match pruned.or_else(|| edges.iter().rposition(needless)) {
                Some(dropped) => {
                    for e in &mut edges {
                        if usize::from(e.closer) == dropped {
                            e.closer = CHOSEN;
                        }
                    }
                    remove(&mut edges, dropped);
                }
                None => room = false,
            }
        }
        if !stands && room {
            let at = edges.partition_point(|e| e.distance < edge.distance);
            add(&mut edges, at, edge);
            list.write(&edges, 0);
        }
        drop(list);
        self.edges = edges;
        stands || room
    }
}
