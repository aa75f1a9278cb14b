//! A map from ids to keys that is empty again in no time: what a search knows of the nodes it met.

use vector_kernels::prefetch;
use zerocopy::IntoBytes;

use crate::storage::page::Damage;

/// A map from ids to keys: open addressing, at most half full, a word a slot.
#[derive(Debug, Default)]
pub struct IdMap {
    /// a power of two, of which `mask + 1` are in use
    slots: Vec<Slot>,
    mask: usize,
    used: usize,
}

/// A place of the map.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// the id's complement: of an empty slot 0, as of [`NO_NODE`](super::layout::NO_NODE), which is no id
    not_id: u32,
    key: u32,
}

/// The key of an id that was just added: behind all others.
pub const NEW: u32 = u32::MAX;
/// The key of one that was read: before all others.
pub const READ: u32 = 0;

const SMALLEST_MAP: usize = 1 << 9;

impl IdMap {
    /// Bytes of a place.
    pub const SLOT_SIZE: usize = size_of::<Slot>();

    /// An empty map, nothing allocated.
    pub const fn new() -> Self {
        IdMap { slots: Vec::new(), mask: 0, used: 0 }
    }

    /// Empties it.
    pub fn clear(&mut self) {
        if let Some(slots) = self.slots.get_mut(..=self.mask) {
            slots.fill(Slot::default());
        }
        // it begins small again, so that clearing costs no more than filling did
        self.mask = self.slots.len().min(SMALLEST_MAP).saturating_sub(1);
        self.used = 0;
    }

    #[inline(always)]
    fn start(id: u32, mask: usize) -> usize {
        // Fibonacci hashing
        (u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & mask
    }

    /// Makes room for more ids, so that adding them allocates nothing.
    ///
    /// # Errors
    /// [`Damage::OUT_OF_MEMORY`].
    #[inline(always)]
    pub fn reserve(&mut self, more: usize) -> Result<(), Damage> {
        if (self.used + more) * 2 > self.mask { self.grow(more) } else { Ok(()) }
    }

    #[cold]
    fn grow(&mut self, more: usize) -> Result<(), Damage> {
        let len = ((self.used + more) * 2 + 1).next_power_of_two().max(SMALLEST_MAP);
        let mut old = crate::work::memory::with_room(self.used)?;
        let in_use = self.slots.get_mut(..=self.mask).unwrap_or_default();
        for slot in in_use.iter_mut().filter(|slot| slot.not_id != 0) {
            old.push(core::mem::take(slot));
        }
        if len > self.slots.len() {
            self.slots = crate::work::memory::filled(Slot::default(), len)?;
        }
        self.mask = len - 1;
        for slot in old {
            let mut at = Self::start(!slot.not_id, self.mask);
            while self.slots[at & self.mask].not_id != 0 {
                at += 1;
            }
            self.slots[at & self.mask] = slot;
        }
        Ok(())
    }

    /// Asks for an id's place ahead of its turn.
    #[inline(always)]
    pub fn prefetch(&self, id: u32) {
        let place = self.slots.get(Self::start(id, self.mask));
        prefetch(place.map_or(&[], |slot| slot.not_id.as_bytes()));
    }

    /// The place of an id, for which there is room; it is added when it is not there. Returns the key, [`NEW`]
    /// of one that was added. Without a reservation, and without room, there is none.
    #[inline(always)]
    pub fn entry(&mut self, id: u32) -> Option<&mut u32> {
        let mut at = Self::start(id, self.mask);
        // at most half of the places are taken
        loop {
            let slot = self.slots.get_mut(at & self.mask)?;
            if slot.not_id == !id {
                break;
            }
            if slot.not_id == 0 {
                if self.used * 2 > self.mask {
                    return None;
                }
                *slot = Slot { not_id: !id, key: NEW };
                self.used += 1;
                break;
            }
            at += 1;
        }
        self.slots.get_mut(at & self.mask).map(|slot| &mut slot.key)
    }

    /// Whether an id is in it.
    pub fn contains(&self, id: u32) -> bool {
        let mut at = Self::start(id, self.mask);
        loop {
            match self.slots.get(at & self.mask) {
                Some(slot) if slot.not_id == !id => return true,
                Some(slot) if slot.not_id != 0 => at += 1,
                _ => return false,
            }
        }
    }

    /// The key of an id, when it is there.
    pub fn get(&self, id: u32) -> Option<u32> {
        let mut at = Self::start(id, self.mask);
        loop {
            match self.slots.get(at & self.mask) {
                Some(slot) if slot.not_id == !id => return Some(slot.key),
                Some(slot) if slot.not_id != 0 => at += 1,
                _ => return None,
            }
        }
    }

    /// The number of ids in it.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_id_map_is_a_map_over_growth_and_epochs() {
        let (mut set, mut x) = (IdMap::new(), 1u64);
        assert!(!set.contains(0));
        for round in 0..3 {
            set.clear();
            let mut model = HashSet::new();
            for _ in 0..20_000 {
                x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let id = (x >> 50) as u32;
                set.reserve(1).unwrap();
                let key = set.entry(id).unwrap();
                assert_eq!(*key, if model.insert(id) { NEW } else { id ^ 5 });
                *key = id ^ 5;
            }
            assert_eq!(set.len(), model.len());
            assert!((0..1 << 14).all(|id| set.contains(id) == model.contains(&id)), "{round}");
        }
    }
}
