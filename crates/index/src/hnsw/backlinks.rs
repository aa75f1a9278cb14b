//! The edges back: each neighbour of a new element considers it as a neighbour of its own (paper, algorithm 1, lines
//! 12 to 17), dropping one it has when its list is full. One of them, the new element's anchor, must take it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::anchor::{Member, anchor_of, copy_list};
use super::insert::{Graph, Values, Workspace, pair_distance, view_distance, views};
use super::params::layer_slots;
use super::search::{Scored, equal_share, next_dropped, tie_order};
use super::v1::layout::{Element, ElementHeader, Neighbours, PAGE_ID, layer_range, neighbour_slots_mut};
use crate::space::Space;
use crate::storage::blocks::{BlockStore, PageRef, PageUpdate};
use crate::storage::page::{Damage, Page, PageMut, Tid};

/// Hashes packed TIDs, which nobody chooses to collide.
#[derive(Debug, Default)]
pub(super) struct TidHasher(u64);

impl Hasher for TidHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }
    fn write_u64(&mut self, word: u64) {
        let product = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // the table takes both ends of the hash
        self.0 = product ^ product >> 32;
    }
}

/// An element that was read for the choice.
#[derive(Clone, Copy, Debug)]
struct Loaded {
    member: Member,
    /// its anchor, when that was looked at; under the update lock it stays what it is
    anchor: Option<Option<Tid>>,
    /// whether its value is that of the list's owner
    equal: bool,
    /// whether the list must keep it
    kept: bool,
    /// the last list that it was weighed in
    list: u32,
}

impl Loaded {
    fn new(member: Member) -> Self {
        Loaded { member, anchor: None, equal: false, kept: false, list: 0 }
    }
}

/// What one insert has read of its neighbours' neighbours: many are the same.
#[derive(Debug, Default)]
pub(super) struct NeighbourCache {
    /// position in `loaded` and `values`, by packed TID
    places: HashMap<u64, u32, BuildHasherDefault<TidHasher>>,
    loaded: Vec<Loaded>,
    values: Values,
    slots: Vec<Tid>,
    candidates: Vec<Scored>,
    memo: Vec<Option<bool>>,
    edges: Vec<Edge>,
    /// the neighbour whose edge back must be made before any other
    anchor: Option<Tid>,
    /// what tells the new element from others of its value
    seed: u64,
    /// lists weighed
    lists: u32,
}

/// The new element's place among the loaded.
const NEW: u32 = 0;

impl NeighbourCache {
    /// Begins the choices for an element that stands at `tid`, or nowhere yet. `seed` tells it from others of its value.
    pub(super) fn begin(&mut self, tid: Tid, value: &[u8], seed: u64) -> Result<(), Damage> {
        self.seed = seed;
        self.places.clear();
        self.loaded.clear();
        self.values.clear();
        self.edges.clear();
        self.anchor = None;
        self.lists = 0;
        self.loaded.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
        self.loaded.push(Loaded::new(Member::unplaced(tid)));
        self.values.set(NEW, value)
    }

    /// The neighbour that the new element is to be anchored at.
    pub(super) fn anchor(&self) -> Option<Tid> {
        self.anchor
    }

    /// Bytes of memory that it holds, about.
    pub(super) fn allocated(&self) -> usize {
        self.places.capacity() * 2 * size_of::<u64>()
            + self.loaded.capacity() * size_of::<Loaded>()
            + self.values.allocated()
            + self.edges.capacity() * size_of::<Edge>()
            + (self.slots.capacity() + self.candidates.capacity() + self.memo.capacity()) * size_of::<u64>()
    }

    /// Room for the edges of one list.
    pub(super) fn slots_mut(&mut self) -> &mut Vec<Tid> {
        &mut self.slots
    }

    fn new_tid(&self) -> Tid {
        self.loaded.first().map_or(Tid::INVALID, |new| new.member.tid)
    }

    /// Reads an element, unless it was read before, and returns its place.
    fn load<B: BlockStore>(&mut self, blocks: &mut B, tid: Tid) -> Result<u32, B::Error> {
        if let Some(&place) = self.places.get(&tid.packed()) {
            return Ok(place);
        }
        let place = self.loaded.len() as u32;
        let values = &mut self.values;
        let member = blocks.read(tid.block(), |bytes| {
            let element = Element::new(Page::unidentified(bytes)?.item(tid.offset())?, tid.offset())?;
            values.set(place, element.value)?;
            Ok(Member::new(tid, &element))
        })?;
        if self.places.try_reserve(1).is_err() || self.loaded.try_reserve(1).is_err() {
            return Err(Damage::OUT_OF_MEMORY.on(tid.block()).into());
        }
        self.places.insert(tid.packed(), place);
        self.loaded.push(Loaded::new(member));
        Ok(place)
    }

