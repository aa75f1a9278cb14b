//! Code pages.

use zerocopy::{FromBytes, IntoBytes};

use super::{
    ANOTHER_KIND, BAD_FRONT, BLOCK, CodeFront, Geometry, LOWER, MAX_BLOCKS, PAGE_HEADER, PageKind, end_bytes,
    init, next_of, put, set_end,
};
use crate::filter::Program;
use crate::quant::fastscan;
use crate::storage::blocks::{PageRef, PageUpdate};
use crate::storage::page::{Damage, Page, SPECIAL_SIZE, Tid, hole};

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
    /// where their values are; the rows where the index has none
    pub places: &'a [Tid],
    /// filter keys, one entry's behind the other's
    pub keys: &'a [u8],
}

impl<'a> Block<'a> {
    /// The filter keys of entry `slot`.
    #[inline]
    pub fn keys_of(&self, slot: usize) -> &'a [u8] {
        let size = self.keys.len() / self.len.max(1);
        self.keys.get(slot * size..(slot + 1) * size).unwrap_or_default()
    }
}

impl<'a> CodePage<'a> {
    /// The page.
    ///
    /// # Errors
    /// A page that is none of codes.
    #[inline]
    pub fn new(geometry: &'a Geometry, bytes: &'a [u8]) -> Result<Self, Damage> {
        Self::of_kind(geometry, bytes, PageKind::Codes)
    }

    /// A page of codes of `kind`.
    ///
    /// # Errors
    /// Another page.
    #[inline]
    pub fn of_kind(geometry: &'a Geometry, bytes: &'a [u8], kind: PageKind) -> Result<Self, Damage> {
        Page::unidentified(bytes)?;
        let (front, _) = CodeFront::read_from_prefix(bytes.get(PAGE_HEADER..).unwrap_or_default())
            .map_err(|_| ANOTHER_KIND)?;
        if front.kind != kind as u8 || bytes.len() != geometry.page_size {
            return Err(ANOTHER_KIND);
        }
        let page = Self::of(geometry, bytes, front)?;
        // what lies behind pd_lower goes to no log
        let end = page.filled().checked_sub(1).map_or(super::START, |last| geometry.range(last).end);
        match hole(bytes) {
            Some(free) if free == (end..bytes.len().saturating_sub(SPECIAL_SIZE)) => Ok(page),
            _ => Err(BAD_FRONT),
        }
    }

    /// The blocks of codes of a page with another front, which has so many entries as `front` says.
    ///
    /// # Errors
    /// More entries than a page holds.
    #[inline]
    pub fn of(geometry: &'a Geometry, bytes: &'a [u8], front: CodeFront) -> Result<Self, Damage> {
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

    /// How many of its blocks have entries.
    fn filled(&self) -> usize {
        self.len().div_ceil(self.geometry.block_entries.max(1))
    }

    /// Entries of a block.
    fn entries_of(&self, block: usize) -> usize {
        let n = self.geometry.block_entries;
        self.len().saturating_sub(block * n).min(n)
    }

    /// The filter keys of a block's entries.
    fn keys(&self, block: usize) -> Option<&'a [u8]> {
        let geometry = self.geometry;
        self.bytes.get(geometry.keys(block * geometry.block_entries, self.entries_of(block)))
    }

