//! Visited sets: elements that a search has scored, or a vacuum will mark.

use crate::storage::page::{Damage, Tid};

/// A set of TIDs that empties in no time: open addressing over (epoch, TID) words.
#[derive(Debug)]
pub struct TidSet {
    slots: Vec<u64>,
    used: usize,
    epoch: u64,
}

const SMALLEST_SET: usize = 1 << 12;

impl Default for TidSet {
    fn default() -> Self {
        Self::new()
    }
}

impl TidSet {
    /// An empty set, nothing allocated.
    pub const fn new() -> Self {
        TidSet { slots: Vec::new(), used: 0, epoch: 0 }
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.used = 0;
        self.epoch += 1;
        // the epoch has 16 bits beside a TID's 48; zero is the epoch of slots never used
        if self.epoch > 0xffff {
            self.slots.fill(0);
            self.epoch = 1;
        }
    }

    #[inline(always)]
    fn word(&self, tid: Tid) -> u64 {
        self.epoch << 48 | tid.packed()
    }

    #[inline(always)]
    fn start(word: u64, len: usize) -> usize {
        // Fibonacci hashing: the upper bits of the product depend on all bits of the TID
        (word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - len.trailing_zeros())) as usize
    }

    /// Makes room for more TIDs, so that adding them allocates nothing.
    ///
    /// # Errors
    /// [`Damage::OUT_OF_MEMORY`].
    pub fn reserve(&mut self, more: usize) -> Result<(), Damage> {
        while (self.used + more) * 2 > self.slots.len() {
            self.try_grow()?;
        }
        Ok(())
    }

    /// Adds a TID, for which there is room; returns whether it was not there.
    #[inline(always)]
    pub fn insert(&mut self, tid: Tid) -> bool {
        if self.used * 2 >= self.slots.len() && self.try_grow().is_err() && self.used >= self.slots.len() {
            // only without a reservation, and with no memory at all: as if it had been there
            return false;
        }
        let word = self.word(tid);
        let mask = self.slots.len() - 1;
        let mut at = Self::start(word, self.slots.len());
        loop {
            let slot = &mut self.slots[at & mask];
            if *slot == word {
                return false;
            }
            if *slot >> 48 != self.epoch {
                *slot = word;
                self.used += 1;
                return true;
            }
            at += 1;
        }
    }

    /// Whether a TID is in it.
    pub fn contains(&self, tid: Tid) -> bool {
        if self.slots.is_empty() {
            return false;
        }
        let word = self.word(tid);
        let mask = self.slots.len() - 1;
        let mut at = Self::start(word, self.slots.len());
        loop {
            let slot = self.slots[at & mask];
            if slot == word {
                return true;
            }
            if slot >> 48 != self.epoch {
                return false;
            }
            at += 1;
        }
    }

    /// The number of TIDs in it.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Bytes of memory that it holds.
    pub fn allocated(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
    }

    #[cold]
    fn try_grow(&mut self) -> Result<(), Damage> {
        self.epoch = self.epoch.max(1);
        let len = (self.slots.len() * 2).max(SMALLEST_SET);
        let mut slots = Vec::new();
        slots.try_reserve_exact(len).map_err(|_| Damage::OUT_OF_MEMORY)?;
        slots.resize(len, 0);
        let old = core::mem::replace(&mut self.slots, slots);
        for word in old.into_iter().filter(|word| word >> 48 == self.epoch) {
            let mut at = Self::start(word, len);
            while self.slots[at & (len - 1)] != 0 {
                at += 1;
            }
            self.slots[at & (len - 1)] = word;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_tid_set_is_a_set_over_many_epochs() {
        let mut set = TidSet::new();
        assert!(!set.contains(Tid::new(1, 1)));
        for round in 0..70_000u32 {
            set.clear();
            assert!(set.insert(Tid::new(round, 1)));
            assert!(!set.insert(Tid::new(round, 1)));
            assert!(!set.contains(Tid::new(round.wrapping_sub(1), 1)));
        }
    }

    #[test]
    fn a_tid_set_grows() {
        let (mut set, mut model) = (TidSet::new(), HashSet::new());
        let mut x = 1u64;
        for _ in 0..50_000 {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let tid = Tid::new((x >> 40) as u32 % 9000, (x >> 33) as u16 % 40 + 1);
            assert_eq!(set.insert(tid), model.insert(tid.packed()));
        }
        assert_eq!(set.len(), model.len());
        assert!(model.iter().all(|&packed| set.contains(Tid::from_packed(packed))));
    }
}
