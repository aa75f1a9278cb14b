//! What is known of elements beside values and neighbours, and the table that finds equal values. It grows one bucket
//! at a time (linear hashing), so that no row pays for all.

use super::arena::Arena;
use crate::hnsw::params::HEAP_TIDS;
use crate::storage::page::Tid;

/// No element.
pub(super) const NONE: u32 = u32::MAX;

/// An element, or its place in the graph.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    tid: Tid,
    /// its highest layer
    pub level: u8,
    tids: u8,
    /// the latest of the other heap TIDs
    more: u32,
    /// its list of layer 1 among those of the upper layers; the layers above follow
    pub upper: u32,
    /// the value's hash; later the element's anchor
    pub hash: u32,
    /// the next element of the bucket; later the next of the walk's queue
    pub next: u32,
}

impl Default for Row {
    fn default() -> Self {
        Row { tid: Tid::INVALID, level: 0, tids: 0, more: NONE, upper: 0, hash: 0, next: NONE }
    }
}

#[derive(Clone, Copy, Debug)]
struct More {
    tid: Tid,
    before: u32,
}

impl Default for More {
    fn default() -> Self {
        More { tid: Tid::INVALID, before: NONE }
    }
}

/// What the table knows of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// no element has it
    Nothing,
    /// an element that has it and room for a heap TID
    Room(u32),
    /// the latest element that has it, all of them being full
    Full(u32),
    /// an element with the same vector and other filter keys
    Apart(u32),
}

impl Found {
    /// The latest element that has the value.
    pub fn element(self) -> Option<u32> {
        match self {
            Found::Nothing | Found::Apart(_) => None,
            Found::Room(at) | Found::Full(at) => Some(at),
        }
    }
}

/// The elements in the order of their first heap TID.
#[derive(Debug)]
pub(super) struct Rows {
    rows: Arena<Row>,
    /// one per row: the first element with its value plus one, or 0 where no other has it
    firsts: Arena<u32>,
    /// whether some have the same value
    any_equal: bool,
    more: Arena<More>,
    /// whether an element takes any number of heap TIDs, not [`HEAP_TIDS`] at most
    unlimited: bool,
    /// one per row: a bucket's latest element, plus one
    buckets: Arena<u32>,
}

impl Rows {
    /// Bytes of an element.
    pub const ROW_BYTES: usize = size_of::<Row>() + 2 * size_of::<u32>();

    /// No rows.
    pub fn new(chunk: usize) -> Self {
        Rows {
            rows: Arena::new(1, chunk),
            firsts: Arena::new(1, chunk),
            any_equal: false,
            more: Arena::new(1, chunk),
            unlimited: false,
            buckets: Arena::new(1, chunk),
        }
    }

