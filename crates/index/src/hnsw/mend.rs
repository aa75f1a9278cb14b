//! Repairing a list without a search: what led through dying elements leads past them, to what they lead to (as in
//! Singh et al., "FreshDiskANN", arXiv:2105.09613, section 4.3).

use super::backlinks;
use super::graph::{GraphRead, GraphWrite, Member};
use super::neighbour_cache::{NEW, NeighbourCache};
use super::params::{layer_range, layer_slots};
use super::repair::{Lists, copy_slots, write_list};
use super::search::visited::TidSet;
use super::search::{Scored, equal_share, select_sharing, tie_order};
use super::values::{pair_distance, view_distance, views};
use crate::storage::page::{Damage, Tid};
use crate::work::memory::{append, push};

/// Room for the choice of new neighbours.
#[derive(Debug, Default)]
pub(super) struct Nearby {
    /// edges of a layer that stay, and those that go
    kept: Vec<Tid>,
    lost: Vec<Tid>,
    /// what those lead to that go, packed, and how many of them lead to it
    found: Vec<(u64, u32)>,
    candidates: Vec<Scored>,
    chosen: Vec<usize>,
    rest: Vec<usize>,
    /// new edges: their layers, and places among what was loaded
    added: Vec<(u8, u32)>,
}

/// Candidates that are read for a list, at most.
const MOST: usize = 64;
/// Edges of a list in layer 0 that stay, at least, and they are half of it: a shorter list has to be as good as a
/// search can make it. (With 8 slots, three rounds in each of which a fifth of the rows went cost 5 % of recall; with
/// 32, less than 1 %, and it was no more after the next rounds.)
const LEAST: usize = 12;

/// Fills the slots of dying elements in a list with the best of their own neighbours, and offers the element to those
/// as an insert does. No other edge goes. The caller shares the update lock, and the element hangs on a living anchor.
/// False, and nothing is changed, when there are too few: then it takes a search.
pub(super) fn mend<G: GraphWrite>(
    graph: &mut G,
    links: &mut NeighbourCache,
    (lists, nearby): (&mut Lists, &mut Nearby),
    dying: &TidSet,
    value: &[u8],
    live: &Member,
) -> Result<bool, G::Error> {
    let on_page = |damage: Damage| damage.on(live.tid.block());
    if !copy_slots(graph, live, &mut lists.old)? {
        return Ok(true);
    }
    links.begin_repair(live.tid, value).map_err(on_page)?;
    nearby.added.clear();
    lists.selected.clear();
    lists.children.clear();
    let m = graph.shape().m;
    for layer in (0..=live.level).rev() {
        let range = layer_range(live.level, layer, m);
        nearby.split(lists.old.get(range).unwrap_or_default(), dying).map_err(on_page)?;
        if nearby.lost.is_empty() && (layer > 0 || nearby.kept.len() >= m) {
            continue;
        }
        if layer == 0 && nearby.kept.len() < LEAST.max(nearby.lost.len()) {
            return Ok(false);
        }
        gather(graph, links, nearby, dying, live, layer)?;
        if nearby.kept.len() + nearby.found.len() < layer_slots(m, layer) / 2 {
            return Ok(false);
        }
        if layer == 0 {
            // newcomers may take the room of what is selected, not that of edges that stood
            append(&mut lists.children, &nearby.kept).map_err(|memory| on_page(memory.into()))?;
        }
        choose(graph, links, nearby, live, layer)?;
    }
    for &(layer, place) in &nearby.added {
        let tid = links.loaded(place).map_or(Tid::INVALID, |loaded| loaded.member.tid);
        push(&mut lists.selected, (layer, tid.packed())).map_err(|memory| on_page(memory.into()))?;
    }
    lists.note_before().map_err(on_page)?;
    write_list(graph, lists, dying, links, live)?;
    offer(graph, links, nearby)?;
    backlinks::link_edges(graph, links, live.tid)?;
    Ok(true)
}

