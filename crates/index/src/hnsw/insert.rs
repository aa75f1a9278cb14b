//! Inserting into the graph on pages (paper, algorithm 1): search, choice of neighbours, the new pair of tuples, and
//! the edges back. Vacuum's repair uses the same parts.

use rand::Rng;

use super::anchor::evict;
use super::backlinks::{self, Found};
use super::graph::{GraphRead, GraphSearch, GraphWrite, NeighbourSearch, NewElement, Scratch, Walk};
use super::meta::{EntryPoint, META_BLOCK, MetaPage};
use super::neighbour_cache::NeighbourCache;
use super::params::{layer_range, layer_slots, random_level};
use super::search::{CandidateQueue, Scored, equal_share, select_sharing, tie_order};
use super::values::{Values, view_distance, views};
use crate::storage::blocks::{LockMode, OperationLock};
use crate::storage::page::{Damage, Tid};

/// What inserts and repairs allocate, kept from one to the next. Everything that needs dropping stays in it while
/// blocks are read.
#[derive(Debug, Default)]
pub struct Workspace<W> {
    pub(super) walk: W,
    pub(super) pool: CandidateQueue,
    pub(super) out: Vec<Scored>,
    pub(super) values: Values,
    pub(super) candidates: Vec<Scored>,
    pub(super) chosen: Vec<usize>,
    pub(super) rest: Vec<usize>,
    /// chosen neighbours of the new element, with their layer, highest layer first
    pub(super) selected: Vec<(u8, Scored)>,
    pub(super) slots: Vec<Tid>,
    pub(super) scratch: Scratch,
    pub(super) links: NeighbourCache,
}

impl<W: Walk> Workspace<W> {
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
            + self.scratch.element.capacity()
            + self.scratch.neighbours.capacity()
    }

    /// Gives memory back that an unusually large insert took.
    pub fn trim(&mut self) {
        const KEPT: usize = 16 << 20;
        if self.allocated() > KEPT {
            *self = Self::default();
        }
    }
}

/// Finds neighbours for `value` in the layers up to `level` and leaves them in `workspace.selected`. `repairing` is
/// the element itself when it is in the graph already. `owner` decides between candidates that are equally near.
pub(super) fn find_neighbours<G: GraphRead>(
    graph: &mut G,
    workspace: &mut Workspace<G::Walk>,
    value: &[u8],
    level: u8,
    entry: Option<EntryPoint>,
    repairing: Option<Tid>,
    owner: Tid,
) -> Result<(), G::Error> {
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
    let shape = graph.shape();
    let mut store = graph.search_neighbours(value, repairing, walk).map_err(query_damage)?;
    let Some(scored) = store.enter(entry.tid)? else {
        return Err(Damage::at(entry.tid.offset(), "deleted entry point").on(entry.tid.block()).into());
    };
    pool.offer(scored, store.accepts(scored.node), 1);
    for layer in (level + 1..=entry.level).rev() {
        store.begin_layer(layer, pool)?;
        store.limit_equals(1);
        store.search_layer(pool, out, 1, layer)?;
        pool.restart();
    }

    // an element being repaired finds itself
    let ef = shape.ef_construction + usize::from(repairing.is_some());
    for layer in (0..=level.min(entry.level)).rev() {
        store.begin_layer(layer, pool)?;
        store.limit_equals((ef / 2).max(1));
        store.search_layer(pool, out, ef, layer)?;
        candidates.clear();
        for scored in pool.iter() {
            let member = store.walk().member(scored.node);
            if member.is_some_and(|member| member.live && Some(member.tid) != repairing) {
                candidates.push(scored);
            }
        }
        let slots = layer_slots(shape.m, layer);
        order_ties(store.walk(), candidates, owner);
        if candidates.len() > slots {
            store.load_values(values, candidates)?;
        }
        // no block is read while this is alive
        let views = views(shape.space, values, candidates);
        let (walk, share) = (store.walk(), equal_share(slots));
        let equal = |at: usize| candidates.get(at).is_some_and(|c| walk.is_equal(c.node));
        let distance = |a, b| view_distance(shape.space, &views, a, b);
        select_sharing(candidates, slots, share, chosen, rest, equal, distance);
        drop(views);
        selected.extend(chosen.iter().filter_map(|&at| candidates.get(at)).map(|&scored| (layer, scored)));
        pool.restart();
    }
    Ok(())
}

