//! The edges back: each neighbour of a new element considers it as a neighbour of its own (paper, algorithm 1, lines
//! 12 to 17), dropping one it has when its list is full. One of them, the new element's anchor, must take it.

use super::estimated_plan::estimated_plan;
use super::graph::{EdgeChange, GraphRead, GraphWrite, LISTS_AT_ONCE, Member, Target, Walk};
use super::insert::Workspace;
use super::meta::META_BLOCK;
use super::neighbour_cache::{NEW, NeighbourCache};
use super::params::layer_slots;
use super::search::{Scored, equal_share, next_dropped, tie_order};
use super::values::{pair_distance, view_distance, views};
use crate::storage::page::{Damage, Tid};

/// Living children that an element has, at most, unless other libraries gave it more: their edges are never
/// dropped, and a list that is full of them leads nowhere else. (By inner product a few long vectors are near
/// to everything.)
fn most_children(places: usize) -> usize {
    (places / 8).max(3)
}

/// What to do with a neighbour's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// take a free slot
    Add,
    /// take the slot of this one
    Replace(Tid),
    /// leave it: it has the edge, or better ones
    Leave,
    /// there is no slot that may be taken, or, for a new child, there are as many children as there should be
    Full,
}

impl Plan {
    /// The change that it asks for, of the list of `owner`.
    fn of<G: GraphRead>(self, graph: &mut G, owner: Member, layer: u8) -> Result<EdgeChange, G::Error> {
        let replaced = if let Plan::Replace(old) = self { Some(old) } else { None };
        let at = graph.list_at(&owner, layer)?;
        Ok(EdgeChange { owner, at, layer, replaced, stands: self == Plan::Leave })
    }
}

/// How an element is offered to a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    /// its distance from the list's owner, when that is known
    pub(super) distance: Option<f32>,
    /// whether both have the same value, when that is known
    equal: Option<bool>,
    /// whether the list must take it: the owner becomes its anchor
    pub(super) must: bool,
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
pub(super) fn choose<G: GraphRead>(
    graph: &mut G,
    workspace: &mut Workspace<G::Walk>,
    value: &[u8],
    row: Tid,
) -> Result<Found, G::Error> {
    offer_all(graph, workspace, value, Tid::INVALID, Some(row))?;
    if workspace.links.anchor.is_some() {
        return Ok(Found::Anchor);
    }
    choose_below(graph, workspace)
}

/// Chooses an anchor below the nearest neighbour.
fn choose_below<G: GraphRead>(graph: &mut G, workspace: &mut Workspace<G::Walk>) -> Result<Found, G::Error> {
    let Workspace { walk, selected, links, .. } = workspace;
    let nearest = selected.iter().find(|(layer, _)| *layer == 0);
    let Some(nearest) = nearest.and_then(|(_, scored)| walk.member(scored.node)) else {
        return Ok(Found::Nothing);
    };
    match descend(graph, links, nearest, Tid::INVALID)? {
        Below::Takes(edge) => {
            set_anchor_edge(links, edge);
            Ok(Found::Anchor)
        }
        Below::Stuck(at) => Ok(Found::Stuck(at.tid)),
    }
}

fn set_anchor_edge(links: &mut NeighbourCache, edge: EdgeChange) {
    links.edges.retain(|other| other.layer != 0 || other.owner.tid != edge.owner.tid);
    links.edges.push(edge);
    links.anchor = Some(edge.owner.tid);
}

/// Chooses another anchor when others took the slot that was chosen before.
pub(super) fn choose_again<G: GraphRead>(
    graph: &mut G,
    workspace: &mut Workspace<G::Walk>,
) -> Result<Found, G::Error> {
    let Workspace { walk, selected, links, .. } = workspace;
    links.anchor = None;
    for &(_, scored) in selected.iter().filter(|(layer, _)| *layer == 0) {
        let Some(neighbour) = walk.member(scored.node) else { continue };
        let equal = walk.is_equal(scored.node);
        let offer = Offer { distance: Some(scored.distance), equal: Some(equal), must: true, crowd: false };
        let plan = plan(graph, links, &neighbour, 0, offer)?;
        if plan != Plan::Full {
            set_anchor_edge(links, plan.of(graph, neighbour, 0)?);
            return Ok(Found::Anchor);
        }
    }
    choose_below(graph, workspace)
}

