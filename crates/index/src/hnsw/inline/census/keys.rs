//! The entries of filter keys: the chain of their pages has all of them, and in a deep check each element has an entry
//! with its keys.

use zerocopy::IntoBytes;

use super::super::keys::entry_id;
use super::super::layout::{ENTRY_KEYS, PageKind, Record, state};
use super::super::meta::META_BLOCK;
use super::super::records::slot_of;
use super::{InlineCensus, Pages, place_of};
use crate::hnsw::census::{Auditor, CheckError, reserve};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{INVALID_BLOCK, Page, Tid};

impl<B: BlockStore> InlineCensus<'_, B> {
    /// Looks at the chain of pages, and in a deep check at the entries that records name. (Others may be there: a crash
    /// leaves entries that no record names.)
    pub(super) fn keys(&mut self, audit: &mut Auditor<'_>) -> Result<(), CheckError<B::Error>> {
        let Self { blocks, count, shared, met, room, first_keys, .. } = self;
        let Some(layout) = shared.as_ref().map(|shared| &shared.layout) else { return Ok(()) };
        let mut pages = Pages { blocks: &mut **blocks, count: *count, layout };
        let mut chained: Vec<bool> = Vec::new();
        reserve(&mut chained, *count as usize)?;
        chained.resize(*count as usize, false);
        let (mut block, mut from) = (*first_keys, META_BLOCK);
        while block != INVALID_BLOCK {
            let place = Tid::new(from, 0);
            match chained.get_mut(block as usize) {
                Some(known) if !*known && met.kind(block) == Some(PageKind::Keys) => *known = true,
                Some(true) => {
                    audit.tell(place, format!("filter keys go on in block {block}, which was there before"));
                    break;
                }
                _ => {
                    audit.tell(place, format!("filter keys go on in block {block}, which has none"));
                    break;
                }
            }
            pages.copy(block, &mut room.page)?;
            let next = Page::unidentified(room.page.as_bytes()).map_or(INVALID_BLOCK, |page| page.next());
            (from, block) = (block, next);
        }
        for block in META_BLOCK + 1..*count {
            if met.kind(block) == Some(PageKind::Keys) && chained.get(block as usize) == Some(&false) {
                audit.tell(Tid::new(block, 0), "filter keys that scans do not come to");
            }
        }
        if layout.shape.filter_size == 0 || !audit.is_deep() {
            return Ok(());
        }
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
                let entry = record.entry();
                if !entry.is_valid() {
                    // an insert that did not come so far leaves an element that nothing leads to
                    let entered = met.entry.0.is_some_and(|point| point.tid == layout.tid(id));
                    let anchor = record.ids().first().copied();
                    let linked = match anchor.map(|anchor| records.slots.place(anchor)) {
                        Some((block, slot)) if met.kind(block) == Some(PageKind::Ground) => {
                            pages.blocks.read(block, |bytes| {
                                let anchor = records.slots.get(bytes, PageKind::Ground, slot);
                                let anchor = anchor.and_then(|bytes| Record::new(records, bytes, slot));
                                Ok(anchor.is_ok_and(|anchor| anchor.is_live() && anchor.ids().contains(&id)))
                            })?
                        }
                        _ => false,
                    };
                    if !entered && !linked {
                        continue;
                    }
                }
                let found = chained.get(entry.block() as usize) == Some(&true)
                    && pages.blocks.read(entry.block(), |bytes| {
                        let Ok(slot) = slot_of(entry, layout.keys.per_page) else { return Ok(false) };
                        let used = layout.keys.is_used(bytes, slot);
                        let Ok(entry) = layout.keys.get(bytes, PageKind::Keys, slot) else {
                            return Ok(false);
                        };
                        let keys = entry.get(ENTRY_KEYS..ENTRY_KEYS + records.filter_size);
                        Ok(used && entry_id(entry) == Some(id) && keys == Some(record.own_keys()))
                    })?;
                if !found {
                    audit.tell(place_of(records, id), "filter keys are not where passes look");
                }
            }
        }
        Ok(())
    }
}
