//! Inserting into the graph on pages (paper, algorithm 1): search, choice of neighbours, the new pair of tuples, and
//! the edges back. Vacuum's repair uses the same parts.

use rand::Rng;

use super::anchor::{evict, read_member, set_anchor};
use super::backlinks::{self, Found};
use super::params::{layer_slots, max_level, random_level};
use super::search::{CandidateQueue, Scored, Store, equal_share, search_layer, select_sharing, tie_order};
use super::v1::free_space::{self, NewNode};
use super::v1::layout::{Element, EntryPoint, HEAP_TIDS, META_BLOCK, MetaPage, PAGE_ID, element_header_mut};
use super::v1::reader::{PageStore, Traversal, read_meta};
use crate::space::Space;
use crate::storage::blocks::{BlockStore, LockMode, OperationLock, PageUpdate};
use crate::storage::page::{Damage, Page, PageMut, Tid};

/// What inserts and repairs allocate, kept from one to the next. Everything that needs dropping stays in it while
/// blocks are read.
#[derive(Debug, Default)]
pub struct Workspace {
    pub(super) walk: Traversal,
    pub(super) pool: CandidateQueue,
    pub(super) out: Vec<Scored>,
    pub(super) values: Values,
    pub(super) candidates: Vec<Scored>,
    pub(super) chosen: Vec<usize>,
    pub(super) rest: Vec<usize>,
    /// chosen neighbours of the new element, with their layer, highest layer first
    pub(super) selected: Vec<(u8, Scored)>,
    pub(super) slots: Vec<Tid>,
    pub(super) element: Vec<u8>,
    pub(super) neighbours: Vec<u8>,
    pub(super) links: backlinks::NeighbourCache,
}

impl Workspace {
    /// Nothing allocated.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of memory that it holds, about.
    pub(super) fn allocated(&self) -> usize {
        let scored = self.pool.capacity() + self.out.capacity() + self.candidates.capacity();
        let places = self.chosen.capacity() + self.rest.capacity() + self.selected.capacity() * 2;
        self.walk.allocated()
            + self.values.allocated()
            + self.links.allocated()
            + (scored + places) * size_of::<u64>()
            + self.slots.capacity() * size_of::<Tid>()
            + self.element.capacity()
            + self.neighbours.capacity()
    }

    /// Gives memory back that an unusually large insert took.
    pub fn trim(&mut self) {
        const KEPT: usize = 16 << 20;
        if self.allocated() > KEPT {
            *self = Self::default();
        }
    }
}

/// Values copied from their pages, by node.
#[derive(Debug, Default)]
pub(super) struct Values {
    words: Vec<u64>,
    /// start in `words` and length in bytes, by node; length 0 when not loaded
    places: Vec<(usize, usize)>,
}

impl Values {
    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.places.clear();
    }

    /// Bytes of memory that it holds.
    pub(super) fn allocated(&self) -> usize {
        self.words.capacity() * size_of::<u64>() + self.places.capacity() * size_of::<(usize, usize)>()
    }

    pub(super) fn has(&self, node: u32) -> bool {
        self.places.get(node as usize).is_some_and(|place| place.1 > 0)
    }

    pub(super) fn get(&self, node: u32) -> &[u8] {
        let Some(&(start, len)) = self.places.get(node as usize) else { return &[] };
        let words = self.words.get(start..).unwrap_or_default();
        zerocopy::IntoBytes::as_bytes(words).get(..len).unwrap_or_default()
    }

    pub(super) fn set(&mut self, node: u32, value: &[u8]) -> Result<(), Damage> {
        let at = node as usize;
        let words = self.words.try_reserve(value.len().div_ceil(8));
        words
            .and_then(|()| self.places.try_reserve((at + 1).saturating_sub(self.places.len())))
            .map_err(|_| Damage::OUT_OF_MEMORY)?;
        if self.places.len() <= at {
            self.places.resize(at + 1, (0, 0));
        }
        let start = self.words.len();
        self.words.resize(start + value.len().div_ceil(8), 0);
        let bytes: &mut [u8] = zerocopy::IntoBytes::as_mut_bytes(&mut self.words[start..]);
        bytes[..value.len()].copy_from_slice(value);
        self.places[at] = (start, value.len());
        Ok(())
    }
}

/// What an index is made of, for inserts and repairs.
#[derive(Clone, Copy, Debug)]
pub struct Graph<S> {
    /// how values compare
    pub space: S,
    /// connections per layer
    pub m: usize,
    /// queue length of inserts
    pub ef_construction: usize,
}