/// Chooses which of the neighbours' lists take the element at `tid`; when it is new and has a `row` only, its anchor
/// among them.
fn offer_all<G: GraphRead>(
    graph: &mut G,
    workspace: &mut Workspace<G::Walk>,
    value: &[u8],
    tid: Tid,
    row: Option<Tid>,
) -> Result<(), G::Error> {
    let Workspace { walk, selected, links, .. } = workspace;
    let begun = match row {
        Some(row) => links.begin(tid, value, row.packed()),
        None => links.begin_repair(tid, value),
    };
    begun.map_err(|damage| damage.on(META_BLOCK))?;
    for &(layer, scored) in selected.iter() {
        let Some(neighbour) = walk.member(scored.node) else { continue };
        let equal = walk.is_equal(scored.node);
        let mut must = row.is_some() && layer == 0 && links.anchor.is_none();
        let offer = Offer { distance: Some(scored.distance), equal: Some(equal), must, crowd: false };
        let mut planned = plan(graph, links, &neighbour, layer, offer)?;
        if must && planned == Plan::Full {
            // no anchor, but perhaps a neighbour like others
            must = false;
            planned = plan(graph, links, &neighbour, layer, Offer { must, ..offer })?;
        }
        let plan = planned;
        if matches!(plan, Plan::Add | Plan::Replace(_)) {
            let room = links.edges.try_reserve(1);
            room.map_err(|_| Damage::OUT_OF_MEMORY.on(neighbour.tid.block()))?;
            links.edges.push(plan.of(graph, neighbour, layer)?);
            if must {
                links.anchor = Some(neighbour.tid);
            }
        }
    }
    Ok(())
}

/// Makes the edge from the anchor chosen, and those that its change has room for. False, and nothing is changed, when
/// the anchor's list has no such slot any more.
pub(super) fn link_anchor<G: GraphWrite>(
    graph: &mut G,
    workspace: &mut Workspace<G::Walk>,
    tid: Tid,
) -> Result<bool, G::Error> {
    let NeighbourCache { edges, anchor, values, .. } = &mut workspace.links;
    // A change takes several blocks, in ascending order: a fourth of the log records, and no cycle of locks.
    edges.sort_unstable_by_key(|edge| edge.at.packed());
    let (anchor, new) = (*anchor, Target { tid, value: Some(values.get(NEW)) });
    let is_anchor = |edge: &EdgeChange| edge.layer == 0 && Some(edge.owner.tid) == anchor;
    let mut start = 0;
    while let Some(rest) = edges.get(start..).filter(|rest| !rest.is_empty()) {
        let (now, _) = rest.split_at(one_change(rest));
        if now.iter().any(is_anchor) {
            let end = start + now.len();
            if !graph.add_edges(now, new, anchor)? {
                return Ok(false);
            }
            edges.drain(start..end);
            return Ok(true);
        }
        start += now.len();
    }
    Ok(true)
}

/// Makes the edges that are left.
pub(super) fn link_others<G: GraphWrite>(
    graph: &mut G,
    workspace: &mut Workspace<G::Walk>,
    tid: Tid,
) -> Result<(), G::Error> {
    link_edges(graph, &mut workspace.links, tid)
}

/// Offers the element at `tid`, which is anchored, to the neighbours in `workspace.selected`.
pub(super) fn connect<G: GraphWrite>(
    graph: &mut G,
    workspace: &mut Workspace<G::Walk>,
    value: &[u8],
    tid: Tid,
) -> Result<(), G::Error> {
    offer_all(graph, workspace, value, tid, None)?;
    link_edges(graph, &mut workspace.links, tid)
}

/// Makes the edges that were chosen, to the element at `tid`.
pub(super) fn link_edges<G: GraphWrite>(
    graph: &mut G,
    links: &mut NeighbourCache,
    tid: Tid,
) -> Result<(), G::Error> {
    links.edges.sort_unstable_by_key(|edge| edge.at.packed());
    let new = Target { tid, value: Some(links.values.get(NEW)) };
    let mut rest = links.edges.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(one_change(rest));
        graph.add_edges(now, new, None)?;
        rest = later;
    }
    Ok(())
}

