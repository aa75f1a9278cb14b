//! The candidate queue of a search in one layer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Scored;
use crate::work::ordered::{from_order_key, order_key};

/// Distance, node, and whether it was expanded, in one integer that sorts by distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry(pub(super) u64);

impl Entry {
    #[inline(always)]
    pub(super) fn new(scored: Scored) -> Self {
        Entry(u64::from(order_key(scored.distance)) << 32 | u64::from(scored.node) << 1)
    }
    #[inline(always)]
    fn expanded(self) -> bool {
        self.0 & 1 == 1
    }
    #[inline(always)]
    fn scored(self) -> Scored {
        Scored { distance: from_order_key((self.0 >> 32) as u32), node: (self.0 as u32) >> 1 }
    }
    #[inline(always)]
    fn same_distance(self, other: Self) -> bool {
        self.0 >> 32 == other.0 >> 32
    }
    #[inline(always)]
    fn fresh(self) -> Self {
        Entry(self.0 & !1)
    }
}

/// The best candidates so far, nearest first: both queues of algorithm 2 in one sorted array, since a candidate that
/// leaves the result is never expanded afterwards.
#[derive(Debug, Default)]
pub struct CandidateQueue {
    entries: Vec<Entry>,
    /// everything before it is expanded
    cursor: usize,
    /// entries that count, at most ef
    counted: usize,
    /// not expanded, pushed out by others, and exactly as far as the last entry: algorithm 2 still expands them. (Where
    /// distances are small integers, they lead to a good part of the result.)
    ties: Vec<Entry>,
}

/// Candidates that fell out of the result, nearest first, for a later continuation.
pub type Discarded = BinaryHeap<Reverse<u64>>;

impl CandidateQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        CandidateQueue { entries: Vec::new(), cursor: 0, counted: 0, ties: Vec::new() }
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.ties.clear();
        (self.cursor, self.counted) = (0, 0);
    }

    /// What is in it, nearest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Scored> + '_ {
        self.entries.iter().map(|e| e.scored())
    }

    /// The candidate at a position, nearest first.
    pub fn get(&self, at: usize) -> Option<Scored> {
        self.entries.get(at).map(|e| e.scored())
    }

    /// The number of candidates in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Makes room for so many more candidates; returns false when there is no memory.
    #[inline]
    pub fn reserve(&mut self, more: usize) -> bool {
        self.entries.try_reserve(more).is_ok()
    }

    /// The number of candidates it has room for.
    pub fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    /// Forgets what was expanded, for the search of the next layer.
    pub fn restart(&mut self) {
        for entry in &mut self.entries {
            *entry = entry.fresh();
        }
        self.ties.clear();
        self.cursor = 0;
    }

    #[inline(always)]
    pub(super) fn bound(&self, ef: usize) -> f32 {
        match self.entries.last() {
            Some(last) if self.counted >= ef => last.scored().distance,
            _ => f32::INFINITY,
        }
    }

    /// Offers a candidate; returns the one that has no place: another, or itself.
    #[inline(always)]
    pub fn offer(&mut self, scored: Scored, counts: bool, ef: usize) -> Option<Scored> {
        let entry = Entry::new(scored);
        let full = self.counted >= ef;
        if full && self.entries.last().is_none_or(|last| entry.0 >> 32 >= last.0 >> 32) {
            return Some(scored);
        }
        let at = self.entries.partition_point(|e| e.0 < entry.0);
        self.entries.insert(at, entry);
        self.cursor = self.cursor.min(at);
        if !counts {
            return None;
        }
        if full {
            let out = self.entries.pop()?;
            if !out.expanded() && self.entries.last().is_some_and(|last| last.same_distance(out)) {
                self.ties.push(out);
            }
            return Some(out.scored());
        }
        self.counted += 1;
        None
    }

    /// The nearest candidate that was not expanded, were the search to find no nearer one.
    #[inline(always)]
    pub(super) fn next_candidate(&self) -> Option<u32> {
        let rest = self.entries.get(self.cursor..)?;
        rest.iter().find(|entry| !entry.expanded()).map(|entry| entry.scored().node)
    }

    /// The nearest candidate that was not expanded, which it now is.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<u32> {
        while let Some(entry) = self.entries.get_mut(self.cursor) {
            self.cursor += 1;
            if !entry.expanded() {
                let node = entry.scored().node;
                entry.0 |= 1;
                return Some(node);
            }
        }
        if self.ties.is_empty() {
            return None;
        }
        // those of an earlier, farther end are of no use any more
        let last = self.entries.last().copied();
        while let Some(tie) = self.ties.pop() {
            if last.is_some_and(|last| last.same_distance(tie)) {
                return Some(tie.scored().node);
            }
        }
        None
    }
}

/// Takes the nearest candidate out of `discarded`.
pub fn pop_discarded(discarded: &mut Discarded) -> Option<Scored> {
    discarded.pop().map(|Reverse(entry)| Entry(entry).scored())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uncounted_candidates_take_no_place() {
        let mut pool = CandidateQueue::new();
        for node in 0..10 {
            pool.offer(Scored { distance: node as f32, node }, node % 2 == 0, 2);
        }
        let found: Vec<_> = pool.iter().map(|s| s.node).collect();
        assert_eq!(found, [0, 1, 2]);
    }
}
