//! The distance of the row that an index scan returned last, for the operator that is asked for the same.
//!
//! A query's order is a column of its result that nobody sees: the executor calls the operator for every row that an
//! index returned, which for a value stored out of line is a search of the TOAST table, several times what the
//! distance itself costs. A scan that has compared the values themselves knows it already. So it leaves it here, and
//! the operator takes it when all of this holds, and computes otherwise:
//!
//! - its second argument has the bytes of the scan's query, and it is the operator of the index;
//! - its first argument is a pointer to a value out of line which stands in a shared buffer with the block of the row
//!   returned last, within the tuple that the row's line pointer leads to, where the indexed column is.
//!
//! While a scan stands on a row, it has the row's block pinned (`xs_cbuf` of its fetch), its table open and its
//! snapshot registered: the block's tag and line pointers stay (pruning waits for all pins), and no vacuum gives the
//! line pointer to another row. The scan's end says [`forget`]; so does the end of a transaction or subtransaction,
//! which takes pins and tables away from a scan that failed and may leave its memory, before it does. All tuples of a
//! HOT chain have the same value in an indexed column, but only the one that the line pointer or its redirection
//! names is taken: the links between the others outlive an aborted update. The row is one that the scan's snapshot
//! sees, or the executor asks for another at once (`index_getnext_slot`); the entry that led to it was made for it,
//! since an entry is removed before its line pointer is used again.

use core::cell::Cell;
use core::ffi::{c_int, c_void};

use pgrx::pg_sys::{self, Oid, varlena};
use vector_index::storage::page::Tid;

use super::PAGE;
use super::chunks::item_parts;
use crate::pg::ffi;
use crate::pg::relation::Rel;
use crate::pg::server;
use crate::pg::varlena as values;

/// What an operator computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Euclidean distance
    L2,
    /// the inner product with its sign changed
    NegativeInnerProduct,
    /// 1 less the cosine
    Cosine,
}

/// What a scan knows of the row that it returns.
#[derive(Clone, Copy)]
pub struct Known<'s> {
    /// whose result `distance` is, to the last bit
    measure: Measure,
    distance: f64,
    /// a whole varlena, in memory that [`forget`] is called before the end of
    query: &'s [u8],
}

#[derive(Clone, Copy)]
struct LastRow {
    measure: Measure,
    distance: f64,
    query: *const u8,
    query_len: usize,
    row: Tid,
    table: pg_sys::Relation,
    /// the number of the indexed column in the table
    column: c_int,
}

thread_local! {
    static LAST: Cell<Option<LastRow>> = const { Cell::new(None) };
}

/// There is no such row any more.
#[inline]
pub fn forget() {
    LAST.set(None);
}

/// Begins to watch transactions end; from _PG_init.
pub fn watch() {
    // SAFETY: both functions stay, as the library does, and take no argument of ours.
    unsafe {
        server::RegisterXactCallback(Some(ended), core::ptr::null_mut());
        server::RegisterSubXactCallback(Some(ended_within), core::ptr::null_mut());
    }
}

unsafe extern "C-unwind" fn ended(_: pg_sys::XactEvent::Type, _: *mut c_void) {
    forget();
}

unsafe extern "C-unwind" fn ended_within(
    _: pg_sys::SubXactEvent::Type,
    _: pg_sys::SubTransactionId,
    _: pg_sys::SubTransactionId,
    _: *mut c_void,
) {
    forget();
}

/// A scan of `index`, an index of `table`, returns `row`. Both stay open until [`forget`] is called.
#[inline]
pub fn remember(known: Option<Known<'_>>, index: Rel<'_>, table: Rel<'_>, row: Tid) {
    LAST.set(known.filter(|known| known.distance.is_finite()).and_then(|known| {
        Some(LastRow {
            measure: known.measure,
            distance: known.distance,
            query: known.query.as_ptr(),
            query_len: known.query.len(),
            row,
            table: table.as_ptr(),
            column: index.table_column()?,
        })
    }));
}

/// The distance of two varlenas by `measure`, when `value` is the indexed one of the row returned last and `query` that
/// scan's.
///
/// # Safety
/// Both are varlenas; `value` is one that [`is_out_of_line`](super::is_out_of_line).
#[inline(never)]
pub unsafe fn distance(measure: Measure, value: *const varlena, query: *const varlena) -> Option<f64> {
    let last = LAST.get().filter(|last| last.measure == measure)?;
    // SAFETY: the scan's query and table are there until `forget`; the other one is a varlena.
    unsafe {
        if !core::ptr::eq(query.cast(), last.query) {
            let own = core::slice::from_raw_parts(last.query, last.query_len);
            if values::plain(query)? != own {
                return None;
            }
        }
        last.has(value.cast()).then_some(last.distance)
    }
}

