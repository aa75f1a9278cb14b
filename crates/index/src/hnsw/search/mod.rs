//! Search in one layer (paper, algorithm 2) over any store, and the choice of neighbours (algorithm 4).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::work::ordered::{from_order_key, order_key};

/// A node with its distance from the query. Nodes are opaque handles below 2^31 that their store gives out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// distance from the query, not NaN
    pub distance: f32,
    /// the node
    pub node: u32,
}

/// Where nodes, their neighbours and their values are. The query and the nodes visited belong to the store too, so
/// that it may batch, prefetch, or answer from something cheaper than values.
pub trait Store {
    /// Why a node cannot be read.
    type Error;

    /// Gives the neighbours of `node` in `layer` that were not visited before, scored; those at `bound` or beyond may
    /// be left out.
    fn expand(&mut self, node: u32, layer: u8, bound: f32, out: &mut Vec<Scored>) -> Result<(), Self::Error>;

    /// Says that `node` may be the next to be expanded: time to ask for what that reads.
    fn prefetch_node(&mut self, node: u32) {
        let _ = node;
    }

    /// The error for want of memory.
    fn out_of_memory(&self) -> Self::Error;

    /// Whether a node fills a place in the result. Those that do not (elements being deleted, during their own
    /// repair) still lead to others.
    fn accepts(&self, node: u32) -> bool {
        let _ = node;
        true
    }
}

/// Distance, node, and whether it was expanded, in one integer that sorts by distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry(u64);

