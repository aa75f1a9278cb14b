//! PostgreSQL's pages (src/include/storage/bufpage.h, itemid.h, itemptr.h) as bytes: header, line pointers, items, and
//! the 8-byte special area that both access methods share. Nothing on a page is believed before it is checked.

pub use super::error::{BlockError, Cause, Corruption, Damage, PageError};
pub use super::tid::Tid;

#[cfg(target_endian = "big")]
compile_error!("line pointers are read as little-endian bit fields");

/// An invalid block number (block.h).
pub const INVALID_BLOCK: u32 = u32::MAX;
/// The first offset number (off.h).
pub const FIRST_OFFSET: u16 = 1;

pub(super) const HEADER: usize = 24;
const LOWER: usize = 12;
const UPPER: usize = 14;
const SPECIAL: usize = 16;
const SIZE_VERSION: usize = 18;
const LAYOUT_VERSION: u16 = 4;
/// Bytes of a line pointer.
pub const LINE_POINTER: usize = 4;
const LP_NORMAL: u32 = 1;

/// The special area: `next` u32, `unused` u16, `page_id` u16.
pub const SPECIAL_SIZE: usize = 8;

/// Rounds up to PostgreSQL's largest alignment.
#[inline]
pub const fn max_align(size: usize) -> usize {
    (size + 7) & !7
}

/// The largest item that an empty page of `page_size` bytes holds.
pub const fn max_item_size(page_size: usize) -> usize {
    page_size - HEADER - SPECIAL_SIZE - LINE_POINTER
}

#[inline(always)]
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..).and_then(|b| b.first_chunk::<2>()) {
        Some(b) => u16::from_ne_bytes(*b),
        None => 0,
    }
}

#[inline(always)]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..).and_then(|b| b.first_chunk::<4>()) {
        Some(b) => u32::from_ne_bytes(*b),
        None => 0,
    }
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(b) = bytes.get_mut(at..at + 2) {
        b.copy_from_slice(&value.to_ne_bytes());
    }
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(b) = bytes.get_mut(at..at + 4) {
        b.copy_from_slice(&value.to_ne_bytes());
    }
}

/// Where a page has nothing, between `pd_lower` and `pd_upper`; none when these make no sense.
#[inline]
pub fn hole(bytes: &[u8]) -> Option<core::ops::Range<usize>> {
    hole_of(bytes).filter(|hole| hole.end <= bytes.len())
}

/// The same by a header alone, which does not tell where the page ends.
#[inline]
pub fn hole_of(header: &[u8]) -> Option<core::ops::Range<usize>> {
    let (lower, upper) = (usize::from(u16_at(header, LOWER)), usize::from(u16_at(header, UPPER)));
    (HEADER <= lower && lower <= upper).then_some(lower..upper)
}

/// A page under a lock that lets it be read.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    bytes: &'a [u8],
}

impl<'a> Page<'a> {
    /// The page, when its header makes sense and its special area carries `page_id`.
    ///
    /// # Errors
    /// An uninitialised page, another index's page, or a damaged header.
    #[inline(always)]
    pub fn new(bytes: &'a [u8], page_id: u16) -> Result<Self, Damage> {
        let page = Page::unidentified(bytes)?;
        let identified = u16_at(bytes, bytes.len() - SPECIAL_SIZE + 6) == page_id;
        if identified { Ok(page) } else { Err(Damage::at(0, "invalid page")) }
    }

    /// The page, when its header makes sense. For hot paths whose items say themselves what they are: the special area
    /// lies at the page's far end, in a cache line that nothing else needs, and reading it for every item of a search
    /// took a quarter of the search.
    ///
    /// # Errors
    /// An uninitialised page, or a damaged header.
    #[inline(always)]
    pub fn unidentified(bytes: &'a [u8]) -> Result<Self, Damage> {
        let page = Page { bytes };
        let (lower, upper, special) = (page.lower(), page.upper(), usize::from(u16_at(bytes, SPECIAL)));
        let sane =
            lower >= HEADER && lower <= upper && upper <= special && special + SPECIAL_SIZE == bytes.len();
        if sane { Ok(page) } else { Err(Damage::at(0, "invalid page")) }
    }

    /// Whether the bytes are a page that was never initialised (PageIsNew).
    pub fn is_new(bytes: &[u8]) -> bool {
        u16_at(bytes, UPPER) == 0
    }

