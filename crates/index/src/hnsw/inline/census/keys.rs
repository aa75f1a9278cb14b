//! The entries of filter keys: each tree has all of its pages, in order, and in a deep check each element has one entry
//! in each of them, with its keys.

use zerocopy::IntoBytes;

use super::super::layout::{PageKind, Record, state};
use super::super::meta::META_BLOCK;
use super::super::run::KINDS;
use super::{InlineCensus, Met, Pages, place_of};
use crate::hnsw::census::{Auditor, CheckError, reserve};
use crate::runs::Tree;
use crate::runs::audit::{self, Walk, Witness, digest};
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
        let (mut walk, mut found) = (Walk::default(), Entries::default());
        let page_size = layout.page_size;
        walk.begin(*count, page_size).map_err(|_| CheckError::OutOfMemory)?;
        let runs = layout.shape.filters.runs();
        for (column, &root) in roots.iter().enumerate().filter(|(_, root)| **root != INVALID_BLOCK) {
            let Some(geometry) = layout.runs.as_ref().filter(|_| column < runs) else {
                audit.tell(Tid::new(META_BLOCK, 0), "filter keys of a column that has none");
                continue;
            };
            let mut witness = Audited { pages: &mut pages, met, audit, found: &mut found };
            walk.tree(KINDS, geometry, Tree { column, root }, &mut witness)?;
        }
        let tree = &mut found;
        for block in META_BLOCK + 1..*count {
            match met.kind(block) {
                Some(PageKind::Keys | PageKind::Directory)
                    if walk.known.get(block as usize) == Some(&false) =>
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
            pages.copy(block, room.page.as_mut_bytes())?;
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

/// What is known of the trees of a deep check.
#[derive(Default)]
struct Entries {
    /// nodes, the column of the tree, and what stands for their keys
    entries: Vec<(u32, u32, u64)>,
}

impl Entries {
    /// The entries of a node, when all are sorted.
    fn entries_of(&self, id: u32) -> &[(u32, u32, u64)] {
        let start = self.entries.partition_point(|entry| entry.0 < id);
        let own = self.entries.get(start..).unwrap_or_default();
        own.get(..own.partition_point(|entry| entry.0 == id)).unwrap_or_default()
    }
}

/// Whoever is told of a tree's pages.
struct Audited<'w, 'p, 'a, B> {
    pages: &'w mut Pages<'p, B>,
    met: &'w Met,
    audit: &'w mut Auditor<'a>,
    found: &'w mut Entries,
}

impl<B: BlockStore> Witness for Audited<'_, '_, '_, B> {
    type Error = CheckError<B::Error>;

    fn read(&mut self, block: u32, out: &mut [u8]) -> Result<bool, Self::Error> {
        self.pages.blocks.pause()?;
        if !matches!(self.met.kind(block), Some(PageKind::Keys | PageKind::Directory)) {
            let what = format!("filter keys in block {block}, which has none");
            self.audit.tell(Tid::new(META_BLOCK, 0), what);
            return Ok(false);
        }
        self.pages.copy(block, out)?;
        Ok(true)
    }

    fn tell(&mut self, place: Tid, what: &'static str) {
        self.audit.tell(place, what);
    }

    fn entry(&mut self, column: usize, entry: &audit::Met<'_>) -> Result<(), Self::Error> {
        if self.audit.is_deep() {
            reserve(&mut self.found.entries, 1)?;
            self.found.entries.push((entry.name.block(), column as u32, digest(entry.keys)));
        }
        Ok(())
    }

    fn no_memory(&mut self) -> Self::Error {
        CheckError::OutOfMemory
    }
}
