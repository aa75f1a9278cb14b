//! The edges back: each neighbour of a new element considers it as a neighbour of its own (paper, algorithm 1, lines
//! 12 to 17), dropping one it has when its list is full.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::insert::{Graph, Values, Workspace, pair_distance, view_distance, views};
use super::layout::{Element, ElementHeader, Neighbours, PAGE_ID, layer_range, neighbour_slots_mut};
use super::pages::{Node, Walk};
use super::params::layer_slots;
use super::search::{Scored, select_dropped};
use crate::blocks::{Blocks, Change, Slot};
use crate::page::{Damage, Page, PageMut, Tid};
use crate::space::Space;

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

/// What one insert has read of its neighbours' neighbours: many are the same.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// position in `tids`, `live` and `values`, by packed TID
    places: HashMap<u64, u32, BuildHasherDefault<TidHasher>>,
    tids: Vec<Tid>,
    /// whether it has rows
    live: Vec<bool>,
    values: Values,
    slots: Vec<Tid>,
    candidates: Vec<Scored>,
    memo: Vec<Option<bool>>,
    edges: Vec<Edge>,
}

/// The new element's place among the loaded.
const NEW: u32 = 0;

impl Links {
    fn begin(&mut self, tid: Tid, value: &[u8]) -> Result<(), Damage> {
        self.places.clear();
        self.tids.clear();
        self.live.clear();
        self.values.clear();
        self.tids.push(tid);
        self.live.push(true);
        self.values.set(NEW, value)
    }

    /// Reads an element, unless it was read before, and answers its place.
    fn load<B: Blocks>(&mut self, blocks: &mut B, tid: Tid) -> Result<u32, B::Error> {
        if let Some(&place) = self.places.get(&tid.packed()) {
            return Ok(place);
        }
        let place = self.tids.len() as u32;
        let values = &mut self.values;
        let live = blocks.read(tid.block(), |bytes| {
            let element = Element::new(Page::unidentified(bytes)?.item(tid.offset())?, tid.offset())?;
            values.set(place, element.value)?;
            Ok(element.header.deleted == 0 && element.header.is_live())
        })?;
        let room = self.places.try_reserve(1).is_ok()
            && self.tids.try_reserve(1).is_ok()
            && self.live.try_reserve(1).is_ok();
        if !room {
            return Err(Damage::OUT_OF_MEMORY.on(tid.block()).into());
        }
        self.places.insert(tid.packed(), place);
        self.tids.push(tid);
        self.live.push(live);
        Ok(place)
    }
}

/// What to do with a neighbour's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// take a free slot
    Add,
    /// take the slot of this one
    Replace(Tid),
    /// leave it
    Leave,
}

/// A list that takes the new element.
#[derive(Clone, Copy, Debug)]
struct Edge {
    neighbour: Node,
    layer: u8,
    plan: Plan,
}

/// Offers the new element at `tid`, whose neighbours are in `workspace.selected`, to each of them.
pub(super) fn connect<B: Blocks, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    workspace: &mut Workspace,
    value: &[u8],
    tid: Tid,
) -> Result<(), B::Error> {
    let Workspace { walk, selected, links, .. } = workspace;
    links.begin(tid, value).map_err(|damage| damage.on(tid.block()))?;
    links.edges.clear();
    for &(layer, scored) in selected.iter() {
        let Some(neighbour) = node(walk, scored) else { continue };
        let plan = plan(blocks, graph, links, &neighbour, layer, scored.distance)?;
        if plan != Plan::Leave {
            links.edges.push(Edge { neighbour, layer, plan });
        }
    }
    // A change takes up to four blocks, in ascending order: a fourth of the log records, and no cycle of locks.
    links.edges.sort_unstable_by_key(|edge| edge.neighbour.neighbour_tid.packed());
    let mut rest = links.edges.as_slice();
    while !rest.is_empty() {
        let (mut blocks_held, mut last, mut count) = (0, None, 0);
        for edge in rest {
            let block = edge.neighbour.neighbour_tid.block();
            if last != Some(block) {
                if blocks_held == BLOCKS_AT_ONCE {
                    break;
                }
                (blocks_held, last) = (blocks_held + 1, Some(block));
            }
            count += 1;
        }
        let (now, later) = rest.split_at(count);
        apply(blocks, graph.m, now, tid)?;
        rest = later;
    }
    Ok(())
}

