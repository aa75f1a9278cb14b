//! Chunks of a value on the pages of a toast table, read as bytes.

use pgrx::pg_sys::{self, Oid};

use super::PAGE;
use crate::pg::ffi;
use crate::pg::varlena::HEADER;

/// What a page says about where a value begins.
pub enum Seen {
    /// At this item.
    Here(u16),
    /// The page's values have smaller numbers, up to this one.
    Before(u32),
    /// They have larger numbers, from this one on, or it is the value itself, begun earlier.
    Behind(u32),
    /// None of that.
    Nothing,
}

/// Looks at the items of a toast table's page.
pub fn look_for(number: u32, page: &[u8]) -> Seen {
    let (mut smallest, mut largest) = (u32::MAX, 0);
    for offset in 1..=items_of(page) {
        let Some(chunk) = tuple_of(page, offset).and_then(Chunk::new) else { continue };
        if chunk.value == number && chunk.sequence == 0 {
            return Seen::Here(offset);
        }
        (smallest, largest) = (smallest.min(chunk.value), largest.max(chunk.value));
    }
    if smallest > largest {
        Seen::Nothing
    } else if largest < number {
        Seen::Before(largest)
    } else if smallest >= number {
        Seen::Behind(smallest)
    } else {
        Seen::Nothing
    }
}

/// What a page had to say.
pub enum Progress {
    /// The value is complete; its last chunk may be the page's last item, which then need not be read again.
    Complete { last_item: bool },
    /// The page has no more items.
    EndOfPage,
    /// An item that is not the value's next chunk, after its first one.
    ForeignChunk,
}

/// A value being put together from its chunks.
pub struct Chunks {
    value: Oid,
    /// The number of the next chunk.
    pub sequence: i32,
    to: *mut u8,
    missing: usize,
    /// A transaction that committed; 0 for none.
    pub inserter: u32,
}

impl Chunks {
    /// Puts a value of `len` bytes together behind the header in `buffer`, which has room for it. `inserter` is a
    /// transaction that is known to have committed, or 0.
    pub fn new(buffer: *mut u8, value: Oid, len: usize, inserter: u32) -> Self {
        let to = buffer.wrapping_add(HEADER);
        Chunks { value, sequence: 0, to, missing: len, inserter }
    }

    /// Whether the chunk's inserter committed or is this transaction, by the chunk's own hint, else by what the server
    /// knows of transactions (one that is under way keeps its chunks to itself), and nobody deleted it.
    fn counts(&mut self, chunk: &Chunk) -> bool {
        if chunk.deleted {
            return false;
        }
        if chunk.committed || (chunk.inserter != 0 && chunk.inserter == self.inserter) {
            return true;
        }
        let inserter = pg_sys::TransactionId::from(chunk.inserter);
        // SAFETY: both take any number; they may read the commit log, under a buffer's lock as the server itself does,
        // and an error jumps over frames that hold nothing.
        unsafe {
            if ffi::TransactionIdIsCurrentTransactionId(inserter) {
                return true;
            }
            let committed = ffi::TransactionIdDidCommit(inserter);
            if committed {
                self.inserter = chunk.inserter;
            }
            committed
        }
    }

    pub fn complete(&self) -> bool {
        self.missing == 0
    }

    /// Takes chunks from item `offset` of a heap page on, passing over what stands before the first one, and
    /// moves `offset` behind the last item looked at.
    pub fn take_from_page(&mut self, page: &[u8], offset: &mut u16) -> Progress {
        let items = items_of(page);
        while *offset <= items {
            let taken =
                tuple_of(page, *offset).and_then(Chunk::new).is_some_and(|chunk| self.take_if_good(chunk));
            if !taken && self.sequence > 0 {
                return Progress::ForeignChunk;
            }
            *offset += 1;
            if self.complete() {
                return Progress::Complete { last_item: *offset > items };
            }
        }
        Progress::EndOfPage
    }

    fn is_next(&self, chunk: &Chunk) -> bool {
        chunk.value == self.value.to_u32() && chunk.sequence == self.sequence
    }

    /// Takes a chunk that was not found through the index.
    fn take_if_good(&mut self, chunk: Chunk) -> bool {
        self.is_next(&chunk) && self.counts(&chunk) && self.take(chunk)
    }