/// The distance between two loaded nodes.
pub(super) fn pair_distance<S: Space>(space: S, values: &Values, a: u32, b: u32) -> f32 {
    match (space.view(values.get(a)), space.view(values.get(b))) {
        (Ok(a), Ok(b)) => space.distance(a, b),
        // values were checked when they were scored
        _ => f32::INFINITY,
    }
}

/// The loaded values of candidates, by position.
pub(super) fn views<'v, S: Space>(
    space: S,
    values: &'v Values,
    candidates: &[Scored],
) -> Vec<Option<S::View<'v>>> {
    candidates.iter().map(|scored| space.view(values.get(scored.node)).ok()).collect()
}

/// The distance between two of them.
#[inline(always)]
pub(super) fn view_distance<S: Space>(space: S, views: &[Option<S::View<'_>>], a: usize, b: usize) -> f32 {
    match (views.get(a), views.get(b)) {
        (Some(&Some(a)), Some(&Some(b))) => space.distance(a, b),
        // values were checked when they were scored
        _ => f32::INFINITY,
    }
}

/// Copies the values of nodes that are not loaded yet.
pub(super) fn load_values<B: BlockStore>(
    blocks: &mut B,
    walk: &Traversal,
    values: &mut Values,
    nodes: impl Iterator<Item = u32>,
) -> Result<(), B::Error> {
    for node in nodes {
        if values.has(node) {
            continue;
        }
        let Some(tid) = walk.node(node).map(|node| node.tid) else { continue };
        blocks.read(tid.block(), |bytes| {
            let element = Element::new(Page::new(bytes, PAGE_ID)?.item(tid.offset())?, tid.offset())?;
            values.set(node, element.value)
        })?;
    }
    Ok(())
}

/// Finds neighbours for `value` in the layers up to `level` and leaves them in `workspace.selected`. `repairing` is
/// the element itself when it is in the graph already. `owner` decides between candidates that are equally near.
#[allow(clippy::too_many_arguments)]
pub(super) fn find_neighbours<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    workspace: &mut Workspace,
    value: &[u8],
    level: u8,
    entry: Option<EntryPoint>,
    repairing: Option<Tid>,
    owner: Tid,
) -> Result<(), B::Error> {
    workspace.walk.clear();
    workspace.pool.clear();
    workspace.values.clear();
    workspace.selected.clear();
    workspace.candidates.clear();
    let Some(entry) = entry else { return Ok(()) };

    // The value was looked at before: a row's by who inserts it, an element's by who repairs it.
    let query_damage = |_| match repairing {
        Some(tid) => Damage::at(tid.offset(), "value of other dimensions").on(tid.block()),
        None => Damage::internal("value of other dimensions than the index").on(META_BLOCK),
    };
    let Workspace { walk, pool, out, values, candidates, chosen, rest, selected, .. } = workspace;
    let store = PageStore::new(blocks, graph.space, Some(value), graph.m, walk).map_err(query_damage)?;
    let mut store = store.inserting(value);
    if let Some(tid) = repairing {
        store = store.repairing(tid);
    }
    let Some(scored) = store.enter(entry.tid)? else {
        return Err(Damage::at(entry.tid.offset(), "deleted entry point").on(entry.tid.block()).into());
    };
    pool.offer(scored, store.accepts(scored.node), 1);
    for layer in (level + 1..=entry.level).rev() {
        store.walk().begin_layer(pool);
        store.limit_equals(1);
        search_layer(&mut store, pool, out, 1, layer, None)?;
        pool.restart();
    }

    // an element being repaired finds itself
    let ef = graph.ef_construction + usize::from(repairing.is_some());
    for layer in (0..=level.min(entry.level)).rev() {
        store.walk().begin_layer(pool);
        store.limit_equals((ef / 2).max(1));
        search_layer(&mut store, pool, out, ef, layer, None)?;
        candidates.clear();
        for scored in pool.iter() {
            let node = store.walk().node(scored.node);
            if node.is_some_and(|node| node.rows > 0 && Some(node.tid) != repairing) {
                candidates.push(scored);
            }
        }
        let slots = layer_slots(graph.m, layer);
        order_ties(store.walk(), candidates, owner);
        if candidates.len() > slots {
            store.load_values(values, candidates)?;
        }
        // no block is read while this is alive
        let views = views(graph.space, values, candidates);
        let (walk, share) = (store.walk(), equal_share(slots));
        let equal = |at: usize| candidates.get(at).and_then(|c| walk.node(c.node)).is_some_and(|n| n.equal);
        let distance = |a, b| view_distance(graph.space, &views, a, b);
        select_sharing(candidates, slots, share, chosen, rest, equal, distance);
        drop(views);
        selected.extend(chosen.iter().filter_map(|&at| candidates.get(at)).map(|&scored| (layer, scored)));
        pool.restart();
    }
    Ok(())
}

