//! What an insert or a repair has read of its neighbours' neighbours: many are the same.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::graph::{EdgeChange, EdgeEstimate, GraphRead, KnownValues, Member};
use super::search::Scored;
use super::values::Values;
use crate::storage::page::{Damage, Tid};

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

/// An element that was read for the choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loaded {
    pub(super) member: Member,
    /// its anchor, when that was looked at; under the update lock it stays what it is
    pub(super) anchor: Option<Option<Tid>>,
    /// whether its value is that of the list's owner
    pub(super) equal: bool,
    /// whether the list must keep it
    pub(super) kept: bool,
    /// the last list that it was weighed in
    pub(super) list: u32,
}

impl Loaded {
    fn new(member: Member) -> Self {
        Loaded { member, anchor: None, equal: false, kept: false, list: 0 }
    }
}

/// What one insert has read of its neighbours' neighbours: many are the same.
#[derive(Debug, Default)]
pub(super) struct NeighbourCache {
    /// position in `loaded` and `values`, by packed TID
    pub(super) places: HashMap<u64, u32, BuildHasherDefault<TidHasher>>,
    pub(super) loaded: Vec<Loaded>,
    pub(super) values: Values,
    pub(super) slots: Vec<Tid>,
    pub(super) candidates: Vec<Scored>,
    pub(super) memo: Vec<Option<bool>>,
    pub(super) edges: Vec<EdgeChange>,
    /// the neighbour whose edge back must be made before any other
    pub(super) anchor: Option<Tid>,
    /// what tells the new element from others of its value
    pub(super) seed: u64,
    /// lists weighed
    pub(super) lists: u32,
    /// whether there are estimates for the new element; unknown at first
    pub(super) estimates: Option<bool>,
    /// those of a list
    pub(super) estimated: Vec<EdgeEstimate>,
    /// which of its edges must stay
    pub(super) stays: Vec<bool>,
}

/// The new element's place among the loaded.
pub(super) const NEW: u32 = 0;

impl NeighbourCache {
    /// Begins the choices for an element that stands at `tid`, or nowhere yet. `seed` tells it from others of
    /// its value.
    pub(super) fn begin(&mut self, tid: Tid, value: &[u8], seed: u64) -> Result<(), Damage> {
        self.seed = seed;
        self.places.clear();
        self.loaded.clear();
        self.values.clear();
        self.edges.clear();
        self.anchor = None;
        self.lists = 0;
        self.estimates = None;
        self.loaded.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
        self.loaded.push(Loaded::new(Member::unplaced(tid)));
        self.values.set(NEW, value)
    }

    /// As [`Self::begin`] for a repair: it has read many of the values that lists are judged by, and wants to know
    /// which elements are on their way out, whose edges go first.
    pub(super) fn begin_repair(&mut self, tid: Tid, value: &[u8]) -> Result<(), Damage> {
        let begun = self.begin(tid, value, tid.packed());
        self.estimates = Some(false);
        begun
    }

    /// The neighbour that the new element is to be anchored at.
    pub(super) fn anchor(&self) -> Option<Tid> {
        self.anchor
    }

    /// Bytes of memory that it holds, about.
    pub(super) fn allocated(&self) -> usize {
        self.places.capacity() * 2 * size_of::<u64>()
            + self.loaded.capacity() * size_of::<Loaded>()
            + self.values.allocated()
            + self.edges.capacity() * size_of::<EdgeChange>()
            + self.estimated.capacity() * size_of::<EdgeEstimate>()
            + self.stays.capacity()
            + (self.slots.capacity() + self.candidates.capacity() + self.memo.capacity()) * size_of::<u64>()
    }

    /// Memory for the edges of one list.
    pub(super) fn slots_mut(&mut self) -> &mut Vec<Tid> {
        &mut self.slots
    }

    pub(super) fn new_tid(&self) -> Tid {
        self.loaded.first().map_or(Tid::INVALID, |new| new.member.tid)
    }

    /// Reads an element, unless it was read before, and returns its place.
    pub(super) fn load<G: GraphRead>(&mut self, graph: &mut G, tid: Tid) -> Result<u32, G::Error> {
        if let Some(&place) = self.places.get(&tid.packed()) {
            return Ok(place);
        }
        let place = self.loaded.len() as u32;
        let values = &mut self.values;
        let member = graph.element(tid, |member, value| {
            values.set(place, value)?;
            Ok(*member)
        })?;
        if self.places.try_reserve(1).is_err() || self.loaded.try_reserve(1).is_err() {
            return Err(Damage::OUT_OF_MEMORY.on(tid.block()).into());
        }
        self.places.insert(tid.packed(), place);
        self.loaded.push(Loaded::new(member));
        Ok(place)
    }

    pub(super) fn loaded(&self, place: u32) -> Option<&Loaded> {
        self.loaded.get(place as usize)
    }

    /// Whether the element at `place` is anchored at `owner`.
    pub(super) fn is_child<G: GraphRead>(
        &mut self,
        graph: &mut G,
        place: u32,
        owner: Tid,
    ) -> Result<bool, G::Error> {
        let Some(loaded) = self.loaded.get_mut(place as usize) else { return Ok(false) };
        let anchor = match loaded.anchor {
            Some(known) => known,
            None => graph.anchor(&loaded.member)?,
        };
        loaded.anchor = Some(anchor);
        Ok(anchor == Some(owner))
    }

    /// Whether at least `count` of the elements in `slots`, the list of `owner`, live and are anchored at it.
    pub(super) fn has_children<G: GraphRead>(
        &mut self,
        graph: &mut G,
        owner: Tid,
        count: usize,
    ) -> Result<bool, G::Error> {
        let mut found = 0;
        // the first slot is the owner's own anchor
        for at in 1..self.slots.len() {
            // what is left cannot make it enough
            if found + (self.slots.len() - at) < count {
                break;
            }
            let Some(&tid) = self.slots.get(at) else { break };
            if self.slots.get(1..at).is_some_and(|before| before.contains(&tid)) {
                continue;
            }
            let child = if graph.has_estimates() {
                // nobody asks for its value
                graph.hangs(tid)?.is_some_and(|hangs| hangs.live && hangs.anchor == Some(owner))
            } else {
                let place = self.load(graph, tid)?;
                let live = self.loaded(place).is_some_and(|loaded| loaded.member.live);
                live && self.is_child(graph, place, owner)?
            };
            if child {
                found += 1;
                if found >= count {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl KnownValues for NeighbourCache {
    fn value(&self, tid: Tid) -> Option<&[u8]> {
        if tid == self.new_tid() {
            return Some(self.values.get(NEW));
        }
        let &place = self.places.get(&tid.packed())?;
        Some(self.values.get(place))
    }
}