    fn loaded(&self, place: u32) -> Option<&Loaded> {
        self.loaded.get(place as usize)
    }

    /// Whether the element at `place` is anchored at `owner`.
    fn is_child<B: BlockStore>(
        &mut self,
        blocks: &mut B,
        m: usize,
        place: u32,
        owner: Tid,
    ) -> Result<bool, B::Error> {
        let Some(loaded) = self.loaded.get_mut(place as usize) else { return Ok(false) };
        let anchor = match loaded.anchor {
            Some(known) => known,
            None => anchor_of(blocks, m, &loaded.member)?,
        };
        loaded.anchor = Some(anchor);
        Ok(anchor == Some(owner))
    }

    /// Whether at least `count` of the elements in `slots`, the list of `owner`, live and are anchored at it.
    fn has_children<B: BlockStore>(
        &mut self,
        blocks: &mut B,
        m: usize,
        owner: Tid,
        count: usize,
    ) -> Result<bool, B::Error> {
        let mut found = 0;
        // the first slot is the owner's own anchor
        for at in 1..self.slots.len() {
            // what is left cannot make it enough
            if found + (self.slots.len() - at) < count {
                break;
            }
            let Some(&tid) = self.slots.get(at) else { break };
            if self.slots.get(1..at).is_some_and(|before| before.contains(&tid)) {
                continue;
            }
            let place = self.load(blocks, tid)?;
            let live = self.loaded(place).is_some_and(|loaded| loaded.member.live);
            if live && self.is_child(blocks, m, place, owner)? {
                found += 1;
                if found >= count {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Living children that an element has, at most, unless other libraries gave it more: their edges are never dropped, and
/// a list that is full of them leads nowhere else. (By inner product a few long vectors are near to everything.)
fn most_children(places: usize) -> usize {
    (places / 8).max(3)
}

/// What to do with a neighbour's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// take a free slot
    Add,
    /// take the slot of this one
    Replace(Tid),
    /// leave it: it has the edge, or better ones
    Leave,
    /// there is no slot that may be taken, or, for a new child, there are as many children as there should be
    Full,
}

/// A list that takes the new element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) neighbour: Member,
    layer: u8,
    plan: Plan,
}

/// How an element is offered to a list.
#[derive(Clone, Copy, Debug)]
struct Offer {
    /// its distance from the list's owner, when that is known
    distance: Option<f32>,
    /// whether both have the same value, when that is known
    equal: Option<bool>,
    /// whether the list must take it: the owner becomes its anchor
    must: bool,
    /// whether it may have more children than it should
    crowd: bool,
}

/// Where a new element finds its anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// somewhere: [`NeighbourCache::anchor`]
    Anchor,
    /// nowhere: there is no living element
    Nothing,
    /// below this one, when somebody who holds the update lock alone makes room in its list
    Stuck(Tid),
}

/// Chooses, for the new element whose neighbours are in `workspace.selected`, which of their lists take it, and its
/// anchor, whose list must: the nearest neighbour with a slot that may be taken, or an element anchored below the
/// nearest. Changes nothing.
pub(super) fn choose<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    workspace: &mut Workspace,
    value: &[u8],
    row: Tid,
) -> Result<Found, B::Error> {
    offer_all(blocks, graph, workspace, value, Tid::INVALID, Some(row))?;
    if workspace.links.anchor.is_some() {
        return Ok(Found::Anchor);
    }
    choose_below(blocks, graph, workspace)
}

/// Chooses an anchor below the nearest neighbour.
fn choose_below<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    workspace: &mut Workspace,
) -> Result<Found, B::Error> {
    let Workspace { walk, selected, links, .. } = workspace;
    let nearest = selected.iter().find(|(layer, _)| *layer == 0);
    let Some(nearest) = nearest.and_then(|(_, scored)| walk.node(scored.node)) else {
        return Ok(Found::Nothing);
    };
    let start = Member::of_node(nearest);
    match descend(blocks, graph, links, start, Tid::INVALID)? {
        Below::Takes(edge) => {
            set_anchor_edge(links, edge);
            Ok(Found::Anchor)
        }
        Below::Stuck(at) => Ok(Found::Stuck(at.tid)),
    }
}