/// Puts candidates that are equally near into an order of the owner's own.
fn order_ties(walk: &Traversal, candidates: &mut [Scored], owner: Tid) {
    let tied = candidates.windows(2).any(|pair| matches!(pair, [a, b] if a.distance == b.distance));
    if tied {
        let tid = |scored: &Scored| walk.node(scored.node).map_or(0, |node| node.tid.packed());
        let key = |scored: &Scored| tie_order(owner.packed(), tid(scored));
        candidates
            .sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then_with(|| key(a).cmp(&key(b))));
    }
}

impl<B: BlockStore, S: Space> PageStore<'_, B, S, true> {
    pub(super) fn load_values(&mut self, values: &mut Values, nodes: &[Scored]) -> Result<(), B::Error> {
        let (blocks, walk) = self.parts();
        load_values(blocks, walk, values, nodes.iter().map(|scored| scored.node))
    }
}

/// The neighbour slots of a new element of level `level` from `selected`.
pub(super) fn fill_slots(workspace: &mut Workspace, level: u8, m: usize) {
    let Workspace { walk, selected, slots, .. } = workspace;
    slots.clear();
    slots.resize((usize::from(level) + 2) * m, Tid::INVALID);
    for layer in 0..=level {
        let range = super::v1::layout::layer_range(level, layer, m);
        let tids = selected.iter().filter(|(l, _)| *l == layer);
        let tids = tids.filter_map(|(_, scored)| walk.node(scored.node)).map(|node| node.tid);
        for (slot, tid) in slots[range].iter_mut().zip(tids) {
            *slot = tid;
        }
    }
}

/// Puts the anchor first in the list of layer 0, which ends the slots.
fn anchor_first(slots: &mut [Tid], m: usize, anchor: Tid) {
    let start = slots.len().saturating_sub(layer_slots(m, 0));
    let ground = slots.get_mut(start..).unwrap_or_default();
    // when it is none of the selected, the last of them has no place
    let last = ground.len().saturating_sub(1);
    let place = ground.iter().position(|&tid| tid == anchor || !tid.is_valid()).unwrap_or(last);
    if let Some(upto) = ground.get_mut(..=place) {
        upto.rotate_right(1);
        upto[0] = anchor;
    }
}

/// Inserts a row's value, a whole varlena as the index keeps it.
///
/// # Errors
/// A damaged index. What was written up to then is consistent: at worst an element that nothing leads to.
pub fn insert<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    workspace: &mut Workspace,
    value: &[u8],
    row: Tid,
    rng: &mut impl Rng,
) -> Result<(), B::Error> {
    // Shared with other inserts: vacuum takes it alone to wait for those that may still link to dying elements.
    let mut mode = LockMode::Shared;
    blocks.lock(OperationLock::Update, mode)?;
    blocks.fault_point("hnsw.insert.begin")?;
    let mut meta = read_meta(blocks)?;
    let level = random_level(rng, graph.m, max_level(blocks.page_size(), graph.m));
    if raises_entry(&meta, level) {
        // Alone, so that the entry point stays what it was when the element was linked below it.
        blocks.unlock(OperationLock::Update, mode);
        mode = LockMode::Exclusive;
        blocks.lock(OperationLock::Update, mode)?;
        meta = read_meta(blocks)?;
    }
    let new = New { value, row, level };
    if insert_at_level(blocks, graph, workspace, &new, &meta, mode)? == Inserted::NotShared {
        blocks.unlock(OperationLock::Update, mode);
        mode = LockMode::Exclusive;
        blocks.lock(OperationLock::Update, mode)?;
        meta = read_meta(blocks)?;
        if insert_at_level(blocks, graph, workspace, &new, &meta, mode)? != Inserted::Done {
            return Err(Damage::at(0, "no list takes a new element").on(META_BLOCK).into());
        }
    }
    blocks.unlock(OperationLock::Update, mode);
    workspace.trim();
    Ok(())
}