    #[inline]
    fn block(&self, block: usize) -> Option<Block<'a>> {
        let geometry = self.geometry;
        let part = self.bytes.get(geometry.range(block))?;
        let (n, entries) = (geometry.block_entries, self.entries_of(block));
        let all = if entries == BLOCK { u32::MAX } else { (1 << entries) - 1 };
        Some(Block {
            len: entries,
            live: u32::from_ne_bytes(*part.first_chunk()?) & all,
            add: floats(part, geometry.add_at(), n)?,
            scale: floats(part, geometry.scale_at(), n)?,
            codes: part.get(geometry.codes_at()..geometry.rows_at())?,
            transposed: entries == BLOCK && geometry.transposed(),
            rows: tids(part, geometry.rows_at(), n)?,
            places: tids(part, geometry.places_at(), n)?,
            keys: self.keys(block)?,
        })
    }

    /// Its blocks, in order, those that have entries.
    #[inline]
    pub fn blocks(&self) -> impl Iterator<Item = Block<'a>> + use<'a> {
        let page = *self;
        (0..page.filled()).filter_map(move |block| page.block(block))
    }

    /// Which entries meet the conditions, a bit each, by block: nothing but their keys is looked at.
    #[inline]
    pub fn select(&self, conditions: &Program) -> [u32; MAX_BLOCKS] {
        let mut which = [0; MAX_BLOCKS];
        for (block, which) in which.iter_mut().enumerate().take(self.filled()) {
            let keys = self.keys(block).unwrap_or_default();
            *which = conditions.bits(keys, self.geometry.filter_size, self.entries_of(block));
        }
        which
    }

    /// The blocks that have some of these entries alive, with these alone as living ones.
    #[inline]
    pub fn selected(&self, which: &[u32; MAX_BLOCKS]) -> impl Iterator<Item = Block<'a>> {
        let page = *self;
        (0..page.filled()).zip(which).filter(|(_, which)| **which != 0).filter_map(move |(block, which)| {
            let block = page.block(block)?;
            let live = block.live & which;
            (live != 0).then_some(Block { live, ..block })
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
    let front = CodeFront { kind: PageKind::Codes as u8, dead: 0, entries: 0, list, epoch: 0, norm };
    put(bytes, PAGE_HEADER, front.as_bytes());
}

/// Says as part of a change that so many entries of a code page are dead.
///
/// # Errors
/// No memory.
pub fn patch_dead<U: PageUpdate>(
    change: &mut U,
    slot: PageRef,
    front: CodeFront,
    dead: usize,
) -> Result<(), U::Error> {
    change.patch(slot, PAGE_HEADER, CodeFront { dead: told(dead), ..front }.as_bytes())
}

/// Changes the front of a code page.
pub fn set_code_front(bytes: &mut [u8], front: CodeFront) {
    put(bytes, PAGE_HEADER, front.as_bytes());
}

/// Makes the bytes a page of these codes of centres.
///
/// # Errors
/// More than a page holds.
pub fn fill_centre_codes(
    geometry: &Geometry,
    bytes: &mut [u8],
    entries: &[Entry],
    codes: &[u8],
) -> Result<(), Damage> {
    init(bytes, PageKind::CentreCodes, 0);
    for (at, (entry, code)) in entries.iter().zip(codes.chunks_exact(geometry.code.max(1))).enumerate() {
        put_entry(geometry, bytes, at, entry, code, &[])?;
    }
    let kind = PageKind::CentreCodes as u8;
    set_code_front(bytes, CodeFront { kind, ..CodeFront::of_entries(entries.len() as u16) });
    let blocks = entries.len().div_ceil(geometry.block_entries.max(1));
    set_end(bytes, blocks.checked_sub(1).map_or(super::START, |last| geometry.range(last).end));
    Ok(())
}

/// Where on a page an entry finds room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// in the place of a dead one, whose row and value's place these are
    Dead {
        /// numbered over the page
        at: usize,
        /// its row
        row: Tid,
        /// where its value is
        place: Tid,
    },
    /// behind the last one
    End,
}

impl CodePage<'_> {
    /// Where there is room for an entry, if there is.
    pub fn room(&self) -> Option<Room> {
        let n = self.geometry.block_entries;
        if self.front.dead > 0 {
            for (number, block) in self.blocks().enumerate() {
                let slot = (!block.live).trailing_zeros() as usize;
                if slot < block.len
                    && let (Some(&row), Some(&place)) = (block.rows.get(slot), block.places.get(slot))
                {
                    return Some(Room::Dead { at: number * n + slot, row, place });
                }
            }
        }
        (self.len() < self.geometry.entries()).then_some(Room::End)
    }
}

/// Dead entries as a front tells them.
fn told(dead: usize) -> u8 {
    dead.min(usize::from(u8::MAX)) as u8
}

/// A new entry with its code and filter keys, and where it goes.
struct Added<'a> {
    geometry: &'a Geometry,
    entry: &'a Entry,
    code: &'a [u8],
    keys: &'a [u8],
    /// as it will be
    front: CodeFront,
    /// numbered over the page
    at: usize,
    /// whether it is behind the last one
    appended: bool,
    /// whether its block is full before and after
    transposed: bool,
    /// the live bits of its block
    live: u32,
}

impl<'a> Added<'a> {
    fn new(
        geometry: &'a Geometry,
        bytes: &[u8],
        entry: &'a Entry,
        code: &'a [u8],
        keys: &'a [u8],
    ) -> Result<Self, Damage> {
        const NO_ROOM: Damage = Damage::internal("entry where there is no room");
        let page = CodePage::new(geometry, bytes)?;
        let fits = code.len() == geometry.code && keys.len() == geometry.filter_size;
        let room = page.room().filter(|_| fits).ok_or(NO_ROOM)?;
        let (at, appended, front) = match room {
            Room::End => (page.len(), true, CodeFront { entries: page.front.entries + 1, ..page.front }),
            Room::Dead { at, .. } => {
                let dead = told(page.len().saturating_sub(page.live() + 1));
                (at, false, CodeFront { dead, ..page.front })
            }
        };
        let (block, slot) = (at / geometry.block_entries, at % geometry.block_entries);
        let live = match bytes.get(geometry.range(block)).ok_or(BAD_FRONT)?.first_chunk() {
            // what a page had before is nothing to a block that begins
            Some(live) if slot > 0 || !appended => u32::from_ne_bytes(*live),
            _ => 0,
        };
        let transposed = geometry.transposed() && !appended && page.entries_of(block) == BLOCK;
        Ok(Added { geometry, entry, code, keys, front, at, appended, transposed, live: live | 1 << slot })
    }

