//! The second pass: every list of every element, and the entry point.

use super::{Check, Node, STRIDE, State};
use crate::hnsw::meta::{META_BLOCK, MetaPage, PAGE_ID};
use crate::hnsw::params::layer_range;
use crate::hnsw::v1::layout::{Neighbours, neighbours_size};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Page, Tid};
use crate::storage::verify::Violation;

impl Check<'_> {
    /// Reads the list of a node and passes it on, when it is one.
    pub(super) fn read_list<B: BlockStore, R>(
        &self,
        blocks: &mut B,
        node: &Node,
        look: impl FnOnce(&Neighbours<'_>, usize) -> R,
    ) -> Result<Option<R>, B::Error> {
        let at = self.lists.binary_search_by_key(&node.list.packed(), |list| list.tid).ok();
        if !at.and_then(|at| self.lists.get(at)).is_some_and(|list| list.sound) {
            return Ok(None);
        }
        let offset = node.list.offset();
        blocks.read(node.list.block(), |bytes| {
            // it was one a moment ago
            let item = Page::new(bytes, PAGE_ID).and_then(|page| page.item(offset)).unwrap_or_default();
            Ok(Neighbours::new(item, offset).ok().map(|list| look(&list, item.len())))
        })
    }

    pub(super) fn edges<B: BlockStore>(&mut self, blocks: &mut B) -> Result<(), B::Error> {
        let mut slots = Vec::new();
        for at in 0..self.census.nodes.len() {
            if at.is_multiple_of(STRIDE) {
                blocks.pause()?;
            }
            let Some(&node) = self.census.nodes.get(at) else { break };
            if node.state == State::Broken {
                continue;
            }
            slots.clear();
            let read = self.read_list(blocks, &node, |list, len| {
                slots.extend_from_slice(list.slots);
                (list.version, len)
            })?;
            let Some((version, len)) = read else { continue };
            if version != node.version {
                let what =
                    format!("version is {version}, and {} in the element at {}", node.version, node.tid());
                self.tell(node.list, what);
            }
            let expected = (usize::from(node.level) + 2) * self.m;
            if slots.len() != expected {
                let what = format!("{} slots for level {}, which has {expected}", slots.len(), node.level);
                self.tell(node.list, what);
                continue;
            }
            if len != neighbours_size(node.level, self.m) && node.state != State::Deleted {
                self.tell(node.list, "neighbour tuple of another length than its slots ask for");
            }
            if node.state == State::Deleted {
                if slots.iter().any(|slot| slot.is_valid()) {
                    self.tell(node.list, "edges of a deleted element");
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
            self.tell(node.list, format!("edges after a free slot in layer {layer}"));
        }
        if node.state != State::Live {
            return;
        }
        let Some(edges) = slots.get_mut(..edges) else { return };
        self.census.edges += edges.len() as u64;
        self.connected |= !edges.is_empty();
        edges.sort_unstable_by_key(|edge| edge.packed());
        let mut previous = Tid::INVALID;
        for &edge in edges.iter() {
            if edge == previous {
                self.tell(node.list, format!("edge to {edge} twice in layer {layer}"));
                continue;
            }
            previous = edge;
            if edge == node.tid() {
                self.tell(node.list, format!("edge to the element itself in layer {layer}"));
            } else if let Some(fault) = self.edge_fault(edge, layer) {
                self.tell(node.list, fault);
            }
        }
    }

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

    /// The entry point's place in the census.
    pub(super) fn entry(&mut self, meta: &MetaPage) -> Option<usize> {
        let mut tell = |what: String| (self.report)(Violation::at(META_BLOCK, 0, what));
        let entry = match meta.entry_point() {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                if meta.entry_offset != 0 || meta.entry_level != -1 {
                    tell("an entry point without a block".into());
                } else if self.connected && self.census.dying == 0 {
                    tell("no entry point".into());
                }
                return None;
            }
            Err(damage) => {
                tell(damage.what.into());
                return None;
            }
        };
        self.census.entry_level = Some(entry.level);
        let found = self.node(entry.tid).map(|(at, node)| (at, *node));
        let damaged = self.is_damaged(entry.tid.block());
        let mut tell = |what: String| (self.report)(Violation::at(META_BLOCK, 0, what));
        match found {
            None if damaged => {}
            None => tell(format!("entry point {}, where there is no element", entry.tid)),
            Some((_, node)) if node.state == State::Deleted => {
                tell(format!("entry point {}, a deleted element", entry.tid));
            }
            Some((_, node)) if node.state != State::Broken && node.level != entry.level => {
                tell(format!(
                    "entry point {} of level {}, which has level {}",
                    entry.tid, entry.level, node.level
                ));
            }
            _ => {}
        }
        found.filter(|(_, node)| matches!(node.state, State::Live | State::Dying)).map(|(at, _)| at)
    }
}