fn set_anchor_edge(links: &mut NeighbourCache, edge: Edge) {
    links.edges.retain(|other| other.layer != 0 || other.neighbour.tid != edge.neighbour.tid);
    links.edges.push(edge);
    links.anchor = Some(edge.neighbour.tid);
}

/// Chooses the anchor anew, when others took the slot that was chosen before.
pub(super) fn choose_again<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    workspace: &mut Workspace,
) -> Result<Found, B::Error> {
    let Workspace { walk, selected, links, .. } = workspace;
    links.anchor = None;
    for &(_, scored) in selected.iter().filter(|(layer, _)| *layer == 0) {
        let Some(node) = walk.node(scored.node) else { continue };
        let (neighbour, equal) = (Member::of_node(node), node.equal);
        let offer = Offer { distance: Some(scored.distance), equal: Some(equal), must: true, crowd: false };
        let plan = plan(blocks, graph, links, &neighbour, 0, offer)?;
        if plan != Plan::Full {
            set_anchor_edge(links, Edge { neighbour, layer: 0, plan });
            return Ok(Found::Anchor);
        }
    }
    choose_below(blocks, graph, workspace)
}

/// Chooses which of the neighbours' lists take the element at `tid`; when it is new and has a `row` only, its anchor
/// among them.
fn offer_all<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    workspace: &mut Workspace,
    value: &[u8],
    tid: Tid,
    row: Option<Tid>,
) -> Result<(), B::Error> {
    let Workspace { walk, selected, links, .. } = workspace;
    let begun = links.begin(tid, value, row.unwrap_or(tid).packed());
    begun.map_err(|damage| damage.on(super::v1::layout::META_BLOCK))?;
    for &(layer, scored) in selected.iter() {
        let Some(node) = walk.node(scored.node) else { continue };
        let (neighbour, equal) = (Member::of_node(node), node.equal);
        let mut must = row.is_some() && layer == 0 && links.anchor.is_none();
        let offer = Offer { distance: Some(scored.distance), equal: Some(equal), must, crowd: false };
        let mut planned = plan(blocks, graph, links, &neighbour, layer, offer)?;
        if must && planned == Plan::Full {
            // no anchor, but perhaps a neighbour like others
            must = false;
            planned = plan(blocks, graph, links, &neighbour, layer, Offer { must, ..offer })?;
        }
        let plan = planned;
        if matches!(plan, Plan::Add | Plan::Replace(_)) {
            let room = links.edges.try_reserve(1);
            room.map_err(|_| Damage::OUT_OF_MEMORY.on(neighbour.tid.block()))?;
            links.edges.push(Edge { neighbour, layer, plan });
            if must {
                links.anchor = Some(neighbour.tid);
            }
        }
    }
    Ok(())
}

/// Makes the edge from the anchor chosen, and those that its change has room for. False, and nothing is changed, when
/// the anchor's list has no such slot any more.
pub(super) fn link_anchor<B: BlockStore>(
    blocks: &mut B,
    m: usize,
    workspace: &mut Workspace,
    tid: Tid,
) -> Result<bool, B::Error> {
    let links = &mut workspace.links;
    // A change takes up to four blocks, in ascending order: a fourth of the log records, and no cycle of locks.
    links.edges.sort_unstable_by_key(|edge| edge.neighbour.neighbour_tid.packed());
    let anchor = links.anchor;
    let is_anchor = |edge: &Edge| edge.layer == 0 && Some(edge.neighbour.tid) == anchor;
    let mut start = 0;
    while let Some(rest) = links.edges.get(start..).filter(|rest| !rest.is_empty()) {
        let (now, _) = rest.split_at(one_change(rest));
        if now.iter().any(is_anchor) {
            let end = start + now.len();
            if !apply(blocks, m, now, tid, anchor)? {
                return Ok(false);
            }
            links.edges.drain(start..end);
            return Ok(true);
        }
        start += now.len();
    }
    Ok(true)
}

