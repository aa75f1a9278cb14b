//! What an inline index consists of, counted.

use core::ops::Range;

use super::layout::{
    Layout, NO_NODE, PageKind, RECORD_HEADER, Record, Slots, offset, page_kind, segment, state,
};
use super::meta::{FROM_COPIES, META_BLOCK, read_meta};
use crate::hnsw::info::{Counts, Info};
use crate::space::ValueKind;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, Tid};
use crate::storage::verify;

/// A live element of more than one layer.
#[derive(Clone, Copy)]
struct Tall {
    tid: Tid,
    level: u8,
    above: u32,
}

/// Counts the contents of `blocks`.
///
/// # Errors
/// A block that cannot be read, or one that is no page of such an index.
pub fn gather<B: BlockStore>(blocks: &mut B) -> Result<Info, B::Error> {
    let count = blocks.count()?;
    let meta = read_meta(blocks)?;
    let on_meta = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
    let layout = meta.layout(blocks.page_size()).map_err(on_meta)?;
    let mut info = Info::new("inline", &meta.common, meta.common.entry_point().map_err(on_meta)?);
    info.code_bits = (layout.shape.kind != ValueKind::Bit).then_some(meta.bits & !FROM_COPIES);
    info.codes_of_copies = meta.from_copies();
    info.code_doubled = Some(meta.doubled).filter(|&doubled| doubled > 0);
    info.runs = Some(layout.shape.filters.runs()).filter(|&runs| runs > 0);
    info.free_slots = Some(0);
    let pages = &mut info.pages;
    (pages.upper, pages.rests, pages.rows) = (Some(0), Some(0), Some(0));
    let mut counts = Counts::new();
    let mut tall: Vec<Tall> = Vec::new();
    for block in META_BLOCK + 1..count {
        blocks.pause()?;
        tall.clear();
        // as many as a page holds, so that its look under the lock needs no memory
        tall.try_reserve(layout.ground.slots.per_page).map_err(|_| Damage::OUT_OF_MEMORY.on(block))?;
        blocks
            .read_in_passing(block, |bytes| look(&layout, block, bytes, &mut info, &mut counts, &mut tall))?;
        for tall in &tall {
            climb(blocks, &layout, &mut counts, tall)?;
        }
    }
    counts.finish(&mut info, layout.shape.m);
    Ok(info)
}

/// Reads the pages of the upper layers around the entry point's record: in an index that was built at once, all of
/// them. Returns their range, which is empty when there are none.
///
/// # Errors
/// A block that cannot be read, or is none of such an index.
pub fn read_upper<B: BlockStore>(blocks: &mut B) -> Result<Range<u32>, B::Error> {
    let count = blocks.count()?;
    let meta = read_meta(blocks)?;
    let layout = meta.layout(blocks.page_size()).map_err(|damage| damage.on(META_BLOCK))?;
    let (block, _) = layout.upper.slots.place(meta.top);
    if meta.common.entry_level < 1 || block >= count {
        return Ok(0..0);
    }
    let mut is_upper = |block: u32| {
        blocks.pause()?;
        blocks.read(block, |bytes| Ok(page_kind(bytes)? == Some(PageKind::Upper)))
    };
    let (mut start, mut end) = (block, block);
    while end < count && is_upper(end)? {
        end += 1;
    }
    while start > META_BLOCK + 1 && is_upper(start - 1)? {
        start -= 1;
    }
    Ok(start..end)
}

/// Counts what is on a page, and notes its elements of upper layers.
fn look(
    layout: &Layout,
    block: u32,
    bytes: &[u8],
    info: &mut Info,
    counts: &mut Counts,
    tall: &mut Vec<Tall>,
) -> Result<(), Damage> {
    if verify::is_zero(bytes) {
        info.pages.unused += 1;
        return Ok(());
    }
    let kind = page_kind(bytes)?.ok_or(Damage::at(0, "invalid page"))?;
    let pages = &mut info.pages;
    let (slots, pages): (&Slots, &mut u32) = match kind {
        PageKind::Ground => (&layout.ground.slots, &mut pages.elements),
        PageKind::Upper => (&layout.upper.slots, pages.upper.get_or_insert(0)),
        PageKind::GroundRest => (&layout.ground.rest_slots, pages.rests.get_or_insert(0)),
        PageKind::UpperRest => (&layout.upper.rest_slots, pages.rests.get_or_insert(0)),
        PageKind::Chain => (&layout.chain, pages.rows.get_or_insert(0)),
        PageKind::LongChain => (&layout.long_chain, pages.rows.get_or_insert(0)),
        PageKind::Keys | PageKind::Directory | PageKind::Centre => {
            (&layout.no_slots, pages.keys.get_or_insert(0))
        }
        PageKind::Included | PageKind::IncludedDirectory => {
            (&layout.no_slots, pages.included.get_or_insert(0))
        }
    };
    *pages += 1;
    if !kind.has_slots() {
        return Ok(());
    }
    for slot in 0..slots.per_page {
        let (content, used) = (slots.get(bytes, kind, slot)?, slots.is_used(bytes, slot));
        info.free_bytes += if used { 0 } else { slots.size as u64 };
        match kind {
            PageKind::Ground if used => {
                let header = Record::new(&layout.ground, content, slot)?.header;
                if header.state != state::LIVE {
                    continue;
                }
                if !header.heap_tid.is_valid() && !header.chain.is_valid() {
                    info.dying += 1;
                    continue;
                }
                info.elements += 1;
                info.rows += u64::from(header.heap_tid.is_valid());
                counts.element(header.level);
                counts.edges(0, usize::from(header.neighbours));
                if header.level > 0 && tall.len() < tall.capacity() {
                    tall.push(Tall {
                        tid: Tid::new(block, offset(slot)),
                        level: header.level,
                        above: header.above,
                    });
                }
            }
            PageKind::Ground => {
                let former = !verify::is_zero(content.get(..RECORD_HEADER).unwrap_or_default());
                info.deleted += u64::from(former);
                *info.free_slots.get_or_insert(0) += 1;
            }
            PageKind::Chain | PageKind::LongChain if used => {
                info.rows += segment(content, slot)?.1.len() as u64;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Counts the edges of an element in the layers above the lowest. Of a layer whose record was given to another
/// meanwhile it has none.
fn climb<B: BlockStore>(
    blocks: &mut B,
    layout: &Layout,
    counts: &mut Counts,
    element: &Tall,
) -> Result<(), B::Error> {
    let slots = &layout.upper.slots;
    let mut at = element.above;
    for layer in 1..=element.level {
        let (block, slot) = slots.place(at);
        let found = match at {
            NO_NODE => None,
            _ => blocks.read(block, |bytes| {
                let header =
                    Record::new(&layout.upper, slots.get(bytes, PageKind::Upper, slot)?, slot)?.header;
                let same = (header.state, header.layer, header.heap_tid) == (state::LIVE, layer, element.tid);
                Ok(same.then_some((header.above, usize::from(header.neighbours))))
            })?,
        };
        counts.edges(layer, found.map_or(0, |(_, degree)| degree));
        at = found.map_or(NO_NODE, |(above, _)| above);
    }
    Ok(())
}