    #[inline(always)]
    fn lower(&self) -> usize {
        usize::from(u16_at(self.bytes, LOWER))
    }

    #[inline(always)]
    fn upper(&self) -> usize {
        usize::from(u16_at(self.bytes, UPPER))
    }

    /// The number of line pointers, and so the last offset (PageGetMaxOffsetNumber).
    #[inline]
    pub fn max_offset(&self) -> u16 {
        (self.lower().saturating_sub(HEADER) / LINE_POINTER) as u16
    }

    /// The item at `offset`: always within the page's item area.
    ///
    /// # Errors
    /// No such line pointer, or one that does not point at an item.
    #[inline(always)]
    pub fn item(&self, offset: u16) -> Result<&'a [u8], Damage> {
        let (start, len) = self.item_place(offset)?;
        self.bytes.get(start..start + len).ok_or(Damage::at(offset, "invalid line pointer"))
    }

    /// Start and length of the item at `offset`.
    #[inline(always)]
    fn item_place(&self, offset: u16) -> Result<(usize, usize), Damage> {
        if offset == 0 || offset > self.max_offset() {
            return Err(Damage::at(offset, "item does not exist"));
        }
        let line = u32_at(self.bytes, HEADER + (usize::from(offset) - 1) * LINE_POINTER);
        let (start, flags, len) = ((line & 0x7fff) as usize, (line >> 15) & 3, (line >> 17) as usize);
        let end = usize::from(u16_at(self.bytes, SPECIAL));
        if flags != LP_NORMAL || start < self.upper() || start + len > end || start % 8 != 0 {
            return Err(Damage::at(offset, "invalid line pointer"));
        }
        Ok((start, len))
    }

    /// The next page of the chain, or [`INVALID_BLOCK`].
    #[inline]
    pub fn next(&self) -> u32 {
        u32_at(self.bytes, self.bytes.len() - SPECIAL_SIZE)
    }

    /// Bytes between the line pointers and the items (PageGetExactFreeSpace).
    pub fn exact_free_space(&self) -> usize {
        self.upper().saturating_sub(self.lower())
    }

    /// Bytes for one more item and its line pointer's own (PageGetFreeSpace).
    pub fn free_space(&self) -> usize {
        self.exact_free_space().saturating_sub(LINE_POINTER)
    }

    /// What follows the page header (PageGetContents), up to `pd_lower`: a meta page's struct.
    pub fn contents(&self) -> &'a [u8] {
        self.bytes.get(HEADER..self.lower()).unwrap_or_default()
    }
}

/// A page under a lock that lets it be written.
#[derive(Debug)]
pub struct PageMut<'a> {
    bytes: &'a mut [u8],
}

impl<'a> PageMut<'a> {
    /// As [`Page::new`].
    ///
    /// # Errors
    /// As [`Page::new`].
    pub fn new(bytes: &'a mut [u8], page_id: u16) -> Result<Self, Damage> {
        Page::new(bytes, page_id)?;
        Ok(PageMut { bytes })
    }

    /// Makes the bytes an empty page (PageInit) of `page_id`, at the end of its chain.
    pub fn init(bytes: &'a mut [u8], page_id: u16) -> Self {
        bytes.fill(0);
        let size = bytes.len();
        let special = size - SPECIAL_SIZE;
        put_u16(bytes, LOWER, HEADER as u16);
        put_u16(bytes, UPPER, special as u16);
        put_u16(bytes, SPECIAL, special as u16);
        put_u16(bytes, SIZE_VERSION, size as u16 | LAYOUT_VERSION);
        put_u32(bytes, special, INVALID_BLOCK);
        put_u16(bytes, special + 6, page_id);
        PageMut { bytes }
    }

