//! Reachability. Adding an edge to a full list drops another one, which may have been the only way to a node: no search
//! would find it again. A walk over layer 0 from the entry point shows such nodes, and each gets an edge
//! from the nearest node that can spare one: an edge the walk did not need. By inner product there may be as many of them
//! as others, all near the same few long vectors, whose lists everybody needs: so no list spares more than a few.

use super::Elements;
use super::graph::{CHOSEN, Edge};
use super::insert::{Scratch, Stop, nearest, remove};
use super::rows::NONE;
use super::score::{Exact, Score};
use super::team::Team;
use crate::space::Space;

/// Nodes between two looks at the clock.
const STRIDE: u32 = 4096;

/// Makes every node reachable from `entry` in layer 0; answers how many were not.
pub(super) fn repair<S: Space>(
    elements: &mut Elements<S>,
    entry: u32,
    scratch: &mut Scratch,
    team: &mut Team<'_, impl FnMut() -> bool>,
) -> Result<usize, Stop> {
    let nodes = elements.rows.len() as u32;
    for node in 0..nodes {
        let row = elements.rows.get_mut(node);
        (row.hash, row.next) = (NONE, NONE);
    }
    walk(elements, entry, entry, team)?;
    let mut lost = 0;
    let mut near = Vec::new();
    let mut edges = Vec::new();
    for node in 0..nodes {
        if node.is_multiple_of(STRIDE) {
            team.check()?;
        }
        if parent(elements, node) != NONE {
            continue;
        }
        lost += 1;
        let (lists, at) = elements.list(node, 0);
        lists.lock(at).read(&mut near);
        if !near.iter().any(|e| parent(elements, e.node) != NONE) {
            // The layers above may have led to what layer 0 does not.
            nearest(elements, Exact(elements), (node, entry), 0, scratch, team.stop(), &mut near)?;
        }
        let owner = match near.iter().find(|e| give(elements, node, **e, &mut edges)) {
            Some(owner) => owner.node,
            None => {
                let reached = near.iter().find(|e| parent(elements, e.node) != NONE);
                descend(elements, node, reached.map_or(entry, |e| e.node), &mut edges)
            }
        };
        walk(elements, node, owner, team)?;
    }
    Ok(lost)
}

/// The node from which the walk came to `node`: kept in `hash`, which has served its purpose.
fn parent<S: Space>(elements: &Elements<S>, node: u32) -> u32 {
    elements.rows.get(node).hash
}

/// How many edges a list of so many slots spares for the lost.
fn spared(slots: usize) -> u32 {
    (slots / 16).max(1) as u32
}

/// Walks on from `start`, which was reached from `from`, to everything not reached before. `next` chains the queue;
/// afterwards it counts, from [`NONE`] on, the edges that a list has spared.
fn walk<S: Space>(
    elements: &mut Elements<S>,
    start: u32,
    from: u32,
    team: &mut Team<'_, impl FnMut() -> bool>,
) -> Result<(), Stop> {
    let Elements { ground, rows, .. } = elements;
    rows.get_mut(start).hash = from;
    let (mut head, mut tail) = (start, start);
    let mut walked = 0u32;
    while head != NONE {
        walked = walked.wrapping_add(1);
        if walked.is_multiple_of(STRIDE) {
            team.check()?;
        }
        for id in ground.ids(head as usize) {
            let row = rows.get_mut(id);
            if row.hash == NONE {
                row.hash = head;
                rows.get_mut(tail).next = id;
                tail = id;
            }
        }
        head = core::mem::replace(&mut rows.get_mut(head).next, NONE);
    }
    Ok(())
}

/// Steps down the tree that go to the nearest child.
const NEAREST_STEPS: u32 = 4;

/// Gives `node` an edge from a node below `start` in the tree that the walk has made: a few steps down to the nearest child
/// of each, then to any, or the tree would grow there alone, and so deep that the way down takes longer and longer.
/// Answers with the new parent. There is one: nothing hangs below a leaf, so that it can spare an edge.
fn descend<S: Space>(elements: &mut Elements<S>, node: u32, start: u32, edges: &mut Vec<Edge>) -> u32 {
    let (mut owner, mut steps) = (start, 0u32);
    loop {
        let distance = distance(elements, node, owner);
        if give(elements, node, Edge { node: owner, distance, closer: CHOSEN }, edges) {
            return owner;
        }
        let children = elements.ground.ids(owner as usize).filter(|&child| parent(elements, child) == owner);
        let any = |child: u32| (child ^ node).wrapping_mul(0x9e37_79b9).wrapping_add(steps) as f32;
        let rank = |child: u32| {
            if steps < NEAREST_STEPS { self::distance(elements, node, child) } else { any(child) }
        };
        match children.min_by(|&a, &b| rank(a).total_cmp(&rank(b))) {
            Some(child) => owner = child,
            None => return owner,
        }
        steps = steps.saturating_add(1);
    }
}

fn distance<S: Space>(elements: &Elements<S>, from: u32, to: u32) -> f32 {
    let score = Exact(elements);
    score.distance(score.prepare(from), to)
}

/// Puts `node` into the list of the reached node `to` leads to, in the place of an edge that the walk did not need:
/// of those the farthest that another edge is closer to, or else the farthest. Answers false when it cannot, or has
/// spared enough.
fn give<S: Space>(elements: &mut Elements<S>, node: u32, to: Edge, edges: &mut Vec<Edge>) -> bool {
    let owner = to.node;
    if owner == node || parent(elements, owner) == NONE {
        return false;
    }
    let given = elements.rows.get(owner).next.wrapping_sub(NONE);
    let (lists, at) = elements.list(owner, 0);
    let mut list = lists.lock(at);
    list.read(edges);
    let full = list.is_full();
    if full {
        if given >= spared(lists.slots()) {
            return false;
        }
        let needless = |e: &Edge| parent(elements, e.node) != owner;
        let pruned = edges.iter().rposition(|e| e.closer != CHOSEN && needless(e));
        let Some(dropped) = pruned.or_else(|| edges.iter().rposition(needless)) else { return false };
        for e in edges.iter_mut() {
            if usize::from(e.closer) == dropped {
                e.closer = CHOSEN;
            }
        }
        remove(edges, dropped);
    }
    let at = edges.partition_point(|e| e.distance < to.distance);
    for e in edges.iter_mut() {
        if e.closer != CHOSEN && usize::from(e.closer) >= at {
            e.closer += 1;
        }
    }
    edges.insert(at, Edge { node, distance: to.distance, closer: CHOSEN });
    list.write(edges, 0);
    drop(list);
    if full {
        elements.rows.get_mut(owner).next = NONE.wrapping_add(given + 1);
    }
    true
}