impl Nearby {
    /// Sorts the edges of a list into those that stay and those that go.
    fn split(&mut self, slots: &[Tid], dying: &TidSet) -> Result<(), Damage> {
        self.kept.clear();
        self.lost.clear();
        for &tid in slots.iter().filter(|tid| tid.is_valid()) {
            let part = if dying.contains(tid) { &mut self.lost } else { &mut self.kept };
            push(part, tid)?;
        }
        Ok(())
    }
}

/// Finds what the edges that go lead to: those to which most lead, when there are many.
fn gather<G: GraphRead>(
    graph: &mut G,
    links: &mut NeighbourCache,
    nearby: &mut Nearby,
    dying: &TidSet,
    live: &Member,
    layer: u8,
) -> Result<(), G::Error> {
    let Nearby { kept, lost, found, .. } = nearby;
    found.clear();
    for at in 0..lost.len() {
        let Some(&tid) = lost.get(at) else { break };
        let Some(member) = graph.member(tid)? else { continue };
        graph.list(&member, layer, links.slots_mut())?;
        let room = found.try_reserve(links.slots_mut().len());
        room.map_err(|_| Damage::OUT_OF_MEMORY.on(tid.block()))?;
        for &tid in links.slots_mut().iter() {
            if tid.is_valid() && tid != live.tid && !dying.contains(tid) && !kept.contains(&tid) {
                found.push((tid.packed(), 1));
            }
        }
    }
    found.sort_unstable();
    found.dedup_by(|next, first| {
        let same = next.0 == first.0;
        first.1 += if same { next.1 } else { 0 };
        same
    });
    if found.len() > MOST {
        let owner = live.tid.packed();
        found.sort_unstable_by_key(|&(tid, count)| (core::cmp::Reverse(count), tie_order(owner, tid)));
        found.truncate(MOST);
    }
    Ok(())
}

/// Chooses, of what was found, what fills the free slots of a layer.
fn choose<G: GraphRead>(
    graph: &mut G,
    links: &mut NeighbourCache,
    nearby: &mut Nearby,
    live: &Member,
    layer: u8,
) -> Result<(), G::Error> {
    let shape = graph.shape();
    let slots = layer_slots(shape.m, layer);
    let Nearby { kept, found, candidates, chosen, rest, added, .. } = nearby;
    let on_page = |damage: Damage| damage.on(live.tid.block());
    candidates.clear();
    let room = candidates.try_reserve(kept.len() + found.len());
    room.map_err(|_| on_page(Damage::OUT_OF_MEMORY))?;
    let alike = pair_distance(shape.space, &links.values, NEW, NEW);
    for at in 0..kept.len() + found.len() {
        let stays = at < kept.len();
        let tid = match at.checked_sub(kept.len()) {
            None => kept.get(at).copied(),
            Some(at) => found.get(at).map(|found| Tid::from_packed(found.0)),
        };
        let Some(tid) = tid else { break };
        let node = links.load(graph, tid)?;
        let distance = pair_distance(shape.space, &links.values, NEW, node);
        let equal = distance == alike && links.values.get(NEW) == links.values.get(node);
        if let Some(loaded) = links.loaded.get_mut(node as usize) {
            (loaded.equal, loaded.kept) = (equal, stays);
            if loaded.member.live {
                candidates.push(Scored { distance, node });
            }
        }
    }
    let owner = live.tid.packed();
    let tie = |scored: &Scored| {
        links.loaded(scored.node).map_or(0, |loaded| tie_order(owner, loaded.member.tid.packed()))
    };
    candidates.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then_with(|| tie(a).cmp(&tie(b))));
    {
        // no block is read while this is alive
        let views = views(shape.space, &links.values, candidates);
        let loaded = |at: usize| candidates.get(at).and_then(|scored| links.loaded(scored.node));
        let equal = |at: usize| loaded(at).is_some_and(|loaded| loaded.equal);
        let distance = |a, b| view_distance(shape.space, &views, a, b);
        select_sharing(candidates, slots, equal_share(slots), chosen, rest, equal, distance);
    }
    let free = slots.saturating_sub(kept.len());
    let fresh = chosen
        .iter()
        .filter_map(|&at| candidates.get(at))
        .filter(|scored| links.loaded(scored.node).is_some_and(|loaded| !loaded.kept));
    for scored in fresh.take(free) {
        push(added, (layer, scored.node)).map_err(|memory| on_page(memory.into()))?;
    }
    Ok(())
}