    /// The page, to be read.
    #[inline]
    pub fn as_page(&self) -> Page<'_> {
        Page { bytes: self.bytes }
    }

    /// Sets the next page of the chain.
    pub fn set_next(&mut self, next: u32) {
        let at = self.bytes.len() - SPECIAL_SIZE;
        put_u32(self.bytes, at, next);
    }

    /// The item at `offset`, to be changed in place.
    ///
    /// # Errors
    /// As [`Page::item`].
    pub fn item_mut(&mut self, offset: u16) -> Result<&mut [u8], Damage> {
        let (start, len) = self.as_page().item_place(offset)?;
        self.bytes.get_mut(start..start + len).ok_or(Damage::at(offset, "invalid line pointer"))
    }

    /// Adds an item behind the last one (PageAddItem); `None` when it does not fit.
    pub fn append(&mut self, item: &[u8]) -> Option<u16> {
        let (lower, upper) = (self.as_page().lower(), self.as_page().upper());
        let start = upper.checked_sub(max_align(item.len()))?;
        if start < lower + LINE_POINTER {
            return None;
        }
        self.bytes.get_mut(start..start + item.len())?.copy_from_slice(item);
        self.set_line_pointer(lower, start, item.len());
        put_u16(self.bytes, LOWER, (lower + LINE_POINTER) as u16);
        put_u16(self.bytes, UPPER, start as u16);
        Some(self.as_page().max_offset())
    }

    fn set_line_pointer(&mut self, at: usize, start: usize, len: usize) {
        put_u32(self.bytes, at, start as u32 | LP_NORMAL << 15 | (len as u32) << 17);
    }

    /// Replaces the item at `offset`, moving others when the size changes (PageIndexTupleOverwrite). Returns whether
    /// it fits; nothing is changed when not.
    ///
    /// # Errors
    /// As [`Page::item`], or another line pointer that points nowhere.
    pub fn overwrite(&mut self, offset: u16, item: &[u8]) -> Result<bool, Damage> {
        let (start, old_len) = self.as_page().item_place(offset)?;
        let (old, new) = (max_align(old_len), max_align(item.len()));
        let upper = self.as_page().upper();
        if new > old + self.as_page().exact_free_space() {
            return Ok(false);
        }
        // items from `upper` to this one move by the difference
        let moved = |at: usize| at + old - new;
        if new != old {
            let last = self.as_page().max_offset();
            for other in FIRST_OFFSET..=last {
                let (place, len) = self.as_page().item_place(other)?;
                if place <= start {
                    let at = HEADER + (usize::from(other) - 1) * LINE_POINTER;
                    self.set_line_pointer(at, moved(place), len);
                }
            }
            self.bytes.copy_within(upper..start, moved(upper));
            put_u16(self.bytes, UPPER, moved(upper) as u16);
        }
        let (start, line) = (moved(start), HEADER + (usize::from(offset) - 1) * LINE_POINTER);
        self.set_line_pointer(line, start, item.len());
        match self.bytes.get_mut(start..start + item.len()) {
            Some(place) => place.copy_from_slice(item),
            None => return Err(Damage::at(offset, "invalid line pointer")),
        }
        Ok(true)
    }

    /// Removes the items at `offsets`, which ascend; the others keep their order (PageIndexMultiDelete). Where all
    /// have one size, no more of them move than are removed, which keeps the log of the change short.
    ///
    /// # Errors
    /// As [`Page::item`], or items that overlap.
    pub fn remove(&mut self, offsets: &[u16]) -> Result<(), Damage> {
        if self.remove_in_place(offsets)? {
            return Ok(());
        }
        let old = self.bytes.to_vec();
        let page = Page { bytes: &old };
        let (mut line, mut start) = (HEADER, usize::from(u16_at(&old, SPECIAL)));
        let mut gone = offsets.iter().copied().peekable();
        for offset in FIRST_OFFSET..=page.max_offset() {
            if gone.next_if_eq(&offset).is_some() {
                continue;
            }
            let item = page.item(offset)?;
            let lowest = line + LINE_POINTER + max_align(item.len());
            let overlap = Damage::at(offset, "item overlaps another");
            start = start.checked_sub(max_align(item.len())).filter(|_| start >= lowest).ok_or(overlap)?;
            if let Some(place) = self.bytes.get_mut(start..start + item.len()) {
                place.copy_from_slice(item);
            }
            self.set_line_pointer(line, start, item.len());
            line += LINE_POINTER;
        }
        put_u16(self.bytes, LOWER, line as u16);
        put_u16(self.bytes, UPPER, start as u16);
        Ok(())
    }

    /// [`Self::remove`] where items have one size and no gaps between them: those at the low end fill the holes.
    /// Returns whether that is so; nothing is changed when not.
    fn remove_in_place(&mut self, offsets: &[u16]) -> Result<bool, Damage> {
        let page = self.as_page();
        let (count, upper) = (usize::from(page.max_offset()), page.upper());
        let room = usize::from(u16_at(self.bytes, SPECIAL)).saturating_sub(upper);
        let size = room / count.max(1);
        if count > SLOTS || size == 0 || count * size != room {
            return Ok(false);
        }
        // the item in each slot, from the low end
        let mut slots = [0u16; SLOTS];
        for offset in FIRST_OFFSET..=page.max_offset() {
            let (start, len) = page.item_place(offset)?;
            let slot = start.checked_sub(upper).filter(|at| at % size == 0 && max_align(len) == size);
            match slot.and_then(|at| slots.get_mut(at / size)) {
                Some(slot) if *slot == 0 => *slot = offset,
                _ => return Ok(false),
            }
        }
        let is_gone = |offset: u16| offsets.binary_search(&offset).is_ok();
        let gone = slots[..count].iter().filter(|&&offset| is_gone(offset)).count();
        let (low, high) = slots.split_at(gone);
        let holes = (gone..count).zip(high).filter(|&(_, &offset)| is_gone(offset));
        let movers = (0..gone).zip(low).filter(|&(_, &offset)| !is_gone(offset));
        for ((hole, _), (mover, &offset)) in holes.zip(movers) {
            let (from, to) = (upper + mover * size, upper + hole * size);
            let (_, len) = self.as_page().item_place(offset)?;
            self.bytes.copy_within(from..from + len, to);
            self.set_line_pointer(HEADER + (usize::from(offset) - 1) * LINE_POINTER, to, len);
        }
        let mut line = HEADER;
        for offset in (FIRST_OFFSET..=count as u16).filter(|&offset| !is_gone(offset)) {
            let from = HEADER + (usize::from(offset) - 1) * LINE_POINTER;
            self.bytes.copy_within(from..from + LINE_POINTER, line);
            line += LINE_POINTER;
        }
        put_u16(self.bytes, LOWER, line as u16);
        put_u16(self.bytes, UPPER, (upper + gone * size) as u16);
        Ok(true)
    }

    /// Writes a meta page's struct behind the page header and sets `pd_lower` past it.
    pub fn set_contents(&mut self, contents: &[u8]) {
        let end = HEADER + contents.len();
        if let Some(place) = self.bytes.get_mut(HEADER..end) {
            place.copy_from_slice(contents);
            put_u16(self.bytes, LOWER, end as u16);
        }
    }
}

