//! The rows of a table, as a build of an index sees them.

use core::ffi::c_void;

use pgrx::pg_sys::{self, Datum};
use vector_index::filter::MAX_PACKED;
use vector_index::included::largest;
use vector_index::storage::page::Tid;
use zerocopy::IntoBytes;

use super::blocks::PAGE_SIZE;
use super::columns::{Columns, RowColumns};
use super::ereport::{self, Report};
use super::ffi;
use super::guard;
use super::included::{Included, Refused};
use super::relation::Rel;
use super::server;
use super::toast::{Fetcher, Remains, ToastPointer};
use super::vacuum::tid;
use super::varlena;

/// Sees every row of the table that the index must hold: its TID and the first column's value, a whole varlena, `None`
/// for NULL.
pub type Row<'a> = dyn FnMut(Tid, Option<&[u8]>) -> Result<(), Report> + 'a;

/// The same, with what the index keeps beside the value.
pub type WholeRow<'a> = dyn FnMut(Tid, Option<&[u8]>, Beside<'_>) -> Result<(), Report> + 'a;

/// What an index keeps of a row beside its first column's value; nothing of a row without one.
#[derive(Clone, Copy, Default)]
pub struct Beside<'r> {
    /// packed keys of filter columns
    pub keys: &'r [u8],
    /// values of INCLUDE columns ([`Included::form`]); none where they are too large
    pub included: &'r [u8],
    /// the bytes of those that are: an error ([`Refused::TooLarge`]) only if the row is to be in the index
    pub too_large: Option<usize>,
}

/// The columns of an index behind its first.
#[derive(Clone, Copy)]
pub struct Further<'c> {
    /// filter columns
    pub columns: &'c Columns,
    /// INCLUDE columns; none where their values are not wanted
    pub included: Option<&'c Included>,
}

impl<'c> Further<'c> {
    /// Filter columns alone.
    pub const fn keys(columns: &'c Columns) -> Self {
        Further { columns, included: None }
    }
}

/// Whether the row that comes next, which has a value, is to be fetched at all.
pub(super) type Wants<'a> = dyn Fn() -> bool + 'a;

/// Whether a value stored out of line, of a living row, is taken as it is, to be fetched later if at all.
pub(super) type Defer<'a> = dyn FnMut(ToastPointer) -> bool + 'a;

struct RowState<'a, 'b> {
    row: &'a mut WholeRow<'b>,
    index: Rel<'a>,
    further: Further<'a>,
    /// a row's values of INCLUDE columns
    kept: Vec<u64>,
    wants: &'a Wants<'b>,
    defer: &'a mut Defer<'b>,
    values: Fetcher,
    context: pg_sys::MemoryContext,
}

unsafe extern "C-unwind" fn row_callback(
    _: pg_sys::Relation,
    item: pg_sys::ItemPointer,
    values: *mut Datum,
    isnull: *mut bool,
    alive: bool,
    state: *mut c_void,
) {
    // SAFETY: the table's access method passes a TID and arrays of the index's columns, and `scan_table` the state,
    // which nobody else uses during the scan. A panic in the closure is carried over the table's C
    // frames as a server error by the guard.
    unsafe {
        let result = guard::entry(|| {
            let state = &mut *state.cast::<RowState<'_, '_>>();
            if !*isnull && !(state.wants)() {
                return Ok(());
            }
            // (the values of a dead row may be gone later)
            if !*isnull
                && alive
                && let Some(later) = ToastPointer::new((*values).cast_mut_ptr())
                && (state.defer)(later)
            {
                return Ok(());
            }
            let previous = pg_sys::MemoryContextSwitchTo(state.context);
            let mut keys = [0; MAX_PACKED];
            let mut too_large = None;
            if !*isnull {
                let fetcher = &mut state.values;
                let columns = RowColumns::new(state.index, values, isnull);
                let mut there = state.further.columns.is_empty()
                    || state.further.columns.keys_of(columns, &mut keys, |value| {
                        if alive { Some(value) } else { datum_of_dead(fetcher, value) }
                    });
                if let Some(included) = state.further.included.filter(|_| there) {
                    let mut beyond = None;
                    let fetch = |value: Datum| {
                        if alive {
                            return Some(value);
                        }
                        let found = datum_of_dead(fetcher, value)?;
                        // what is still out of line is not asked for: it may be gone, and no page would hold it
                        beyond = size_out_of_line(found).filter(|&size| size > largest(PAGE_SIZE));
                        // each is a copy: the next one takes the fetcher's room
                        if beyond.is_some() { None } else { Some(copied(found)) }
                    };
                    match included.form(columns, tid(*item), &mut state.kept, fetch) {
                        Ok(all) => {
                            there = all || beyond.is_some();
                            too_large = beyond;
                        }
                        Err(Refused::TooLarge(size)) => too_large = Some(size),
                        Err(refused) => {
                            pg_sys::MemoryContextSwitchTo(previous);
                            return Err(refused.report(state.index));
                        }
                    }
                }
                if !there {
                    // as for the vector itself
                    pg_sys::MemoryContextSwitchTo(previous);
                    server::MemoryContextReset(state.context);
                    return Ok(());
                }
            }
            let keys = keys.get(..state.further.columns.packings().bytes()).unwrap_or_default();
            let included = match state.further.included {
                Some(_) if !*isnull && too_large.is_none() => state.kept.as_bytes(),
                _ => &[],
            };
            let beside = Beside { keys, included, too_large };
            let value = match (*isnull, alive) {
                (true, _) => Some(None),
                (false, true) => Some(Some(value_of(&mut state.values, (*values).cast_mut_ptr()))),
                (false, false) => value_of_dead(&mut state.values, (*values).cast_mut_ptr()).map(Some),
            };
            let result = value.map_or(Ok(()), |value| (state.row)(tid(*item), value, beside));
            pg_sys::MemoryContextSwitchTo(previous);
            if result.is_ok() {
                server::MemoryContextReset(state.context);
            }
            result
        });
        // nothing of this frame needs dropping
        if let Err(report) = result {
            ereport::raise(report);
        }
    }
}