/// Makes the edges that are left.
pub(super) fn link_others<B: BlockStore>(
    blocks: &mut B,
    m: usize,
    workspace: &Workspace,
    tid: Tid,
) -> Result<(), B::Error> {
    let mut rest = workspace.links.edges.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(one_change(rest));
        apply(blocks, m, now, tid, None)?;
        rest = later;
    }
    Ok(())
}

/// Offers the element at `tid`, which is anchored, to the neighbours in `workspace.selected`.
pub(super) fn connect<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    workspace: &mut Workspace,
    value: &[u8],
    tid: Tid,
) -> Result<(), B::Error> {
    offer_all(blocks, graph, workspace, value, tid, None)?;
    workspace.links.edges.sort_unstable_by_key(|edge| edge.neighbour.neighbour_tid.packed());
    link_others(blocks, graph.m, workspace, tid)
}

/// Blocks of one change.
const BLOCKS_AT_ONCE: usize = 4;

/// How many of the edges, which come in the order of their lists' blocks, one change can make.
fn one_change(edges: &[Edge]) -> usize {
    let (mut held, mut last) = (0, None);
    for (at, edge) in edges.iter().enumerate() {
        let block = edge.neighbour.neighbour_tid.block();
        if last != Some(block) {
            if held == BLOCKS_AT_ONCE {
                return at;
            }
            (held, last) = (held + 1, Some(block));
        }
    }
    edges.len()
}

/// Where the walk down from an element ends.
pub(super) enum Below {
    /// at a list that takes the new element
    Takes(Edge),
    /// at a full list whose children are all on their way out
    Stuck(Member),
}

/// Walks from `start` down living children, those that are anchored at the element at hand and so keep its list full,
/// until a list takes the new element; `avoid` is never stepped on. Anchors lead from a child to its parent, so the walk
/// comes back to nothing but `start`, and ends: a leaf has room.
pub(super) fn descend<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    links: &mut NeighbourCache,
    start: Member,
    avoid: Tid,
) -> Result<Below, B::Error> {
    let mut at = start;
    loop {
        let offer = Offer { distance: None, equal: None, must: true, crowd: false };
        let planned = plan(blocks, graph, links, &at, 0, offer)?;
        if planned != Plan::Full {
            return Ok(Below::Takes(Edge { neighbour: at, layer: 0, plan: planned }));
        }
        blocks.pause()?;
        // not always the first, so that what hangs below grows in width
        let (count, turn) = (links.slots.len(), tie_order(at.tid.packed(), links.seed) as usize);
        let mut next = None;
        for step in 0..count {
            let slot = (turn % count.max(1) + step) % count.max(1);
            let Some(&tid) = links.slots.get(slot) else { break };
            if slot == 0 || tid == avoid || tid == start.tid {
                continue;
            }
            let place = links.load(blocks, tid)?;
            let Some(member) = links.loaded(place).map(|loaded| loaded.member) else { break };
            if member.live && links.is_child(blocks, graph.m, place, at.tid)? {
                next = Some(member);
                break;
            }
        }
        match next {
            Some(child) => at = child,
            None => {
                // with children that are on their way out, or not to be stepped on, it may have more
                let planned = plan(blocks, graph, links, &at, 0, Offer { crowd: true, ..offer })?;
                return Ok(match planned {
                    Plan::Full => Below::Stuck(at),
                    plan => Below::Takes(Edge { neighbour: at, layer: 0, plan }),
                });
            }
        }
    }
}

/// Makes an edge that [`descend`] found, to the element at `x`. The update lock is held alone since.
pub(super) fn make_edge<B: BlockStore>(
    blocks: &mut B,
    m: usize,
    edge: &Edge,
    x: Tid,
) -> Result<(), B::Error> {
    let (at, list) = (edge.neighbour.tid, edge.neighbour.neighbour_tid);
    if edge.plan != Plan::Leave && !apply(blocks, m, &[*edge], x, Some(at))? {
        return Err(Damage::at(list.offset(), "list changed under its lock").on(list.block()).into());
    }
    Ok(())
}

/// How many elements ahead of the one being read are asked for.
const PREFETCH_DISTANCE_ELEMENTS: usize = 4;