/// More items of one size than this are removed the ordinary way.
const SLOTS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    const ID: u16 = 0xff90;

    #[repr(align(8))]
    struct Room([u8; 8192]);

    #[test]
    fn errors_tell_what_they_are() {
        let damage = PageError::at(7, "no item");
        assert_eq!(damage.to_string(), "no item at offset 7");
        assert_eq!(damage.on(3).to_string(), "no item at block 3, offset 7");
        let memory = PageError::OUT_OF_MEMORY.on(3);
        assert_eq!((memory.to_string().as_str(), memory.cause()), ("out of memory", Cause::OutOfMemory));
        assert_ne!(PageError::at(0, "out of memory"), PageError::OUT_OF_MEMORY, "damage is what it says");
        let mistake = PageError::internal("no such state").on(3);
        assert_eq!(
            (mistake.to_string().as_str(), mistake.cause()),
            ("no such state (block 3)", Cause::Internal)
        );
        // errors are rare, and what carries them is on every hot path
        assert_eq!(size_of::<PageError>(), 24);
    }

    #[test]
    fn items_come_back_and_overwriting_moves_the_others() {
        let mut room = Room([0; 8192]);
        let mut page = PageMut::init(&mut room.0, ID);
        for n in 1..=5u8 {
            assert_eq!(page.append(&vec![n; usize::from(n) * 16]), Some(u16::from(n)));
        }
        let free = page.as_page().exact_free_space();
        for (new_len, grown) in [(64usize, 16isize), (8, -40), (41, 0)] {
            assert!(page.overwrite(3, &vec![9; new_len]).unwrap());
            assert_eq!(page.as_page().item(3).unwrap(), vec![9; new_len]);
            for n in [1u8, 2, 4, 5] {
                assert_eq!(page.as_page().item(n.into()).unwrap(), vec![n; usize::from(n) * 16]);
            }
            assert_eq!(page.as_page().exact_free_space() as isize, free as isize - grown);
        }
        assert!(!page.overwrite(3, &vec![9; 8192]).unwrap());
        assert_eq!(page.as_page().item(3).unwrap(), [9; 41]);
        assert!(page.as_page().item(6).is_err() && page.as_page().item(0).is_err());
    }

    #[test]
    fn removed_items_leave_room_and_the_others_keep_their_order() {
        let mut room = Room([0; 8192]);
        let mut page = PageMut::init(&mut room.0, ID);
        let free = page.as_page().exact_free_space();
        (1..=6u8).for_each(|n| assert!(page.append(&vec![n; usize::from(n) * 9]).is_some()));
        page.remove(&[1, 4, 6]).unwrap();
        assert_eq!(page.as_page().max_offset(), 3);
        for (offset, n) in [(1, 2u8), (2, 3), (3, 5)] {
            assert_eq!(page.as_page().item(offset).unwrap(), vec![n; usize::from(n) * 9]);
        }
        assert_eq!(page.as_page().exact_free_space(), free - 3 * 4 - 24 - 32 - 48);
        page.remove(&[1, 2, 3]).unwrap();
        assert_eq!((page.as_page().max_offset(), page.as_page().exact_free_space()), (0, free));
    }

    #[test]
    fn items_of_one_size_fill_the_holes_and_few_move() {
        let mut random = 12345u32;
        for count in 1..=19u8 {
            for _ in 0..40 {
                let mut room = Room([0; 8192]);
                let mut page = PageMut::init(&mut room.0, ID);
                let free = page.as_page().exact_free_space();
                (1..=count).for_each(|n| assert!(page.append(&[n; 413]).is_some()));
                let (mut left, before) = ((1..=count).collect::<Vec<u8>>(), page.as_page().bytes.to_vec());
                // more than once, so that items no longer lie in the order of their line pointers
                while !left.is_empty() {
                    let gone: Vec<u16> = (1..=left.len() as u16)
                        .filter(|_| {
                            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                            random >> 30 == 0
                        })
                        .collect();
                    page.remove(&gone).unwrap();
                    for &offset in gone.iter().rev() {
                        left.remove(usize::from(offset) - 1);
                    }
                    assert_eq!(usize::from(page.as_page().max_offset()), left.len());
                    for (at, &n) in left.iter().enumerate() {
                        assert_eq!(page.as_page().item(at as u16 + 1).unwrap(), [n; 413]);
                    }
                    assert_eq!(page.as_page().exact_free_space(), free - left.len() * 420);
                    if left.len() == usize::from(count) - 1 {
                        let start = page.as_page().upper();
                        let changed =
                            (start..8192).filter(|&at| page.as_page().bytes[at] != before[at]).count();
                        assert!(changed <= 416, "{changed} bytes for one item");
                    }
                }
            }
        }
    }

    #[test]
    fn a_page_takes_items_until_it_is_full() {
        let mut room = Room([0; 8192]);
        let mut page = PageMut::init(&mut room.0, ID);
        let max = vec![1; max_item_size(8192) & !7];
        assert_eq!(page.append(&max), Some(1));
        assert_eq!(page.append(&[1]), None);
        assert_eq!(page.as_page().free_space(), 0);
        assert_eq!(page.as_page().next(), INVALID_BLOCK);
    }

    #[test]
    fn foreign_and_zero_pages_are_refused() {
        let mut room = Room([0; 8192]);
        assert!(Page::new(&room.0, ID).is_err());
        PageMut::init(&mut room.0, 0xff84);
        assert!(Page::new(&room.0, ID).is_err());
        assert!(Page::new(&room.0, 0xff84).is_ok());
    }

    #[test]
    fn tids_pack_and_unpack() {
        let tid = Tid::new(0x0001_0002, 3);
        assert_eq!((tid.block(), tid.offset()), (0x0001_0002, 3));
        assert_eq!(Tid::from_packed(tid.packed()), tid);
        assert!(!Tid::INVALID.is_valid());
        assert_eq!(Tid::INVALID.as_bytes(), [0xff, 0xff, 0xff, 0xff, 0, 0]);
    }
}