pub(super) fn raises_entry(meta: &MetaPage, level: u8) -> bool {
    i16::from(level) > meta.entry_level
}

/// What is inserted.
struct New<'v> {
    value: &'v [u8],
    row: Tid,
    level: u8,
}

/// How an attempt to insert ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inserted {
    /// the row is in the index
    Done,
    /// it is not: that takes the update lock alone
    NotShared,
}

/// Inserts under the update lock, held as `mode` says. With it held alone, the row always gets in.
fn insert_at_level<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    workspace: &mut Workspace,
    new: &New<'_>,
    meta: &MetaPage,
    mode: LockMode,
) -> Result<Inserted, B::Error> {
    let &New { value, row, level } = new;
    let entry = meta.entry_point().map_err(|damage| damage.on(META_BLOCK))?;
    find_neighbours(blocks, graph, workspace, value, level, entry, None, row)?;
    let none_near = |workspace: &Workspace| !workspace.selected.iter().any(|(layer, _)| *layer == 0);
    if none_near(workspace) && entry.is_some() {
        // All that is near is on its way out: a vacuum is at work where this row belongs. Search again and let only
        // living elements count, as its repairs do; they may be far.
        let all = Some(Tid::INVALID);
        find_neighbours(blocks, graph, workspace, value, level, entry, all, row)?;
    }
    if add_duplicate(blocks, workspace, value, row)? {
        return Ok(Inserted::Done);
    }
    let first = none_near(workspace);
    if first {
        // Nothing lives that can be found: this element begins the graph anew. Not beside another that does the same.
        if mode == LockMode::Shared {
            return Ok(Inserted::NotShared);
        }
        workspace.selected.clear();
    }
    let mut found = backlinks::choose(blocks, graph, workspace, value, row)?;
    while let Found::Stuck(at) = found {
        if mode == LockMode::Shared {
            return Ok(Inserted::NotShared);
        }
        blocks.pause()?;
        make_room(blocks, graph, workspace, at)?;
        found = backlinks::choose(blocks, graph, workspace, value, row)?;
    }
    fill_slots(workspace, level, graph.m);
    let Workspace { slots, element, neighbours, links, .. } = workspace;
    if let Some(anchor) = links.anchor() {
        anchor_first(slots, graph.m, anchor);
    }
    let mut pair = NewNode { level, value, row, slots, element, neighbours };
    let placed = free_space::add_pair(blocks, &mut pair, graph.m, meta.insert_page)?;
    if placed.insert_page > meta.insert_page {
        advance_insert_page(blocks, meta.insert_page, placed.insert_page)?;
    }
    blocks.fault_point("hnsw.insert.pair")?;

    // Nothing leads to the element before its anchor does.
    while !backlinks::link_anchor(blocks, graph.m, workspace, placed.tid)? {
        // others took the slot meanwhile, so the operation lock is shared
        blocks.pause()?;
        match backlinks::choose_again(blocks, graph, workspace)? {
            Found::Anchor => {}
            Found::Stuck(_) | Found::Nothing => {
                disown(blocks, placed.tid)?;
                return Ok(Inserted::NotShared);
            }
        }
        if let (Some(anchor), Some(member)) = (workspace.links.anchor(), read_member(blocks, placed.tid)?) {
            set_anchor(blocks, graph.m, &member, anchor)?;
        }
    }
    blocks.fault_point("hnsw.insert.anchored")?;
    backlinks::link_others(blocks, graph.m, workspace, placed.tid)?;
    blocks.fault_point("hnsw.insert.linked")?;
    let own = EntryPoint { tid: placed.tid, level };
    if first {
        update_meta(blocks, |meta| {
            meta.set_entry_point(Some(own));
            true
        })?;
    } else if raises_entry(meta, level) {
        raise_entry_point(blocks, own)?;
    }
    Ok(Inserted::Done)
}

/// Makes room in the list of an element whose children are all on their way out.
fn make_room<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    workspace: &mut Workspace,
    at: Tid,
) -> Result<(), B::Error> {
    match read_member(blocks, at)? {
        Some(full) => evict(blocks, graph.m, &full, Tid::INVALID, workspace.links.slots_mut()),
        None => Err(Damage::at(at.offset(), "edge to a deleted element").on(at.block()).into()),
    }
}

