//! Inserting one element into the graph (paper, algorithms 1, 2 and 4).
//!
//! Two things are remembered so that few distances are computed twice. While an element is inserted, a table holds its
//! distance from every node met; its new neighbours were expanded on the way, hence all that stand in their
//! lists are in the table, and the element can be weighed against them for nothing. And every list
//! remembers for each edge which other edge is closer to it than the owner (or that none is), which is what
//! algorithm 4 would find out again; adding an edge changes little of that.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Elements;
use super::equals::{Shares, WALKS, share, wander};
use super::graph::{CHOSEN, EQUAL, Edge, Locked, rank};
use super::rows::NONE;
use super::score::Score;
use super::visited::{Met, Visited};
use crate::hnsw::search::{CandidateQueue, Scored, Store, search_layer};
use crate::space::Space;

/// The build was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop;

/// Lists whose writer's part is asked for ahead of the one being changed.
const PREFETCH_DISTANCE_LISTS: usize = 4;

/// What a thread needs to insert elements, allocated once.
#[derive(Debug)]
pub(super) struct Scratch {
    visited: Visited,
    pool: CandidateQueue,
    out: Vec<Scored>,
    fresh: Vec<(u32, u32)>,
    /// the candidates of a selection, and what was decided about them
    candidates: Vec<Edge>,
    chosen: Vec<u8>,
    edges: Vec<Edge>,
    /// the selected neighbours, top layer first
    selected: Vec<Edge>,
}

impl Scratch {
    /// Bytes of the scratch memory of one thread.
    pub fn size(nodes: usize, m: usize, ef: usize, top: u8) -> usize {
        let slots = Visited::slots(nodes, m, ef);
        Visited::size(slots)
            // the queue doubles until it is large enough
            + 4 * (ef + 1) * size_of::<u64>()
            + 2 * m * (size_of::<Scored>() + size_of::<(u32, u32)>() + 2)
            + (ef + 1 + 2 * m + 1 + (usize::from(top) + 2) * m) * size_of::<Edge>()
    }

    /// Scratch memory, when there is any.
    pub fn new(nodes: usize, m: usize, ef: usize, top: u8) -> Option<Self> {
        fn room<T>(n: usize) -> Option<Vec<T>> {
            let mut vec = Vec::new();
            vec.try_reserve_exact(n).ok()?;
            Some(vec)
        }
        Some(Scratch {
            visited: Visited::new(Visited::slots(nodes, m, ef))?,
            pool: {
                let mut pool = CandidateQueue::new();
                pool.reserve(ef + 1 + 2 * m).then_some(pool)?
            },
            out: room(2 * m)?,
            fresh: room(2 * m)?,
            candidates: room(ef + 1)?,
            chosen: room(2 * m + 1)?,
            edges: room(2 * m + 1)?,
            selected: room((usize::from(top) + 2) * m)?,
        })
    }

    /// Takes the room for a list and that for the candidates of a selection; inserts are over.
    pub fn take_edges(&mut self) -> (Vec<Edge>, Vec<Edge>) {
        (core::mem::take(&mut self.edges), core::mem::take(&mut self.candidates))
    }
}

/// The graph as an insert sees it: distances are from the new element.
struct Around<'a, S, G: Score> {
    elements: &'a Elements<S>,
    score: G,
    query: G::Prepared,
    shares: Shares,
    visited: &'a mut Visited,
    fresh: &'a mut Vec<(u32, u32)>,
    stop: &'a AtomicBool,
}

impl<'a, S: Space, G: Score> Around<'a, S, G> {
    /// A search for `node` that begins with `entry`, the only one in `pool`.
    fn start(&mut self, entry: u32, pool: &mut CandidateQueue) {
        self.visited.clear();
        pool.clear();
        let distance = self.score.distance(self.query, entry);
        if let Met::New(slot) = self.visited.meet(entry, self.elements.rows.get(entry).level) {
            self.visited.set(slot, distance);
        }
        pool.offer(Scored { distance, node: entry }, true, 1);
    }

