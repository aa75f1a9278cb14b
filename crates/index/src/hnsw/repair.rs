//! What a vacuum does to the list of a living element around those that are dying.

use super::anchor::{Hanging, Joined, Member, anchor_of, hanging, read_member, reanchor};
use super::backlinks;
use super::insert::{Graph, Workspace, find_neighbours};
use super::v1::layout::{EntryPoint, Neighbours, PAGE_ID, layer_range, neighbour_slots_mut};
use super::v1::reader::TidSet;
use crate::space::Space;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, Page, PageMut, Tid};

/// Room for the lists of one element.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// all slots, as they were before the search
    old: Vec<Tid>,
    /// elements of the old list that are anchored at its owner
    children: Vec<Tid>,
    /// all slots, as they will be
    new: Vec<Tid>,
    /// the elements selected, with their layers; packed, so that looking for one is quick
    selected: Vec<(u8, u64)>,
    /// the slots of `old`, packed
    before: Vec<u64>,
}

/// Finds new neighbours for an element, writes its whole list, and offers the element to them. What stays in the list
/// besides them: the anchor, first; every element that is anchored here; what others wrote into it since the search
/// began; and of the rest what there is room for. The caller holds the update lock; `alone`, when the element may not
/// hang on its anchor, as an insert that was interrupted leaves it, or pgvector: then it does before it is offered, and
/// not before its list is free of dying elements, which nothing else need lead to any more.
#[allow(clippy::too_many_arguments)]
pub(super) fn relink<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    workspace: &mut Workspace,
    lists: &mut Lists,
    dying: &TidSet,
    value: &[u8],
    live: Member,
    entry: Option<EntryPoint>,
    alone: bool,
) -> Result<(), B::Error> {
    // the entry point is repaired from another
    let entry = entry.filter(|entry| entry.tid != live.tid);
    if !copy_slots(blocks, graph.m, &live, &mut lists.old)? {
        return Ok(());
    }
    find_neighbours(blocks, graph, workspace, value, live.level, entry, Some(live.tid), live.tid)?;
    pack(workspace, lists).map_err(|damage| damage.on(live.tid.block()))?;
    find_children(blocks, graph.m, lists, dying, &live)?;
    write_list(blocks, graph.m, lists, dying, &live)?;
    if alone && let Hanging::Loose(anchor) = hanging(blocks, graph.m, &live)? {
        reanchor(blocks, graph, &mut workspace.links, (&live, Joined::No), value, anchor)?;
    }
    backlinks::connect(blocks, graph, workspace, value, live.tid)
}

/// Removes the edges to dying elements from a list and keeps the others in their order.
pub(super) fn strip<B: BlockStore>(
    blocks: &mut B,
    m: usize,
    lists: &mut Lists,
    dying: &TidSet,
    live: &Member,
) -> Result<(), B::Error> {
    lists.selected.clear();
    lists.before.clear();
    lists.children.clear();
    write_list(blocks, m, lists, dying, live)
}

/// Copies all slots of an element's list; false when it is not its own any more.
fn copy_slots<B: BlockStore>(
    blocks: &mut B,
    m: usize,
    live: &Member,
    out: &mut Vec<Tid>,
) -> Result<bool, B::Error> {
    out.clear();
    let at = live.neighbour_tid;
    blocks.read(at.block(), |bytes| {
        let list = Neighbours::new(Page::new(bytes, PAGE_ID)?.item(at.offset())?, at.offset())?;
        if list.layer(live.level, live.version, 0, m).is_none() {
            return Ok(false);
        }
        out.try_reserve(list.slots.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        out.extend_from_slice(list.slots);
        Ok(true)
    })
}

/// Packs what the search selected, and the list before it.
fn pack(workspace: &Workspace, lists: &mut Lists) -> Result<(), Damage> {
    let Lists { old, selected, before, .. } = lists;
    selected.clear();
    before.clear();
    let room = selected.try_reserve(workspace.selected.len()).and_then(|()| before.try_reserve(old.len()));
    room.map_err(|_| Damage::OUT_OF_MEMORY)?;
    before.extend(old.iter().map(|tid| tid.packed()));
    let chosen = workspace.selected.iter();
    let chosen = chosen.filter_map(|&(layer, scored)| Some((layer, workspace.walk.node(scored.node)?)));
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
fn find_children<B: BlockStore>(
    blocks: &mut B,
    m: usize,
    lists: &mut Lists,
    dying: &TidSet,
    live: &Member,
) -> Result<(), B::Error> {
    let Lists { old, children, selected, .. } = lists;
    children.clear();
    let ground = layer_range(live.level, 0, m);
    // the first is the anchor, which stays
    for at in ground.skip(1) {
        let Some(&tid) = old.get(at) else { break };
        if !tid.is_valid()
            || dying.contains(tid)
            || of_layer(selected, 0).iter().any(|other| other.1 == tid.packed())
        {
            continue;
        }
        let Some(member) = read_member(blocks, tid)? else { continue };
        if anchor_of(blocks, m, &member)? == Some(live.tid) {
            children.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY.on(tid.block()))?;
            children.push(tid);
        }
    }
    Ok(())
}

/// Writes the list, every layer of it, as [`merge`] says.
fn write_list<B: BlockStore>(
    blocks: &mut B,
    m: usize,
    lists: &mut Lists,
    dying: &TidSet,
    live: &Member,
) -> Result<(), B::Error> {
    let at = live.neighbour_tid;
    let damage = |damage: Damage| damage.on(at.block());
    let Lists { children, new, selected, before, .. } = lists;
    let mut change = blocks.update()?;
    let slot = change.open(at.block())?;
    {
        let item = Page::new(change.bytes(slot), PAGE_ID).and_then(|page| page.item(at.offset()));
        let list = item.and_then(|item| Neighbours::new(item, at.offset())).map_err(damage)?;
        if list.layer(live.level, live.version, 0, m).is_none() {
            return Ok(());
        }
        new.clear();
        new.try_reserve(list.slots.len()).map_err(|_| damage(Damage::OUT_OF_MEMORY))?;
        new.resize(list.slots.len(), Tid::INVALID);
        for layer in 0..=live.level {
            let range = layer_range(live.level, layer, m);
            let current = list.slots.get(range.clone()).unwrap_or_default();
            let before = before.get(range.clone());
            let children = if layer == 0 { children.as_slice() } else { &[] };
            let out = new.get_mut(range).unwrap_or_default();
            merge(current, before, children, dying, of_layer(selected, layer), layer == 0, out);
        }
        if list.slots == new.as_slice() {
            return Ok(());
        }
    }
    let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(damage)?;
    let item = page.item_mut(at.offset()).map_err(damage)?;
    neighbour_slots_mut(item, at.offset()).map_err(damage)?.copy_from_slice(new);
    change.commit()
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
