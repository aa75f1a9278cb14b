//! The second pass: every list of every element, and the entry point.

use super::{Auditor, Census, Check, CheckError, Node, STRIDE, State};
use crate::hnsw::meta::{META_BLOCK, MetaPage};
use crate::hnsw::params::layer_range;
use crate::storage::page::Tid;

impl<C: Census> Check<'_, C> {
    pub(super) fn edges(&mut self) -> Result<(), CheckError<C::Error>> {
        let mut slots = Vec::new();
        for at in 0..self.audit.nodes().len() {
            if at.is_multiple_of(STRIDE) {
                self.census.pause()?;
            }
            let Some(&node) = self.audit.nodes().get(at) else { break };
            if node.state == State::Broken {
                continue;
            }
            let Some(version) = self.census.slots(&node, &mut slots)? else { continue };
            if version != node.version {
                let what =
                    format!("version is {version}, and {} in the element at {}", node.version, node.tid);
                self.audit.tell(node.list, what);
            }
            let expected = (usize::from(node.level) + 2) * self.m;
            if slots.len() != expected {
                let what = format!("{} slots for level {}, which has {expected}", slots.len(), node.level);
                self.audit.tell(node.list, what);
                continue;
            }
            if node.state == State::Deleted {
                if slots.iter().any(|slot| slot.is_valid()) {
                    self.audit.tell(node.list, "edges of a deleted element");
                }
                continue;
            }
            for layer in 0..=node.level {
                if let Some(slots) = slots.get_mut(layer_range(node.level, layer, self.m)) {
                    self.layer(&node, layer, slots);
                }
            }
        }
        Ok(())
    }

    /// Checks the edges of one layer; sorts them.
    fn layer(&mut self, node: &Node, layer: u8, slots: &mut [Tid]) {
        let edges = slots.iter().position(|slot| !slot.is_valid()).unwrap_or(slots.len());
        if slots.iter().skip(edges).any(|slot| slot.is_valid()) {
            self.audit.tell(node.list, format!("edges after a free slot in layer {layer}"));
        }
        if node.state != State::Live {
            return;
        }
        let Some(edges) = slots.get_mut(..edges) else { return };
        self.audit.tally.edges += edges.len() as u64;
        self.connected |= !edges.is_empty();
        edges.sort_unstable_by_key(|edge| edge.packed());
        let mut previous = Tid::INVALID;
        for &edge in edges.iter() {
            if edge == previous {
                self.audit.tell(node.list, format!("edge to {edge} twice in layer {layer}"));
                continue;
            }
            previous = edge;
            if edge == node.tid {
                self.audit.tell(node.list, format!("edge to the element itself in layer {layer}"));
            } else if let Some(fault) = self.audit.edge_fault(edge, layer) {
                self.audit.tell(node.list, fault);
            }
        }
    }

    /// The entry point's place in the tally.
    pub(super) fn entry(&mut self, meta: &MetaPage) -> Option<usize> {
        let place = Tid::new(META_BLOCK, 0);
        let entry = match meta.entry_point() {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                if meta.entry_offset != 0 || meta.entry_level != -1 {
                    self.audit.tell(place, "an entry point without a block");
                } else if self.connected && self.audit.tally.dying == 0 {
                    self.audit.tell(place, "no entry point");
                }
                return None;
            }
            Err(damage) => {
                self.audit.tell(place, damage.what);
                return None;
            }
        };
        self.audit.tally.entry_level = Some(entry.level);
        let found = self.audit.node(entry.tid).map(|(at, node)| (at, *node));
        match found {
            None if self.audit.is_damaged(entry.tid.block()) => {}
            None => {
                self.audit.tell(place, format!("entry point {}, where there is no element", entry.tid));
            }
            Some((_, node)) if node.state == State::Deleted => {
                self.audit.tell(place, format!("entry point {}, a deleted element", entry.tid));
            }
            Some((_, node)) if node.state != State::Broken && node.level != entry.level => {
                let (tid, told, level) = (entry.tid, entry.level, node.level);
                let what = format!("entry point {tid} of level {told}, which has level {level}");
                self.audit.tell(place, what);
            }
            _ => {}
        }
        found.filter(|(_, node)| matches!(node.state, State::Live | State::Dying)).map(|(at, _)| at)
    }
}

impl Auditor<'_> {
    /// What is wrong with the target of an edge, in words.
    pub(super) fn edge_fault(&self, edge: Tid, layer: u8) -> Option<String> {
        match self.node(edge) {
            None if self.is_damaged(edge.block()) => None,
            None => Some(format!("edge in layer {layer} to {edge}, where there is no element")),
            Some((_, target)) => match target.state {
                State::Broken => None,
                State::Deleted => Some(format!("edge in layer {layer} to {edge}, a deleted element")),
                _ if target.level < layer => {
                    Some(format!("edge in layer {layer} to {edge}, an element of level {}", target.level))
                }
                _ => None,
            },
        }
    }
}