    /// Searches one layer from what is in `pool`.
    fn layer(
        &mut self,
        pool: &mut CandidateQueue,
        out: &mut Vec<Scored>,
        ef: usize,
        layer: u8,
    ) -> Result<(), Stop> {
        pool.restart();
        self.shares.restart(ef);
        for scored in pool.iter() {
            // met again in this layer
            let _ = self.visited.meet(scored.node, layer);
            let _ = self.shares.used_up(&self.elements.rows, scored.node);
        }
        search_layer(self, pool, out, ef, layer, None)
    }
}

impl<S: Space, G: Score> Around<'_, S, G> {
    /// Puts into `pool`, for the search of layer 0, nodes equal to `node`: those that random walks from the
    /// first of them end at, and what these have edges to. `edges` is room for a list.
    fn meet_equals(&mut self, node: u32, pool: &mut CandidateQueue, ef: usize, edges: &mut Vec<Edge>) {
        let (first, base_layer) = (self.shares.own, &self.elements.base_layer);
        let mut places = share(ef);
        // one whose list is empty is not in the graph yet
        if first == NONE
            || first == node
            || base_layer.ids(first as usize).next().is_none()
            || !pool.reserve(places)
        {
            return;
        }
        for scored in pool.iter() {
            let _ = self.visited.meet(scored.node, 0);
            places = places.saturating_sub(usize::from(self.elements.rows.first(scored.node) == first));
        }
        // not 0 in every metric
        let distance = self.score.distance(self.query, node);
        for walk in 0..WALKS {
            let end = wander(base_layer, first, rank(node, walk), edges);
            for id in edges.iter().map(|e| e.node).chain([end]).filter(|&id| id != node) {
                if places == 0 {
                    return;
                }
                match self.visited.meet(id, 0) {
                    Met::New(slot) => self.visited.set(slot, distance),
                    Met::Known(_) => {}
                    Met::Before => continue,
                }
                pool.offer(Scored { distance, node: id }, true, ef);
                places -= 1;
            }
        }
    }

    /// Exchanges candidates of values that have used up their share of the queue for others of the same values.
    /// A search always meets the same ones first, and the others would have no edges but among themselves.
    fn scatter(&self, node: u32, candidates: &mut [Edge], edges: &mut Vec<Edge>) {
        let rows = &self.elements.rows;
        for at in 0..candidates.len() {
            let Edge { node: found, closer, .. } = candidates[at];
            if closer != EQUAL && self.shares.is_used_up(rows.first(found)) {
                let end = wander(&self.elements.base_layer, found, rank(node, found), edges);
                if end != node && !candidates.iter().any(|e| e.node == end) {
                    candidates[at].node = end;
                }
            }
        }
    }
}

impl<S: Space, G: Score> Store for Around<'_, S, G> {
    type Error = Stop;

    /// The queues are as large as they will be from the start.
    fn out_of_memory(&self) -> Stop {
        Stop
    }

    #[inline(always)]
    fn expand(&mut self, node: u32, layer: u8, bound: f32, out: &mut Vec<Scored>) -> Result<(), Stop> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Stop);
        }
        let elements = self.elements;
        let (lists, at) = elements.list(node, layer);
        // infinite distances have their place, too, while there is room
        let within = |distance: f32| distance < bound || bound == f32::INFINITY;
        self.fresh.clear();
        for id in lists.ids(at) {
            match self.visited.meet(id, layer) {
                Met::New(slot) => {
                    self.score.prefetch(id);
                    self.fresh.push((id, slot as u32));
                }
                Met::Known(distance) if within(distance) => {
                    let scored = Scored { distance, node: id };
                    if !self.shares.used_up(&elements.rows, id) {
                        lists.prefetch(elements.list(id, layer).1);
                        out.push(scored);
                    }
                }
                _ => {}
            }
        }
        for &(id, slot) in self.fresh.iter() {
            let distance = self.score.distance(self.query, id);
            self.visited.set(slot as usize, distance);
            let scored = Scored { distance, node: id };
            if within(distance) && !self.shares.used_up(&elements.rows, id) {
                // likely to be expanded soon
                lists.prefetch(elements.list(id, layer).1);
                out.push(scored);
            }
        }
        Ok(())
    }
}