/// Values stored out of line, one after the other.
pub(super) struct Values {
    fetcher: Fetcher,
    context: pg_sys::MemoryContext,
}

impl Values {
    /// Allocates in a memory context of its own, below the current one.
    pub(super) fn new() -> Self {
        // SAFETY: makes a memory context; the buffer in its parent goes with that, at the latest.
        unsafe { Values { fetcher: Fetcher::new(pg_sys::CurrentMemoryContext), context: row_context() } }
    }

    /// Shows a value, whole. A server error unwinds.
    pub(super) fn show<R>(&mut self, later: ToastPointer, look: impl FnOnce(&[u8]) -> R) -> R {
        // SAFETY: the row is there (it was alive under the lock or the snapshot of the build, which still holds); the
        // value stays until the reset; the guarded frame has nothing to drop.
        unsafe {
            server::MemoryContextReset(self.context);
            let value = guard::call(|| {
                let previous = pg_sys::MemoryContextSwitchTo(self.context);
                let value = value_of(&mut self.fetcher, later.as_ptr());
                pg_sys::MemoryContextSwitchTo(previous);
                value
            });
            look(value)
        }
    }
}

/// A memory context for one row at a time.
///
/// # Safety
/// There is a current memory context.
unsafe fn row_context() -> pg_sys::MemoryContext {
    // SAFETY: the caller's contract.
    unsafe {
        server::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"vector index build row".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        )
    }
}

/// A value, whole.
///
/// # Safety
/// `datum` is a varlena of a row that is there. A server error jumps over the caller's frames. The result is gone with
/// the next value and with the current memory context's reset.
unsafe fn value_of(fetcher: &mut Fetcher, datum: *mut pg_sys::varlena) -> &[u8] {
    // SAFETY: the caller's contract.
    unsafe { fetcher.fetch(datum).unwrap_or_else(|| varlena::whole(ffi::pg_detoast_datum(datum))) }
}

/// The value of a row that was dead when the scan came by, whole; `None` when it is no longer there. A build
/// looks at rows that an older snapshot may see. That can end meanwhile, and a toast table may be vacuumed
/// apart from its table, or pruned by whoever reads it; then nobody sees the row, and the index need not have
/// it.
///
/// # Safety
/// As for [`value_of`].
unsafe fn value_of_dead(fetcher: &mut Fetcher, datum: *mut pg_sys::varlena) -> Option<&[u8]> {
    // SAFETY: the caller's contract.
    unsafe {
        match fetcher.fetch_of_dead(datum) {
            Some(Remains::Gone) => None,
            Some(Remains::Value(value)) => {
                Some(varlena::whole(ffi::pg_detoast_datum(value.as_ptr().cast_mut().cast())))
            }
            None => Some(varlena::whole(ffi::pg_detoast_datum(datum))),
        }
    }
}

