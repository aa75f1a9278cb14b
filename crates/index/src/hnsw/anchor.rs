//! Anchors: what keeps layer 0 connected. The anchor of an element is the first slot of its list in layer 0. Two edges
//! are never dropped: that to the anchor, and that back from it. So whoever follows anchors goes up a tree, and every
//! edge of that tree is walked both ways (src/hnsw/README.md has the argument).
//!
//! An anchor is written with its element, and changes afterwards only where somebody holds the update lock alone. Who
//! shares the operation lock may rely on what he read.

use super::backlinks::{Below, descend, make_edge};
use super::graph::{EdgeChange, GraphRead, GraphWrite, Member, NoValues, Target};
use super::neighbour_cache::NeighbourCache;
use super::params::layer_slots;
use crate::storage::page::{Damage, Tid};

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
pub(super) fn hanging<G: GraphRead>(graph: &mut G, member: &Member) -> Result<Hanging, G::Error> {
    let Some(anchor) = graph.anchor(member)? else { return Ok(Hanging::Nowhere) };
    let Some(anchor) = graph.member(anchor)? else { return Ok(Hanging::Nowhere) };
    Ok(if graph.has_edge(&anchor, member.tid)? { Hanging::Fast } else { Hanging::Loose(anchor) })
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
pub(super) fn reanchor<G: GraphWrite>(
    graph: &mut G,
    links: &mut NeighbourCache,
    (member, joined): (&Member, Joined),
    value: &[u8],
    start: Member,
) -> Result<(), G::Error> {
    let mut start = start;
    let edge = loop {
        let begun = links.begin(member.tid, value, member.tid.packed());
        begun.map_err(|damage| damage.on(member.tid.block()))?;
        match descend(graph, links, start, member.tid)? {
            Below::Takes(edge) => break edge,
            Below::Stuck(full) => {
                graph.pause()?;
                evict(graph, &full, member.tid, links.slots_mut())?;
                start = full;
            }
        }
    };
    let anchor = edge.owner.tid;
    match joined {
        Joined::Yes => {
            make_edge(graph, links, &edge, member.tid)?;
            graph.set_anchor(member, anchor, links)
        }
        Joined::No => {
            graph.set_anchor(member, anchor, links)?;
            make_edge(graph, links, &edge, member.tid)
        }
    }
}

/// The list of `full` has its anchor and elements anchored at `full`, none of which lives: anchors one of them below
/// another, so that its slot may be taken. `avoid` is not touched. The caller holds the update lock alone.
pub(super) fn evict<G: GraphWrite>(
    graph: &mut G,
    full: &Member,
    avoid: Tid,
    slots: &mut Vec<Tid>,
) -> Result<(), G::Error> {
    let stuck = || Damage::at(full.list.offset(), "list without room").on(full.list.block());
    // a living one stays where it is: its anchor must live
    let Some(moved) = child(graph, full, [avoid, full.tid], true, slots)? else {
        return Err(stuck().into());
    };
    let mut at = *full;
    loop {
        graph.pause()?;
        let Some(next) = child(graph, &at, [moved.tid, full.tid], false, slots)? else {
            return Err(stuck().into());
        };
        at = next;
        if take_any(graph, &at, moved.tid, slots)? {
            return graph.set_anchor(&moved, at.tid, &NoValues);
        }
    }
}

/// The first element that is anchored at `owner` and in its list behind the anchor, but none of `but`, nor a living one
/// when `dying`.
fn child<G: GraphWrite>(
    graph: &mut G,
    owner: &Member,
    but: [Tid; 2],
    dying: bool,
    slots: &mut Vec<Tid>,
) -> Result<Option<Member>, G::Error> {
    graph.list(owner, 0, slots)?;
    for at in 1..slots.len() {
        let Some(&tid) = slots.get(at).filter(|tid| !but.contains(tid)) else { continue };
        let Some(member) = graph.member(tid)? else { continue };
        if !(dying && member.live) && graph.anchor(&member)? == Some(owner.tid) {
            return Ok(Some(member));
        }
    }
    Ok(None)
}

/// Gives `owner` an edge to `new`, in a free slot or that of any edge that need not be kept; false when there is none.
fn take_any<G: GraphWrite>(
    graph: &mut G,
    owner: &Member,
    new: Tid,
    slots: &mut Vec<Tid>,
) -> Result<bool, G::Error> {
    graph.list(owner, 0, slots)?;
    if slots.contains(&new) {
        return Ok(true);
    }
    // a free slot, or else the last that need not be kept
    let mut replaced = None;
    if slots.len() >= layer_slots(graph.shape().m, 0) {
        for at in (1..slots.len()).rev() {
            let Some((&tid, before)) = slots.get(..=at).and_then(<[Tid]>::split_last) else { continue };
            // an edge that stands there twice is kept once
            let kept = !before.contains(&tid)
                && match graph.member(tid)? {
                    Some(member) => graph.anchor(&member)? == Some(owner.tid),
                    None => false,
                };
            if !kept {
                replaced = Some(tid);
                break;
            }
        }
        if replaced.is_none() {
            return Ok(false);
        }
    }
    let at = graph.list_at(owner, 0)?;
    let edge = EdgeChange { owner: *owner, at, layer: 0, replaced, stands: false };
    graph.add_edges(&[edge], Target { tid: new, value: None }, Some(owner.tid))
}