/// Inserts `node` into the graph that `entry` leads into.
pub(super) fn insert<S: Space, G: Score>(
    elements: &Elements<S>,
    score: G,
    node: u32,
    entry: u32,
    scratch: &mut Scratch,
    stop: &AtomicBool,
) -> Result<(), Stop> {
    let level = elements.rows.get(node).level;
    let top = elements.rows.get(entry).level;
    let Scratch { visited, pool, out, fresh, candidates, chosen, edges, selected } = scratch;
    selected.clear();
    let query = score.prepare(node);
    let own = elements.rows.first(node);
    let shares = Shares::new(elements.rows.any_equal(), own);
    let mut around = Around { elements, score, query, shares, visited, fresh, stop };
    around.start(entry, pool);
    // down to the element's own layers along the nearest, then with the whole queue
    let mut lengths = [0u8; 64];
    for layer in (0..=top).rev() {
        let ef = if layer > level { 1 } else { elements.ef_construction };
        if layer == 0 {
            around.meet_equals(node, pool, ef, edges);
        }
        around.layer(pool, out, ef, layer)?;
        if layer > level {
            continue;
        }
        let slots = elements.lists(layer).slots();
        candidates.clear();
        candidates.extend(pool.iter().map(|s| {
            let equal = own != NONE && elements.rows.first(s.node) == own;
            let closer = if equal { EQUAL } else { CHOSEN };
            Edge { node: s.node, distance: s.distance, closer }
        }));
        if layer == 0 && around.shares.any {
            around.scatter(node, candidates, edges);
        }
        order_ties(node, candidates);
        let from = selected.len();
        select(score, candidates, slots, chosen, selected);
        if let Some(length) = lengths.get_mut(usize::from(layer)) {
            *length = (selected.len() - from) as u8;
        }
    }

    // Its own lists must be whole before anything leads to it: a search that comes by must find its way on.
    let bottom_up = 0..=level.min(top);
    let mut end = selected.len();
    for layer in bottom_up.clone() {
        let start = end - usize::from(lengths.get(usize::from(layer)).copied().unwrap_or(0));
        let (lists, at) = elements.list(node, layer);
        lists.lock(at).write(&selected[start..end], 0);
        end = start;
    }
    let mut end = selected.len();
    for layer in bottom_up {
        let start = end - usize::from(lengths.get(usize::from(layer)).copied().unwrap_or(0));
        for (at, edge) in selected[start..end].iter().enumerate() {
            if let Some(ahead) = selected[start..end].get(at + PREFETCH_DISTANCE_LISTS) {
                let (lists, at) = elements.list(ahead.node, layer);
                lists.prefetch_side(at);
            }
            connect(elements, score, edge.node, Edge { node, ..*edge }, layer, around.visited, edges);
        }
        end = start;
    }
    Ok(())
}

/// Puts candidates that are equally far from `node` in the order of their ranks.
fn order_ties(node: u32, candidates: &mut [Edge]) {
    for ties in candidates.chunk_by_mut(|a, b| a.distance == b.distance) {
        if ties.len() > 1 {
            ties.sort_unstable_by_key(|e| rank(node, e.node));
        }
    }
}

