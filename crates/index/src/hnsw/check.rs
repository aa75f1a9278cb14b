//! Every invariant of an hnsw index of version 1, looked at.
//!
//! What holds at any moment between two changes, and so after a crash as well:
//! - block 0 is the meta page; every other block is in the chain that begins at block 1 and only goes forward, or was
//!   added and never used (all zeros);
//! - element and neighbour tuples come in pairs of one version, the list as long as the level asks for;
//! - each layer's list has its edges first and then free slots, no edge twice, none to the element itself;
//! - an edge of a live element leads to an element that is not deleted and reaches up to the edge's layer;
//! - the entry point is an element that is not deleted, named with its level;
//! - rows come first among an element's heap TIDs, and no row is in two places;
//! - a value has the dimensions of the index. Looked at only when the check is deep: elements are finite, in a sparse
//!   value ascending and not zero, and a cosine index keeps unit length.
//!
//! What is no violation, because an insert or a vacuum that was interrupted leaves it behind:
//! - *dying* elements, which have no rows and are not deleted. The next vacuum repairs the graph around them. Edges
//!   lead to them, while theirs may lead to a deleted element, or to another in its place, once nothing leads to
//!   themselves; so the edges of a dying element count only where something does (found out when the check is deep);
//! - an element that nothing leads to: an insert writes the pair first and the edges to it one by one;
//! - no entry point while there are dying elements, or while no element has an edge;
//! - an entry point below the highest level: a vacuum takes the highest element that it had seen. Searches then begin
//!   lower, at the same results.
//!
//! Reachability is no invariant of such graphs: a list that is full drops edges, and some element may lose its last.
//! pgvector's own indexes of 8,000 random rows miss up to 0.7 % of their elements (none when m is 16), but most of them
//! where many values are equal, or where lengths differ and the order is by inner product. A deep check follows all
//! edges from the entry point, counts what they miss, and tells only when they go nowhere: when the way ends after no
//! more elements than one list has places, and more are left.

use super::layout::{
    Element, HEAD_BLOCK, HEAP_TIDS, MAX_TUPLE_VERSION, META_BLOCK, MetaPage, Neighbours, PAGE_ID,
    element_size, is_element, layer_range, neighbours_size,
};
use super::params::{MAX_EF_CONSTRUCTION, MIN_EF_CONSTRUCTION, layer_slots, max_level};
use crate::blocks::Blocks;
use crate::page::{FIRST_OFFSET, INVALID_BLOCK, Page, Tid};
use crate::space::{AnySpace, DenseKernels, Space};
use crate::value::{DenseElement, DenseView, SparseView, check_indices};
use crate::verify::{self, Violation};

/// Elements after which a check may be cancelled.
const STRIDE: usize = 64;

/// In place of the next block: the page is damaged, and that has been told. What it holds is not known.
const DAMAGED: u32 = INVALID_BLOCK - 1;

/// What an index should be.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// what it compares
    pub space: AnySpace,
    /// whether it keeps values of unit length (cosine distance)
    pub unit: bool,
}

/// How an element stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// it has rows
    Live,
    /// it has none, and vacuum has not got to its end
    Dying,
    /// its place is free
    Deleted,
    /// its tuple is damaged, and that has been told
    Broken,
}

/// An element tuple.
#[derive(Clone, Copy, Debug)]
struct Node {
    block: u32,
    offset: u16,
    level: u8,
    version: u8,
    list: Tid,
    state: State,
}

impl Node {
    fn tid(&self) -> Tid {
        Tid::new(self.block, self.offset)
    }
}

/// A neighbour tuple.
#[derive(Clone, Copy, Debug)]
struct List {
    tid: u64,
    sound: bool,
    owners: u8,
}

/// Where a row is in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    heap_tid: u64,
    node: usize,
}