/// Choosing takes time, so it happens before the list is locked; [`apply`] looks again at what it finds then.
///
/// Of layer 0, a list keeps its owner's anchor and every element that is anchored at its owner.
fn plan<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    links: &mut NeighbourCache,
    neighbour: &Member,
    layer: u8,
    offer: Offer,
) -> Result<Plan, B::Error> {
    let (m, must) = (graph.m, offer.must);
    if !copy_list(blocks, m, neighbour, layer, &mut links.slots)? {
        return Ok(if must { Plan::Full } else { Plan::Leave });
    }
    // an element under repair is in many of its neighbours' lists already
    if links.slots.contains(&links.new_tid()) {
        return Ok(Plan::Leave);
    }
    let places = layer_slots(m, layer);
    if must && !offer.crowd && links.has_children(blocks, m, neighbour.tid, most_children(places))? {
        return Ok(Plan::Full);
    }
    let full = links.slots.len() >= places;
    if !full && offer.equal == Some(false) {
        return Ok(Plan::Add);
    }
    let own = links.load(blocks, neighbour.tid)?;
    let equal = match offer.equal {
        Some(equal) => equal,
        None => links.values.get(own) == links.values.get(NEW),
    };
    if !full && !equal {
        return Ok(Plan::Add);
    }
    if let Some(plan) = weigh(blocks, graph, links, neighbour, layer, own)? {
        return Ok(plan);
    }
    let new_distance = match offer.distance {
        Some(distance) => distance,
        None => pair_distance(graph.space, &links.values, own, NEW),
    };
    let equals = links.candidates.iter().filter(|c| links.loaded(c.node).is_some_and(|l| l.equal)).count();
    links.candidates.push(Scored { distance: new_distance, node: NEW });
    if let Some(new) = links.loaded.first_mut() {
        (new.equal, new.kept) = (equal, must);
    }
    let owner = neighbour.tid.packed();
    let NeighbourCache { candidates, memo, loaded, seed, .. } = links;
    let tie = |scored: &Scored| match loaded.get(scored.node as usize) {
        Some(loaded) if scored.node != NEW => tie_order(owner, loaded.member.tid.packed()),
        _ => tie_order(owner, *seed),
    };
    candidates.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then_with(|| tie(a).cmp(&tie(b))));
    memo.clear();
    memo.resize(candidates.len(), None);

    // lists keep room for others than equals; an anchor may go beyond their share, for the sake of short ways
    let share = equal_share(places);
    let crowded = if equal { equals >= share } else { equals > share };
    if crowded {
        let plan = drop_one(blocks, graph, links, neighbour.tid, layer, true)?;
        if plan != Plan::Full {
            return Ok(plan);
        }
        let most = places - (places / 4).max(1);
        if equal && (!must || equals >= most) {
            return Ok(if must { Plan::Full } else { Plan::Leave });
        }
    }
    if !full {
        return Ok(Plan::Add);
    }
    drop_one(blocks, graph, links, neighbour.tid, layer, false)
}

/// Loads what a list names into `links.candidates`, with its distance from the owner. Returns at once when it names an
/// element on its way out that it need not keep, or one that it has named before (pgvector may write an edge twice):
/// those go first.
fn weigh<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    links: &mut NeighbourCache,
    owner: &Member,
    layer: u8,
    own: u32,
) -> Result<Option<Plan>, B::Error> {
    let size = size_of::<ElementHeader>() + links.values.get(NEW).len();
    let alike = pair_distance(graph.space, &links.values, own, own);
    links.candidates.clear();
    links.lists = links.lists.wrapping_add(1);
    let list = links.lists;
    blocks.prefetch_blocks(&links.slots);
    for at in 0..links.slots.len() {
        let Some(&tid) = links.slots.get(at) else { break };
        if let Some(&next) = links.slots.get(at + PREFETCH_DISTANCE_ELEMENTS)
            && !links.places.contains_key(&next.packed())
        {
            blocks.prefetch_item(next, size);
        }
        let place = links.load(blocks, tid)?;
        if let Some(loaded) = links.loaded.get_mut(place as usize)
            && core::mem::replace(&mut loaded.list, list) == list
        {
            return Ok(Some(Plan::Replace(tid)));
        }
        let kept = layer == 0 && at == 0;
        if !links.loaded(place).is_some_and(|loaded| loaded.member.live) {
            let child = layer == 0 && links.is_child(blocks, graph.m, place, owner.tid)?;
            if !kept && !child {
                return Ok(Some(Plan::Replace(tid)));
            }
            continue;
        }
        let distance = pair_distance(graph.space, &links.values, own, place);
        let equal = distance == alike && links.values.get(own) == links.values.get(place);
        if let Some(loaded) = links.loaded.get_mut(place as usize) {
            (loaded.equal, loaded.kept) = (equal, kept);
        }
        links.candidates.push(Scored { distance, node: place });
    }
    Ok(None)
}

