//! A tree of entries of an index that is built at once: nodes in the order of their keys, and pages composed of them in
//! any order.

use super::run::{KINDS, NOTHING, bound, name};
use crate::filter::{KEY_SIZE, MAX_COLUMNS};
use crate::ivf::packed::code::encode;
use crate::ivf::packed::layout::Geometry;
use crate::quant::rabitq::Bits;
use crate::quant::space::Estimate;
use crate::runs::Tree;
use crate::runs::bulk::Plan;
use crate::runs::page::{Bound, Child, NewEntry};
use crate::storage::page::{Damage, Tid};
use crate::work::memory::{resize, with_room};
use zerocopy::IntoBytes;

/// How full pages are, in hundredths.
const FILL: usize = 90;

/// The tree as it will be written.
#[derive(Debug)]
pub struct TreePlan {
    /// where its pages will be
    pub plan: Plan,
    geometry: Geometry,
    /// of a code's element, and what codes tell
    coding: (Bits, Estimate),
    /// the filter column in the order of whose keys they are
    column: usize,
    /// the nodes in the order of their entries
    order: Vec<u32>,
}

/// Room for an entry.
#[derive(Debug, Default)]
pub struct Room {
    /// a rotated value
    value: Vec<f32>,
    code: Vec<u8>,
    zero: Vec<f32>,
    children: Vec<Child>,
}

impl TreePlan {
    /// Plans the tree of a filter column with `nodes` entries whose blocks follow `first`; `key` is the key of a node.
    /// Nodes with greater numbers have greater ids.
    ///
    /// # Errors
    /// No memory, or more pages than there are blocks.
    pub fn new(
        geometry: &Geometry,
        coding: (Bits, Estimate),
        column: usize,
        nodes: usize,
        first: u32,
        key: impl Fn(u32) -> u64,
    ) -> Result<Self, Damage> {
        let mut keys = with_room(nodes)?;
        keys.extend((0..nodes as u32).map(|node| (key(node), node)));
        keys.sort_unstable();
        let mut order = with_room(nodes)?;
        order.extend(keys.iter().map(|&(_, node)| node));
        let plan = Plan::new(KINDS, geometry, nodes, first, FILL)?;
        Ok(TreePlan { plan, geometry: *geometry, coding, column, order })
    }

    /// The tree; without a root when it is empty.
    pub fn tree(&self) -> Tree {
        Tree { column: self.column, root: self.plan.root() }
    }

    /// Composes a page. `centre` is that of codes, empty where it is zero; `entry_of` tells a node's id and keys, and
    /// `value` writes its rotated value.
    ///
    /// # Errors
    /// No page of the tree, or no memory.
    pub fn compose(
        &self,
        block: u32,
        bytes: &mut [u8],
        centre: &[f32],
        room: &mut Room,
        entry_of: impl Fn(u32) -> Option<(u32, [u64; MAX_COLUMNS])>,
        mut value: impl FnMut(u32, &mut Vec<f32>) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        let missing = Damage::internal("page of no tree");
        let (geometry, (bits, estimate)) = (&self.geometry, self.coding);
        let bound_at = |place: usize| {
            let Some(&node) = self.order.get(place) else { return Some(Bound::END) };
            entry_of(node).map(|(id, keys)| bound(keys.get(self.column).copied().unwrap_or(0), id))
        };
        let Some(part) = self.plan.entries_of(block) else {
            let first = self.plan.leaves().start;
            return self.plan.put_directory(block, bytes, &mut room.children, |leaf| {
                bound_at(self.plan.entries_of(first + leaf as u32)?.start)
            });
        };
        let end = bound_at(part.end).ok_or(missing)?;
        let mut leaf = self.plan.begin_leaf(block, bytes, end)?;
        resize(&mut room.code, geometry.code, 0)?;
        resize(&mut room.zero, if geometry.code > 0 { geometry.padded } else { 0 }, 0.0)?;
        for &node in self.order.get(part).unwrap_or_default() {
            let (id, keys) = entry_of(node).ok_or(missing)?;
            let factors = if geometry.code > 0 {
                value(node, &mut room.value)?;
                let centre = if centre.is_empty() { &room.zero } else { centre };
                encode(bits, estimate, &room.value, centre, &mut room.code)
            } else {
                NOTHING
            };
            let keys = keys.get(..geometry.filter_size / KEY_SIZE).unwrap_or_default().as_bytes();
            leaf.add(&NewEntry { name: name(id), place: Tid::INVALID, factors, code: &room.code, keys })?;
        }
        Ok(())
    }
}