/// What a check found, violations aside. Memory grows with elements and rows: 16 bytes for each of an element, its
/// neighbour tuple and its rows, and 13 bytes for each block.
#[derive(Debug, Default)]
pub struct Census {
    nodes: Vec<Node>,
    rows: Vec<Row>,
    /// elements with rows
    pub live: u64,
    /// elements without rows that are not deleted
    pub dying: u64,
    /// deleted elements
    pub deleted: u64,
    /// blocks that were added and never used
    pub unused_blocks: u64,
    /// edges of live elements
    pub edges: u64,
    /// level of the entry point, when there is one
    pub entry_level: Option<u8>,
    /// highest level of a live element
    pub top_level: Option<u8>,
    /// live elements that no edges lead to from the entry point; known after a deep check
    pub lost: u64,
    /// those of them that have no edges either, packed TIDs in ascending order
    alone: Vec<u64>,
}

/// Where a row was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// its element tuple
    pub element: Tid,
    /// whether no search will find it: no edge leads to its element or away from it, and it is not the entry point.
    /// That is known after a deep check.
    pub alone: bool,
}

impl Census {
    /// Looks a row up.
    pub fn find(&self, heap_tid: Tid) -> Option<Found> {
        let at = self.rows.binary_search_by_key(&heap_tid.packed(), |row| row.heap_tid).ok()?;
        let element = self.nodes.get(self.rows.get(at)?.node)?.tid();
        Some(Found { element, alone: self.alone.binary_search(&element.packed()).is_ok() })
    }

    /// The rows on blocks `heap_block` and later of the table, with their element tuples.
    pub fn rows_from(&self, heap_block: u32) -> impl Iterator<Item = (Tid, Tid)> {
        let first = self.rows.partition_point(|row| row.heap_tid < Tid::new(heap_block, 0).packed());
        self.rows.get(first..).unwrap_or_default().iter().filter_map(|row| {
            let element = self.nodes.get(row.node)?.tid();
            Some((Tid::from_packed(row.heap_tid), element))
        })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }
}

/// Why a check does not come to its end. Damage is no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckError<E> {
    /// a block cannot be read
    Blocks(E),
    /// the elements do not fit the memory there is
    OutOfMemory,
}

impl<E> From<E> for CheckError<E> {
    fn from(e: E) -> Self {
        CheckError::Blocks(e)
    }
}

/// Makes room for `more`.
fn reserve<T, E>(vec: &mut Vec<T>, more: usize) -> Result<(), CheckError<E>> {
    vec.try_reserve(more).map_err(|_| CheckError::OutOfMemory)
}

/// Checks an index and tells `report` of each violation. Nobody may change the index meanwhile, or what is found may
/// be of different moments.
///
/// # Errors
/// A block that cannot be read, or too little memory.
pub fn check<B: Blocks>(
    blocks: &mut B,
    subject: &Subject,
    deep: bool,
    report: &mut dyn FnMut(Violation),
) -> Result<Census, CheckError<B::Error>> {
    let count = blocks.count()?;
    let Some(meta) = check_meta(blocks, count, report)? else { return Ok(Census::default()) };
    let mut check = Check {
        subject,
        deep,
        m: usize::from(meta.m),
        max_level: max_level(blocks.page_size(), usize::from(meta.m)),
        count,
        report,
        next: Vec::new(),
        first: Vec::new(),
        lists: Vec::new(),
        census: Census::default(),
        connected: false,
    };
    check.pages(blocks)?;
    check.chain(&meta)?;
    check.rows();
    check.pairs();
    check.edges(blocks)?;
    let entry = check.entry(&meta);
    if deep {
        check.reach(blocks, entry)?;
    }
    Ok(check.census)
}

/// The meta page, when the rest can be looked at with what it says.
fn check_meta<B: Blocks>(
    blocks: &mut B,
    count: u32,
    report: &mut dyn FnMut(Violation),
) -> Result<Option<MetaPage>, B::Error> {
    if count <= HEAD_BLOCK {
        report(Violation::of_index(format!("the index has {count} blocks, and at least 2 are needed")));
        if count == 0 {
            return Ok(None);
        }
    }
    let mut tell = |what: String| report(Violation::at(META_BLOCK, 0, what));
    let (meta, next) = blocks.read(META_BLOCK, |bytes| {
        let page = verify::page(bytes, PAGE_ID, false, |fault| tell(fault.what.into()));
        Ok((MetaPage::read(bytes), page.map_or(INVALID_BLOCK, |page| page.next())))
    })?;
    let meta = match meta {
        Ok(meta) => meta,
        Err(damage) => {
            tell(damage.what.into());
            return Ok(None);
        }
    };
    if next != INVALID_BLOCK {
        tell(format!("the meta page is followed by block {next}"));
    }
    if meta.dimensions == 0 {
        tell("dimensions are 0".into());
    }
    let (m, ef_construction) = (i32::from(meta.m), i32::from(meta.ef_construction));
    if !(MIN_EF_CONSTRUCTION..=MAX_EF_CONSTRUCTION).contains(&ef_construction) || ef_construction < 2 * m {
        tell(format!("ef_construction is {ef_construction}, with an m of {m}"));
    }
    Ok(Some(meta))
}