/// Takes the row from a new element that nothing leads to: the next vacuum frees its place.
fn disown<B: BlockStore>(blocks: &mut B, at: Tid) -> Result<(), B::Error> {
    let mut change = blocks.update()?;
    let slot = change.open(at.block())?;
    let bytes = change.bytes_mut(slot)?;
    set_heap_tid(bytes, at.offset(), 0, Tid::INVALID).map_err(|damage| damage.on(at.block()))?;
    change.commit()
}

/// Adds the row to an element with the very same value, when there is one with room.
fn add_duplicate<B: BlockStore>(
    blocks: &mut B,
    workspace: &Workspace,
    value: &[u8],
    row: Tid,
) -> Result<bool, B::Error> {
    for at in 0..workspace.walk.spare.len() {
        let Some(&at) = workspace.walk.spare.get(at) else { break };
        let mut change = blocks.update()?;
        let slot = change.open(at.block())?;
        let free = {
            let damage = |d: Damage| d.on(at.block());
            let item = Page::new(change.bytes(slot), PAGE_ID).and_then(|page| page.item(at.offset()));
            let element = item.and_then(|item| Element::new(item, at.offset())).map_err(damage)?;
            let rows = element.header.live_heap_tids().len();
            // an element without rows is on its way out; one with all places taken has no room
            let usable = element.header.deleted == 0 && element.value == value && rows > 0;
            (usable && rows < HEAP_TIDS).then_some(rows)
        };
        let Some(free) = free else { continue };
        let bytes = change.bytes_mut(slot)?;
        set_heap_tid(bytes, at.offset(), free, row).map_err(|damage| damage.on(at.block()))?;
        change.commit()?;
        return Ok(true);
    }
    Ok(false)
}

fn set_heap_tid(bytes: &mut [u8], offset: u16, at: usize, row: Tid) -> Result<(), Damage> {
    let mut page = PageMut::new(bytes, PAGE_ID)?;
    let (header, _) = element_header_mut(page.item_mut(offset)?, offset)?;
    if let Some(slot) = header.heap_tids.get_mut(at) {
        *slot = row;
    }
    Ok(())
}

/// Changes the meta page.
pub(super) fn update_meta<B: BlockStore>(
    blocks: &mut B,
    update: impl FnOnce(&mut MetaPage) -> bool,
) -> Result<(), B::Error> {
    let mut change = blocks.update()?;
    let slot = change.open(META_BLOCK)?;
    let mut meta = MetaPage::read(change.bytes(slot)).map_err(|damage| damage.on(META_BLOCK))?;
    if !update(&mut meta) {
        return Ok(());
    }
    let bytes = change.bytes_mut(slot)?;
    let mut page = PageMut::new(bytes, PAGE_ID).map_err(|damage| damage.on(META_BLOCK))?;
    page.set_contents(zerocopy::IntoBytes::as_bytes(&meta));
    change.commit()
}

/// Moves the insert page forward from where this insert found it. Where somebody has moved it meanwhile it stays: a
/// vacuum moves it back, to room that would otherwise wait for the next vacuum.
fn advance_insert_page<B: BlockStore>(blocks: &mut B, from: u32, to: u32) -> Result<(), B::Error> {
    update_meta(blocks, |meta| {
        let forward = meta.insert_page == from && to > from;
        if forward {
            meta.insert_page = to;
        }
        forward
    })
}

/// Makes an element the entry point, unless there is a higher one. The caller holds the update lock alone.
pub(super) fn raise_entry_point<B: BlockStore>(blocks: &mut B, entry: EntryPoint) -> Result<(), B::Error> {
    update_meta(blocks, |meta| {
        let higher = raises_entry(meta, entry.level);
        if higher {
            meta.set_entry_point(Some(entry));
        }
        higher
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::testing::hnsw::used;

    #[test]
    fn an_insert_does_not_undo_what_a_vacuum_did_to_the_insert_page() {
        let mut blocks = used();
        let mut moved = |now: u32, from: u32, to: u32| {
            update_meta(&mut blocks, |meta| {
                meta.insert_page = now;
                true
            })
            .unwrap();
            advance_insert_page(&mut blocks, from, to).unwrap();
            read_meta(&mut blocks).unwrap().insert_page
        };
        assert_eq!(moved(5, 5, 6), 6);
        // a vacuum found room on block 2 while the insert looked from 5 on
        assert_eq!(moved(2, 5, 6), 2);
        assert_eq!(moved(7, 5, 6), 7);
    }
}