/// Appends to `selected` up to `slots` of the candidates, which come nearest first: those that no chosen one is
/// closer to than the new element is (paper, algorithm 4), and then the nearest of the others; of those of
/// equal value, which are marked, no more than their share. They stay in order of their distances.
fn select<G: Score>(
    score: G,
    candidates: &mut [Edge],
    slots: usize,
    chosen: &mut Vec<u8>,
    selected: &mut Vec<Edge>,
) {
    /// Examined, and not taken.
    const LEFT: u8 = EQUAL - 1;
    let base = selected.len();
    chosen.clear();
    let mut order: [u16; 256] = [0; 256];
    let mut taken = 0usize;
    let mut equals = 0usize;
    let mut examined = 0usize;
    for at in 0..candidates.len() {
        if taken + equals == slots {
            break;
        }
        examined = at + 1;
        let candidate = candidates[at];
        if candidate.closer == EQUAL {
            if equals < share(slots) {
                equals += 1;
            } else {
                candidates[at].closer = LEFT;
            }
            continue;
        }
        let mut closer = CHOSEN;
        let from = score.prepare(candidate.node);
        for (rank, &other) in order[..taken].iter().enumerate() {
            if score.distance(from, candidates[usize::from(other)].node) <= candidate.distance {
                closer = rank as u8;
                break;
            }
        }
        candidates[at].closer = closer;
        if closer == CHOSEN {
            order[taken] = at as u16;
            taken += 1;
        }
    }
    // keep the nearest of the others; ranks among the chosen become positions in the list
    let mut spare = slots - taken - equals;
    for candidate in &mut candidates[..examined] {
        match candidate.closer {
            CHOSEN => chosen.push((selected.len() - base) as u8),
            EQUAL => {}
            LEFT => continue,
            closer if spare > 0 => {
                spare -= 1;
                candidate.closer = chosen.get(usize::from(closer)).copied().unwrap_or(CHOSEN);
            }
            _ => continue,
        }
        selected.push(*candidate);
    }
}

/// Adds `edge` to the list of `owner`, or drops the edge that algorithm 4 would drop. `met` holds distances from the
/// edge's node.
fn connect<S: Space, G: Score>(
    elements: &Elements<S>,
    score: G,
    owner: u32,
    edge: Edge,
    layer: u8,
    met: &Visited,
    edges: &mut Vec<Edge>,
) {
    let (lists, at) = elements.list(owner, layer);
    let mut list = lists.lock(at);
    list.read(edges);
    let query = score.prepare(edge.node);
    let from_edge = |node: u32| met.distance(node).unwrap_or_else(|| score.distance(query, node));
    // Two inserts at the same time may select each other.
    if edges.iter().any(|e| e.node == edge.node) {
        return;
    }
    let at = place(edges, owner, edge);
    if edge.closer == EQUAL {
        connect_equal(list, owner, edge, at, edges);
        return;
    }
    let closer = edges[..at]
        .iter()
        .position(|e| e.closer == CHOSEN && from_edge(e.node) <= edge.distance)
        .map_or(CHOSEN, |p| p as u8);
    let full = list.is_full();
    if full && closer != CHOSEN && !edges[at..].iter().any(Edge::is_pruned) {
        // it would be the one to drop
        return;
    }
    add(edges, at, Edge { closer, ..edge });
    if closer == CHOSEN {
        review(score, edges, at, from_edge);
    }
    let mut from = at;
    if full {
        let dropped = droppable(edges).unwrap_or(at);
        remove(edges, dropped);
        from = at.min(dropped);
    }
    list.write(edges, from);
}

/// Adds an edge to a node of the owner's value, at `at`: in the place of another one when they have their share of the
/// list, and of the edge that algorithm 4 would drop when the list is full.
fn connect_equal(mut list: Locked<'_>, owner: u32, edge: Edge, at: usize, edges: &mut Vec<Edge>) {
    let equals = edges.iter().enumerate().filter(|(_, e)| e.closer == EQUAL);
    let dropped = if equals.clone().count() >= share(list.slots()) {
        let last = equals.max_by_key(|(_, e)| rank(owner, e.node));
        match last {
            Some((last, e)) if rank(owner, e.node) > rank(owner, edge.node) => Some(last),
            _ => return,
        }
    } else if list.is_full() {
        droppable(edges)
    } else {
        None
    };
    let (mut at, mut from) = (at, at);
    if let Some(dropped) = dropped {
        remove(edges, dropped);
        at -= usize::from(dropped < at);
        from = at.min(dropped);
    }
    add(edges, at, edge);
    list.write(edges, from);
}

