//! The graph on pages as a [`Store`]: what searches walk.

use super::super::graph::{GraphSearch, Member, NeighbourSearch, ScanSearch, Walk};
use super::super::meta::{META_BLOCK, PAGE_ID};
use super::super::params::HEAP_TIDS;
use super::super::search::visited::TidSet;
use super::super::search::{CandidateQueue, Discarded, Scored, Store, search_layer};
use super::super::values::Values;
use super::layout::{Element, Neighbours, is_element, neighbours_size};
use crate::space::Space;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, FIRST_OFFSET, Page, Tid};

/// An element that a search has seen.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// its element tuple
    pub tid: Tid,
    /// its neighbour tuple
    pub neighbour_tid: Tid,
    /// its level
    pub level: u8,
    /// its version when it was read
    pub version: u8,
    /// how many of `heap_tids` are valid
    pub rows: u8,
    /// its rows
    pub heap_tids: [Tid; HEAP_TIDS],
    /// whether its value is the very one that an insert searches with
    pub equal: bool,
}

impl Node {
    fn new(tid: Tid, element: &Element<'_>) -> Self {
        let header = element.header;
        Node {
            tid,
            neighbour_tid: header.neighbour_tid,
            level: header.level,
            version: header.version,
            rows: header.live_heap_tids().len() as u8,
            heap_tids: header.heap_tids,
            equal: false,
        }
    }
}

/// What a walk over the pages has seen; reused from search to search, so that nothing is allocated per element.
#[derive(Debug, Default)]
pub struct Traversal {
    /// the elements seen that were near enough; a [`Scored::node`] is a position here
    nodes: Vec<Node>,
    /// the positions whose elements nobody needs any more
    free: Vec<u32>,
    /// the elements scored in this layer
    visited: TidSet,
    slots: Vec<Tid>,
    /// elements of the very value that an insert searches with, and with room for another row
    spare: Vec<Tid>,
    /// elements scored since the walk began
    scored: u64,
}

impl Traversal {
    /// Nothing seen.
    pub const fn new() -> Self {
        Traversal {
            nodes: Vec::new(),
            free: Vec::new(),
            visited: TidSet::new(),
            slots: Vec::new(),
            spare: Vec::new(),
            scored: 0,
        }
    }

    /// Begins a layer: what is in `pool` counts as visited, nothing else.
    fn begin_layer(&mut self, pool: &CandidateQueue) {
        self.visited.clear();
        for scored in pool.iter() {
            if let Some(node) = self.nodes.get(scored.node as usize) {
                self.visited.insert(node.tid);
            }
        }
    }

    /// The node of a handle.
    pub fn node(&self, node: u32) -> Option<&Node> {
        self.nodes.get(node as usize)
    }

    #[inline(always)]
    fn add(&mut self, node: Node) -> u32 {
        if let Some(at) = self.free.pop()
            && let Some(place) = self.nodes.get_mut(at as usize)
        {
            *place = node;
            return at;
        }
        self.nodes.push(node);
        self.nodes.len() as u32 - 1
    }
}

impl Walk for Traversal {
    fn clear(&mut self) {
        self.nodes.clear();
        self.free.clear();
        self.visited.clear();
        self.spare.clear();
        self.scored = 0;
    }

    #[inline(always)]
    fn member(&self, node: u32) -> Option<Member> {
        let &Node { tid, neighbour_tid: list, level, version, rows, .. } = self.nodes.get(node as usize)?;
        Some(Member { tid, list, level, version, live: rows > 0 })
    }

    #[inline(always)]
    fn is_equal(&self, node: u32) -> bool {
        self.nodes.get(node as usize).is_some_and(|node| node.equal)
    }

    fn spare(&self) -> &[Tid] {
        &self.spare
    }

    fn release(&mut self, node: u32) {
        // without memory for it the place is not used again, and nothing else
        if self.free.try_reserve(1).is_ok() {
            self.free.push(node);
        }
    }

    fn scored(&self) -> u64 {
        self.scored
    }

    fn set_scored(&mut self, scored: u64) {
        self.scored = scored;
    }

    fn allocated(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
            + self.free.capacity() * size_of::<u32>()
            + self.visited.allocated()
            + (self.slots.capacity() + self.spare.capacity()) * size_of::<Tid>()
    }

