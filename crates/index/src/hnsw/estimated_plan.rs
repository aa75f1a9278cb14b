//! Which edge of a full list gives way to a new one, by estimates of the distances among what it leads to: the same
//! choice as by exact ones, from the list's record alone.

use super::backlinks::{Offer, Plan};
use super::graph::{GraphRead, Member, Places};
use super::neighbour_cache::{NEW, NeighbourCache};
use super::search::{Scored, tie_order};
use super::values::pair_distance;
use crate::storage::page::Damage;

/// What a full list of layer 0 does with an element that has not its owner's value; `None` when estimates do not tell,
/// because there are none, or elements have the owner's value.
///
/// Elements on their way out are not known as such here: a vacuum rewrites the lists that lead to them.
pub(super) fn estimated_plan<G: GraphRead>(
    graph: &mut G,
    links: &mut NeighbourCache,
    owner: &Member,
    places: usize,
    offer: Offer,
) -> Result<Option<Plan>, G::Error> {
    if !graph.has_estimates() {
        return Ok(None);
    }
    let begun = match links.estimates {
        Some(begun) => begun,
        None => graph.begin_estimates(links.values.get(NEW))?,
    };
    links.estimates = Some(begun);
    if !begun {
        return Ok(None);
    }
    let distance = match offer.distance {
        Some(distance) => distance,
        None => {
            let own = links.load(graph, owner.tid)?;
            pair_distance(graph.shape().space, &links.values, own, NEW)
        }
    };
    let NeighbourCache { slots, estimated, .. } = links;
    if !graph.estimate_list(owner, distance, slots, estimated)? || links.slots.len() < places {
        // who goes on by values has the list as it was
        graph.list(owner, 0, &mut links.slots)?;
        return Ok(None);
    }
    if links.slots.contains(&links.new_tid()) {
        return Ok(Some(Plan::Leave));
    }
    rank(links, owner, distance).map_err(|damage| damage.on(owner.tid.block()))?;
    let new = links.estimated.len();
    let mut choice = Choice { graph, links, new };
    loop {
        let Some(dropped) = choice.next_dropped(offer.must) else { return Ok(Some(Plan::Full)) };
        let Choice { graph, links, .. } = &mut choice;
        let Some(&edge) = links.estimated.get(dropped) else { return Ok(Some(Plan::Leave)) };
        let child = graph.hangs(edge.tid)?.is_some_and(|hangs| hangs.anchor == Some(owner.tid));
        if !child {
            return Ok(Some(Plan::Replace(edge.tid)));
        }
        if let Some(stays) = links.stays.get_mut(dropped) {
            *stays = true;
        }
    }
}

/// A list of which one edge is to go. Edges and the new element have *numbers*, their places in the list and the one
/// behind; *ranks* are those by distance.
struct Choice<'a, G> {
    graph: &'a mut G,
    links: &'a mut NeighbourCache,
    /// the number of the new element
    new: usize,
}

impl<G: GraphRead> Choice<'_, G> {
    fn number(&self, rank: usize) -> usize {
        self.links.candidates.get(rank).map_or(0, |scored| scored.node as usize)
    }

    /// The number of the one to drop, as [`super::search::next_dropped`] chooses it; `None` when all stay.
    fn next_dropped(&mut self, must: bool) -> Option<usize> {
        let may = |choice: &Self, rank: usize| match choice.number(rank) {
            number if number == choice.new => !must,
            number => choice.links.stays.get(number) == Some(&false),
        };
        let count = self.links.candidates.len();
        let mut ranks = (1..count).rev();
        let pruned = ranks.find(|&rank| may(self, rank) && !self.is_chosen(rank));
        let dropped = pruned.or_else(|| (0..count).rev().find(|&rank| may(self, rank)));
        dropped.map(|rank| self.number(rank))
    }

    /// Whether no chosen one that is nearer to the owner is nearer to this one than the owner is.
    fn is_chosen(&mut self, rank: usize) -> bool {
        if let Some(&Some(known)) = self.links.memo.get(rank) {
            return known;
        }
        let near = self.nearer(rank);
        // ranks only go down: as deep as there are candidates, at most
        let chosen = !(0..rank).any(|better| near.has(self.number(better)) && self.is_chosen(better));
        if let Some(place) = self.links.memo.get_mut(rank) {
            *place = Some(chosen);
        }
        chosen
    }

    /// The numbers of those that are nearer to the one at `rank` than the owner is.
    fn nearer(&mut self, rank: usize) -> Places {
        let number = self.number(rank);
        if number != self.new {
            let mut near = self.graph.estimated_nearer(number);
            if self.links.estimated.get(number).is_some_and(|edge| edge.new <= edge.own) {
                near.add(self.new);
            }
            return near;
        }
        let own = self.links.candidates.get(rank).map_or(0.0, |scored| scored.distance);
        let mut near = Places::default();
        for (at, edge) in self.links.estimated.iter().enumerate() {
            if edge.new <= own {
                near.add(at);
            }
        }
        near
    }
}

/// Puts the edges of a list, and behind them the new one, into `links.candidates`, nearest first. All edges may go but
/// the first, the owner's anchor.
fn rank(links: &mut NeighbourCache, owner: &Member, distance: f32) -> Result<(), Damage> {
    let NeighbourCache { candidates, estimated, stays, memo, seed, .. } = links;
    let count = estimated.len();
    candidates.clear();
    stays.clear();
    memo.clear();
    let room = candidates.try_reserve(count + 1);
    let room = room.and_then(|()| stays.try_reserve(count)).and_then(|()| memo.try_reserve(count + 1));
    room.map_err(|_| Damage::OUT_OF_MEMORY)?;
    stays.resize(count, false);
    memo.resize(count + 1, None);
    if let Some(anchor) = stays.first_mut() {
        *anchor = true;
    }
    let edges = estimated.iter().map(|edge| edge.own).chain([distance]);
    candidates.extend(edges.zip(0..).map(|(distance, node)| Scored { distance, node }));
    let tie = |scored: &Scored| match estimated.get(scored.node as usize) {
        Some(edge) => tie_order(owner.tid.packed(), edge.tid.packed()),
        None => tie_order(owner.tid.packed(), *seed),
    };
    candidates.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then_with(|| tie(a).cmp(&tie(b))));
    Ok(())
}
