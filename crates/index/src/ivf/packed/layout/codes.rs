//! Code pages.

use zerocopy::{FromBytes, IntoBytes};

use super::{ANOTHER_KIND, BAD_FRONT, BLOCK, CodeFront, Geometry, PAGE_HEADER, PageKind, init, next_of, put};
use crate::quant::fastscan;
use crate::storage::page::{Damage, Page, Tid};

/// A code page.
#[derive(Clone, Copy, Debug)]
pub struct CodePage<'a> {
    geometry: &'a Geometry,
    /// its front
    pub front: CodeFront,
    bytes: &'a [u8],
}

/// A block of codes in place.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// its entries
    pub len: usize,
    /// which of them live
    pub live: u32,
    /// factors
    pub add: &'a [f32],
    /// factors
    pub scale: &'a [f32],
    /// all codes
    pub codes: &'a [u8],
    /// whether they are transposed
    pub transposed: bool,
    /// rows
    pub rows: &'a [Tid],
    /// where their values are
    pub places: &'a [Tid],
}

impl<'a> CodePage<'a> {
    /// The page.
    ///
    /// # Errors
    /// A page that is none of codes.
    #[inline]
    pub fn new(geometry: &'a Geometry, bytes: &'a [u8]) -> Result<Self, Damage> {
        Page::unidentified(bytes)?;
        let (front, _) = CodeFront::read_from_prefix(bytes.get(PAGE_HEADER..).unwrap_or_default())
            .map_err(|_| ANOTHER_KIND)?;
        if front.kind != PageKind::Codes as u8 || bytes.len() != geometry.page_size {
            return Err(ANOTHER_KIND);
        }
        if usize::from(front.entries) > geometry.entries() {
            return Err(BAD_FRONT);
        }
        Ok(CodePage { geometry, front, bytes })
    }

    /// The next page of the list.
    #[inline]
    pub fn next(&self) -> u32 {
        next_of(self.bytes)
    }

    /// Its entries, dead ones included.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.front.entries)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries that live.
    pub fn live(&self) -> usize {
        self.blocks().map(|block| block.live.count_ones() as usize).sum()
    }

    /// Its blocks, in order, those that have entries.
    #[inline]
    pub fn blocks(&self) -> impl Iterator<Item = Block<'a>> + use<'a> {
        let (geometry, bytes, len) = (self.geometry, self.bytes, self.len());
        (0..len.div_ceil(geometry.block_entries.max(1))).filter_map(move |block| {
            let part = bytes.get(geometry.range(block))?;
            let entries = (len - block * geometry.block_entries).min(geometry.block_entries);
            let all = if entries == BLOCK { u32::MAX } else { (1 << entries) - 1 };
            let n = geometry.block_entries;
            Some(Block {
                len: entries,
                live: u32::from_ne_bytes(*part.first_chunk()?) & all,
                add: floats(part, geometry.add_at(), n)?,
                scale: floats(part, geometry.scale_at(), n)?,
                codes: part.get(geometry.codes_at()..geometry.rows_at())?,
                transposed: entries == BLOCK && geometry.transposed(),
                rows: tids(part, geometry.rows_at(), n)?,
                places: tids(part, geometry.places_at(), n)?,
            })
        })
    }
}

fn floats(part: &[u8], at: usize, n: usize) -> Option<&[f32]> {
    <[f32]>::ref_from_bytes(part.get(at..at + 4 * n)?).ok()
}

fn tids(part: &[u8], at: usize, n: usize) -> Option<&[Tid]> {
    <[Tid]>::ref_from_bytes(part.get(at..at + 6 * n)?).ok()
}

/// An entry without its code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// its row
    pub row: Tid,
    /// where its value is
    pub place: Tid,
    /// factor
    pub add: f32,
    /// factor
    pub scale: f32,
}

/// Makes the bytes an empty code page of a list whose centre has this norm.
pub fn init_codes(bytes: &mut [u8], list: u32, norm: f32) {
    init(bytes, PageKind::Codes, list);
    let front = CodeFront { kind: PageKind::Codes as u8, unused: 0, entries: 0, list, epoch: 0, norm };
    put(bytes, PAGE_HEADER, front.as_bytes());
}

/// Changes the front of a code page.
pub fn set_code_front(bytes: &mut [u8], front: CodeFront) {
    put(bytes, PAGE_HEADER, front.as_bytes());
}

/// Adds an entry to a code page with room for it. When that fills a block of 32, its codes are transposed.
///
/// # Errors
/// Another page, or a full one.
pub fn push_entry(geometry: &Geometry, bytes: &mut [u8], entry: &Entry, code: &[u8]) -> Result<(), Damage> {
    let front = CodePage::new(geometry, bytes)?.front;
    let at = usize::from(front.entries);
    if at >= geometry.entries() || code.len() != geometry.code {
        return Err(Damage::internal("entry where there is no room"));
    }
    let (block, slot) = (at / geometry.block_entries, at % geometry.block_entries);
    let part = bytes.get_mut(geometry.range(block)).ok_or(BAD_FRONT)?;
    let live = match part.first_chunk() {
        // what a page had before is nothing to a block that begins
        Some(live) if slot > 0 => u32::from_ne_bytes(*live),
        _ => 0,
    };
    put(part, 0, &(live | 1 << slot).to_ne_bytes());
    put(part, geometry.add_at() + 4 * slot, &entry.add.to_ne_bytes());
    put(part, geometry.scale_at() + 4 * slot, &entry.scale.to_ne_bytes());
    put(part, geometry.codes_at() + geometry.code * slot, code);
    put(part, geometry.rows_at() + 6 * slot, entry.row.as_bytes());
    put(part, geometry.places_at() + 6 * slot, entry.place.as_bytes());
    if slot + 1 == BLOCK && geometry.transposed() {
        let codes = part.get_mut(geometry.codes_at()..geometry.rows_at()).unwrap_or_default();
        transpose(codes, geometry.code)?;
    }
    set_code_front(bytes, CodeFront { entries: front.entries + 1, ..front });
    Ok(())
}

/// Makes the codes of a full block groups of four bits of all entries.
fn transpose(codes: &mut [u8], code: usize) -> Result<(), Damage> {
    let mut old = Room::new();
    let old = old.copy(codes).ok_or(Damage::internal("block larger than a page"))?;
    fastscan::pack(old, code, codes);
    Ok(())
}

/// Copies the code of entry `slot` of a block to `out`, in its own order.
pub fn code_of(block: &Block<'_>, slot: usize, out: &mut [u8]) {
    let size = out.len();
    if !block.transposed {
        if let Some(code) = block.codes.get(slot * size..(slot + 1) * size) {
            out.copy_from_slice(code);
        }
        return;
    }
    fastscan::get_code(block.codes, slot, out);
}

/// Clears the live bits of entries, which are numbered over the page.
pub fn clear_live(geometry: &Geometry, bytes: &mut [u8], dead: &[u16]) {
    for &at in dead {
        let (block, slot) =
            (usize::from(at) / geometry.block_entries, usize::from(at) % geometry.block_entries);
        if let Some(part) = bytes.get_mut(geometry.range(block))
            && let Some(live) = part.first_chunk_mut()
        {
            *live = (u32::from_ne_bytes(*live) & !(1 << slot)).to_ne_bytes();
        }
    }
}

/// Room for the codes of a page.
struct Room([u8; 8192]);

impl Room {
    const fn new() -> Self {
        Room([0; 8192])
    }

    fn copy(&mut self, from: &[u8]) -> Option<&[u8]> {
        let place = self.0.get_mut(..from.len())?;
        place.copy_from_slice(from);
        Some(place)
    }
}
