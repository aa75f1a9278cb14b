//! The entries of filter keys: each tree has all of its pages, in order, and in a deep check each element has one entry
//! in each of them, with its keys.

use zerocopy::IntoBytes;

use super::super::layout::{Layout, PageKind, Record, state};
use super::super::meta::META_BLOCK;
use super::super::runs::page::{BAD_PAGE, Bound, Child, children, entries, front, key_of, node_of};
use super::{InlineCensus, Pages, place_of};
use crate::hnsw::census::{Auditor, CheckError, reserve};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{INVALID_BLOCK, Tid};

impl<B: BlockStore> InlineCensus<'_, B> {
    /// Looks at the trees, and in a deep check at the entries of elements. (Others may be there: entries of elements
    /// that are none any more.)
    pub(super) fn keys(&mut self, audit: &mut Auditor<'_>) -> Result<(), CheckError<B::Error>> {
        let Self { blocks, count, shared, met, room, roots, centre, .. } = self;
        let Some(layout) = shared.as_ref().map(|shared| &shared.layout) else { return Ok(()) };
        let mut pages = Pages { blocks: &mut **blocks, count: *count, layout };
        let centre = *centre;
        let mut tree = Trees::default();
        reserve(&mut tree.known, *count as usize)?;
        tree.known.resize(*count as usize, false);
        let runs = layout.shape.filters.runs();
        for (column, &root) in roots.iter().enumerate().filter(|(_, root)| **root != INVALID_BLOCK) {
            if column >= runs {
                audit.tell(Tid::new(META_BLOCK, 0), "filter keys of a column that has none");
                continue;
            }
            reserve(&mut tree.level, 1)?;
            tree.level.push(Child::new(Bound::START, root));
            let mut height = None;
            while !tree.level.is_empty() {
                for at in 0..tree.level.len() {
                    pages.blocks.pause()?;
                    let Some(&child) = tree.level.get(at) else { break };
                    let place = Tid::new(child.block, 0);
                    match (tree.known.get_mut(child.block as usize), met.kind(child.block)) {
                        (Some(known), Some(PageKind::Keys | PageKind::Directory)) if !*known => *known = true,
                        (Some(true), _) => {
                            audit.tell(place, "filter keys on a page that was there before");
                            continue;
                        }
                        _ => {
                            audit.tell(
                                Tid::new(META_BLOCK, 0),
                                format!("filter keys in block {}, which has none", child.block),
                            );
                            continue;
                        }
                    }
                    pages.copy(child.block, &mut room.page)?;
                    let next = tree.level.get(at + 1);
                    let expected =
                        next.map_or((Bound::END, INVALID_BLOCK), |next| (next.least(), next.block));
                    let level = tree.page(layout, room.page.as_bytes(), column, &child, expected, audit)?;
                    if height.is_some_and(|height| level != Some(height)) {
                        audit.tell(place, "page of filter keys on another level than those beside it");
                    }
                    height = level;
                }
                height = height.and_then(|height: u8| height.checked_sub(1));
                core::mem::swap(&mut tree.level, &mut tree.below);
                tree.below.clear();
            }
        }
        for block in META_BLOCK + 1..*count {
            match met.kind(block) {
                Some(PageKind::Keys | PageKind::Directory)
                    if tree.known.get(block as usize) == Some(&false) =>
                {
                    audit.tell(Tid::new(block, 0), "filter keys that scans do not come to");
                }
                Some(PageKind::Centre) if block != centre => {
                    audit.tell(Tid::new(block, 0), "centre of codes that scans do not come to");
                }
                _ => {}
            }
        }
        if centre != INVALID_BLOCK && (centre >= *count || met.kind(centre) != Some(PageKind::Centre)) {
            audit.tell(Tid::new(META_BLOCK, 0), format!("centre of codes in block {centre}, which has none"));
        }
        if layout.shape.filters.is_empty() || !audit.is_deep() {
            return Ok(());
        }
        tree.entries.sort_unstable();
        let records = &layout.ground;
        for block in META_BLOCK + 1..*count {
            if met.kind(block) != Some(PageKind::Ground) {
                continue;
            }
            pages.blocks.pause()?;
            pages.copy(block, &mut room.page)?;
            let bytes = room.page.as_bytes();
            for slot in 0..records.slots.per_page {
                let head = records.slots.get(bytes, PageKind::Ground, slot);
                let record = head.and_then(|head| Record::new(records, head, slot));
                let (Ok(record), Some(id)) = (record, records.slots.id(block, slot)) else { continue };
                // one without rows may be left over from an insert that did not come so far
                let rows = record.header.heap_tid.is_valid() || record.header.chain.is_valid();
                if record.header.state != state::LIVE || !rows {
                    continue;
                }
                let own = tree.entries_of(id);
                let filters = &layout.shape.filters;
                let keys = filters.unpack(record.own_keys());
                let keys = digest(keys.get(..filters.len()).unwrap_or_default().as_bytes());
                let counts = (0..runs as u32)
                    .map(|column| own.iter().filter(|entry| (entry.1, entry.2) == (column, keys)).count());
                if counts.clone().all(|count| count == 1) {
                    continue;
                }
                // an insert goes from tree to tree, so that it leaves entries of the first columns, or none
                let begun = counts.clone().skip_while(|&count| count == 1).all(|count| count == 0)
                    && own.iter().all(|entry| entry.2 == keys);
                match counts.clone().max() {
                    _ if begun => {
                        // an insert that did not come so far leaves an element that nothing leads to
                        let entered = met.entry.0.is_some_and(|point| point.tid == layout.tid(id));
                        let anchor = record.ids().first().copied();
                        let linked = match anchor.map(|anchor| records.slots.place(anchor)) {
                            Some((block, slot)) if met.kind(block) == Some(PageKind::Ground) => {
                                pages.blocks.read(block, |bytes| {
                                    let anchor = records.slots.get(bytes, PageKind::Ground, slot);
                                    let anchor = anchor.and_then(|bytes| Record::new(records, bytes, slot));
                                    Ok(anchor
                                        .is_ok_and(|anchor| anchor.is_live() && anchor.ids().contains(&id)))
                                })?
                            }
                            _ => false,
                        };
                        if entered || linked {
                            audit.tell(place_of(records, id), "filter keys are not where passes look");
                        }
                    }
                    Some(2..) => audit.tell(place_of(records, id), "filter keys that passes come to twice"),
                    _ => audit.tell(place_of(records, id), "filter keys are not where passes look"),
                }
            }
        }
        Ok(())
    }
}

