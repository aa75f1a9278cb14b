//! What a vacuum does to the list of a living element around those that are dying.

use super::anchor::{Hanging, Joined, hanging, reanchor};
use super::backlinks;
use super::graph::{GraphRead, GraphWrite, KnownValues, Member, NoValues, Walk};
use super::insert::{Workspace, find_neighbours};
use super::meta::EntryPoint;
use super::params::layer_range;
use super::search::visited::TidSet;
use crate::storage::page::{Damage, Tid};

/// Room for the lists of one element.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// all slots, as they were before the search
    pub(super) old: Vec<Tid>,
    /// elements of the old list that are anchored at its owner
    pub(super) children: Vec<Tid>,
    /// all slots, as they will be
    new: Vec<Tid>,
    /// the elements selected, with their layers; packed, so that looking for one is quick
    pub(super) selected: Vec<(u8, u64)>,
    /// the slots of `old`, packed
    before: Vec<u64>,
}

impl Lists {
    /// Packs the list as it was.
    pub(super) fn note_before(&mut self) -> Result<(), Damage> {
        let Lists { old, before, .. } = self;
        before.clear();
        before.try_reserve(old.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        before.extend(old.iter().map(|tid| tid.packed()));
        Ok(())
    }
}

/// Finds new neighbours for an element, writes its whole list, and offers the element to them. What stays in the list
/// besides them: the anchor, first; every element that is anchored here; what others wrote into it since the search
/// began; and of the rest what there is room for. The caller holds the update lock; `alone`, when the element may not
/// hang on its anchor, as an insert that was interrupted leaves it, or pgvector: then it does before it is offered, and
/// not before its list is free of dying elements, which nothing else need lead to any more.
#[allow(clippy::too_many_arguments)]
pub(super) fn relink<G: GraphWrite>(
    graph: &mut G,
    workspace: &mut Workspace<G::Walk>,
    lists: &mut Lists,
    dying: &TidSet,
    value: &[u8],
    live: Member,
    entry: Option<EntryPoint>,
    alone: bool,
) -> Result<(), G::Error> {
    // the entry point is repaired from another
    let entry = entry.filter(|entry| entry.tid != live.tid);
    if !copy_slots(graph, &live, &mut lists.old)? {
        return Ok(());
    }
    find_neighbours(graph, workspace, value, live.level, entry, Some(live.tid), live.tid)?;
    pack(workspace, lists).map_err(|damage| damage.on(live.tid.block()))?;
    find_children(graph, lists, dying, &live)?;
    write_list(graph, lists, dying, &NoValues, &live)?;
    if alone && let Hanging::Loose(anchor) = hanging(graph, &live)? {
        graph.complete(live.tid)?;
        reanchor(graph, &mut workspace.links, (&live, Joined::No), value, anchor)?;
    }
    backlinks::connect(graph, workspace, value, live.tid)
}

/// Removes the edges to dying elements from a list and keeps the others in their order.
pub(super) fn strip<G: GraphWrite>(
    graph: &mut G,
    lists: &mut Lists,
    dying: &TidSet,
    live: &Member,
) -> Result<(), G::Error> {
    lists.selected.clear();
    lists.before.clear();
    lists.children.clear();
    write_list(graph, lists, dying, &NoValues, live)
}

/// Copies all slots of an element's list; false when it is not its own any more.
pub(super) fn copy_slots<G: GraphRead>(
    graph: &mut G,
    live: &Member,
    out: &mut Vec<Tid>,
) -> Result<bool, G::Error> {
    out.clear();
    graph.lists(live, |lists| {
        if lists.base_layer.is_none() {
            return Ok(false);
        }
        out.try_reserve(lists.all.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        out.extend_from_slice(lists.all);
        Ok(true)
    })
}

/// Packs what the search selected, and the list before it.
fn pack<W: Walk>(workspace: &Workspace<W>, lists: &mut Lists) -> Result<(), Damage> {
    lists.note_before()?;
    let selected = &mut lists.selected;
    selected.clear();
    selected.try_reserve(workspace.selected.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
    let chosen = workspace.selected.iter();
    let chosen = chosen.filter_map(|&(layer, scored)| Some((layer, workspace.walk.member(scored.node)?)));
    selected.extend(chosen.map(|(layer, node)| (layer, node.tid.packed())));
    Ok(())
}

/// Those selected for a layer. Layers come from the highest down, so they are neighbours.
fn of_layer(selected: &[(u8, u64)], layer: u8) -> &[(u8, u64)] {
    let start = selected.partition_point(|other| other.0 > layer);
    let end = selected.partition_point(|other| other.0 >= layer);
    selected.get(start..end).unwrap_or_default()
}

/// Finds the elements of the old list that are anchored at its owner. Those that are selected anyway stay in any case.
fn find_children<G: GraphRead>(
    graph: &mut G,
    lists: &mut Lists,
    dying: &TidSet,
    live: &Member,
) -> Result<(), G::Error> {
    let Lists { old, children, selected, .. } = lists;
    children.clear();
    let ground = layer_range(live.level, 0, graph.shape().m);
    // the first is the anchor, which stays
    for at in ground.skip(1) {
        let Some(&tid) = old.get(at) else { break };
        if !tid.is_valid()
            || dying.contains(tid)
            || of_layer(selected, 0).iter().any(|other| other.1 == tid.packed())
        {
            continue;
        }
        let Some(member) = graph.member(tid)? else { continue };
        if graph.anchor(&member)? == Some(live.tid) {
            children.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY.on(tid.block()))?;
            children.push(tid);
        }
    }
    Ok(())
}

/// Writes the list, every layer of it, as [`merge`] says.
pub(super) fn write_list<G: GraphWrite>(
    graph: &mut G,
    lists: &mut Lists,
    dying: &TidSet,
    known: &dyn KnownValues,
    live: &Member,
) -> Result<(), G::Error> {
    let Lists { children, new, selected, before, .. } = lists;
    let added = selected.as_slice();
    graph.rewrite_lists(live, added, known, new, |layer, range, current, out| {
        let before = before.get(range);
        let children = if layer == 0 { children.as_slice() } else { &[] };
        merge(current, before, children, dying, of_layer(added, layer), layer == 0, out);
    })
}

/// One layer of a repaired list into `out`. Of `current`, all that must stay comes first, so that it has room: of the
/// ground layer the anchor, then `children`, what is not in `before`, and what was selected again. Without `before`,
/// nothing is new.
fn merge(
    current: &[Tid],
    before: Option<&[u64]>,
    children: &[Tid],
    dying: &TidSet,
    selected: &[(u8, u64)],
    ground: bool,
    out: &mut [Tid],
) {
    let mut count = 0;
    let mut add = |tid: Tid| {
        // pgvector may have written it twice
        if out.get(..count).is_some_and(|before| before.contains(&tid)) {
            return;
        }
        if let Some(place) = out.get_mut(count) {
            *place = tid;
            count += 1;
        }
    };
    // a bit for each slot of the list that has its place already; lists have up to 200
    let mut placed = [0u64; 4];
    let mut take = |at: usize| {
        let Some(word) = placed.get_mut(at / 64) else { return false };
        let fresh = *word >> (at % 64) & 1 == 0;
        *word |= 1 << (at % 64);
        fresh
    };
    let living = |tid: Tid| tid.is_valid() && !dying.contains(tid);
    let chosen = |packed: u64| selected.iter().any(|other| other.1 == packed);
    for (at, &tid) in current.iter().enumerate() {
        let packed = tid.packed();
        let stays = (ground && at == 0)
            || before.is_some_and(|before| !before.contains(&packed))
            || children.contains(&tid)
            || chosen(packed);
        if stays && living(tid) && take(at) {
            add(tid);
        }
    }
    for &(_, packed) in selected {
        let tid = Tid::from_packed(packed);
        if !current.contains(&tid) {
            add(tid);
        }
    }
    for (at, &tid) in current.iter().enumerate() {
        if living(tid) && take(at) {
            add(tid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tids(numbers: &[u32]) -> Vec<Tid> {
        numbers.iter().map(|&n| if n == 0 { Tid::INVALID } else { Tid::new(n, 1) }).collect()
    }

    #[test]
    fn a_repaired_list_keeps_anchor_children_and_newcomers() {
        let mut dying = TidSet::new();
        for tid in tids(&[3, 7]) {
            dying.insert(tid);
        }
        let merged = |current: &[u32], before: &[u32], children: &[u32], selected: &[u32], ground| {
            let mut out = tids(&vec![0; current.len()]);
            let selected: Vec<_> = tids(selected).iter().map(|tid| (0, tid.packed())).collect();
            let before: Vec<_> = tids(before).iter().map(|tid| tid.packed()).collect();
            let (current, children) = (tids(current), tids(children));
            merge(&current, Some(&before), &children, &dying, &selected, ground, &mut out);
            out.iter().map(|tid| if tid.is_valid() { tid.block() } else { 0 }).collect::<Vec<_>>()
        };
        // anchor 5, child 2, newcomer 9; 3 and 7 go, 4 gives way to what was selected
        assert_eq!(merged(&[5, 4, 3, 2, 9], &[5, 4, 3, 2, 7], &[2], &[6, 8], true), [5, 2, 9, 6, 8]);
        // with room left, what was there stays
        assert_eq!(merged(&[5, 4, 3, 2, 0], &[5, 4, 3, 2, 0], &[], &[6], true), [5, 6, 4, 2, 0]);
        // what was selected again keeps its place before others
        assert_eq!(merged(&[5, 4, 2], &[5, 4, 2], &[], &[6, 8, 4], true), [5, 4, 6]);
        // an upper layer has no anchor
        assert_eq!(merged(&[5, 3], &[5, 3], &[], &[6, 8], false), [6, 8]);
        assert_eq!(merged(&[3, 7], &[3, 7], &[], &[], true), [0, 0]);
        // edges twice, as pgvector may write them
        assert_eq!(merged(&[5, 4, 5, 2, 2], &[5, 4, 5, 2, 2], &[2], &[4, 6], true), [5, 4, 2, 6, 0]);
    }
}