/// Offers the element at hand to a list that need not take it; returns the edge, when it does.
pub(super) fn offer<G: GraphRead>(
    graph: &mut G,
    links: &mut NeighbourCache,
    owner: &Member,
    layer: u8,
    equal: bool,
) -> Result<Option<EdgeChange>, G::Error> {
    let offer = Offer { distance: None, equal: Some(equal), must: false, crowd: false };
    match plan(graph, links, owner, layer, offer)? {
        plan @ (Plan::Add | Plan::Replace(_)) => plan.of(graph, *owner, layer).map(Some),
        Plan::Leave | Plan::Full => Ok(None),
    }
}

/// How many of the edges, which come in the order of their lists' blocks, one change can make.
fn one_change(edges: &[EdgeChange]) -> usize {
    let (mut held, mut last) = (0, None);
    for (at, edge) in edges.iter().enumerate() {
        let block = edge.at.block();
        if last != Some(block) {
            if held == LISTS_AT_ONCE {
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
    Takes(EdgeChange),
    /// at a full list whose children are all on their way out
    Stuck(Member),
}

/// Walks from `start` down living children, those that are anchored at the element at hand and so keep its list
/// full, until a list takes the new element; `avoid` is never stepped on. Anchors lead from a child to its
/// parent, so the walk comes back to nothing but `start`, and ends: a leaf has room.
pub(super) fn descend<G: GraphRead>(
    graph: &mut G,
    links: &mut NeighbourCache,
    start: Member,
    avoid: Tid,
) -> Result<Below, G::Error> {
    let mut at = start;
    loop {
        let offer = Offer { distance: None, equal: None, must: true, crowd: false };
        let planned = plan(graph, links, &at, 0, offer)?;
        if planned != Plan::Full {
            return Ok(Below::Takes(planned.of(graph, at, 0)?));
        }
        graph.pause()?;
        // not always the first, so that what hangs below grows in width
        let (count, turn) = (links.slots.len(), tie_order(at.tid.packed(), links.seed) as usize);
        let mut next = None;
        for step in 0..count {
            let slot = (turn % count.max(1) + step) % count.max(1);
            let Some(&tid) = links.slots.get(slot) else { break };
            if slot == 0 || tid == avoid || tid == start.tid {
                continue;
            }
            let place = links.load(graph, tid)?;
            let Some(member) = links.loaded(place).map(|loaded| loaded.member) else { break };
            if member.live && links.is_child(graph, place, at.tid)? {
                next = Some(member);
                break;
            }
        }
        match next {
            Some(child) => at = child,
            None => {
                // with children that are on their way out, or not to be stepped on, it may have more
                let planned = plan(graph, links, &at, 0, Offer { crowd: true, ..offer })?;
                return Ok(match planned {
                    Plan::Full => Below::Stuck(at),
                    plan => Below::Takes(plan.of(graph, at, 0)?),
                });
            }
        }
    }
}

/// Makes an edge that [`descend`] found, to the element at `x`. The update lock is held alone since.
pub(super) fn make_edge<G: GraphWrite>(
    graph: &mut G,
    links: &NeighbourCache,
    edge: &EdgeChange,
    x: Tid,
) -> Result<(), G::Error> {
    let (at, list) = (edge.owner.tid, edge.at);
    let new = Target { tid: x, value: Some(links.values.get(NEW)) };
    if !edge.stands && !graph.add_edges(&[*edge], new, Some(at))? {
        return Err(Damage::at(list.offset(), "list changed under its lock").on(list.block()).into());
    }
    Ok(())
}

/// How many elements ahead of the one being read are asked for.
const PREFETCH_DISTANCE_ELEMENTS: usize = 4;

/// Choosing takes time, so it happens before the list is locked; [`GraphWrite::add_edges`] looks again at what
/// it finds then.
///
/// Of layer 0, a list keeps its owner's anchor and every element that is anchored at its owner.
fn plan<G: GraphRead>(
    graph: &mut G,
    links: &mut NeighbourCache,
    neighbour: &Member,
    layer: u8,
    offer: Offer,
) -> Result<Plan, G::Error> {
    let (shape, must) = (graph.shape(), offer.must);
    if !graph.list(neighbour, layer, &mut links.slots)? {
        return Ok(if must { Plan::Full } else { Plan::Leave });
    }
    // an element under repair is in many of its neighbours' lists already
    if links.slots.contains(&links.new_tid()) {
        return Ok(Plan::Leave);
    }
    let places = layer_slots(shape.m, layer);
    if must && !offer.crowd && links.has_children(graph, neighbour.tid, most_children(places))? {
        return Ok(Plan::Full);
    }
    let full = links.slots.len() >= places;
    if !full && offer.equal == Some(false) {
        return Ok(Plan::Add);
    }
    if full
        && offer.equal == Some(false)
        && layer == 0
        && let Some(plan) = estimated_plan(graph, links, neighbour, places, offer)?
    {
        return Ok(plan);
    }
    let own = links.load(graph, neighbour.tid)?;
    let equal = match offer.equal {
        Some(equal) => equal,
        None => links.values.get(own) == links.values.get(NEW),
    };
    if !full && !equal {
        return Ok(Plan::Add);
    }
    if let Some(plan) = weigh(graph, links, neighbour, layer, own)? {
        return Ok(plan);
    }
    let new_distance = match offer.distance {
        Some(distance) => distance,
        None => pair_distance(graph.shape().space, &links.values, own, NEW),
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
        let plan = drop_one(graph, links, neighbour.tid, layer, true)?;
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
    drop_one(graph, links, neighbour.tid, layer, false)
}

/// Loads what a list names into `links.candidates`, with its distance from the owner. Returns at once when it names an
/// element on its way out that it need not keep, or one that it has named before (pgvector may write an edge twice):
/// those go first.
fn weigh<G: GraphRead>(
    graph: &mut G,
    links: &mut NeighbourCache,
    owner: &Member,
    layer: u8,
    own: u32,
) -> Result<Option<Plan>, G::Error> {
    let size = links.values.get(NEW).len();
    let alike = pair_distance(graph.shape().space, &links.values, own, own);
    links.candidates.clear();
    links.lists = links.lists.wrapping_add(1);
    let list = links.lists;
    graph.prefetch_elements(&links.slots);
    for at in 0..links.slots.len() {
        let Some(&tid) = links.slots.get(at) else { break };
        if let Some(&next) = links.slots.get(at + PREFETCH_DISTANCE_ELEMENTS)
            && !links.places.contains_key(&next.packed())
        {
            graph.prefetch_element(next, size);
        }
        let place = links.load(graph, tid)?;
        if let Some(loaded) = links.loaded.get_mut(place as usize)
            && core::mem::replace(&mut loaded.list, list) == list
        {
            return Ok(Some(Plan::Replace(tid)));
        }
        let kept = layer == 0 && at == 0;
        if !links.loaded(place).is_some_and(|loaded| loaded.member.live) {
            let child = layer == 0 && links.is_child(graph, place, owner.tid)?;
            if !kept && !child {
                return Ok(Some(Plan::Replace(tid)));
            }
            continue;
        }
        let distance = pair_distance(graph.shape().space, &links.values, own, place);
        let equal = distance == alike && links.values.get(own) == links.values.get(place);
        if let Some(loaded) = links.loaded.get_mut(place as usize) {
            (loaded.equal, loaded.kept) = (equal, kept);
        }
        links.candidates.push(Scored { distance, node: place });
    }
    Ok(None)
}

/// Of `links.candidates`, the one to drop, only equals of the owner when `equals`; [`Plan::Full`] when all are kept.
fn drop_one<G: GraphRead>(
    graph: &mut G,
    links: &mut NeighbourCache,
    owner: Tid,
    layer: u8,
    equals: bool,
) -> Result<Plan, G::Error> {
    let space = graph.shape().space;
    loop {
        let NeighbourCache { candidates, memo, values, loaded, .. } = links;
        let may = |at: usize| {
            let loaded = candidates.get(at).and_then(|scored| loaded.get(scored.node as usize));
            loaded.is_some_and(|loaded| !loaded.kept && (loaded.equal || !equals))
        };
        // no block is read while this is alive
        let views = views(space, values, candidates);
        let dropped = next_dropped(candidates, memo, may, |a, b| view_distance(space, &views, a, b));
        drop(views);
        let Some(dropped) = dropped.and_then(|at| candidates.get(at)).map(|scored| scored.node) else {
            return Ok(Plan::Full);
        };
        if dropped == NEW {
            return Ok(Plan::Leave);
        }
        if layer > 0 || !links.is_child(graph, dropped, owner)? {
            let tid = links.loaded(dropped).map(|loaded| loaded.member.tid);
            return Ok(tid.map_or(Plan::Leave, Plan::Replace));
        }
        if let Some(loaded) = links.loaded.get_mut(dropped as usize) {
            loaded.kept = true;
        }
    }
}
