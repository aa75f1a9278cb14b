//! Pages, and slots of one size on them.

use core::ops::Range;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{NO_NODE, PAGE_ID};
use crate::included::Tree;
use crate::storage::page::{Damage, Page, PageMut, SPECIAL_SIZE, max_align};

const PAGE_HEADER: usize = 24;
/// Where `pd_lower` is in it.
const LOWER: usize = 12;
/// Where the front ends.
pub(super) const FRONT_END: usize = PAGE_HEADER + size_of::<Front>();
/// Where the bits of used slots are on a page of few slots, in the front: where two pages
/// just hold a record, there is no room behind it.
const FEW_USED: usize = PAGE_HEADER + 1;
/// So many are few.
const FEW: usize = 8;

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PageKind {
    /// records of the ground layer
    Ground = 1,
    /// records of the layers above
    Upper = 2,
    /// what records of the ground layer do not hold
    GroundRest = 3,
    /// the same of the layers above
    UpperRest = 4,
    /// segments of a few heap TIDs
    Chain = 5,
    /// a page's worth of them
    LongChain = 6,
    /// entries of nodes with their filter keys: leaves of their tree
    Keys = 7,
    /// directories of leaves, and of such
    Directory = 8,
    /// the centre of the entries' codes
    Centre = 9,
    /// included values of rows: leaves of their tree ([`crate::included`])
    Included = 10,
    /// directories of these, and of such
    IncludedDirectory = 11,
}

impl PageKind {
    /// How many there are.
    pub const COUNT: usize = 11;

    /// The kind that a page's byte names.
    pub const fn new(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => PageKind::Ground,
            2 => PageKind::Upper,
            3 => PageKind::GroundRest,
            4 => PageKind::UpperRest,
            5 => PageKind::Chain,
            6 => PageKind::LongChain,
            7 => PageKind::Keys,
            8 => PageKind::Directory,
            9 => PageKind::Centre,
            10 => PageKind::Included,
            11 => PageKind::IncludedDirectory,
            _ => return None,
        })
    }

    /// Whether such pages have slots of one size.
    pub const fn has_slots(self) -> bool {
        !matches!(
            self,
            PageKind::Keys
                | PageKind::Directory
                | PageKind::Centre
                | PageKind::Included
                | PageKind::IncludedDirectory
        )
    }

    /// The tree of included values.
    pub const INCLUDED: Tree = Tree {
        page_id: PAGE_ID,
        leaf: PageKind::Included as u8,
        directory: PageKind::IncludedDirectory as u8,
        // they hold on to the page that names the row
        held: false,
    };

    /// The kind of the records of a layer.
    pub const fn of_layer(layer: u8) -> Self {
        if layer == 0 { PageKind::Ground } else { PageKind::Upper }
    }
}

/// What follows the page header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Front {
    kind: u8,
    /// bits of used slots, when there are no more than [`FEW`]
    used: u8,
    slots: u16,
    slot_size: u32,
}

const _: () = assert!(size_of::<Front>() == 8);

/// Slots of one size on pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// bytes of a slot, a multiple of eight
    pub size: usize,
    /// slots of a page
    pub per_page: usize,
    /// where slot 0 begins
    start: usize,
}

impl Slots {
    /// As many slots of `size` bytes as a page holds; none when it does not hold one.
    pub const fn new(size: usize, page_size: usize) -> Self {
        let size = max_align(size);
        let space = page_size - FRONT_END - SPECIAL_SIZE;
        let mut per_page = match space.checked_div(size) {
            Some(slots) => slots,
            None => 0,
        };
        while per_page > 0 && per_page * size + Self::bits_apart(per_page) > space {
            per_page -= 1;
        }
        Slots { size, per_page, start: FRONT_END + Self::bits_apart(per_page) }
    }

    /// Bytes between the front and slot 0, which are the bits of used slots where there are many.
    const fn bits_apart(per_page: usize) -> usize {
        if per_page > FEW { per_page.div_ceil(64) * 8 } else { 0 }
    }

    /// Where the bits of used slots are.
    const fn bits(&self) -> Range<usize> {
        if self.per_page > FEW { FRONT_END..self.start } else { FEW_USED..FEW_USED + 1 }
    }

    /// The largest slot that a page holds one of.
    pub(super) const fn largest(page_size: usize) -> usize {
        (page_size - FRONT_END - SPECIAL_SIZE) & !7
    }

    /// Bytes of pages that one slot takes, its share of what slots do not use included.
    pub(super) const fn cost(&self, page_size: usize) -> usize {
        match page_size.checked_div(self.per_page) {
            Some(bytes) => bytes,
            None => usize::MAX,
        }
    }

    /// Block and slot of a number that counts slots from block 0 on.
    #[inline(always)]
    pub fn place(&self, id: u32) -> (u32, usize) {
        let per_page = self.per_page.max(1) as u32;
        (id / per_page, (id % per_page) as usize)
    }

    /// The number of a slot, none beyond the last that a number can say.
    pub fn id(&self, block: u32, slot: usize) -> Option<u32> {
        let id = u64::from(block) * self.per_page as u64 + slot as u64;
        u32::try_from(id).ok().filter(|&id| id != NO_NODE)
    }

