//! Records read one by one: headers, the way up from a record of layer 0, and values, put together where they are cut.

use super::layout::{
    Layout, NO_NODE, PageKind, Record, RecordHeader, SegmentHeader, offset, page_kind, segment,
};
use crate::hnsw::graph::Member;
use crate::space::ValueBuf;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, Page, Tid};
use crate::work::memory::{OutOfMemory, is_short};

/// The slot that a TID names, of a page with so many.
///
/// # Errors
/// A TID that names none.
pub(super) fn slot_of(tid: Tid, per_page: usize) -> Result<usize, Damage> {
    let slot = usize::from(tid.offset()).checked_sub(1).filter(|&slot| slot < per_page);
    slot.ok_or(Damage::at(tid.offset(), "slot does not exist"))
}

/// What a record of layer 0 says of its node.
pub(super) fn member_of(tid: Tid, record: &Record<'_>) -> Member {
    let header = record.header;
    let live = record.is_live() && has_rows(header);
    Member { tid, list: tid, level: header.level, version: header.version, live }
}

/// Whether a node has rows, by its record of layer 0.
pub(super) fn has_rows(header: &RecordHeader) -> bool {
    header.heap_tid.is_valid() || header.chain.is_valid()
}

/// Looks at the record of layer 0 at `tid`, of whatever state.
///
/// # Errors
/// When there is none, and what `look` answers.
#[inline(always)]
pub(super) fn look_at_ground<B: BlockStore, R>(
    blocks: &mut B,
    layout: &Layout,
    tid: Tid,
    look: impl FnOnce(&Record<'_>) -> Result<R, Damage>,
) -> Result<R, B::Error> {
    let records = &layout.ground;
    blocks.read(tid.block(), |bytes| {
        let slot = slot_of(tid, records.slots.per_page)?;
        look(&Record::new(records, records.slots.get(bytes, PageKind::Ground, slot)?, slot)?)
    })
}

/// Looks at a record of an upper layer, which belongs to the node at `owner`.
///
/// # Errors
/// When it does not, and what `look` answers.
pub(super) fn look_at_upper<B: BlockStore, R>(
    blocks: &mut B,
    layout: &Layout,
    id: u32,
    layer: u8,
    owner: Tid,
    look: impl FnOnce(&Record<'_>) -> Result<R, Damage>,
) -> Result<R, B::Error> {
    let records = &layout.upper;
    let (block, slot) = records.slots.place(id);
    blocks.read(block, |bytes| {
        let record = Record::new(records, records.slots.get(bytes, PageKind::Upper, slot)?, slot)?;
        let header = record.header;
        if !record.is_live() || header.layer != layer || header.heap_tid != owner {
            return Err(Damage::at(offset(slot), "record of another node"));
        }
        look(&record)
    })
}

/// The record of a node in `layer`, above 0. `None` when the node is gone, or has no such record (yet).
///
/// # Errors
/// Records that do not hang together.
pub(super) fn climb<B: BlockStore>(
    blocks: &mut B,
    layout: &Layout,
    member: &Member,
    layer: u8,
) -> Result<Option<u32>, B::Error> {
    let mut above = look_at_ground(blocks, layout, member.tid, |record| {
        let header = record.header;
        let own = record.is_live() && header.version == member.version && header.level >= layer;
        Ok(own.then_some(header.above))
    })?;
    for step in 1..=layer {
        let Some(id) = above else { return Ok(None) };
        if id == NO_NODE {
            return Err(Damage::at(member.tid.offset(), "level without a record")
                .on(member.tid.block())
                .into());
        }
        if step == layer {
            break;
        }
        above = look_at_upper(blocks, layout, id, step, member.tid, |record| Ok(Some(record.header.above)))?;
    }
    Ok(above)
}

/// Looks at a segment of heap TIDs; `None` when its place is free.
///
/// # Errors
/// A page of another kind, and what `look` answers.
pub(super) fn look_at_segment<B: BlockStore, R>(
    blocks: &mut B,
    layout: &Layout,
    at: Tid,
    look: impl FnOnce(&SegmentHeader, &[Tid]) -> Result<R, Damage>,
) -> Result<Option<R>, B::Error> {
    blocks.read(at.block(), |bytes| {
        let (slots, kind) = match page_kind(bytes)? {
            Some(PageKind::LongChain) => (&layout.long_chain, PageKind::LongChain),
            _ => (&layout.chain, PageKind::Chain),
        };
        let slot = slot_of(at, slots.per_page)?;
        let place = slots.get(bytes, kind, slot)?;
        if !slots.is_used(bytes, slot) {
            return Ok(None);
        }
        let (header, rows) = segment(place, slot)?;
        look(header, rows).map(Some)
    })
}

/// Makes the buffer so long, of whatever bytes.
pub(super) fn reset(buffer: &mut ValueBuf, len: usize) -> Result<(), OutOfMemory> {
    // at most two values and their codes: what a [`ValueBuf`] may ask for in the ordinary way
    if is_short() {
        return Err(OutOfMemory);
    }
    if buffer.bytes().len() != len {
        buffer.reset(len);
    }
    Ok(())
}

/// Looks at a node, alive or not, and its value, which is empty when there is no node. `buffer` is room for a value.
///
/// # Errors
/// When there is no record of layer 0 at `tid`, a damaged rest of it, and what `look` answers.
pub(super) fn look_at_value<B: BlockStore, R>(
    blocks: &mut B,
    layout: &Layout,
    buffer: &mut ValueBuf,
    tid: Tid,
    look: impl FnOnce(&Member, &[u8]) -> Result<R, Damage>,
) -> Result<R, B::Error> {
    enum Step<R, L> {
        Done(R),
        Rest(L, Member, Tid),
    }
    let records = &layout.ground;
    let value = records.value();
    // what the slot has of the value
    let in_head = value.start.min(records.head())..value.end.min(records.head());
    let step = look_at_ground(blocks, layout, tid, |record| {
        let member = member_of(tid, record);
        if !record.is_live() {
            return look(&member, &[]).map(Step::Done);
        }
        if let Some(value) = record.value() {
            return look(&member, value).map(Step::Done);
        }
        if !records.is_value_apart() {
            reset(buffer, records.value_size)?;
            let part = record.bytes().get(in_head.clone()).unwrap_or_default();
            if let Some(place) = buffer.bytes_mut().get_mut(..part.len()) {
                place.copy_from_slice(part);
            }
        }
        Ok(Step::Rest(look, member, record.header.rest))
    })?;
    let (look, member, rest) = match step {
        Step::Done(result) => return Ok(result),
        Step::Rest(look, member, rest) => (look, member, rest),
    };
    let slots = &records.rest_slots;
    let slot = usize::from(rest.offset()).wrapping_sub(1);
    if records.is_value_apart() {
        return blocks.read(rest.block(), |bytes| {
            let part = slots.get(bytes, PageKind::GroundRest, slot)?;
            look(&member, part.get(..records.value_size).unwrap_or_default())
        });
    }
    let mut block = rest.block();
    // where a page's part begins in a whole record
    let mut at = records.head();
    for _ in 0..records.rest_pages.max(1) {
        block = blocks.read(block, |bytes| {
            let part = slots.get(bytes, PageKind::GroundRest, slot)?;
            let (start, end) = (at.max(value.start), (at + part.len()).min(value.end));
            if let Some(from) = part.get(start.saturating_sub(at)..end.saturating_sub(at))
                && let Some(to) =
                    buffer.bytes_mut().get_mut(start - value.start..end.saturating_sub(value.start))
                && from.len() == to.len()
            {
                to.copy_from_slice(from);
            }
            Ok(Page::unidentified(bytes)?.next())
        })?;
        at += slots.size;
    }
    look(&member, buffer.bytes()).map_err(|damage| damage.on(rest.block()).into())
}