    /// Takes the chunk's data if it is the value's next one.
    pub fn take(&mut self, chunk: Chunk) -> bool {
        if !self.is_next(&chunk) {
            return false;
        }
        let chunk = chunk.data;
        let little = cfg!(target_endian = "little");
        let (header, size) = if (if little { chunk[0] & 1 } else { chunk[0] >> 7 }) == 1 {
            (1, usize::from(if little { chunk[0] >> 1 } else { chunk[0] & 0x7f }))
        } else if chunk.len() >= 4 {
            let word = u32_at(chunk, 0);
            let plain = if little { word & 3 == 0 } else { word >> 30 == 0 };
            (4, if plain { (if little { word >> 2 } else { word }) as usize } else { 0 })
        } else {
            return false;
        };
        let Some(bytes) = chunk.get(header..size) else { return false };
        if bytes.is_empty() || bytes.len() > self.missing {
            return false;
        }
        // SAFETY: `to` has `missing` bytes of room (`new` and the lines below), and a page is not a buffer.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), self.to, bytes.len()) };
        self.to = self.to.wrapping_add(bytes.len());
        self.missing -= bytes.len();
        self.sequence += 1;
        true
    }
}

/// One chunk of a value, as its tuple has it.
pub struct Chunk<'a> {
    value: u32,
    sequence: i32,
    /// a whole varlena, at least one byte
    data: &'a [u8],
    /// the transaction that inserted it, and whether it is known to have committed
    inserter: u32,
    committed: bool,
    /// whether a transaction deleted it, or tried to
    deleted: bool,
}

impl<'a> Chunk<'a> {
    /// HeapTupleHeaderData: t_xmin at 0, t_infomask at 20, t_hoff at 22 (htup_details.h); a toast tuple has no
    /// NULLs and three columns: chunk_id oid, chunk_seq int4, chunk_data bytea.
    pub fn new(tuple: &'a [u8]) -> Option<Self> {
        const HAS_NULL: u16 = 0x0001;
        const XMIN: u16 = 0x0300;
        const XMIN_COMMITTED: u16 = 0x0100; // also of a frozen one
        const XMIN_INVALID: u16 = 0x0200; // alone: inserted by a transaction that aborted
        const XMAX_INVALID: u16 = 0x0800; // as inserted
        if tuple.len() < 24 {
            return None;
        }
        let (infomask, data) = (u16_at(tuple, 20), usize::from(tuple[22]));
        if infomask & HAS_NULL != 0 || infomask & XMIN == XMIN_INVALID || tuple.len() < data + 9 {
            return None;
        }
        Some(Chunk {
            value: u32_at(tuple, data),
            sequence: u32_at(tuple, data + 4) as i32,
            data: &tuple[data + 8..],
            inserter: u32_at(tuple, 0),
            committed: infomask & XMIN_COMMITTED != 0,
            deleted: infomask & XMAX_INVALID == 0,
        })
    }
}

/// The number of items of a page (PageHeaderData: pd_lower at 12, line pointers from 24 on; bufpage.h).
fn items_of(page: &[u8]) -> u16 {
    (usize::from(u16_at(page, 12)).min(PAGE).saturating_sub(24) / 4) as u16
}

/// The tuple of an item, 1 the first, if it has one.
fn tuple_of(page: &[u8], offset: u16) -> Option<&[u8]> {
    let (start, flags, len) = item_parts(u32_at(page, 20 + 4 * usize::from(offset)));
    page.get(start..start + len).filter(|_| flags == 1)
}

/// Offset, flags and length of a line pointer (ItemIdData: bit fields of 15, 2 and 15 bits).
pub(super) fn item_parts(item: u32) -> (usize, u32, usize) {
    let (start, flags, len) = if cfg!(target_endian = "little") {
        (item & 0x7fff, item >> 15 & 3, item >> 17)
    } else {
        (item >> 17, item >> 15 & 3, item & 0x7fff)
    };
    (start as usize, flags, len as usize)
}

/// The integer at `at`; callers have checked the length.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_ne_bytes(*b))
}

/// The integer at `at`; callers have checked the length.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_ne_bytes(*b))
}