struct Check<'c> {
    subject: &'c Subject,
    deep: bool,
    m: usize,
    max_level: u8,
    count: u32,
    report: &'c mut dyn FnMut(Violation),
    /// by block: the next one, itself when it is unused, [`DAMAGED`]
    next: Vec<u32>,
    /// by block: its first element in the census
    first: Vec<usize>,
    lists: Vec<List>,
    census: Census,
    /// whether a live element has an edge
    connected: bool,
}

impl Check<'_> {
    fn tell(&mut self, tid: Tid, what: impl Into<String>) {
        (self.report)(Violation::at(tid.block(), tid.offset(), what));
    }

    fn is_damaged(&self, block: u32) -> bool {
        self.next.get(block as usize) == Some(&DAMAGED)
    }

    fn node(&self, tid: Tid) -> Option<(usize, &Node)> {
        let block = tid.block() as usize;
        let first = *self.first.get(block)?;
        let end = self.first.get(block + 1).copied().unwrap_or(self.census.nodes.len());
        let at = self.census.nodes.get(first..end)?.binary_search_by_key(&tid.offset(), |n| n.offset).ok()?;
        Some((first + at, self.census.nodes.get(first + at)?))
    }

    // --- pages and tuples ---------------------------------------------------------------------------------------

    /// Reads every block once and notes its tuples.
    fn pages<B: Blocks>(&mut self, blocks: &mut B) -> Result<(), CheckError<B::Error>> {
        reserve(&mut self.next, self.count as usize)?;
        reserve(&mut self.first, self.count as usize)?;
        self.next.push(META_BLOCK);
        self.first.push(0);
        // line pointers have 4 bytes
        let most = blocks.page_size() / 4;
        for block in HEAD_BLOCK..self.count {
            blocks.pause()?;
            reserve(&mut self.census.nodes, most)?;
            reserve(&mut self.census.rows, most * HEAP_TIDS)?;
            reserve(&mut self.lists, most)?;
            self.first.push(self.census.nodes.len());
            let next = blocks.read(block, |bytes| Ok(self.page(bytes, block)))?;
            self.next.push(next);
        }
        Ok(())
    }

    /// Answers what [`Self::next`] holds.
    fn page(&mut self, bytes: &[u8], block: u32) -> u32 {
        if verify::is_zero(bytes) {
            self.census.unused_blocks += 1;
            return block;
        }
        let report = &mut *self.report;
        let page = verify::page(bytes, PAGE_ID, true, |fault| {
            report(Violation::at(block, fault.offset, fault.what));
        });
        let Some(page) = page else { return DAMAGED };
        for offset in FIRST_OFFSET..=page.max_offset() {
            let (tid, Ok(item)) = (Tid::new(block, offset), page.item(offset)) else { continue };
            if is_element(item) {
                self.element(tid, item);
            } else if let Ok(list) = Neighbours::new(item, offset) {
                // its level is known where its element is
                let sound = list.slots.len().is_multiple_of(self.m) && item.len() == size_of_list(&list);
                if !sound {
                    self.tell(tid, "neighbour tuple of a length that no level has");
                }
                self.lists.push(List { tid: tid.packed(), sound, owners: 0 });
            } else {
                self.tell(tid, "invalid tuple");
                // its element, should it have one, need not be told again
                self.lists.push(List { tid: tid.packed(), sound: false, owners: 0 });
            }
        }
        if page.next() == DAMAGED { block } else { page.next() }
    }

    fn element(&mut self, tid: Tid, item: &[u8]) {
        let node = |state| Node {
            block: tid.block(),
            offset: tid.offset(),
            level: 0,
            version: 0,
            list: Tid::INVALID,
            state,
        };
        let element = match Element::new(item, tid.offset()) {
            Ok(element) => element,
            Err(damage) => {
                self.tell(tid, damage.what);
                self.census.nodes.push(node(State::Broken));
                return;
            }
        };
        let header = element.header;
        let state = match (header.deleted, header.is_live()) {
            (0, true) => State::Live,
            (0, false) => State::Dying,
            _ => State::Deleted,
        };
        if header.deleted > 1 {
            self.tell(tid, format!("deleted is {}", header.deleted));
        }
        if header.version > MAX_TUPLE_VERSION {
            self.tell(tid, format!("version is {}", header.version));
        }
        if header.level > self.max_level {
            self.tell(tid, format!("level is {}, and {} is the highest", header.level, self.max_level));
        }
        let rows = header.live_heap_tids();
        if header.heap_tids.iter().skip(rows.len()).any(|row| row.is_valid()) {
            self.tell(tid, "heap TIDs after a free place for one");
        }
        match state {
            State::Deleted => {
                self.census.deleted += 1;
                if !rows.is_empty() {
                    self.tell(tid, "deleted element with rows");
                }
                if item.iter().skip(super::layout::ELEMENT_HEADER).any(|&byte| byte != 0) {
                    self.tell(tid, "deleted element with a value");
                }
            }
            _ => {
                if element_size(element.value.len()) != item.len() {
                    self.tell(tid, "element tuple of another length than its value asks for");
                }
                if let Some(fault) = value_fault(self.subject, self.deep, element.value) {
                    self.tell(tid, fault);
                }
                *(if state == State::Live { &mut self.census.live } else { &mut self.census.dying }) += 1;
            }
        }
        if state == State::Live {
            let index = self.census.nodes.len();
            self.census.rows.extend(rows.iter().map(|row| Row { heap_tid: row.packed(), node: index }));
            self.census.top_level = self.census.top_level.max(Some(header.level));
        }
        self.census.nodes.push(Node {
            level: header.level,
            version: header.version,
            list: header.neighbour_tid,
            ..node(state)
        });
    }

    /// Follows the chain.
    fn chain<E>(&mut self, meta: &MetaPage) -> Result<(), CheckError<E>> {
        let mut chained = Vec::new();
        reserve(&mut chained, self.next.len())?;
        chained.resize(self.next.len(), false);
        let mut block = HEAD_BLOCK;
        while let Some((&next, seen)) = self.next.get(block as usize).zip(chained.get_mut(block as usize)) {
            *seen = true;
            if next == INVALID_BLOCK {
                break;
            }
            if next == DAMAGED {
                // what follows is not known
                chained.fill(true);
                break;
            }
            if next == block {
                self.tell(Tid::new(block, 0), "the page chain leads to a page that does not continue it");
                break;
            }
            if next < block || next >= self.count {
                self.tell(Tid::new(block, 0), format!("the page chain goes on at block {next}"));
                break;
            }
            block = next;
        }
        for (block, (&seen, &next)) in (0u32..).zip(chained.iter().zip(&self.next)) {
            if !seen && next != block && next != DAMAGED {
                (self.report)(Violation::at(block, 0, "page is not in the chain"));
            }
        }
        if chained.get(meta.insert_page as usize) != Some(&true) {
            let what = format!("inserts begin at block {}, which is not in the chain", meta.insert_page);
            (self.report)(Violation::at(META_BLOCK, 0, what));
        }
        Ok(())
    }

    /// Looks for rows in two places.
    fn rows(&mut self) {
        self.census.rows.sort_unstable();
        for pair in self.census.rows.windows(2) {
            let [first, second] = pair else { continue };
            if first.heap_tid != second.heap_tid {
                continue;
            }
            let place = |row: &Row| self.census.nodes.get(row.node).map_or(Tid::INVALID, Node::tid);
            let (row, other) = (Tid::from_packed(first.heap_tid), place(first));
            let tid = place(second);
            let what = format!("row {row} of the table is in the element at {other} too");
            (self.report)(Violation::at(tid.block(), tid.offset(), what));
        }
    }

    /// Looks whether every list has one element and every element a list.
    fn pairs(&mut self) {
        for node in self.census.nodes.iter().filter(|node| node.state != State::Broken) {
            match self.lists.binary_search_by_key(&node.list.packed(), |list| list.tid) {
                Ok(at) => {
                    if let Some(list) = self.lists.get_mut(at) {
                        list.owners = list.owners.saturating_add(1);
                    }
                }
                Err(_) if self.next.get(node.list.block() as usize) == Some(&DAMAGED) => {}
                Err(_) => {
                    let what = format!("no neighbour tuple at {}", node.list);
                    (self.report)(Violation::at(node.block, node.offset, what));
                }
            }
        }
        let broken =
            self.next.contains(&DAMAGED) || self.census.nodes.iter().any(|node| node.state == State::Broken);
        for list in &self.lists {
            let tid = Tid::from_packed(list.tid);
            match list.owners {
                1 => {}
                // what a damaged element owns is not known
                0 if broken || !list.sound => {}
                0 => (self.report)(Violation::at(tid.block(), tid.offset(), "neighbour tuple of no element")),
                _ => {
                    let what = "neighbour tuple of more than one element";
                    (self.report)(Violation::at(tid.block(), tid.offset(), what));
                }
            }
        }
    }

    // --- edges --------------------------------------------------------------------------------------------------

    /// Reads the list of a node and passes it on, when it is one.
    fn read_list<B: Blocks, R>(
        &self,
        blocks: &mut B,
        node: &Node,
        look: impl FnOnce(&Neighbours<'_>, usize) -> R,
    ) -> Result<Option<R>, B::Error> {
        let at = self.lists.binary_search_by_key(&node.list.packed(), |list| list.tid).ok();
        if !at.and_then(|at| self.lists.get(at)).is_some_and(|list| list.sound) {
            return Ok(None);
        }
        let offset = node.list.offset();
        blocks.read(node.list.block(), |bytes| {
            // it was one a moment ago
            let item = Page::new(bytes, PAGE_ID).and_then(|page| page.item(offset)).unwrap_or_default();
            Ok(Neighbours::new(item, offset).ok().map(|list| look(&list, item.len())))
        })
    }

    fn edges<B: Blocks>(&mut self, blocks: &mut B) -> Result<(), B::Error> {
        let mut slots = Vec::new();
        for at in 0..self.census.nodes.len() {
            if at.is_multiple_of(STRIDE) {
                blocks.pause()?;
            }
            let Some(&node) = self.census.nodes.get(at) else { break };
            if node.state == State::Broken {
                continue;
            }
            slots.clear();
            let read = self.read_list(blocks, &node, |list, len| {
                slots.extend_from_slice(list.slots);
                (list.version, len)
            })?;
            let Some((version, len)) = read else { continue };
            if version != node.version {
                let what =
                    format!("version is {version}, and {} in the element at {}", node.version, node.tid());
                self.tell(node.list, what);
            }
            let expected = (usize::from(node.level) + 2) * self.m;
            if slots.len() != expected {
                let what = format!("{} slots for level {}, which has {expected}", slots.len(), node.level);
                self.tell(node.list, what);
                continue;
            }
            if len != neighbours_size(node.level, self.m) && node.state != State::Deleted {
                self.tell(node.list, "neighbour tuple of another length than its slots ask for");
            }
            if node.state == State::Deleted {
                if slots.iter().any(|slot| slot.is_valid()) {
                    self.tell(node.list, "edges of a deleted element");
                }
                continue;
            }
            for layer in 0..=node.level {
                if let Some(slots) = slots.get_mut(layer_range(node.level, layer, self.m)) {
                    self.layer(&node, layer, slots);
                }
            }
        }
        Ok(())
    }

    /// Checks the edges of one layer; sorts them.
    fn layer(&mut self, node: &Node, layer: u8, slots: &mut [Tid]) {
        let edges = slots.iter().position(|slot| !slot.is_valid()).unwrap_or(slots.len());
        if slots.iter().skip(edges).any(|slot| slot.is_valid()) {
            self.tell(node.list, format!("edges after a free slot in layer {layer}"));
        }
        if node.state != State::Live {
            return;
        }
        let Some(edges) = slots.get_mut(..edges) else { return };
        self.census.edges += edges.len() as u64;
        self.connected |= !edges.is_empty();
        edges.sort_unstable_by_key(|edge| edge.packed());
        let mut previous = Tid::INVALID;
        for &edge in edges.iter() {
            if edge == previous {
                self.tell(node.list, format!("edge to {edge} twice in layer {layer}"));
                continue;
            }
            previous = edge;
            if edge == node.tid() {
                self.tell(node.list, format!("edge to the element itself in layer {layer}"));
            } else if let Some(fault) = self.edge_fault(edge, layer) {
                self.tell(node.list, fault);
            }
        }
    }

    fn edge_fault(&self, edge: Tid, layer: u8) -> Option<String> {
        match self.node(edge) {
            None if self.is_damaged(edge.block()) => None,
            None => Some(format!("edge in layer {layer} to {edge}, where there is no element")),
            Some((_, target)) => match target.state {
                State::Broken => None,
                State::Deleted => Some(format!("edge in layer {layer} to {edge}, a deleted element")),
                _ if target.level < layer => {
                    Some(format!("edge in layer {layer} to {edge}, an element of level {}", target.level))
                }
                _ => None,
            },
        }
    }

    /// The entry point's place in the census.
    fn entry(&mut self, meta: &MetaPage) -> Option<usize> {
        let mut tell = |what: String| (self.report)(Violation::at(META_BLOCK, 0, what));
        let entry = match meta.entry_point() {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                if meta.entry_offset != 0 || meta.entry_level != -1 {
                    tell("an entry point without a block".into());
                } else if self.connected && self.census.dying == 0 {
                    tell("no entry point".into());
                }
                return None;
            }
            Err(damage) => {
                tell(damage.what.into());
                return None;
            }
        };
        self.census.entry_level = Some(entry.level);
        let found = self.node(entry.tid).map(|(at, node)| (at, *node));
        let damaged = self.is_damaged(entry.tid.block());
        let mut tell = |what: String| (self.report)(Violation::at(META_BLOCK, 0, what));
        match found {
            None if damaged => {}
            None => tell(format!("entry point {}, where there is no element", entry.tid)),
            Some((_, node)) if node.state == State::Deleted => {
                tell(format!("entry point {}, a deleted element", entry.tid));
            }
            Some((_, node)) if node.state != State::Broken && node.level != entry.level => {
                tell(format!(
                    "entry point {} of level {}, which has level {}",
                    entry.tid, entry.level, node.level
                ));
            }
            _ => {}
        }
        found.filter(|(_, node)| matches!(node.state, State::Live | State::Dying)).map(|(at, _)| at)
    }

    // --- deep ---------------------------------------------------------------------------------------------------

    /// Follows all edges from the entry point.
    fn reach<B: Blocks>(&mut self, blocks: &mut B, entry: Option<usize>) -> Result<(), CheckError<B::Error>> {
        let (mut reached, mut left) = (Vec::new(), Vec::new());
        reserve(&mut reached, self.census.nodes.len())?;
        reached.resize(self.census.nodes.len(), false);
        if let Some((entry, reached)) = entry.and_then(|entry| Some((entry, reached.get_mut(entry)?))) {
            left.push(entry);
            *reached = true;
        }
        let mut edges = Vec::new();
        let mut steps = 0usize;
        while let Some(at) = left.pop() {
            if steps.is_multiple_of(STRIDE) {
                blocks.pause()?;
            }
            steps = steps.wrapping_add(1);
            let Some(&node) = self.census.nodes.get(at) else { continue };
            self.edges_of(blocks, &node, &mut edges)?;
            reserve(&mut left, edges.len())?;
            for &(layer, edge) in &edges {
                if node.state == State::Dying {
                    // searches still pass through it
                    if let Some(fault) = self.edge_fault(edge, layer) {
                        self.tell(node.list, fault);
                    }
                }
                let Some((target, found)) = self.node(edge) else { continue };
                let walkable = matches!(found.state, State::Live | State::Dying);
                if let Some(reached) = reached.get_mut(target).filter(|reached| walkable && !**reached) {
                    *reached = true;
                    left.push(target);
                }
            }
        }
        for (at, reached) in reached.into_iter().enumerate() {
            let Some(&node) = self.census.nodes.get(at) else { break };
            if reached || node.state != State::Live {
                continue;
            }
            self.census.lost += 1;
            self.edges_of(blocks, &node, &mut edges)?;
            if edges.is_empty() {
                reserve(&mut self.census.alone, 1)?;
                self.census.alone.push(node.tid().packed());
            }
        }
        let Census { live, lost, .. } = self.census;
        let (found, one_list) = (live.saturating_sub(lost), layer_slots(self.m, 0) as u64);
        if found <= one_list && lost > one_list {
            let what = format!("{found} of {live} elements can be reached from the entry point");
            (self.report)(Violation::of_index(what));
        }
        Ok(())
    }

    /// The edges of a node, with their layers.
    fn edges_of<B: Blocks>(
        &self,
        blocks: &mut B,
        node: &Node,
        edges: &mut Vec<(u8, Tid)>,
    ) -> Result<(), B::Error> {
        edges.clear();
        let m = self.m;
        self.read_list(blocks, node, |list, _| {
            if list.slots.len() != (usize::from(node.level) + 2) * m {
                return;
            }
            for layer in 0..=node.level {
                let slots = list.slots.get(layer_range(node.level, layer, m)).unwrap_or_default();
                edges.extend(slots.iter().take_while(|slot| slot.is_valid()).map(|&slot| (layer, slot)));
            }
        })?;
        Ok(())
    }
}