/// The same as a datum, of a value of any kind.
///
/// # Safety
/// As for [`value_of`].
unsafe fn datum_of_dead(fetcher: &mut Fetcher, value: Datum) -> Option<Datum> {
    // SAFETY: the caller's contract.
    unsafe {
        match fetcher.fetch_of_dead(value.cast_mut_ptr()) {
            Some(Remains::Gone) => None,
            Some(Remains::Value(value)) => Some(Datum::from(value.as_ptr())),
            None => Some(value),
        }
    }
}

/// Bytes of a value that is stored out of line, as they are there (`varatt_external` of varatt.h); none of another.
///
/// # Safety
/// The value is a varlena.
unsafe fn size_out_of_line(value: Datum) -> Option<usize> {
    const FIRST: u8 = if cfg!(target_endian = "little") { 0x01 } else { 0x80 };
    const ON_DISK: u8 = 18;
    let bytes: *const u8 = value.cast_mut_ptr::<u8>().cast_const();
    // SAFETY: the caller's contract. An external value has a tag behind its first byte; of one on disk follow the size
    // of the whole and, in 30 bits, that of what is stored, at any alignment.
    unsafe {
        if bytes.read() != FIRST || bytes.add(1).read() != ON_DISK {
            return None;
        }
        Some((bytes.add(6).cast::<u32>().read_unaligned() & 0x3fff_ffff) as usize)
    }
}

/// A copy of a value of variable length, whole, in the current memory context.
///
/// # Safety
/// As for [`value_of`].
unsafe fn copied(value: Datum) -> Datum {
    // SAFETY: the caller's contract.
    unsafe { Datum::from(server::pg_detoast_datum_copy(value.cast_mut_ptr())) }
}

/// Which part of a table is scanned.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// all of it, where synchronised scans may begin anywhere, with progress reported
    All,
    /// one block
    Block(u32),
    /// all of it from its first block on, without progress
    Whole,
}

/// Scans the table for a build and returns the number of rows it saw. `row` runs in a memory context that is reset
/// after each row; its error is raised.
pub fn scan_whole_table(
    heap: Rel<'_>,
    index: Rel<'_>,
    info: *mut pg_sys::IndexInfo,
    further: Further<'_>,
    row: &mut WholeRow<'_>,
) -> f64 {
    scan(heap, index, info, Part::All, &|| true, &mut |_| false, further, row)
}

pub(super) fn scan_part(
    heap: Rel<'_>,
    index: Rel<'_>,
    info: *mut pg_sys::IndexInfo,
    part: Part,
    wants: &Wants<'_>,
    defer: &mut Defer<'_>,
    row: &mut Row<'_>,
) -> f64 {
    let further = Further::keys(&Columns::NONE);
    scan(heap, index, info, part, wants, defer, further, &mut |tid, value, _| row(tid, value))
}

#[allow(clippy::too_many_arguments)] // what the callers have in common
fn scan(
    heap: Rel<'_>,
    index: Rel<'_>,
    info: *mut pg_sys::IndexInfo,
    part: Part,
    wants: &Wants<'_>,
    defer: &mut Defer<'_>,
    further: Further<'_>,
    row: &mut WholeRow<'_>,
) -> f64 {
    let (whole, start, blocks) = match part {
        Part::All => (true, 0, pg_sys::InvalidBlockNumber),
        Part::Block(block) => (false, block, 1),
        Part::Whole => (false, 0, pg_sys::InvalidBlockNumber),
    };
    // SAFETY: heap, index and info are those of one ambuild call; the state outlives the scan. (A table access method
    // always has this function.)
    unsafe {
        // (a sample scans block by block: each scan's buffer goes with it)
        let (context, kept) = (row_context(), row_context());
        let values = Fetcher::new(kept);
        let mut state = RowState { row, index, further, kept: Vec::new(), wants, defer, values, context };
        let routine = &*(*heap.as_ptr()).rd_tableam;
        let rows = match routine.index_build_range_scan {
            Some(scan_range) => guard::call(|| {
                scan_range(
                    heap.as_ptr(),
                    index.as_ptr(),
                    info,
                    whole,
                    false,
                    whole,
                    start,
                    blocks,
                    Some(row_callback),
                    (&raw mut state).cast(),
                    core::ptr::null_mut(),
                )
            }),
            None => 0.0,
        };
        server::MemoryContextDelete(context);
        server::MemoryContextDelete(kept);
        rows
    }
}
