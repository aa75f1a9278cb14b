//! The candidates of a search: the nearest so far by what is known of each, those that were read among them.

use crate::work::memory::OutOfMemory;

/// What orders candidates, and tells them apart: the key of a bound in the upper half, the id in the lower. The lowest
/// bit of the key is not looked at, and says of a candidate whether it was read.
const READ: u64 = 1 << 32;

/// The nearest candidates in ascending order, as many as there is room for.
#[derive(Debug, Default)]
pub struct Pool {
    words: Vec<u64>,
    /// candidates before this one were read
    cursor: usize,
    width: usize,
    /// position of the candidate that a new one must be nearer than
    rank: usize,
}

impl Pool {
    /// An empty pool without room.
    pub const fn new() -> Self {
        Pool { words: Vec::new(), cursor: 0, width: 0, rank: 0 }
    }

    /// Empties it, and makes room for `width` candidates; once it has `rank`, new ones must be nearer than the
    /// farthest of these.
    ///
    /// # Errors
    /// No memory.
    pub fn begin(&mut self, width: usize, rank: usize) -> Result<(), OutOfMemory> {
        self.clear();
        self.width = width.max(1);
        self.rank = rank.clamp(1, self.width) - 1;
        Ok(self.words.try_reserve(self.width)?)
    }

    /// Makes the room one for `width` candidates, and forgets those that are beyond; `rank` as from the beginning.
    ///
    /// # Errors
    /// No memory.
    pub fn resize(&mut self, width: usize, rank: usize) -> Result<(), OutOfMemory> {
        self.width = width.max(1);
        self.rank = rank.clamp(1, self.width) - 1;
        self.words.truncate(self.width);
        self.cursor = self.cursor.min(self.words.len());
        Ok(self.words.try_reserve(self.width - self.words.len())?)
    }

    /// Candidates that there is room for.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.words.clear();
        self.cursor = 0;
    }

    /// The word of a candidate.
    #[inline(always)]
    pub const fn word(key: u32, id: u32) -> u64 {
        (key as u64 & !1) << 32 | id as u64
    }

    /// The key that candidates must be below.
    #[inline(always)]
    pub fn limit(&self) -> u32 {
        self.words.get(self.rank).map_or(u32::MAX, |word| (word >> 32) as u32 & !1)
    }

    /// Where a word is, or belongs.
    #[inline(always)]
    fn position(&self, word: u64) -> usize {
        self.words.partition_point(|other| other & !READ < word)
    }

    /// Adds a candidate that is not in it; returns one that there is no room for.
    #[inline(always)]
    pub fn insert(&mut self, word: u64) -> Option<u64> {
        let at = self.position(word);
        self.cursor = self.cursor.min(at);
        if self.words.len() < self.width {
            self.words.insert(at, word);
            return None;
        }
        if at >= self.words.len() {
            return Some(word);
        }
        let last = self.words.pop();
        self.words.insert(at, word);
        last.filter(|last| last & READ == 0)
    }

    /// Puts a candidate that is nearer than was thought to its new place; false when the pool does not have it.
    #[inline(always)]
    pub fn improve(&mut self, old: u64, word: u64) -> bool {
        let from = self.position(old);
        if self.words.get(from).is_none_or(|other| other & !READ != old) {
            return false;
        }
        let to = self.position(word).min(from);
        self.words.copy_within(to..from, to + 1);
        if let Some(place) = self.words.get_mut(to) {
            *place = word;
        }
        self.cursor = self.cursor.min(to);
        true
    }

    /// Whether it has a candidate.
    #[cfg(test)]
    fn contains(&self, word: u64) -> bool {
        self.words.get(self.position(word)).is_some_and(|other| other & !READ == word)
    }

    /// Takes the nearest candidate that was not read yet.
    #[inline(always)]
    pub fn take(&mut self) -> Option<u64> {
        let word = self.peek()?;
        if let Some(place) = self.words.get_mut(self.cursor) {
            *place |= READ;
        }
        self.cursor += 1;
        Some(word)
    }

    /// Puts back one that was taken and not read; false when it fell out meanwhile.
    pub fn untake(&mut self, word: u64) -> bool {
        let at = self.position(word);
        let Some(place) = self.words.get_mut(at).filter(|place| **place & !READ == word) else {
            return false;
        };
        *place = word;
        self.cursor = self.cursor.min(at);
        true
    }

    /// The nearest that was not read yet.
    #[inline(always)]
    pub fn peek(&mut self) -> Option<u64> {
        while let Some(&word) = self.words.get(self.cursor) {
            if word & READ == 0 {
                return Some(word);
            }
            self.cursor += 1;
        }
        None
    }

    /// Those that were not read, nearest first.
    pub fn waiting(&self) -> impl Iterator<Item = u64> {
        self.words.get(self.cursor..).unwrap_or_default().iter().copied().filter(|word| word & READ == 0)
    }

    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    /// The number of candidates in it, those that were read included.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use std::collections::BTreeMap;

    /// Any sequence of operations does what it does to a sorted list.
    #[test]
    fn a_pool_is_a_sorted_list_that_forgets_its_end() {
        let mut rng = SmallRng::seed_from_u64(1);
        for round in 0..300 {
            let (mut width, mut pool) = (rng.random_range(1..40), Pool::new());
            let mut rank = rng.random_range(1..=width);
            pool.begin(width, rank).unwrap();
            // of each word, whether it was read
            let mut model: BTreeMap<u64, bool> = BTreeMap::new();
            let mut taken = Vec::new();
            for id in 0..200u32 {
                if id == 100 {
                    width = rng.random_range(1..60);
                    rank = rng.random_range(1..=width);
                    pool.resize(width, rank).unwrap();
                    while model.len() > width {
                        model.pop_last();
                    }
                }
                let word = Pool::word(rng.random_range(2..5000), id);
                match rng.random_range(0..10) {
                    0..6 => {
                        model.insert(word, false);
                        let gone = if model.len() > width { model.pop_last() } else { None };
                        let want = gone.filter(|(_, read)| !read).map(|(word, _)| word);
                        assert_eq!(pool.insert(word), want, "{round}");
                    }
                    6 => {
                        let farthest = model.iter().rfind(|(_, read)| !**read);
                        let Some(old) = farthest.map(|(word, _)| *word) else { continue };
                        let nearer = Pool::word((old >> 33) as u32, old as u32);
                        assert!(pool.improve(old, nearer));
                        model.remove(&old);
                        model.insert(nearer, false);
                        assert!(!pool.improve(u64::MAX, word));
                    }
                    7 => {
                        let Some(word) = taken.pop() else { continue };
                        let there = model.contains_key(&word);
                        assert_eq!(pool.untake(word), there, "{round}");
                        if there {
                            model.insert(word, false);
                        }
                    }
                    _ => {
                        let first = model.iter().find(|(_, read)| !**read).map(|(word, _)| *word);
                        assert_eq!(pool.take(), first, "{round}");
                        taken.extend(first);
                        first.map(|word| model.insert(word, true));
                    }
                }
                assert_eq!(pool.contains(word), model.contains_key(&word));
                let waiting = model.iter().filter(|(_, read)| !**read).map(|(word, _)| *word);
                assert!(pool.waiting().eq(waiting), "{round}");
                let limit = model.keys().nth(rank - 1).map_or(u32::MAX, |word| (word >> 32) as u32);
                assert_eq!((pool.limit(), pool.len()), (limit, model.len()));
            }
        }
    }
}