    fn in_use(&self) -> usize {
        // at its fullest, the set's table is half empty
        (self.nodes.len() - self.free.len()) * size_of::<Node>() + self.visited.len() * 2 * size_of::<u64>()
    }
}

/// The graph as one query sees it, or, with `INSERTS`, as an insert does, which looks for equal values.
pub struct PageStore<'s, B, S: Space, const INSERTS: bool = false> {
    blocks: &'s mut B,
    space: S,
    /// `None`: a NULL query, to which everything is equally near
    query: Option<S::View<'s>>,
    /// bytes of an element tuple like the query's, for prefetching
    size: usize,
    m: usize,
    walk: &'s mut Traversal,
    /// an element that is being repaired: neither it nor elements without rows take a place in the result
    repairing: Option<Tid>,
    alike: Alike<'s>,
    /// elements expanded
    steps: u32,
}

/// What a search for an insert does with elements of the very value it searches with: it notices those with room for a
/// row, and passes over those that would take more than a share of its queue, so that it finds others too.
#[derive(Clone, Copy, Debug)]
struct Alike<'s> {
    /// the value, none for other searches
    value: &'s [u8],
    /// its distance from itself; NaN, which is no distance, for other searches
    distance: f32,
    /// how many more may take a place
    left: usize,
}

impl Alike<'_> {
    const NONE: Self = Alike { value: &[], distance: f32::NAN, left: 0 };

    /// Whether an element as near as the value itself has that value; notices it when it has room for a row.
    #[cold]
    fn meet(&self, walk: &mut Traversal, element: &Element<'_>, tid: Tid) -> Result<bool, Damage> {
        if element.value != self.value {
            return Ok(false);
        }
        let room = element.header.is_live() && !element.header.heap_tids[HEAP_TIDS - 1].is_valid();
        if room && walk.spare.len() < SPARE && !walk.spare.contains(&tid) {
            walk.spare.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
            walk.spare.push(tid);
        }
        Ok(true)
    }

    /// Adds an element as near as the value itself to what an expansion found, unless its likes have their share.
    #[cold]
    fn push(
        &mut self,
        walk: &mut Traversal,
        element: &Element<'_>,
        tid: Tid,
        bound: f32,
        out: &mut Vec<Scored>,
    ) -> Result<(), Damage> {
        let mut node = Node::new(tid, element);
        node.equal = self.meet(walk, element, tid)?;
        if node.equal && node.rows > 0 {
            let Some(left) = self.left.checked_sub(1) else { return Ok(()) };
            self.left = left;
        }
        if self.distance < bound || bound == f32::INFINITY {
            out.push(Scored { distance: self.distance, node: walk.add(node) });
        }
        Ok(())
    }
}

/// Elements with room for a row that a search keeps in mind.
const SPARE: usize = 8;

/// Elements that a search around dying ones expands before it may be cancelled.
const LONG_SEARCH: u32 = 512;

/// Bytes of items that are asked for ahead of the one being scored. More at a time only fills the queue of misses.
const PREFETCH_DISTANCE_BYTES: usize = 2 << 10;

impl<'s, B: BlockStore, S: Space> PageStore<'s, B, S> {
    /// The graph in `blocks`, whose elements have `m` connections, scored against `query`, a whole varlena.
    ///
    /// # Errors
    /// A query of other dimensions.
    pub(super) fn new(
        blocks: &'s mut B,
        space: S,
        query: Option<&'s [u8]>,
        m: usize,
        walk: &'s mut Traversal,
    ) -> Result<Self, crate::ValueError> {
        let size = super::layout::element_size(query.map_or(0, <[u8]>::len));
        let query = query.map(|value| space.view(value)).transpose()?;
        Ok(PageStore { blocks, space, query, size, m, walk, repairing: None, alike: Alike::NONE, steps: 0 })
    }

    /// The same, for an insert of `value`, which is the query.
    pub(super) fn inserting(self, value: &'s [u8]) -> PageStore<'s, B, S, true> {
        let PageStore { blocks, space, query, size, m, walk, repairing, mut alike, steps } = self;
        if let Some(query) = query {
            alike = Alike { value, distance: space.distance(query, query), left: 0 };
        }
        PageStore { blocks, space, query, size, m, walk, repairing, alike, steps }
    }
}

impl<'s, B: BlockStore, S: Space, const INSERTS: bool> PageStore<'s, B, S, INSERTS> {
    /// The same, for the repair of the element at `tid`.
    pub(super) fn repairing(self, tid: Tid) -> Self {
        PageStore { repairing: Some(tid), ..self }
    }

