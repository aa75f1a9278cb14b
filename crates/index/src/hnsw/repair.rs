//! What a vacuum does to the list of a living element around those that are dying.

use super::anchor::{Member, anchor_of, read_member};
use super::connect;
use super::insert::{Graph, Workspace, find_neighbours};
use super::layout::{EntryPoint, Neighbours, PAGE_ID, layer_range, neighbour_slots_mut};
use super::pages::TidSet;
use crate::blocks::{Blocks, Change};
use crate::page::{Damage, Page, PageMut, Tid};
use crate::space::Space;

/// Room for the lists of one element.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// all slots, as they were before the search
    old: Vec<Tid>,
    /// elements of the old list that are anchored at its owner
    children: Vec<Tid>,
    /// all slots, as they will be
    new: Vec<Tid>,
}

/// Finds new neighbours for an element, writes its whole list, and offers the element to them. What stays in the list
/// besides them: the anchor, first; every element that is anchored here; what others wrote into it since the search
/// began; and of the rest what there is room for. The caller holds the update gate.
#[allow(clippy::too_many_arguments)]
pub(super) fn relink<B: Blocks, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    workspace: &mut Workspace,
    lists: &mut Lists,
    dying: &TidSet,
    value: &[u8],
    live: Member,
    entry: Option<EntryPoint>,
) -> Result<(), B::Error> {
    // the entry point is repaired from another
    let entry = entry.filter(|entry| entry.tid != live.tid);
    if !copy_slots(blocks, graph.m, &live, &mut lists.old)? {
        return Ok(());
    }
    find_neighbours(blocks, graph, workspace, value, live.level, entry, Some(live.tid), live.tid)?;
    find_children(blocks, graph.m, workspace, lists, dying, &live)?;
    write_list(blocks, graph.m, workspace, lists, dying, &live)?;
    connect::connect(blocks, graph, workspace, value, live.tid)
}

/// Removes the edges to dying elements from a list and keeps the others in their order.
pub(super) fn strip<B: Blocks>(
    blocks: &mut B,
    m: usize,
    workspace: &mut Workspace,
    lists: &mut Lists,
    dying: &TidSet,
    live: &Member,
) -> Result<(), B::Error> {
    workspace.selected.clear();
    lists.old.clear();
    lists.children.clear();
    write_list(blocks, m, workspace, lists, dying, live)
}

/// Copies all slots of an element's list; false when it is not its own any more.
fn copy_slots<B: Blocks>(
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

/// The TIDs selected for a layer.
fn selected(workspace: &Workspace, layer: u8) -> impl Iterator<Item = Tid> + Clone + '_ {
    let of_layer = workspace.selected.iter().filter(move |(other, _)| *other == layer);
    of_layer.filter_map(|(_, scored)| workspace.walk.node(scored.node)).map(|node| node.tid)
}

/// Finds the elements of the old list that are anchored at its owner. Those that are selected anyway stay in any case.
fn find_children<B: Blocks>(
    blocks: &mut B,
    m: usize,
    workspace: &Workspace,
    lists: &mut Lists,
    dying: &TidSet,
    live: &Member,
) -> Result<(), B::Error> {
    let Lists { old, children, .. } = lists;
    children.clear();
    let ground = layer_range(live.level, 0, m);
    // the first is the anchor, which stays
    for at in ground.skip(1) {
        let Some(&tid) = old.get(at) else { break };
        if !tid.is_valid() || dying.contains(tid) || selected(workspace, 0).any(|other| other == tid) {
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
fn write_list<B: Blocks>(
    blocks: &mut B,
    m: usize,
    workspace: &Workspace,
    lists: &mut Lists,
    dying: &TidSet,
    live: &Member,
) -> Result<(), B::Error> {
    let at = live.neighbour_tid;
    let damage = |damage: Damage| damage.on(at.block());
    let Lists { old, children, new } = lists;
    let mut change = blocks.change()?;
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
            let before = old.get(range.clone()).unwrap_or(current);
            let children = if layer == 0 { children.as_slice() } else { &[] };
            let out = new.get_mut(range).unwrap_or_default();
            merge(current, before, children, dying, selected(workspace, layer), layer == 0, out);
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
/// ground layer the anchor, then `children`, what is not in `before`, and what was selected again.
fn merge(
    current: &[Tid],
    before: &[Tid],
    children: &[Tid],
    dying: &TidSet,
    selected: impl Iterator<Item = Tid> + Clone,
    ground: bool,
    out: &mut [Tid],
) {
    let mut count = 0;
    let mut add = |tid: Tid| {
        let (added, rest) = out.split_at_mut(count);
        if let Some(place) = rest.first_mut().filter(|_| !added.contains(&tid)) {
            *place = tid;
            count += 1;
        }
    };
    let living = || current.iter().copied().filter(|&tid| tid.is_valid() && !dying.contains(tid));
    if let Some(&anchor) = current.first().filter(|&&tid| ground && tid.is_valid() && !dying.contains(tid)) {
        add(anchor);
    }
    for tid in living() {
        if children.contains(&tid) || !before.contains(&tid) || selected.clone().any(|other| other == tid) {
            add(tid);
        }
    }
    selected.for_each(&mut add);
    living().for_each(add);
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
            let selected = tids(selected);
            let (current, before, children) = (tids(current), tids(before), tids(children));
            merge(&current, &before, &children, &dying, selected.iter().copied(), ground, &mut out);
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
    }
}
