//! Anchors: what keeps layer 0 connected. The anchor of an element is the first slot of its list in layer 0. Two edges
//! are never dropped: that to the anchor, and that back from it. So whoever follows anchors goes up a tree, and every
//! edge of that tree is walked both ways (src/hnsw/README.md has the argument).
//!
//! An anchor is written with its element, and changes afterwards only where somebody holds the update lock alone. Who
//! shares the operation lock may rely on what he read.

use super::backlinks::{Below, NeighbourCache, descend, make_edge};
use super::insert::Graph;
use super::v1::layout::{Element, Neighbours, PAGE_ID, layer_range, neighbour_slots_mut};
use super::v1::reader::Node;
use crate::space::Space;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, Page, PageMut, Tid};

/// An element as its tuple described it: where its list is, and what tells that it still is its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub tid: Tid,
    pub neighbour_tid: Tid,
    pub level: u8,
    pub version: u8,
    /// whether it has rows
    pub live: bool,
}

impl Member {
    #[inline]
    pub(super) fn new(tid: Tid, element: &Element<'_>) -> Self {
        let header = element.header;
        let live = header.deleted == 0 && header.is_live();
        let (neighbour_tid, level, version) = (header.neighbour_tid, header.level, header.version);
        Member { tid, neighbour_tid, level, version, live }
    }

    /// A new element, which has no list that anybody could read.
    pub(super) const fn unplaced(tid: Tid) -> Self {
        Member { tid, neighbour_tid: Tid::INVALID, level: 0, version: 0, live: true }
    }

    #[inline]
    pub(super) fn of_node(node: &Node) -> Self {
        let Node { tid, neighbour_tid, level, version, .. } = *node;
        Member { tid, neighbour_tid, level, version, live: node.rows > 0 }
    }
}

/// Reads an element; `None` when it is marked as deleted.
pub(super) fn read_member<B: BlockStore>(blocks: &mut B, tid: Tid) -> Result<Option<Member>, B::Error> {
    blocks.read(tid.block(), |bytes| {
        let element = Element::new(Page::new(bytes, PAGE_ID)?.item(tid.offset())?, tid.offset())?;
        Ok((element.header.deleted == 0).then(|| Member::new(tid, &element)))
    })
}

/// Copies the edges of a layer. False, and none, when the list is not the element's any more.
#[inline]
pub(super) fn copy_list<B: BlockStore>(
    blocks: &mut B,
    m: usize,
    member: &Member,
    layer: u8,
    out: &mut Vec<Tid>,
) -> Result<bool, B::Error> {
    out.clear();
    let at = member.neighbour_tid;
    blocks.read(at.block(), |bytes| {
        let item = Page::unidentified(bytes)?.item(at.offset())?;
        let list = Neighbours::new(item, at.offset())?.layer(member.level, member.version, layer, m);
        let slots = list.unwrap_or_default();
        out.try_reserve(slots.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        out.extend(slots.iter().take_while(|tid| tid.is_valid()));
        Ok(list.is_some())
    })
}

/// The anchor of an element. `None` when it has no edge, or is not there any more.
#[inline]
pub(super) fn anchor_of<B: BlockStore>(
    blocks: &mut B,
    m: usize,
    member: &Member,
) -> Result<Option<Tid>, B::Error> {
    let at = member.neighbour_tid;
    blocks.read(at.block(), |bytes| {
        let list = Neighbours::new(Page::unidentified(bytes)?.item(at.offset())?, at.offset())?;
        Ok(list.layer(member.level, member.version, 0, m).and_then(|_| list.anchor(m)))
    })
}

/// Whether the element's list in layer 0 names `edge`.
fn has_edge<B: BlockStore>(blocks: &mut B, m: usize, member: &Member, edge: Tid) -> Result<bool, B::Error> {
    let at = member.neighbour_tid;
    blocks.read(at.block(), |bytes| {
        let list = Neighbours::new(Page::unidentified(bytes)?.item(at.offset())?, at.offset())?;
        Ok(list.layer(member.level, member.version, 0, m).is_some_and(|slots| slots.contains(&edge)))
    })
}

/// How an element hangs in layer 0.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hanging {
    /// its anchor has the edge back
    Fast,
    /// its anchor, which is not deleted, has no edge back
    Loose(Member),
    /// it has no edge, or its anchor is deleted
    Nowhere,
}

/// Looks at an element's anchor. The caller holds the update lock.
pub(super) fn hanging<B: BlockStore>(blocks: &mut B, m: usize, member: &Member) -> Result<Hanging, B::Error> {
    let Some(anchor) = anchor_of(blocks, m, member)? else { return Ok(Hanging::Nowhere) };
    let Some(anchor) = read_member(blocks, anchor)? else { return Ok(Hanging::Nowhere) };
    Ok(if has_edge(blocks, m, &anchor, member.tid)? { Hanging::Fast } else { Hanging::Loose(anchor) })
}

/// Makes `anchor` the first edge of an element in layer 0: by exchange when the list has it, else in place of the first.
/// Nobody shares the update lock, or the element is not yet to be found.
pub(super) fn set_anchor<B: BlockStore>(
    blocks: &mut B,
    m: usize,
    member: &Member,
    anchor: Tid,
) -> Result<(), B::Error> {
    let at = member.neighbour_tid;
    let damage = |damage: Damage| damage.on(at.block());
    let mut change = blocks.update()?;
    let slot = change.open(at.block())?;
    let place = {
        let item = Page::new(change.bytes(slot), PAGE_ID).and_then(|page| page.item(at.offset()));
        let list = item.and_then(|item| Neighbours::new(item, at.offset())).map_err(damage)?;
        match list.layer(member.level, member.version, 0, m) {
            Some(slots) => slots.iter().position(|&slot| slot == anchor),
            None => return Ok(()),
        }
    };
    if place == Some(0) {
        return Ok(());
    }
    let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(damage)?;
    let item = page.item_mut(at.offset()).map_err(damage)?;
    let slots = neighbour_slots_mut(item, at.offset()).map_err(damage)?;
    let ground = slots.get_mut(layer_range(member.level, 0, m)).unwrap_or_default();
    match (place, ground.first_mut()) {
        (Some(place), Some(_)) => ground.swap(0, place),
        (None, Some(first)) => *first = anchor,
        (_, None) => return Ok(()),
    }
    change.commit()
}