    /// Reads the neighbours in `layer` that were not visited into `walk.slots`. Leaves none when the neighbour tuple
    /// was deleted, and maybe reused, since the element was read.
    #[inline(always)]
    fn unvisited(&mut self, node: Node, layer: u8) -> Result<(), B::Error> {
        let (m, walk) = (self.m, &mut *self.walk);
        walk.slots.clear();
        let at = node.neighbour_tid;
        self.blocks.read(at.block(), |bytes| {
            let item = Page::unidentified(bytes)?.item(at.offset())?;
            let neighbours = Neighbours::new(item, at.offset())?;
            let slots = neighbours.layer(node.level, node.version, layer, m).unwrap_or_default();
            walk.visited.reserve(slots.len())?;
            for &tid in slots.iter().take_while(|tid| tid.is_valid()) {
                if walk.visited.insert(tid) {
                    walk.slots.push(tid);
                }
            }
            Ok(())
        })
    }
}

/// The distance of an element from the query.
#[inline(always)]
fn score<S: Space>(
    space: S,
    query: Option<S::View<'_>>,
    element: &Element<'_>,
    tid: Tid,
) -> Result<f32, Damage> {
    match query {
        Some(query) => match space.view(element.value) {
            Ok(value) => Ok(space.distance(query, value)),
            Err(_) => Err(Damage::at(tid.offset(), "invalid value")),
        },
        None => Ok(0.0),
    }
}

impl<B: BlockStore, S: Space, const INSERTS: bool> Store for PageStore<'_, B, S, INSERTS> {
    type Error = B::Error;