/// Where an edge belongs among those of `owner`.
fn place(edges: &[Edge], owner: u32, edge: Edge) -> usize {
    let at = edges.partition_point(|e| e.distance < edge.distance);
    let ties = edges[at..].iter().take_while(|e| e.distance == edge.distance);
    at + ties.take_while(|e| rank(owner, e.node) < rank(owner, edge.node)).count()
}

/// The edge of a full list to drop: the last pruned one, or else the last but those to nodes of equal value,
/// which are not the whole list.
fn droppable(edges: &[Edge]) -> Option<usize> {
    let pruned = edges.iter().rposition(Edge::is_pruned);
    pruned.or_else(|| edges.iter().rposition(|e| e.closer != EQUAL))
}

/// Adds an edge.
pub(super) fn add(edges: &mut Vec<Edge>, at: usize, edge: Edge) {
    for e in edges.iter_mut() {
        if e.is_pruned() && usize::from(e.closer) >= at {
            e.closer += 1;
        }
    }
    edges.insert(at, edge);
}

/// Removes an edge that is not closer to any other.
pub(super) fn remove(edges: &mut Vec<Edge>, dropped: usize) {
    edges.remove(dropped);
    for e in edges.iter_mut() {
        if e.is_pruned() && usize::from(e.closer) > dropped {
            e.closer -= 1;
        }
    }
}

/// Brings `closer` of the edges behind `new` up to date with that new, chosen edge.
fn review<G: Score>(score: G, edges: &mut [Edge], new: usize, from_new: impl Fn(u32) -> f32) {
    // chosen edges that were not chosen before
    let mut raised = false;
    for at in new + 1..edges.len() {
        let edge = edges[at];
        if edge.closer == CHOSEN {
            if from_new(edge.node) <= edge.distance {
                edges[at].closer = new as u8;
            } else if raised {
                edges[at].closer = closer_edge(score, edges, at, new);
            }
        } else if edge.is_pruned() && edges[usize::from(edge.closer)].closer != CHOSEN {
            // what was closer has lost its place
            let closer = if from_new(edge.node) <= edge.distance {
                new as u8
            } else {
                closer_edge(score, edges, at, usize::MAX)
            };
            edges[at].closer = closer;
            raised |= closer == CHOSEN;
        }
    }
}

/// The first chosen edge before `at`, other than `known`, that is closer to it than the owner.
fn closer_edge<G: Score>(score: G, edges: &[Edge], at: usize, known: usize) -> u8 {
    let edge = edges[at];
    let from = score.prepare(edge.node);
    edges[..at]
        .iter()
        .enumerate()
        .position(|(i, e)| i != known && e.closer == CHOSEN && score.distance(from, e.node) <= edge.distance)
        .map_or(CHOSEN, |p| p as u8)
}

/// Finds `ef` nodes near to `node`, nearest first, from `entry` down through the layers from `top`.
pub(super) fn nearest<S: Space, G: Score>(
    elements: &Elements<S>,
    score: G,
    (node, entry): (u32, u32),
    (top, ef): (u8, usize),
    scratch: &mut Scratch,
    stop: &AtomicBool,
    near: &mut Vec<Edge>,
) -> Result<(), Stop> {
    let Scratch { visited, pool, out, fresh, .. } = scratch;
    let (query, shares) = (score.prepare(node), Shares::new(false, NONE));
    let mut around = Around { elements, score, query, shares, visited, fresh, stop };
    around.start(entry, pool);
    for layer in (0..=top).rev() {
        around.layer(pool, out, if layer > 0 { 1 } else { ef }, layer)?;
    }
    near.clear();
    near.extend(pool.iter().map(|s| Edge { node: s.node, distance: s.distance, closer: CHOSEN }));
    Ok(())
}