/// Bytes of a page's header, before its line pointers.
const PAGE_HEADER: usize = 24;
/// States of a line pointer (itemid.h).
const NORMAL: u32 = 1;
const REDIRECT: u32 = 2;
/// `t_infomask` (htup_details.h): there are NULLs, told by bits from byte 23 on.
const HAS_NULL: u16 = 1;
const NULLS: usize = 23;
/// The columns, in `t_infomask2`.
const COLUMNS: u16 = 0x07ff;

impl<'s> Known<'s> {
    /// What is known of a row whose `distance` is the operator's, or its square for the Euclidean one.
    pub fn new(measure: Measure, distance: f64, query: &'s [u8]) -> Self {
        Known { measure, distance: if measure == Measure::L2 { distance.sqrt() } else { distance }, query }
    }
}

impl LastRow {
    /// Whether `at` is the address of the indexed column in this row's tuple.
    ///
    /// # Safety
    /// Nobody has said [`forget`]; whoever has `at` keeps what it points to.
    unsafe fn has(&self, at: *const u8) -> bool {
        // SAFETY: the buffers' address and number are set before any backend runs. `at`, when it is among them, is a
        // datum in one, so that buffer is pinned and keeps its block. Line pointers are read within the page, and the
        // tuple after it was seen to be there.
        unsafe {
            let pages = ffi::BufferBlocks.cast::<u8>();
            let offset = (at as usize).wrapping_sub(pages as usize);
            let buffers = usize::try_from(pg_sys::NBuffers).unwrap_or(0);
            if offset / PAGE >= buffers {
                return false;
            }
            let buffer = offset / PAGE;
            let (mut place, mut fork, mut block) = ([Oid::INVALID; 3], 0, 0);
            ffi::BufferGetTag(buffer as c_int + 1, &raw mut place, &raw mut fork, &raw mut block);
            let table = Rel::new(self.table);
            if block != self.row.block() || fork != pg_sys::ForkNumber::MAIN_FORKNUM || place != table.place()
            {
                return false;
            }
            if (*(*self.table).rd_rel).relam != Oid::from(pg_sys::BuiltinOid::HEAP_TABLE_AM_OID) {
                return false;
            }
            let page = pages.add(buffer * PAGE);
            let Some((tuple, len)) = tuple_of(page, self.row.offset()) else { return false };
            (at as usize).wrapping_sub(tuple as usize) < len
                && column(tuple, len, self.column, self.table) == Some(at)
        }
    }
}

/// A copy of some bytes of a page, of which others may change some at this moment.
///
/// # Safety
/// They are within a page, and it stays.
unsafe fn copied<const N: usize>(page: *const u8, at: usize) -> [u8; N] {
    // SAFETY: the caller's contract.
    core::array::from_fn(|n| unsafe { page.add(at + n).read_volatile() })
}

/// Offset or item, state and length of a line pointer.
///
/// # Safety
/// As for [`copied`], of the whole page.
unsafe fn line_pointer(page: *const u8, offset: u16) -> Option<(usize, u32, usize)> {
    let at = PAGE_HEADER + usize::from(offset).checked_sub(1)? * 4;
    // SAFETY: pd_lower ends them, and they are read within the page.
    unsafe {
        let end = usize::from(u16::from_ne_bytes(copied(page, 12))).min(PAGE);
        (at + 4 <= end).then(|| item_parts(u32::from_ne_bytes(copied(page, at))))
    }
}

/// The tuple that an item of a heap page leads to, by no more than its redirection, and its length.
///
/// # Safety
/// As for [`line_pointer`].
unsafe fn tuple_of(page: *const u8, offset: u16) -> Option<(*const u8, usize)> {
    // SAFETY: the caller's contract; the tuple is within the page.
    unsafe {
        let (mut at, mut state, mut len) = line_pointer(page, offset)?;
        if state == REDIRECT {
            (at, state, len) = line_pointer(page, u16::try_from(at).ok()?)?;
        }
        (state == NORMAL && at + len <= PAGE && len > NULLS).then(|| (page.add(at), len))
    }
}

/// Where a column of a heap tuple is, unless that is NULL or not there.
///
/// # Safety
/// The tuple is one of `table`, which is open, on a page that stays.
unsafe fn column(tuple: *const u8, len: usize, number: c_int, table: pg_sys::Relation) -> Option<*const u8> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    // SAFETY: the tuple has a header; the column is there and not NULL when the server looks for it.
    unsafe {
        let columns = u16::from_ne_bytes(copied(tuple, 18)) & COLUMNS;
        let mask = u16::from_ne_bytes(copied(tuple, 20));
        if index >= usize::from(columns) || NULLS + index / 8 >= len {
            return None;
        }
        let [present] = copied(tuple, NULLS + index / 8);
        if mask & HAS_NULL != 0 && present >> (index % 8) & 1 == 0 {
            return None;
        }
        let mut head = pg_sys::HeapTupleData {
            t_len: len as u32,
            t_data: tuple.cast_mut().cast(),
            ..Default::default()
        };
        let datum = ffi::nocachegetattr(&raw mut head, number, (*table).rd_att);
        Some(datum.cast_mut_ptr::<u8>().cast_const())
    }
}