    #[inline]
    fn expand(&mut self, node: u32, layer: u8, bound: f32, out: &mut Vec<Scored>) -> Result<(), B::Error> {
        // handles come from this store
        let Some(&node) = self.walk.nodes.get(node as usize) else { return Ok(()) };
        if INSERTS && self.repairing.is_some() {
            // where nearly all is on its way out, the search may come through the whole index
            self.steps += 1;
            if self.steps.is_multiple_of(LONG_SEARCH) {
                self.blocks.pause()?;
            }
        }
        self.unvisited(node, layer)?;
        let count = self.walk.slots.len();
        let room = self.walk.nodes.try_reserve(count).and_then(|()| out.try_reserve(count));
        room.map_err(|_| Damage::OUT_OF_MEMORY.on(node.tid.block()))?;
        self.walk.scored += count as u64;
        self.blocks.prefetch_blocks(&self.walk.slots);
        let ahead = (PREFETCH_DISTANCE_BYTES / self.size.max(1)).max(1);
        for &tid in self.walk.slots.iter().take(ahead) {
            self.blocks.prefetch_item(tid, self.size);
        }
        for at in 0..count {
            let Some(&tid) = self.walk.slots.get(at) else { break };
            if let Some(&next) = self.walk.slots.get(at + ahead) {
                self.blocks.prefetch_item(next, self.size);
            }
            let (space, query, walk, alike) = (self.space, self.query, &mut *self.walk, &mut self.alike);
            self.blocks.read(tid.block(), |bytes| {
                let element = Element::new(Page::unidentified(bytes)?.item(tid.offset())?, tid.offset())?;
                // A standby replays the marking of deleted elements while its scans run; there is nothing to find.
                if element.header.deleted != 0 || element.header.level < layer {
                    return Ok(());
                }
                let distance = score(space, query, &element, tid)?;
                if INSERTS && distance == alike.distance {
                    return alike.push(walk, &element, tid, bound, out);
                }
                if distance < bound || bound == f32::INFINITY {
                    out.push(Scored { distance, node: walk.add(Node::new(tid, &element)) });
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    #[inline(always)]
    fn prefetch_node(&mut self, node: u32) {
        if let Some(node) = self.walk.nodes.get(node as usize) {
            self.blocks.prefetch_item(node.neighbour_tid, neighbours_size(0, self.m));
        }
    }

    fn out_of_memory(&self) -> B::Error {
        Damage::OUT_OF_MEMORY.on(META_BLOCK).into()
    }

    #[inline(always)]
    fn accepts(&self, node: u32) -> bool {
        match (self.repairing, self.walk.nodes.get(node as usize)) {
            (Some(repairing), Some(node)) => node.rows > 0 && node.tid != repairing,
            _ => true,
        }
    }
}

impl<B: BlockStore, S: Space, const INSERTS: bool> GraphSearch for PageStore<'_, B, S, INSERTS> {
    type Error = B::Error;
    type Walk = Traversal;

    #[inline(always)]
    fn accepts(&self, node: u32) -> bool {
        Store::accepts(self, node)
    }

    fn search_layer(
        &mut self,
        pool: &mut CandidateQueue,
        out: &mut Vec<Scored>,
        ef: usize,
        layer: u8,
    ) -> Result<(), B::Error> {
        search_layer(self, pool, out, ef, layer, None)
    }

    fn walk(&mut self) -> &mut Traversal {
        self.walk
    }

    fn begin_layer(&mut self, _: u8, pool: &CandidateQueue) -> Result<(), B::Error> {
        self.walk.begin_layer(pool);
        Ok(())
    }

    fn enter(&mut self, tid: Tid) -> Result<Option<Scored>, B::Error> {
        let (space, query, walk, alike) = (self.space, self.query, &mut *self.walk, self.alike);
        self.blocks.read(tid.block(), |bytes| {
            let element = Element::new(Page::new(bytes, PAGE_ID)?.item(tid.offset())?, tid.offset())?;
            if element.header.deleted != 0 {
                return Ok(None);
            }
            let distance = score(space, query, &element, tid)?;
            let mut found = Node::new(tid, &element);
            if distance == alike.distance {
                found.equal = alike.meet(walk, &element, tid)?;
            }
            let node = walk.add(found);
            walk.scored += 1;
            Ok(Some(Scored { distance, node }))
        })
    }
}

impl<B: BlockStore, S: Space> ScanSearch for PageStore<'_, B, S, false> {
    fn search_keeping(
        &mut self,
        pool: &mut CandidateQueue,
        out: &mut Vec<Scored>,
        ef: usize,
        layer: u8,
        discarded: Option<&mut Discarded>,
    ) -> Result<(), B::Error> {
        search_layer(self, pool, out, ef, layer, discarded)
    }

    fn pass(&mut self, block: u32, out: &mut Vec<Scored>) -> Result<(), B::Error> {
        let (space, query, walk) = (self.space, self.query, &mut *self.walk);
        self.blocks.read_in_passing(block, |bytes| {
            // a block that a crash left without ever linking it
            if Page::is_new(bytes) {
                return Ok(());
            }
            let page = Page::new(bytes, PAGE_ID)?;
            for offset in FIRST_OFFSET..=page.max_offset() {
                let (item, tid) = (page.item(offset)?, Tid::new(block, offset));
                if !is_element(item) || walk.visited.contains(tid) {
                    continue;
                }
                let element = Element::new(item, offset)?;
                if element.header.deleted != 0 || !element.header.is_live() {
                    continue;
                }
                let distance = score(space, query, &element, tid)?;
                let room = walk.nodes.try_reserve(1).and_then(|()| out.try_reserve(1));
                room.map_err(|_| Damage::OUT_OF_MEMORY)?;
                out.push(Scored { distance, node: walk.add(Node::new(tid, &element)) });
                walk.scored += 1;
            }
            Ok(())
        })
    }
}

impl<B: BlockStore, S: Space> NeighbourSearch for PageStore<'_, B, S, true> {
    fn limit_equals(&mut self, left: usize) {
        self.alike.left = left;
    }

    fn load_values(&mut self, values: &mut Values, nodes: &[Scored]) -> Result<(), B::Error> {
        for scored in nodes {
            let node = scored.node;
            if values.has(node) {
                continue;
            }
            let Some(tid) = self.walk.node(node).map(|node| node.tid) else { continue };
            self.blocks.read(tid.block(), |bytes| {
                let element = Element::new(Page::new(bytes, PAGE_ID)?.item(tid.offset())?, tid.offset())?;
                values.set(node, element.value)
            })?;
        }
        Ok(())
    }
}