/// Notes the edges back from those of the new neighbours that take them.
fn offer<G: GraphRead>(graph: &mut G, links: &mut NeighbourCache, nearby: &Nearby) -> Result<(), G::Error> {
    for &(layer, place) in &nearby.added {
        let Some(loaded) = links.loaded(place).copied() else { continue };
        let edge = backlinks::offer(graph, links, &loaded.member, layer, loaded.equal)?;
        if let Some(edge) = edge {
            push(&mut links.edges, edge).map_err(|memory| Damage::from(memory).on(edge.at.block()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::hnsw::format::{Graph, Layout};
    use crate::hnsw::scan::{IterativeScan, ScanSettings};
    use crate::space::{Space, ValueBuf};
    use crate::storage::page::Tid;
    use crate::testing::MemBlocks;
    use crate::testing::hnsw::{build_in, graph_of, random_vectors, row, scan, vacuum};

    const DIMS: usize = 10;

    /// How many of the ten nearest rows scans find.
    fn found(blocks: &mut MemBlocks, rows: &[(Tid, ValueBuf)]) -> usize {
        let space = graph_of(DIMS).space;
        let settings = ScanSettings {
            ef_search: 12,
            iterative: IterativeScan::Off,
            max_tuples: u64::MAX,
            max_memory: usize::MAX,
        };
        let mut right = 0;
        for query in random_vectors(77, DIMS, 60) {
            let view = space.view(query.bytes()).unwrap();
            let far = |value: &ValueBuf| space.distance(view, space.view(value.bytes()).unwrap());
            let mut all: Vec<f32> = rows.iter().map(|row| far(&row.1)).collect();
            let tenth = *all.select_nth_unstable_by(9, f32::total_cmp).1;
            let mut scan = scan(blocks);
            for _ in 0..10 {
                let next = scan.next(blocks, space, Some(query.bytes()), &settings).unwrap();
                let row = next.and_then(|tid| rows.iter().find(|row| row.0 == tid));
                right += usize::from(row.is_some_and(|row| far(&row.1) <= tenth));
            }
            blocks.end_transaction();
        }
        right
    }

    /// A fifth of the rows goes, and again a fifth, and again: what is left is found as in an index that was built of
    /// it, and hardly anything was searched for.
    #[test]
    fn lists_lead_past_what_was_removed() {
        for layout in [Layout::V1, Layout::Inline] {
            let graph = Graph { m: 12, ef_construction: 40, ..graph_of(DIMS) };
            let values = random_vectors(6, DIMS, 800);
            let mut blocks = build_in(layout, graph.space, DIMS as u32, &graph, &values);
            let mut left: Vec<(Tid, ValueBuf)> =
                values.into_iter().enumerate().map(|(n, value)| (row(n), value)).collect();
            for round in 0..3 {
                let dead: Vec<Tid> = left.iter().skip(round).step_by(5).map(|row| row.0).collect();
                let counted = vacuum(&mut blocks).run(&mut blocks, &graph, &mut |tid| dead.contains(&tid));
                assert_eq!(counted.unwrap().removed, dead.len() as u64);
                left.retain(|row| !dead.contains(&row.0));
                let mended = found(&mut blocks, &left);
                let values: Vec<ValueBuf> = left.iter().map(|row| row.1.clone()).collect();
                let mut fresh = build_in(layout, graph.space, DIMS as u32, &graph, &values);
                let again: Vec<(Tid, ValueBuf)> =
                    values.into_iter().enumerate().map(|(n, value)| (row(n), value)).collect();
                let built = found(&mut fresh, &again);
                assert!(mended + 600 / 75 >= built, "{layout:?} {round}: {mended} and {built} of 600");
            }
        }
    }
}