/// Puts candidates that are equally near into an order of the owner's own.
fn order_ties<W: Walk>(walk: &W, candidates: &mut [Scored], owner: Tid) {
    let tied = candidates.windows(2).any(|pair| matches!(pair, [a, b] if a.distance == b.distance));
    if tied {
        let tid = |scored: &Scored| walk.member(scored.node).map_or(0, |member| member.tid.packed());
        let key = |scored: &Scored| tie_order(owner.packed(), tid(scored));
        candidates
            .sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then_with(|| key(a).cmp(&key(b))));
    }
}

/// The neighbour slots of a new element of level `level` from `selected`.
fn fill_slots<W: Walk>(workspace: &mut Workspace<W>, level: u8, m: usize) {
    let Workspace { walk, selected, slots, .. } = workspace;
    slots.clear();
    slots.resize((usize::from(level) + 2) * m, Tid::INVALID);
    for layer in 0..=level {
        let range = layer_range(level, layer, m);
        let tids = selected.iter().filter(|(l, _)| *l == layer);
        let tids = tids.filter_map(|(_, scored)| walk.member(scored.node)).map(|member| member.tid);
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
pub fn insert<G: GraphWrite>(
    graph: &mut G,
    workspace: &mut Workspace<G::Walk>,
    value: &[u8],
    row: Tid,
    rng: &mut impl Rng,
) -> Result<(), G::Error> {
    // Shared with other inserts: vacuum takes it alone to wait for those that may still link to dying elements.
    let mut mode = LockMode::Shared;
    graph.lock(OperationLock::Update, mode)?;
    graph.fault_point("hnsw.insert.begin")?;
    let mut meta = graph.meta()?;
    let level = random_level(rng, graph.shape().m, graph.max_level());
    if raises_entry(&meta, level) {
        // Alone, so that the entry point stays what it was when the element was linked below it.
        graph.unlock(OperationLock::Update, mode);
        mode = LockMode::Exclusive;
        graph.lock(OperationLock::Update, mode)?;
        meta = graph.meta()?;
    }
    let new = New { value, row, level };
    if insert_at_level(graph, workspace, &new, &meta, mode)? == Inserted::NotShared {
        graph.unlock(OperationLock::Update, mode);
        mode = LockMode::Exclusive;
        graph.lock(OperationLock::Update, mode)?;
        meta = graph.meta()?;
        if insert_at_level(graph, workspace, &new, &meta, mode)? != Inserted::Done {
            return Err(Damage::at(0, "no list takes a new element").on(META_BLOCK).into());
        }
    }
    graph.unlock(OperationLock::Update, mode);
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
fn insert_at_level<G: GraphWrite>(
    graph: &mut G,
    workspace: &mut Workspace<G::Walk>,
    new: &New<'_>,
    meta: &MetaPage,
    mode: LockMode,
) -> Result<Inserted, G::Error> {
    let &New { value, row, level } = new;
    let m = graph.shape().m;
    let entry = meta.entry_point().map_err(|damage| damage.on(META_BLOCK))?;
    find_neighbours(graph, workspace, value, level, entry, None, row)?;
    let none_near = |workspace: &Workspace<_>| !workspace.selected.iter().any(|(layer, _)| *layer == 0);
    if none_near(workspace) && entry.is_some() {
        // All that is near is on its way out: a vacuum is at work where this row belongs. Search again and let only
        // living elements count, as its repairs do; they may be far.
        let all = Some(Tid::INVALID);
        find_neighbours(graph, workspace, value, level, entry, all, row)?;
    }
    for &at in workspace.walk.spare() {
        if graph.add_row(at, value, row)? {
            return Ok(Inserted::Done);
        }
    }
    let first = none_near(workspace);
    if first {
        // Nothing lives that can be found: this element starts a new graph. Not beside another that does the same.
        if mode == LockMode::Shared {
            return Ok(Inserted::NotShared);
        }
        workspace.selected.clear();
    }
    let mut found = backlinks::choose(graph, workspace, value, row)?;
    while let Found::Stuck(at) = found {
        if mode == LockMode::Shared {
            return Ok(Inserted::NotShared);
        }
        graph.pause()?;
        make_room(graph, workspace, at)?;
        found = backlinks::choose(graph, workspace, value, row)?;
    }
    fill_slots(workspace, level, m);
    let Workspace { slots, scratch, links, .. } = workspace;
    if let Some(anchor) = links.anchor() {
        anchor_first(slots, m, anchor);
    }
    let element = NewElement { level, value, row, slots, known: links };
    let placed = graph.place(&element, scratch, meta.insert_page)?;
    if placed.insert_page > meta.insert_page {
        advance_insert_page(graph, meta.insert_page, placed.insert_page)?;
    }
    graph.fault_point("hnsw.insert.pair")?;

    // Nothing leads to the element before its anchor does.
    while !backlinks::link_anchor(graph, workspace, placed.tid)? {
        // others took the slot meanwhile, so the operation lock is shared
        graph.pause()?;
        match backlinks::choose_again(graph, workspace)? {
            Found::Anchor => {}
            Found::Stuck(_) | Found::Nothing => {
                graph.disown(placed.tid)?;
                return Ok(Inserted::NotShared);
            }
        }
        if let (Some(anchor), Some(member)) = (workspace.links.anchor(), graph.member(placed.tid)?) {
            graph.set_anchor(&member, anchor, &workspace.links)?;
        }
    }
    graph.fault_point("hnsw.insert.anchored")?;
    backlinks::link_others(graph, workspace, placed.tid)?;
    graph.fault_point("hnsw.insert.linked")?;
    let own = EntryPoint { tid: placed.tid, level };
    if first {
        graph.update_meta(|meta| {
            meta.set_entry_point(Some(own));
            true
        })?;
    } else if raises_entry(meta, level) {
        raise_entry_point(graph, own)?;
    }
    Ok(Inserted::Done)
}

/// Makes room in the list of an element whose children are all on their way out.
fn make_room<G: GraphWrite>(
    graph: &mut G,
    workspace: &mut Workspace<G::Walk>,
    at: Tid,
) -> Result<(), G::Error> {
    match graph.member(at)? {
        Some(full) => evict(graph, &full, Tid::INVALID, workspace.links.slots_mut()),
        None => Err(Damage::at(at.offset(), "edge to a deleted element").on(at.block()).into()),
    }
}

/// Moves the insert page forward from where this insert found it. Where somebody has moved it meanwhile it stays: a
/// vacuum moves it back, to room that would otherwise wait for the next vacuum.
fn advance_insert_page<G: GraphWrite>(graph: &mut G, from: u32, to: u32) -> Result<(), G::Error> {
    graph.update_meta(|meta| {
        let forward = meta.insert_page == from && to > from;
        if forward {
            meta.insert_page = to;
        }
        forward
    })
}

/// Makes an element the entry point, unless there is a higher one. The caller holds the update lock alone.
pub(super) fn raise_entry_point<G: GraphWrite>(graph: &mut G, entry: EntryPoint) -> Result<(), G::Error> {
    graph.update_meta(|meta| {
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
    use crate::hnsw::v1::graph::PageGraph;
    use crate::testing::hnsw::{graph, used};

    #[test]
    fn an_insert_does_not_undo_what_a_vacuum_did_to_the_insert_page() {
        let mut blocks = used();
        let mut index = PageGraph::new(&mut blocks, graph());
        let mut moved = |now: u32, from: u32, to: u32| {
            let update = index.update_meta(|meta| {
                meta.insert_page = now;
                true
            });
            update.unwrap();
            advance_insert_page(&mut index, from, to).unwrap();
            index.meta().unwrap().insert_page
        };
        assert_eq!(moved(5, 5, 6), 6);
        // a vacuum found room on block 2 while the insert looked from 5 on
        assert_eq!(moved(2, 5, 6), 2);
        assert_eq!(moved(7, 5, 6), 7);
    }
}
