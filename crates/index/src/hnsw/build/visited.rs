//! What one insert knows of other nodes: their distances from the new one, and in which layer they were met.

/// A small table of nodes, emptied by counting up. A node's distance holds for the whole insert, being met for
/// one layer.
#[derive(Debug)]
pub(super) struct Visited {
    slots: Vec<Slot>,
    /// 32 - log2 of the number of slots
    shift: u32,
    /// nodes in it
    len: usize,
    /// inserts so far, above [`LAYER_BITS`] bits of layer
    insert: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// insert and layer; of another insert than the current one: free
    stamp: u32,
    node: u32,
    distance: f32,
}

const LAYER_BITS: u32 = 6;

/// What [`Visited::meet`] found.
pub(super) enum Met {
    /// never met by this insert; the distance belongs into this slot
    New(usize),
    /// met in another layer
    Known(f32),
    /// met in this layer, or there is no room
    Before,
}

impl Visited {
    /// Slots for an insert that keeps `ef` candidates of `m` connections in a graph of `nodes`. An insert that meets
    /// more nodes than three quarters of them ends its search early; it would have to meet eight times what one does
    /// on real data.
    pub fn slots(nodes: usize, m: usize, ef: usize) -> usize {
        nodes
            .saturating_add(1)
            .min(ef.saturating_mul(m).saturating_mul(8))
            .saturating_mul(2)
            .next_power_of_two()
            .max(64)
    }

    /// Bytes of a table of so many slots.
    pub const fn size(slots: usize) -> usize {
        slots * size_of::<Slot>()
    }

    /// An empty table, when there is memory; `slots` as [`Self::slots`] counts them.
    pub fn new(slots: usize) -> Option<Self> {
        let mut table = Vec::new();
        table.try_reserve_exact(slots).ok()?;
        table.resize(slots, Slot::default());
        Some(Visited { slots: table, shift: 32 - slots.ilog2(), len: 0, insert: 0 })
    }

    /// Forgets everything: the next insert.
    pub fn clear(&mut self) {
        self.len = 0;
        self.insert += 1;
        if self.insert >> (32 - LAYER_BITS) != 0 {
            self.slots.fill(Slot::default());
            self.insert = 1;
        }
    }

    #[inline(always)]
    fn start(&self, node: u32) -> usize {
        // Fibonacci hashing: the golden ratio spreads what follows one another
        (node.wrapping_mul(0x9e37_79b9) >> self.shift) as usize
    }

    /// Meets `node` in `layer`.
    #[inline(always)]
    pub fn meet(&mut self, node: u32, layer: u8) -> Met {
        let mask = self.slots.len() - 1;
        let stamp = self.insert << LAYER_BITS | u32::from(layer);
        let mut at = self.start(node);
        loop {
            let full = self.len > mask - mask / 4;
            let slot = &mut self.slots[at & mask];
            if slot.stamp >> LAYER_BITS != self.insert {
                if full {
                    return Met::Before;
                }
                *slot = Slot { stamp, node, distance: f32::INFINITY };
                self.len += 1;
                return Met::New(at & mask);
            }
            if slot.node == node {
                if slot.stamp == stamp {
                    return Met::Before;
                }
                slot.stamp = stamp;
                return Met::Known(slot.distance);
            }
            at += 1;
        }
    }

    /// Sets the distance of a node just met.
    #[inline(always)]
    pub fn set(&mut self, slot: usize, distance: f32) {
        self.slots[slot].distance = distance;
    }

    /// The distance of `node`, when it was met in any layer.
    #[inline(always)]
    pub fn distance(&self, node: u32) -> Option<f32> {
        let mask = self.slots.len() - 1;
        let mut at = self.start(node);
        loop {
            let slot = &self.slots[at & mask];
            if slot.stamp >> LAYER_BITS != self.insert {
                return None;
            }
            if slot.node == node {
                return Some(slot.distance);
            }
            at += 1;
        }
    }
}