    /// From now on an element takes any number of heap TIDs.
    pub fn share_elements(&mut self) {
        self.unlimited = true;
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    #[inline(always)]
    pub fn get(&self, at: u32) -> &Row {
        self.rows.first(at as usize)
    }

    #[inline(always)]
    pub fn get_mut(&mut self, at: u32) -> &mut Row {
        self.rows.first_mut(at as usize)
    }

    /// Whether some elements have the same value.
    #[inline(always)]
    pub fn any_equal(&self) -> bool {
        self.any_equal
    }

    /// The first of the elements that have the value of this one; [`NONE`] when it is the only one.
    #[inline(always)]
    pub fn first(&self, at: u32) -> u32 {
        self.firsts.first(at as usize).wrapping_sub(1)
    }

    /// Bytes that one more element would allocate.
    pub fn growth(&self) -> usize {
        self.rows.growth(1) + self.firsts.growth(1) + self.buckets.growth(1)
    }

    /// Bytes that one more heap TID of an element would allocate.
    pub fn tid_growth(&self) -> usize {
        self.more.growth(1)
    }

    /// The bucket of `hash` among `buckets`.
    fn bucket(hash: u32, buckets: usize) -> usize {
        // the number of buckets lies between two powers of two; those up to the lower one not yet split are shared
        let upper = buckets.next_power_of_two();
        let at = hash as usize & (upper - 1);
        if at < buckets { at } else { at & (upper / 2 - 1) }
    }

    /// Looks for an element with `hash` that `same` takes for equal.
    pub fn find(&self, hash: u32, same: impl Fn(u32) -> bool) -> Found {
        if self.buckets.len() == 0 {
            return Found::Nothing;
        }
        let mut at = self.buckets.first(Self::bucket(hash, self.buckets.len())).wrapping_sub(1);
        while at != NONE {
            let row = self.get(at);
            if row.hash == hash && same(at) {
                let full = usize::from(row.tids) >= HEAP_TIDS && !self.unlimited;
                return if full { Found::Full(at) } else { Found::Room(at) };
            }
            at = row.next;
        }
        Found::Nothing
    }

    /// Takes an element out of its bucket.
    fn forget(&mut self, forgotten: u32) {
        let row = *self.get(forgotten);
        let bucket = Self::bucket(row.hash, self.buckets.len());
        let mut at = self.buckets.first(bucket).wrapping_sub(1);
        if at == forgotten {
            *self.buckets.first_mut(bucket) = row.next.wrapping_add(1);
            return;
        }
        while at != NONE {
            let next = self.get(at).next;
            if next == forgotten {
                self.get_mut(at).next = row.next;
            }
            at = next;
        }
    }

    /// Adds a heap TID to an element in which [`Self::find`] has found room; returns false when there is no memory.
    pub fn add_tid(&mut self, at: u32, tid: Tid) -> bool {
        let entry = self.more.len();
        if !self.more.extend(1) {
            return false;
        }
        let before = self.get(at).more;
        *self.more.first_mut(entry) = More { tid, before };
        let row = self.get_mut(at);
        row.more = entry as u32;
        row.tids = row.tids.saturating_add(1);
        true
    }

    /// Adds an element whose value, or whose vector, the one `found` has, too; returns false when there is no memory.
    pub fn push(&mut self, tid: Tid, level: u8, upper: u32, hash: u32, found: Found) -> bool {
        if !(self.rows.extend(1) && self.firsts.extend(1) && self.buckets.extend(1)) {
            return false;
        }
        let at = self.rows.len() - 1;
        let buckets = self.buckets.len();
        self.split(buckets);
        if let Found::Full(full) = found {
            // nothing can be added to it; the table keeps the latest element of each value
            self.forget(full);
        }
        if let Found::Full(other) | Found::Apart(other) = found {
            let first = match self.first(other) {
                NONE => other,
                first => first,
            };
            *self.firsts.first_mut(other as usize) = first + 1;
            *self.firsts.first_mut(at) = first + 1;
            self.any_equal = true;
        }
        let bucket = Self::bucket(hash, buckets);
        let next = self.buckets.first(bucket).wrapping_sub(1);
        *self.rows.first_mut(at) = Row { tid, level, tids: 1, more: NONE, upper, hash, next };
        *self.buckets.first_mut(bucket) = at as u32 + 1;
        true
    }

    /// Moves what belongs into the last of `buckets` out of the one that it was split from.
    fn split(&mut self, buckets: usize) {
        let new = buckets - 1;
        if new == 0 {
            return;
        }
        let old = new - (new + 1).next_power_of_two() / 2;
        let mut at = self.buckets.first(old).wrapping_sub(1);
        let (mut stay, mut go) = (NONE, NONE);
        while at != NONE {
            let row = self.get_mut(at);
            let next = row.next;
            let list = if Self::bucket(row.hash, buckets) == new { &mut go } else { &mut stay };
            row.next = *list;
            *list = at;
            at = next;
        }
        *self.buckets.first_mut(old) = stay.wrapping_add(1);
        *self.buckets.first_mut(new) = go.wrapping_add(1);
    }

    /// All heap TIDs of an element but the first, the latest first.
    pub fn other_tids(&self, at: u32) -> impl Iterator<Item = Tid> + '_ {
        let mut more = self.get(at).more;
        core::iter::from_fn(move || {
            let entry = (more != NONE).then(|| self.more.first(more as usize))?;
            more = entry.before;
            Some(entry.tid)
        })
    }

    /// The first heap TIDs of an element, in the order they came.
    pub fn tids(&self, at: u32) -> ([Tid; HEAP_TIDS], usize) {
        let row = self.get(at);
        let mut tids = [Tid::INVALID; HEAP_TIDS];
        let count = usize::from(row.tids).clamp(1, HEAP_TIDS);
        tids[0] = row.tid;
        let mut more = row.more;
        for slot in tids[1..count].iter_mut().rev() {
            if more == NONE {
                break;
            }
            let entry = self.more.first(more as usize);
            *slot = entry.tid;
            more = entry.before;
        }
        (tids, count)
    }
}

/// A hash of bytes that are a multiple of four long.
pub(super) fn hash(bytes: &[u8], seed: u64) -> u32 {
    let hash = long_hash(bytes, seed);
    (hash ^ hash >> 32) as u32
}

/// The same in 64 bits: a chain of folded products.
pub(super) fn long_hash(bytes: &[u8], seed: u64) -> u64 {
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (pairs, rest) = bytes.as_chunks::<16>();
    let mut hash = fold(seed ^ bytes.len() as u64, ODD);
    for pair in pairs {
        let (a, b) = pair.split_at(8);
        let word = |x: &[u8]| x.first_chunk().map_or(0, |x| u64::from_ne_bytes(*x));
        hash = fold(word(a) ^ hash, word(b) ^ ODD ^ seed);
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(ODD);
    }
    fold(hash, ODD)
}
