//! The neighbour lists. Ids are read without locks while one writer per list changes them; what only writers need
//! (distances, who is closer than whom) stands beside them, under the list's lock.

use std::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use vector_kernels::prefetch_first;

use super::arena::Arena;

/// An element of a list: the node it leads to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    /// the node
    pub node: u32,
    /// its distance from the list's owner
    pub distance: f32,
    /// the position in the list of the edge that is closer to this one than the owner is, or [`CHOSEN`], or [`EQUAL`]
    pub closer: u8,
}

/// Stands for no closer edge: the heuristic has chosen this one.
pub(super) const CHOSEN: u8 = u8::MAX;
/// Marks an edge to a node of the owner's value. The heuristic passes over such nodes: to it they would be closer to
/// everything.
pub(super) const EQUAL: u8 = u8::MAX - 1;

impl Edge {
    /// Whether the heuristic has not chosen this edge.
    #[inline(always)]
    pub fn is_pruned(&self) -> bool {
        self.closer < EQUAL
    }
}

/// The order among equal distances from `owner`, another one for each owner, so that not all lists drop the
/// same node. It is that of the edge back, too: edges are rather kept at both ends.
#[inline]
pub(super) fn rank(owner: u32, node: u32) -> u32 {
    let ends = u64::from(owner.min(node)) << 32 | u64::from(owner.max(node));
    let product = u128::from(ends ^ 0xa076_1d64_78bd_642f) * u128::from(0xe703_7ed1_a0b4_28db_u64);
    (product as u64 ^ (product >> 64) as u64) as u32
}

/// Ids in a cache line.
const LINE: usize = 16;

/// A cache line of ids plus one; the first zero ends a list.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Line([AtomicU32; LINE]);

const LOCKED: u32 = 1 << 31;

/// Lists of at most `slots` edges.
#[derive(Debug)]
pub(super) struct Lists {
    slots: usize,
    lines: Arena<Line>,
    /// per list: lock and length, distances, bytes of `closer`
    sides: Arena<AtomicU32>,
}

impl Lists {
    /// No lists.
    pub fn new(slots: usize, chunk: usize) -> Self {
        Lists {
            slots,
            lines: Arena::new(slots.div_ceil(LINE), chunk),
            sides: Arena::new(1 + slots + slots.div_ceil(4), chunk),
        }
    }

    /// The number of edges a list may have.
    #[inline(always)]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The number of lists.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Bytes of a list of `slots` edges.
    pub fn list_bytes(slots: usize) -> usize {
        slots.div_ceil(LINE) * size_of::<Line>() + (1 + slots + slots.div_ceil(4)) * size_of::<u32>()
    }

    /// Bytes that `lists` more would allocate.
    pub fn growth(&self, lists: usize) -> usize {
        self.lines.growth(lists) + self.sides.growth(lists)
    }

    /// Adds empty lists; returns false when there is no memory.
    pub fn extend(&mut self, lists: usize) -> bool {
        self.lines.extend(lists) && self.sides.extend(lists)
    }

    /// The ids in list `at`. A list that is being changed may show an id twice or leave one out; whatever it shows
    /// was put there.
    #[inline(always)]
    pub fn ids(&self, at: usize) -> impl Iterator<Item = u32> + '_ {
        let ids = self.lines.get(at).iter().flat_map(|line| &line.0);
        // an id is published with the list of the node behind it
        ids.map_while(|id| id.load(Acquire).checked_sub(1))
    }

    /// Asks the cache for the ids in list `at`.
    #[inline(always)]
    pub fn prefetch(&self, at: usize) {
        for line in self.lines.get(at) {
            prefetch_first(&line.0);
        }
    }

    /// Asks the cache for what a writer needs of list `at`.
    #[inline(always)]
    pub fn prefetch_side(&self, at: usize) {
        for part in self.sides.get(at).chunks(LINE) {
            prefetch_first(part);
        }
        self.prefetch(at);
    }

    /// Locks list `at` for the only writer.
    #[inline]
    pub fn lock(&self, at: usize) -> Locked<'_> {
        let side = self.sides.get(at);
        let mut spins = 0u32;
        loop {
            let word = side[0].load(Relaxed);
            if word & LOCKED == 0
                && side[0].compare_exchange_weak(word, word | LOCKED, Acquire, Relaxed).is_ok()
            {
                return Locked { slots: self.slots, lines: self.lines.get(at), side, len: word as usize };
            }
            // held for a few microseconds, unless its holder lost the processor
            spins += 1;
            if spins < 64 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
}

/// A list under its lock.
pub(super) struct Locked<'a> {
    slots: usize,
    lines: &'a [Line],
    side: &'a [AtomicU32],
    len: usize,
}

impl Locked<'_> {
    /// The number of edges the list may have.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The number of edges.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no edge can be added.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.len >= self.slots
    }

    #[inline(always)]
    fn id(&self, at: usize) -> &AtomicU32 {
        &self.lines[at / LINE].0[at % LINE]
    }

    /// The node of the edge at `at`.
    #[inline(always)]
    pub fn node(&self, at: usize) -> u32 {
        self.id(at).load(Relaxed).saturating_sub(1)
    }

    /// The distance of the edge at `at`.
    #[inline(always)]
    pub fn distance(&self, at: usize) -> f32 {
        f32::from_bits(self.side[1 + at].load(Relaxed))
    }

    /// What is closer to the edge at `at`.
    #[inline(always)]
    pub fn closer(&self, at: usize) -> u8 {
        self.side[1 + self.slots + at / 4].load(Relaxed).to_ne_bytes()[at % 4]
    }

    /// Copies the edges.
    pub fn read(&self, edges: &mut Vec<Edge>) {
        edges.clear();
        edges.extend((0..self.len).map(|at| Edge {
            node: self.node(at),
            distance: self.distance(at),
            closer: self.closer(at),
        }));
    }

    /// Sets edges, at most as many as there are slots and not fewer than there were. Ids before `from` are the same.
    pub fn write(&mut self, edges: &[Edge], from: usize) {
        let edges = &edges[..edges.len().min(self.slots)];
        for (at, edge) in edges.iter().enumerate().skip(from) {
            self.side[1 + at].store(edge.distance.to_bits(), Relaxed);
            self.id(at).store(edge.node + 1, Release);
        }
        for (word, four) in self.side[1 + self.slots..].iter().zip(edges.chunks(4)) {
            let mut bytes = [0; 4];
            for (byte, edge) in bytes.iter_mut().zip(four) {
                *byte = edge.closer;
            }
            word.store(u32::from_ne_bytes(bytes), Relaxed);
        }
        self.len = edges.len();
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.side[0].store(self.len as u32, Release);
    }
}