/// What is wrong with a value, in words.
fn value_fault(subject: &Subject, deep: bool, value: &[u8]) -> Option<String> {
    if let Err(error) = crate::with_space!(subject.space, space => space.view(value).map(|_| ())) {
        return Some(error.to_string());
    }
    if !deep {
        return None;
    }
    let fault = match subject.space {
        AnySpace::Vector(_) => dense_fault::<f32>(value, subject.unit.then_some(1e-3)),
        AnySpace::Halfvec(_) => dense_fault::<crate::f16>(value, subject.unit.then_some(1e-2)),
        AnySpace::Sparsevec(_) => sparse_fault(value, subject.unit.then_some(1e-3)),
        AnySpace::Bit(_) => bit_fault(value),
    };
    fault.map(String::from)
}

const NOT_FINITE: &str = "value with an element that is not finite";
const NOT_UNIT: &str = "value that is not of unit length, in an index that keeps such";

/// `tolerance`: how far from 1 the norm may be, which each element's rounding moves; none when it may be anything.
fn norm_fault(norm: f64, tolerance: Option<f64>) -> Option<&'static str> {
    let far = tolerance.is_some_and(|tolerance| (norm - 1.0).abs() > tolerance);
    far.then_some(NOT_UNIT)
}

fn dense_fault<T: DenseKernels>(value: &[u8], tolerance: Option<f64>) -> Option<&'static str> {
    let elements = DenseView::<T>::new(value).ok()?.elements();
    if !elements.iter().all(|&element| T::is_finite(element)) {
        return Some(NOT_FINITE);
    }
    norm_fault(T::norm(vector_kernels::kernels(), elements), tolerance)
}

fn sparse_fault(value: &[u8], tolerance: Option<f64>) -> Option<&'static str> {
    let view = SparseView::new(value).ok()?;
    if !view.values().iter().all(|&element| element.is_finite()) {
        return Some(NOT_FINITE);
    }
    if check_indices(view.indices(), view.dims()).is_err() {
        return Some("sparse value whose indices do not ascend within its dimensions");
    }
    if view.values().iter().any(|&element| DenseElement::is_zero(element)) {
        return Some("sparse value that stores a zero");
    }
    norm_fault(vector_kernels::kernels().norm_f32(view.values()), tolerance)
}

/// Bits behind the last one are zero (src/backend/utils/adt/varbit.c).
fn bit_fault(value: &[u8]) -> Option<&'static str> {
    let bits = u32::from_ne_bytes(*value.get(4..)?.first_chunk()?);
    let padding = bits.wrapping_neg() & 7;
    let last = *value.get(8..)?.last()?;
    (last & !(0xff << padding) as u8 != 0).then_some("bits behind the last one")
}

/// Bytes of the item of a list, by the number of its slots.
fn size_of_list(list: &Neighbours<'_>) -> usize {
    crate::page::max_align(4 + size_of_val(list.slots))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