impl Entry {
    #[inline(always)]
    fn new(scored: Scored) -> Self {
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
    fn bound(&self, ef: usize) -> f32 {
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
    fn next_candidate(&self) -> Option<u32> {
        let rest = self.entries.get(self.cursor..)?;
        rest.iter().find(|entry| !entry.expanded()).map(|entry| entry.scored().node)
    }

    /// The nearest candidate that was not expanded, which it now is.
    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
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

/// Expands the candidates in `pool` until the nearest `ef` are all expanded (paper, algorithm 2). `out` is room for
/// one expansion. With `discarded`, every scored candidate ends either in the queue or there.
pub fn search_layer<S: Store>(
    store: &mut S,
    pool: &mut CandidateQueue,
    out: &mut Vec<Scored>,
    ef: usize,
    layer: u8,
    mut discarded: Option<&mut Discarded>,
) -> Result<(), S::Error> {
    while let Some(node) = pool.next() {
        let bound = if discarded.is_some() { f32::INFINITY } else { pool.bound(ef) };
        out.clear();
        if let Some(next) = pool.next_candidate() {
            store.prefetch_node(next);
        }
        store.expand(node, layer, bound, out)?;
        let mut room = pool.entries.try_reserve(out.len());
        if let Some(heap) = discarded.as_deref_mut() {
            room = room.and_then(|()| heap.try_reserve(out.len()));
        }
        room.map_err(|_| store.out_of_memory())?;
        for &scored in out.iter() {
            let rest = pool.offer(scored, store.accepts(scored.node), ef);
            if let (Some(rest), Some(heap)) = (rest, discarded.as_deref_mut()) {
                heap.push(Reverse(Entry::new(rest).0));
            }
        }
    }
    Ok(())
}

/// Takes the nearest candidate out of `discarded`.
pub fn pop_discarded(discarded: &mut Discarded) -> Option<Scored> {
    discarded.pop().map(|Reverse(entry)| Entry(entry).scored())
}

/// Orders candidates that are equally far from `owner`: each owner prefers others of them. (Were it the order in which
/// they were met, every list would drop the same one.)
#[inline]
pub fn tie_order(owner: u64, candidate: u64) -> u64 {
    let product = (owner.rotate_left(29) ^ candidate).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (product ^ product >> 31).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// The places of a list of `slots` that may go to elements of the very value of its owner: lists keep room for others,
/// so that a cluster of equal rows has ways out.
#[inline]
pub const fn equal_share(slots: usize) -> usize {
    if slots < 2 { 1 } else { slots / 2 }
}

/// Chooses up to `slots` of the candidates, nearest first, that are closer to the new element than to any chosen one
/// (paper, algorithm 4), and fills what is left with the nearest of the others. `candidates` come nearest first;
/// `distance` is that between two of them, by position.
pub fn select_neighbours(
    candidates: &[Scored],
    slots: usize,
    chosen: &mut Vec<usize>,
    rest: &mut Vec<usize>,
    distance: impl FnMut(usize, usize) -> f32,
) {
    select_sharing(candidates, slots, slots, chosen, rest, |_| false, distance);
}

/// As [`select_neighbours`], with at most `share` of those that are `equal` to the new element.
pub fn select_sharing(
    candidates: &[Scored],
    slots: usize,
    share: usize,
    chosen: &mut Vec<usize>,
    rest: &mut Vec<usize>,
    equal: impl Fn(usize) -> bool,
    mut distance: impl FnMut(usize, usize) -> f32,
) {
    chosen.clear();
    rest.clear();
    let mut left = share;
    // whether a candidate is beyond the share of the equal ones
    let mut spare = |at: usize| {
        let counted = equal(at);
        let spare = counted && left == 0;
        left -= usize::from(counted && !spare);
        spare
    };
    if candidates.len() <= slots {
        chosen.extend((0..candidates.len()).filter(|&at| !spare(at)));
        return;
    }
    for (at, candidate) in candidates.iter().enumerate() {
        if chosen.len() >= slots {
            break;
        }
        if spare(at) {
            continue;
        }
        if chosen.iter().all(|&other| distance(at, other) > candidate.distance) {
            chosen.push(at);
        } else {
            rest.push(at);
        }
    }
    let missing = slots - chosen.len();
    chosen.extend(rest.iter().take(missing));
}

/// Of candidates that are one too many, the position of the one to drop: the farthest that algorithm 4 would not choose,
/// or else the farthest. Candidates come nearest first; `memo` is room.
///
/// The answer is nearly always among the last few, so the choice is made backwards: whether one is chosen asks only for
/// those that are nearer to it than the element is, and for each of these the same. That takes a tenth of the distances
/// that choosing forwards takes, for the same answer.
pub fn select_dropped(
    candidates: &[Scored],
    memo: &mut Vec<Option<bool>>,
    distance: impl FnMut(usize, usize) -> f32,
) -> Option<usize> {
    memo.clear();
    memo.resize(candidates.len(), None);
    next_dropped(candidates, memo, |_| true, distance)
}

/// As [`select_dropped`], of those that may be dropped: the farthest of them that algorithm 4 would not choose, or else
/// the farthest. What `memo` holds of the same candidates is kept from call to call.
pub fn next_dropped(
    candidates: &[Scored],
    memo: &mut [Option<bool>],
    may: impl Fn(usize) -> bool,
    mut distance: impl FnMut(usize, usize) -> f32,
) -> Option<usize> {
    let worst = |at: &usize| may(*at) && !is_chosen(candidates, memo, *at, &mut distance);
    let pruned = (1..candidates.len()).rev().find(worst);
    pruned.or_else(|| (0..candidates.len()).rev().find(|&at| may(at)))
}

/// Whether algorithm 4 chooses a candidate: no chosen one before it is nearer to it than the element is.
fn is_chosen(
    candidates: &[Scored],
    memo: &mut [Option<bool>],
    at: usize,
    distance: &mut impl FnMut(usize, usize) -> f32,
) -> bool {
    if let Some(&Some(known)) = memo.get(at) {
        return known;
    }
    let own = candidates.get(at).map_or(f32::INFINITY, |candidate| candidate.distance);
    // positions only go down: as deep as there are candidates, at most
    let chosen =
        !(0..at).any(|better| distance(at, better) <= own && is_chosen(candidates, memo, better, distance));
    if let Some(place) = memo.get_mut(at) {
        *place = Some(chosen);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of nodes 0..n, each next to its two neighbours; the query is at a position.
    struct Line {
        n: u32,
        query: f32,
        visited: Vec<bool>,
    }

    impl Store for Line {
        type Error = ();
        fn out_of_memory(&self) {}
        fn expand(&mut self, node: u32, _: u8, _: f32, out: &mut Vec<Scored>) -> Result<(), ()> {
            for next in [node.wrapping_sub(1), node + 1] {
                if next < self.n && !self.visited[next as usize] {
                    self.visited[next as usize] = true;
                    out.push(Scored { distance: (next as f32 - self.query).abs(), node: next });
                }
            }
            Ok(())
        }
    }

    #[test]
    fn a_line_is_walked_to_the_query() {
        let mut line = Line { n: 1000, query: 700.2, visited: vec![false; 1000] };
        line.visited[0] = true;
        let mut pool = CandidateQueue::new();
        pool.offer(Scored { distance: 700.2, node: 0 }, true, 4);
        let mut discarded = Discarded::new();
        search_layer(&mut line, &mut pool, &mut Vec::new(), 4, 0, Some(&mut discarded)).unwrap();
        let found: Vec<_> = pool.iter().map(|s| s.node).collect();
        assert_eq!(found, [700, 701, 699, 702]);
        // nothing that was scored is lost
        let visited = line.visited.iter().filter(|v| **v).count();
        assert_eq!(discarded.len() + pool.len(), visited);
    }

    #[test]
    fn uncounted_candidates_take_no_place() {
        let mut pool = CandidateQueue::new();
        for node in 0..10 {
            pool.offer(Scored { distance: node as f32, node }, node % 2 == 0, 2);
        }
        let found: Vec<_> = pool.iter().map(|s| s.node).collect();
        assert_eq!(found, [0, 1, 2]);
    }

    #[test]
    fn neighbours_in_different_directions_are_preferred() {
        // on a line around 0: 1, 2, 3 to the right, -4 to the left
        let places = [1.0f32, 2.0, 3.0, -4.0];
        let candidates: Vec<_> =
            places.iter().enumerate().map(|(n, p)| Scored { distance: p.abs(), node: n as u32 }).collect();
        let (mut chosen, mut rest) = (Vec::new(), Vec::new());
        let distance = |a: usize, b: usize| (places[a] - places[b]).abs();
        select_neighbours(&candidates, 3, &mut chosen, &mut rest, distance);
        assert_eq!(chosen, [0, 3, 1]);
        assert_eq!(select_dropped(&candidates, &mut Vec::new(), distance), Some(2));
    }

    #[test]
    fn dropping_backwards_is_choosing_forwards() {
        let mut x = 7u64;
        let mut next = || {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (x >> 40) as f32 / (1u64 << 24) as f32
        };
        for count in [1, 2, 3, 9, 33] {
            for _ in 0..200 {
                let mut places: Vec<[f32; 3]> = (0..count).map(|_| [next(), next(), next()]).collect();
                let norm =
                    |a: &[f32; 3], b: &[f32; 3]| -> f32 { (0..3).map(|i| (a[i] - b[i]).powi(2)).sum() };
                let origin = [0.5; 3];
                places.sort_by(|a, b| norm(a, &origin).total_cmp(&norm(b, &origin)));
                let scored =
                    |(n, p): (usize, &[f32; 3])| Scored { distance: norm(p, &origin), node: n as u32 };
                let candidates: Vec<_> = places.iter().enumerate().map(scored).collect();
                let (mut chosen, mut dropped) = (Vec::new(), count - 1);
                for at in 0..count {
                    if chosen.iter().all(|&c: &usize| norm(&places[at], &places[c]) > candidates[at].distance)
                    {
                        chosen.push(at);
                    } else {
                        dropped = at;
                    }
                }
                let mut memo = Vec::new();
                let distance = |a: usize, b: usize| norm(&places[a], &places[b]);
                assert_eq!(select_dropped(&candidates, &mut memo, distance), Some(dropped));
            }
        }
    }
}