/// Blocks of one change.
const BLOCKS_AT_ONCE: usize = 4;

fn node(walk: &Walk, scored: Scored) -> Option<Node> {
    walk.node(scored.node).copied()
}

/// How many elements ahead of the one being read are asked for.
const AHEAD: usize = 4;

/// Choosing takes time, so it happens before the list is locked; [`apply`] looks again at what it finds then.
fn plan<B: Blocks, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    links: &mut Links,
    neighbour: &Node,
    layer: u8,
    new_distance: f32,
) -> Result<Plan, B::Error> {
    let (m, at) = (graph.m, neighbour.neighbour_tid);
    let slots = &mut links.slots;
    slots.clear();
    let current = blocks.read(at.block(), |bytes| {
        let item = Page::unidentified(bytes)?.item(at.offset())?;
        let list = Neighbours::new(item, at.offset())?.layer(neighbour.level, neighbour.version, layer, m);
        slots.extend(list.unwrap_or_default().iter().take_while(|tid| tid.is_valid()));
        Ok(list.is_some())
    })?;
    if !current {
        return Ok(Plan::Leave);
    }
    // an element under repair is in many of its neighbours' lists already
    if links.tids.first().is_some_and(|new| slots.contains(new)) {
        return Ok(Plan::Leave);
    }
    if slots.len() < layer_slots(m, layer) {
        return Ok(Plan::Add);
    }

    let own = links.load(blocks, neighbour.tid)?;
    links.candidates.clear();
    let size = size_of::<ElementHeader>() + links.values.get(NEW).len();
    blocks.prefetch_blocks(&links.slots);
    for at in 0..links.slots.len() {
        let Some(&tid) = links.slots.get(at) else { break };
        if let Some(&next) = links.slots.get(at + AHEAD)
            && !links.places.contains_key(&next.packed())
        {
            blocks.prefetch_item(next, size);
        }
        let place = links.load(blocks, tid)?;
        // elements on their way out go first
        if links.live.get(place as usize) != Some(&true) {
            return Ok(Plan::Replace(tid));
        }
        let distance = pair_distance(graph.space, &links.values, own, place);
        links.candidates.push(Scored { distance, node: place });
    }
    links.candidates.push(Scored { distance: new_distance, node: NEW });

    let Links { candidates, memo, values, tids, .. } = links;
    candidates.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then(a.node.cmp(&b.node)));
    // no block is read while this is alive
    let views = views(graph.space, values, candidates);
    let dropped = select_dropped(candidates, memo, |a, b| view_distance(graph.space, &views, a, b));
    let dropped = dropped.and_then(|at| candidates.get(at)).map_or(NEW, |scored| scored.node);
    Ok(match tids.get(dropped as usize) {
        Some(&tid) if dropped != NEW => Plan::Replace(tid),
        _ => Plan::Leave,
    })
}

/// Changes one slot of each list, where that still makes sense under its lock. Edges of one block are neighbours here.
fn apply<B: Blocks>(blocks: &mut B, m: usize, edges: &[Edge], new: Tid) -> Result<(), B::Error> {
    let mut change = blocks.change()?;
    let mut open: Option<(u32, Slot)> = None;
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
            find_place(layer_slots.unwrap_or_default(), new, *plan)
        };
        let Some(place) = place else { continue };
        let start = layer_range(neighbour.level, *layer, m).start;
        let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(damage)?;
        let item = page.item_mut(at.offset()).map_err(damage)?;
        let slots = neighbour_slots_mut(item, at.offset()).map_err(damage)?;
        if let Some(slot) = slots.get_mut(start + place) {
            *slot = new;
            changed = true;
        }
    }
    if changed { change.commit() } else { Ok(()) }
}

/// The slot to take: none when the edge is there already, or when what was to be replaced is gone and nothing is free.
fn find_place(slots: &[Tid], new: Tid, plan: Plan) -> Option<usize> {
    if slots.contains(&new) {
        return None;
    }
    let replaced = match plan {
        Plan::Replace(old) => slots.iter().position(|&slot| slot == old),
        _ => None,
    };
    replaced.or_else(|| slots.iter().position(|slot| !slot.is_valid()))
}