/// Of `links.candidates`, the one to drop, only equals of the owner when `equals`; [`Plan::Full`] when all are kept.
fn drop_one<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    links: &mut NeighbourCache,
    owner: Tid,
    layer: u8,
    equals: bool,
) -> Result<Plan, B::Error> {
    loop {
        let NeighbourCache { candidates, memo, values, loaded, .. } = links;
        let may = |at: usize| {
            let loaded = candidates.get(at).and_then(|scored| loaded.get(scored.node as usize));
            loaded.is_some_and(|loaded| !loaded.kept && (loaded.equal || !equals))
        };
        // no block is read while this is alive
        let views = views(graph.space, values, candidates);
        let dropped = next_dropped(candidates, memo, may, |a, b| view_distance(graph.space, &views, a, b));
        drop(views);
        let Some(dropped) = dropped.and_then(|at| candidates.get(at)).map(|scored| scored.node) else {
            return Ok(Plan::Full);
        };
        if dropped == NEW {
            return Ok(Plan::Leave);
        }
        if layer > 0 || !links.is_child(blocks, graph.m, dropped, owner)? {
            let tid = links.loaded(dropped).map(|loaded| loaded.member.tid);
            return Ok(tid.map_or(Plan::Leave, Plan::Replace));
        }
        if let Some(loaded) = links.loaded.get_mut(dropped as usize) {
            loaded.kept = true;
        }
    }
}

/// Changes one slot of each list, where that still makes sense under its lock. Edges of one block are neighbours here.
/// When `anchor`'s list has no place any more, nothing is changed, and the answer is false.
fn apply<B: BlockStore>(
    blocks: &mut B,
    m: usize,
    edges: &[Edge],
    new: Tid,
    anchor: Option<Tid>,
) -> Result<bool, B::Error> {
    let mut change = blocks.update()?;
    let mut open: Option<(u32, PageRef)> = None;
    let mut changed = false;
    for edge in edges {
        let Edge { neighbour, layer, plan } = edge;
        let at = neighbour.neighbour_tid;
        let damage = |damage: Damage| damage.on(at.block());
        let slot = match open {
            Some((block, slot)) if block == at.block() => slot,
            _ => {
                let slot = change.open(at.block())?;
                open = Some((at.block(), slot));
                slot
            }
        };
        let place = {
            let item = Page::new(change.bytes(slot), PAGE_ID)
                .and_then(|page| page.item(at.offset()))
                .map_err(damage)?;
            let list = Neighbours::new(item, at.offset()).map_err(damage)?;
            let layer_slots = list.layer(neighbour.level, neighbour.version, *layer, m);
            find_place(layer_slots.unwrap_or_default(), *layer, new, *plan)
        };
        let place = match place {
            Place::At(place) => place,
            Place::None if *layer == 0 && Some(neighbour.tid) == anchor => return Ok(false),
            Place::None | Place::Stands => continue,
        };
        let start = layer_range(neighbour.level, *layer, m).start;
        let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(damage)?;
        let item = page.item_mut(at.offset()).map_err(damage)?;
        let slots = neighbour_slots_mut(item, at.offset()).map_err(damage)?;
        if let Some(slot) = slots.get_mut(start + place) {
            *slot = new;
            changed = true;
        }
    }
    if changed {
        change.commit()?;
    }
    Ok(true)
}

/// Where an edge goes in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// into this slot
    At(usize),
    /// it is there already: of an index that another library damaged, before the element itself
    Stands,
    /// nowhere: what was to be replaced is gone, and nothing is free
    None,
}

/// The slot to take, of edges that a list names twice the last. The anchor's slot is nobody's.
fn find_place(slots: &[Tid], layer: u8, new: Tid, plan: Plan) -> Place {
    if slots.contains(&new) {
        return Place::Stands;
    }
    let replaced = match plan {
        Plan::Replace(old) => slots.iter().rposition(|&slot| slot == old),
        _ => None,
    };
    let replaced = replaced.filter(|&place| layer > 0 || place > 0);
    let place = replaced.or_else(|| slots.iter().position(|slot| !slot.is_valid()));
    place.map_or(Place::None, Place::At)
}