/// What is known of the trees.
#[derive(Default)]
struct Trees {
    /// pages that were met
    known: Vec<bool>,
    /// pages of the level at hand, and of the one below
    level: Vec<Child>,
    below: Vec<Child>,
    /// in a deep check: nodes, the column of the tree, and what stands for their keys
    entries: Vec<(u32, u32, u64)>,
}

/// A number that stands for keys: others have another, all but surely.
fn digest(keys: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hasher::write(&mut hasher, keys);
    std::hash::Hasher::finish(&hasher)
}

impl Trees {
    /// The entries of a node, when all are sorted.
    fn entries_of(&self, id: u32) -> &[(u32, u32, u64)] {
        let start = self.entries.partition_point(|entry| entry.0 < id);
        let own = self.entries.get(start..).unwrap_or_default();
        own.get(..own.partition_point(|entry| entry.0 == id)).unwrap_or_default()
    }

    /// A page of a column's tree that is to begin at `own`, and to end, and be followed, as `expected` says. Returns
    /// its level.
    fn page<E>(
        &mut self,
        layout: &Layout,
        bytes: &[u8],
        column: usize,
        own: &Child,
        expected: (Bound, u32),
        audit: &mut Auditor<'_>,
    ) -> Result<Option<u8>, CheckError<E>> {
        let place = Tid::new(own.block, 0);
        let (kind, front, next) = match front(bytes) {
            Ok(found) => found,
            Err(damage) => {
                audit.tell(place, damage.what);
                return Ok(None);
            }
        };
        if (front.end(), next) != expected {
            audit.tell(place, "page of filter keys that ends elsewhere than the next begins");
        }
        let within = |bound: Bound| own.least() <= bound && bound < front.end();
        if kind == PageKind::Directory {
            let children = match children(bytes, &front) {
                Ok(children) => children,
                Err(damage) => {
                    audit.tell(place, damage.what);
                    return Ok(None);
                }
            };
            let ordered = children.is_sorted_by(|a, b| a.least() < b.least());
            let first = children.first().is_some_and(|first| first.least() == own.least());
            if !ordered || !first || !children.iter().all(|child| within(child.least())) {
                audit.tell(place, "directory of filter keys that is not in order");
            }
            reserve(&mut self.below, children.len())?;
            self.below.extend_from_slice(children);
            return Ok(Some(front.level));
        }
        let page = layout.runs.as_ref().map(|geometry| entries(geometry, bytes, &front));
        let Some(Ok(page)) = page else {
            audit.tell(place, BAD_PAGE.what);
            return Ok(None);
        };
        let mut misplaced = false;
        for block in page.blocks() {
            for slot in (0..block.len).filter(|slot| block.live >> slot & 1 == 1) {
                let (Some(id), keys) = (node_of(&block, slot), block.keys_of(slot)) else { continue };
                misplaced |= !within(Bound { key: key_of(keys, column), id });
                if audit.is_deep() {
                    reserve(&mut self.entries, 1)?;
                    self.entries.push((id, column as u32, digest(keys)));
                }
            }
        }
        if misplaced {
            audit.tell(place, "filter keys on another page than their order says");
        }
        Ok(Some(0))
    }
}