    fn block(&self) -> usize {
        self.at / self.geometry.block_entries
    }

    fn slot(&self) -> usize {
        self.at % self.geometry.block_entries
    }

    /// Whether its code goes between others' bits.
    fn is_packed(&self) -> bool {
        self.transposed || self.appended && self.slot() + 1 == BLOCK && self.geometry.transposed()
    }

    /// Tells what is to be put where on the page, but for a code among transposed ones.
    fn each<E>(&self, mut put: impl FnMut(usize, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let Added { geometry, entry, front, .. } = *self;
        let (block, slot) = (geometry.range(self.block()), self.slot());
        let at = |offset: usize| block.start + offset;
        if slot == 0 && self.appended {
            put(LOWER, &end_bytes(block.end))?;
        }
        put(at(0), &self.live.to_ne_bytes())?;
        put(at(geometry.add_at() + 4 * slot), &entry.add.to_ne_bytes())?;
        put(at(geometry.scale_at() + 4 * slot), &entry.scale.to_ne_bytes())?;
        if !self.transposed {
            put(at(geometry.codes_at() + geometry.code * slot), self.code)?;
        }
        put(at(geometry.rows_at() + 6 * slot), entry.row.as_bytes())?;
        if geometry.own_values {
            put(at(geometry.places_at() + 6 * slot), entry.place.as_bytes())?;
        }
        if !self.keys.is_empty() {
            put(geometry.keys(self.at, 1).start, self.keys)?;
        }
        put(PAGE_HEADER, front.as_bytes())
    }

    fn put(&self, bytes: &mut [u8]) -> Result<(), Damage> {
        self.each(|at, part| {
            put(bytes, at, part);
            Ok::<_, Damage>(())
        })?;
        if self.is_packed() {
            let geometry = self.geometry;
            let block = bytes.get_mut(geometry.range(self.block())).unwrap_or_default();
            let codes = block.get_mut(geometry.codes_at()..geometry.rows_at()).unwrap_or_default();
            match self.transposed {
                true => fastscan::set_code(codes, self.slot(), self.code),
                false => transpose(codes, geometry.code)?,
            }
        }
        Ok(())
    }
}

/// Adds an entry with its code and filter keys to a code page with room for it ([`CodePage::room`]). When that fills a
/// block of 32, its codes are transposed.
///
/// # Errors
/// Another page, or a full one.
pub fn push_entry(
    geometry: &Geometry,
    bytes: &mut [u8],
    entry: &Entry,
    code: &[u8],
    keys: &[u8],
) -> Result<(), Damage> {
    Added::new(geometry, bytes, entry, code, keys)?.put(bytes)
}

/// The same as part of a change.
///
/// # Errors
/// Another page, a full one, or no memory.
pub fn add_entry<U: PageUpdate>(
    geometry: &Geometry,
    change: &mut U,
    slot: PageRef,
    entry: &Entry,
    code: &[u8],
    keys: &[u8],
) -> Result<(), U::Error> {
    let block = change.block(slot);
    let added = Added::new(geometry, change.bytes(slot), entry, code, keys).map_err(|d| d.on(block))?;
    if added.is_packed() {
        return Ok(added.put(change.bytes_mut(slot)?).map_err(|d| d.on(block))?);
    }
    added.each(|at, part| change.patch(slot, at, part))
}

/// An entry with its code and filter keys, which follows those that are there.
struct Following<'a> {
    geometry: &'a Geometry,
    entry: &'a Entry,
    code: &'a [u8],
    keys: &'a [u8],
    /// numbered over the page
    at: usize,
}