    /// Where a slot stands on its page.
    #[inline(always)]
    pub fn range(&self, slot: usize) -> Range<usize> {
        let start = self.start + slot * self.size;
        start..start + self.size
    }

    /// A slot of a page of `kind`.
    ///
    /// # Errors
    /// Another page, or no such slot.
    #[inline(always)]
    pub fn get<'p>(&self, bytes: &'p [u8], kind: PageKind, slot: usize) -> Result<&'p [u8], Damage> {
        self.check(bytes, kind)?;
        if slot >= self.per_page {
            return Err(Damage::at(offset(slot), "slot does not exist"));
        }
        bytes.get(self.range(slot)).ok_or(Damage::at(offset(slot), "slot does not exist"))
    }

    /// The same, to change.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_mut<'p>(
        &self,
        bytes: &'p mut [u8],
        kind: PageKind,
        slot: usize,
    ) -> Result<&'p mut [u8], Damage> {
        self.get(bytes, kind, slot)?;
        bytes.get_mut(self.range(slot)).ok_or(Damage::at(offset(slot), "slot does not exist"))
    }

    #[inline(always)]
    fn check(&self, bytes: &[u8], kind: PageKind) -> Result<(), Damage> {
        Page::unidentified(bytes)?;
        // whatever slots are used
        const FIXED: u64 = u64::from_ne_bytes([0xff, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        let number = |front: &[u8]| front.first_chunk().map(|front| u64::from_ne_bytes(*front) & FIXED);
        match bytes.get(PAGE_HEADER..FRONT_END) {
            Some(found) if number(found) == number(self.front(kind).as_bytes()) => Ok(()),
            _ => Err(Damage::at(0, "page of another kind")),
        }
    }

    /// The front of an empty page.
    #[inline(always)]
    const fn front(&self, kind: PageKind) -> Front {
        Front { kind: kind as u8, used: 0, slots: self.per_page as u16, slot_size: self.size as u32 }
    }

    /// Makes the bytes an empty page of these slots.
    pub fn init(&self, bytes: &mut [u8], kind: PageKind) {
        PageMut::init(bytes, PAGE_ID);
        if let Some(place) = bytes.get_mut(PAGE_HEADER..FRONT_END) {
            place.copy_from_slice(self.front(kind).as_bytes());
        }
        set_lower(bytes, self.start);
    }

    /// Whether a slot of a page of these is in use.
    pub fn is_used(&self, bytes: &[u8], slot: usize) -> bool {
        let byte = bytes.get(self.bits().start + slot / 8);
        slot < self.per_page && byte.is_some_and(|byte| byte >> (slot % 8) & 1 == 1)
    }

    /// Whether bits say that slots are in use which do not exist, or the page's hole is none.
    pub fn is_odd(&self, bytes: &[u8]) -> bool {
        let bits = bytes.get(self.bits()).unwrap_or_default();
        let stray = (self.per_page..bits.len() * 8)
            .any(|at| bits.get(at / 8).is_some_and(|b| b >> (at % 8) & 1 == 1))
            || self.per_page > FEW && bytes.get(FEW_USED) != Some(&0);
        let used = (0..self.per_page).rev().find(|&slot| self.is_used(bytes, slot));
        let (lower, upper) = (lower(bytes), bytes.len().saturating_sub(SPECIAL_SIZE));
        let covered = used.map_or(self.start, |slot| self.range(slot).end) <= lower;
        let hole = bytes.get(lower..upper).is_some_and(|hole| hole.iter().all(|&byte| byte == 0));
        stray || !covered || !hole || bytes.get(LOWER + 2..LOWER + 4) != Some(&(upper as u16).to_ne_bytes())
    }

    /// Says whether it is.
    pub fn set_used(&self, bytes: &mut [u8], slot: usize, used: bool) {
        let at = self.bits().start + slot / 8;
        if let Some(byte) = bytes.get_mut(at).filter(|_| slot < self.per_page) {
            *byte = *byte & !(1 << (slot % 8)) | u8::from(used) << (slot % 8);
            let end = self.range(slot).end;
            if used && lower(bytes) < end {
                set_lower(bytes, end);
            }
        }
    }
}

/// `pd_lower` (src/include/storage/bufpage.h).
fn lower(bytes: &[u8]) -> usize {
    let field = bytes.get(LOWER..LOWER + 2).and_then(|field| field.first_chunk());
    field.map_or(0, |field| usize::from(u16::from_ne_bytes(*field)))
}

fn set_lower(bytes: &mut [u8], lower: usize) {
    if let Some(field) = bytes.get_mut(LOWER..LOWER + 2) {
        field.copy_from_slice(&(lower as u16).to_ne_bytes());
    }
}

/// The kind of a page; none of pages that were never initialised.
///
/// # Errors
/// A page that is none of an inline index's, or one of block 0.
pub fn page_kind(bytes: &[u8]) -> Result<Option<PageKind>, Damage> {
    if Page::is_new(bytes) {
        return Ok(None);
    }
    Page::new(bytes, PAGE_ID)?;
    let kind = bytes.get(PAGE_HEADER).copied().and_then(PageKind::new);
    kind.map(Some).ok_or(Damage::at(0, "page of another kind"))
}

/// The offset by which errors and TIDs name a slot.
#[inline]
pub const fn offset(slot: usize) -> u16 {
    slot as u16 + 1
}