/// Whether something leads to an element already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// it hangs on its present anchor: the edge from the new one comes first, then the anchor
    Yes,
    /// nothing leads to it: as for an insert, the anchor comes first
    No,
}

/// Anchors an element at `start`, or at a living element below it, so that it hangs on one anchor or the other at every
/// moment. `start` is not anchored below the element, unless anchors go round from one to the other. The caller holds
/// the update lock alone.
pub(super) fn reanchor<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    links: &mut NeighbourCache,
    (member, joined): (&Member, Joined),
    value: &[u8],
    start: Member,
) -> Result<(), B::Error> {
    let mut start = start;
    let edge = loop {
        let begun = links.begin(member.tid, value, member.tid.packed());
        begun.map_err(|damage| damage.on(member.tid.block()))?;
        match descend(blocks, graph, links, start, member.tid)? {
            Below::Takes(edge) => break edge,
            Below::Stuck(full) => {
                blocks.pause()?;
                evict(blocks, graph.m, &full, member.tid, links.slots_mut())?;
                start = full;
            }
        }
    };
    let anchor = edge.neighbour.tid;
    match joined {
        Joined::Yes => {
            make_edge(blocks, graph.m, &edge, member.tid)?;
            set_anchor(blocks, graph.m, member, anchor)
        }
        Joined::No => {
            set_anchor(blocks, graph.m, member, anchor)?;
            make_edge(blocks, graph.m, &edge, member.tid)
        }
    }
}

/// The list of `full` has its anchor and elements anchored at `full`, none of which lives: anchors one of them below
/// another, so that its slot may be taken. `avoid` is not touched. The caller holds the update lock alone.
pub(super) fn evict<B: BlockStore>(
    blocks: &mut B,
    m: usize,
    full: &Member,
    avoid: Tid,
    slots: &mut Vec<Tid>,
) -> Result<(), B::Error> {
    let stuck =
        || Damage::at(full.neighbour_tid.offset(), "list without room").on(full.neighbour_tid.block());
    // a living one stays where it is: its anchor must live
    let Some(moved) = child(blocks, m, full, [avoid, full.tid], true, slots)? else {
        return Err(stuck().into());
    };
    let mut at = *full;
    loop {
        blocks.pause()?;
        let Some(next) = child(blocks, m, &at, [moved.tid, full.tid], false, slots)? else {
            return Err(stuck().into());
        };
        at = next;
        if take_any(blocks, m, &at, moved.tid, slots)? {
            return set_anchor(blocks, m, &moved, at.tid);
        }
    }
}

/// The first element that is anchored at `owner` and in its list behind the anchor, but none of `but`, nor a living one
/// when `dying`.
fn child<B: BlockStore>(
    blocks: &mut B,
    m: usize,
    owner: &Member,
    but: [Tid; 2],
    dying: bool,
    slots: &mut Vec<Tid>,
) -> Result<Option<Member>, B::Error> {
    copy_list(blocks, m, owner, 0, slots)?;
    for at in 1..slots.len() {
        let Some(&tid) = slots.get(at).filter(|tid| !but.contains(tid)) else { continue };
        let Some(member) = read_member(blocks, tid)? else { continue };
        if !(dying && member.live) && anchor_of(blocks, m, &member)? == Some(owner.tid) {
            return Ok(Some(member));
        }
    }
    Ok(None)
}

/// Gives `owner` an edge to `new`, in a free slot or that of any edge that need not be kept; false when there is none.
fn take_any<B: BlockStore>(
    blocks: &mut B,
    m: usize,
    owner: &Member,
    new: Tid,
    slots: &mut Vec<Tid>,
) -> Result<bool, B::Error> {
    copy_list(blocks, m, owner, 0, slots)?;
    if slots.contains(&new) {
        return Ok(true);
    }
    let mut place = (slots.len() < super::params::layer_slots(m, 0)).then_some(slots.len());
    for at in (1..slots.len()).rev() {
        if place.is_some() {
            break;
        }
        let Some((&tid, before)) = slots.get(..=at).and_then(<[Tid]>::split_last) else { continue };
        // an edge that stands there twice is kept once
        let kept = !before.contains(&tid)
            && match read_member(blocks, tid)? {
                Some(member) => anchor_of(blocks, m, &member)? == Some(owner.tid),
                None => false,
            };
        place = (!kept).then_some(at);
    }
    let Some(place) = place else { return Ok(false) };
    let at = owner.neighbour_tid;
    let damage = |damage: Damage| damage.on(at.block());
    let mut change = blocks.update()?;
    let slot = change.open(at.block())?;
    let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(damage)?;
    let item = page.item_mut(at.offset()).map_err(damage)?;
    let list = neighbour_slots_mut(item, at.offset()).map_err(damage)?;
    let ground = list.get_mut(layer_range(owner.level, 0, m)).unwrap_or_default();
    match ground.get_mut(place) {
        Some(place) => *place = new,
        None => return Ok(false),
    }
    change.commit()?;
    Ok(true)
}
