//! What stands apart from records: their rests, and rows beyond the first.

use zerocopy::IntoBytes;

use super::super::BROKEN;
use super::super::rows::fill;
use super::{Chains, Merged, Others, Sink};
use crate::hnsw::inline::layout::{PAGE_ID, PageKind, SegmentHeader, put_segment};
use crate::hnsw::inline::meta::META_BLOCK;
use crate::hnsw::inline::scan::Index;
use crate::storage::page::{Corruption, Damage, INVALID_BLOCK, PageMut, Tid};
use crate::work::memory::{OutOfMemory, filled, resize, with_room};
use crate::work::runs::Files;
use crate::work::workers::Workers;

impl Merged {
    /// Writes the pages of rests of a kind, which are in a file.
    pub(super) fn write_rests<S, E: From<Corruption>>(
        &self,
        files: &mut dyn Files,
        index: &Index<S>,
        (kind, layer, rests): (PageKind, u8, usize),
        workers: &mut Workers<'_>,
        page: Sink<'_, E>,
    ) -> Result<(), E> {
        let records = index.layout.records(layer);
        let slots = &records.rest_slots;
        let mut left = if layer == 0 { self.len() } else { self.upper_records() };
        let mut words = self.page_room(index)?;
        // of a record on pages of its own: the part that comes next
        let mut part = 0;
        files.rewind(rests);
        for block in self.sections.blocks(kind) {
            workers.poll_when_due();
            let bytes = words.as_mut_slice().as_mut_bytes();
            slots.init(bytes, kind);
            let filled = if records.rest_pages > 0 {
                let last = part + 1 == records.rest_pages;
                let size = if last { records.rest - part * slots.size } else { slots.size };
                let next = if last { INVALID_BLOCK } else { block + 1 };
                part = if last { 0 } else { part + 1 };
                slots.set_used(bytes, 0, true);
                PageMut::new(bytes, PAGE_ID).map(|mut page| page.set_next(next)).and_then(|()| {
                    let slot = slots.get_mut(bytes, kind, 0)?;
                    fill(files, rests, slot.get_mut(..size).ok_or(BROKEN)?)
                })
            } else {
                let here = slots.per_page.min(left);
                left -= here;
                (0..here).try_for_each(|slot| {
                    slots.set_used(bytes, slot, true);
                    let target = slots.get_mut(bytes, kind, slot)?;
                    fill(files, rests, target.get_mut(..records.rest).ok_or(BROKEN)?)
                })
            };
            filled.map_err(|damage: Damage| E::from(damage.on(block)))?;
            page(block, words.as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn page_room<S, E: From<Corruption>>(&self, index: &Index<S>) -> Result<Vec<u64>, E> {
        filled(0u64, index.layout.page_size / 8)
            .map_err(|memory| E::from(Damage::from(memory).on(META_BLOCK)))
    }

    /// Writes the pages of chains: first those of elements with few rows, then those of others.
    pub(super) fn write_chains<S, E: From<Corruption>>(
        &self,
        files: &mut dyn Files,
        index: &Index<S>,
        chains: &Chains,
        workers: &mut Workers<'_>,
        page: Sink<'_, E>,
    ) -> Result<(), E> {
        let layout = &index.layout;
        let few = layout.segment(&layout.chain);
        for (kind, slots) in [(PageKind::Chain, &layout.chain), (PageKind::LongChain, &layout.long_chain)] {
            let on_meta = |damage: Damage| E::from(damage.on(META_BLOCK));
            let mut words: Vec<u64> = self.page_room(index)?;
            let (per_page, most) = (slots.per_page.max(1), layout.segment(slots).max(1));
            let (mut at, blocks) = (0usize, self.sections.blocks(kind));
            let mut tids = with_room(0).map_err(|memory: OutOfMemory| on_meta(memory.into()))?;
            files.rewind(chains.file);
            let mut others = Others::default();
            while chains.any && files.read(chains.file, others.as_mut_bytes()) == size_of::<Others>() {
                workers.poll_when_due();
                resize(&mut tids, others.count as usize, Tid::INVALID)
                    .map_err(|memory| on_meta(memory.into()))?;
                fill(files, chains.file, tids.as_mut_slice().as_mut_bytes()).map_err(on_meta)?;
                if (tids.len() <= few) != (kind == PageKind::Chain) {
                    continue;
                }
                let segments = tids.len().div_ceil(most);
                for (n, part) in tids.chunks(most).enumerate() {
                    let (block, slot) = (blocks.start + (at / per_page) as u32, at % per_page);
                    let bytes = words.as_mut_slice().as_mut_bytes();
                    if slot == 0 {
                        slots.init(bytes, kind);
                    }
                    let next =
                        if n + 1 < segments { self.segment(kind, slots, at + 1) } else { Tid::INVALID };
                    let header = SegmentHeader::new(others.owner, (segments - 1 - n) as u32, next, 0, 1);
                    slots.set_used(bytes, slot, true);
                    let target =
                        slots.get_mut(bytes, kind, slot).map_err(|damage| E::from(damage.on(block)))?;
                    put_segment(target, header, part);
                    at += 1;
                    if at.is_multiple_of(per_page) {
                        page(block, words.as_bytes())?;
                    }
                }
            }
            if !at.is_multiple_of(per_page) {
                page(blocks.start + (at / per_page) as u32, words.as_bytes())?;
                at = at.next_multiple_of(per_page);
            }
            if at / per_page != blocks.len() {
                return Err(on_meta(BROKEN));
            }
        }
        Ok(())
    }
}