impl Following<'_> {
    /// Whether it is one for which there is room.
    fn fits(&self) -> Result<(), Damage> {
        let Self { geometry, code, keys, at, .. } = *self;
        if at >= geometry.entries() || code.len() != geometry.code || keys.len() != geometry.filter_size {
            return Err(Damage::internal("entry where there is no room"));
        }
        Ok(())
    }

    /// Whether it makes its block full, so that codes are transposed.
    fn fills(&self) -> bool {
        self.at % self.geometry.block_entries + 1 == BLOCK && self.geometry.transposed()
    }

    /// Tells what is to be put where on the page with these bytes.
    fn each<E>(&self, live: u32, mut put: impl FnMut(usize, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let Self { geometry, entry, code, keys, at } = *self;
        let (block, slot) = (geometry.range(at / geometry.block_entries).start, at % geometry.block_entries);
        put(block, &(live | 1 << slot).to_ne_bytes())?;
        put(block + geometry.add_at() + 4 * slot, &entry.add.to_ne_bytes())?;
        put(block + geometry.scale_at() + 4 * slot, &entry.scale.to_ne_bytes())?;
        if !code.is_empty() {
            put(block + geometry.codes_at() + geometry.code * slot, code)?;
        }
        put(block + geometry.rows_at() + 6 * slot, entry.row.as_bytes())?;
        if geometry.own_values {
            put(block + geometry.places_at() + 6 * slot, entry.place.as_bytes())?;
        }
        if keys.is_empty() { Ok(()) } else { put(geometry.keys(at, 1).start, keys) }
    }

    /// The live bits of its block.
    fn live(&self, bytes: &[u8]) -> Result<u32, Damage> {
        let n = self.geometry.block_entries;
        let part = bytes.get(self.geometry.range(self.at / n)).ok_or(BAD_FRONT)?;
        Ok(match part.first_chunk() {
            // what a page had before is nothing to a block that begins
            Some(live) if !self.at.is_multiple_of(n) => u32::from_ne_bytes(*live),
            _ => 0,
        })
    }

    fn put(&self, bytes: &mut [u8]) -> Result<(), Damage> {
        self.fits()?;
        let geometry = self.geometry;
        self.each(self.live(bytes)?, |at, part| {
            put(bytes, at, part);
            Ok::<_, Damage>(())
        })?;
        if self.fills() {
            let block = bytes.get_mut(geometry.range(self.at / geometry.block_entries)).unwrap_or_default();
            let codes = block.get_mut(geometry.codes_at()..geometry.rows_at()).unwrap_or_default();
            transpose(codes, geometry.code)?;
        }
        Ok(())
    }
}

/// Writes entry number `at`, which follows those that are there; the page's front is the caller's.
///
/// # Errors
/// A number beyond the last, or parts of other sizes.
pub fn put_entry(
    geometry: &Geometry,
    bytes: &mut [u8],
    at: usize,
    entry: &Entry,
    code: &[u8],
    keys: &[u8],
) -> Result<(), Damage> {
    Following { geometry, entry, code, keys, at }.put(bytes)
}

/// The same as part of a change.
///
/// # Errors
/// As for [`put_entry`], or no memory.
pub fn patch_entry<U: PageUpdate>(
    geometry: &Geometry,
    change: &mut U,
    slot: PageRef,
    at: usize,
    entry: &Entry,
    code: &[u8],
    keys: &[u8],
) -> Result<(), U::Error> {
    let block = change.block(slot);
    let (new, damage) = (Following { geometry, entry, code, keys, at }, |damage: Damage| damage.on(block));
    new.fits().map_err(damage)?;
    if new.fills() {
        return Ok(new.put(change.bytes_mut(slot)?).map_err(damage)?);
    }
    let live = new.live(change.bytes(slot)).map_err(damage)?;
    new.each(live, |at, part| change.patch(slot, at, part))
}

/// Makes the codes of a full block groups of four bits of all entries.
fn transpose(codes: &mut [u8], code: usize) -> Result<(), Damage> {
    let mut old = OldCodes::new();
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

/// The same as part of a change; the entries in ascending order.
///
/// # Errors
/// No memory.
pub fn patch_live<U: PageUpdate>(
    geometry: &Geometry,
    change: &mut U,
    slot: PageRef,
    dead: &[u16],
) -> Result<(), U::Error> {
    let n = geometry.block_entries;
    for dead in dead.chunk_by(|a, b| usize::from(*a) / n == usize::from(*b) / n) {
        let Some(&first) = dead.first() else { continue };
        let at = geometry.range(usize::from(first) / n).start;
        let Some(live) = change.bytes(slot).get(at..).and_then(|rest| rest.first_chunk()) else { continue };
        let stay = |live: u32, at: &u16| live & !(1 << (usize::from(*at) % n));
        let live = dead.iter().fold(u32::from_ne_bytes(*live), stay);
        change.patch(slot, at, &live.to_ne_bytes())?;
    }
    Ok(())
}

/// Room for the codes of a page.
struct OldCodes([u8; 8192]);

impl OldCodes {
    const fn new() -> Self {
        OldCodes([0; 8192])
    }

    fn copy(&mut self, from: &[u8]) -> Option<&[u8]> {
        let place = self.0.get_mut(..from.len())?;
        place.copy_from_slice(from);
        Some(place)
    }
}
