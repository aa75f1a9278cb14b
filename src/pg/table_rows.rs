//! Values of single rows of a table, as an index would keep them now: fetched by their TIDs, as an index scan does it.
//!
//! A TID in an index is the root of a chain of versions that do not differ in what the index computes: an update that
//! changes a column which an index, its expressions or its condition read starts a chain of its own, with an entry of
//! its own. So whichever version of a chain a snapshot sees has the value that was indexed, and satisfies the condition
//! of a partial index. (An index made while there were chains for which that is not so is used by no snapshot that sees
//! their older versions: `indcheckxmin`.) A TID that a scan remembers may be given to another row meanwhile, once a
//! vacuum has removed the entry. That row is newer than the snapshot, which does not see it.
//!
//! Nothing is held from one call of the executor to the next but memory: no pin, no reference.

use core::ptr::null_mut;

use core::ffi::c_int;

use pgrx::pg_sys::{self, ForkNumber};
use vector_index::storage::page::Tid;

use super::am::BuildCall;
use super::ffi;
use super::guard;
use super::relation::Rel;
use super::server;
use super::toast::Fetcher;
use super::vacuum::item_pointer;
use super::varlena;

/// What it takes to fetch rows of a table, kept from one to the next.
pub struct TableRows {
    /// below the one that was current when this was made
    context: pg_sys::MemoryContext,
    opened: Option<Opened>,
}

struct Opened {
    heap: pg_sys::Relation,
    fetch: *mut pg_sys::IndexFetchTableData,
    slot: *mut pg_sys::TupleTableSlot,
    estate: *mut pg_sys::EState,
    /// the table's column that the first one of the index is, or null for an expression
    column: c_int,
    expression: *mut pg_sys::ExprState,
    econtext: *mut pg_sys::ExprContext,
    row_context: pg_sys::MemoryContext,
    context: pg_sys::MemoryContext,
    values: Fetcher,
    /// whether blocks are worth being asked for ahead
    reads_ahead: bool,
}

/// The rows that a snapshot sees.
pub struct SeenRows<'r> {
    opened: &'r mut Opened,
    snapshot: pg_sys::Snapshot,
}

impl TableRows {
    /// Allocates in a context of its own, which ends with the one that is current now.
    pub fn new() -> Self {
        // SAFETY: there is a current memory context.
        let context = unsafe {
            server::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"vector table rows".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        };
        TableRows { context, opened: None }
    }

    /// The rows of `heap` that `snapshot` sees, with the values of `index`. A server error unwinds.
    ///
    /// # Safety
    /// `snapshot` is of the MVCC kind and registered or active for as long as the result is used; index and table are
    /// the same in all calls, and open until [`Self::end`] or an error.
    pub unsafe fn seen<'r>(
        &'r mut self,
        heap: Rel<'_>,
        index: Rel<'_>,
        snapshot: pg_sys::Snapshot,
    ) -> SeenRows<'r> {
        let context = self.context;
        // SAFETY: the caller's contract; the guarded call only calls the server.
        let opened = self.opened.get_or_insert_with(|| unsafe { open(context, heap, index) });
        SeenRows { opened, snapshot }
    }

    /// Gives back what is not memory. Nothing to be done after an error: then there is nothing else.
    pub fn end(&mut self) {
        let Some(opened) = self.opened.take() else { return };
        // SAFETY: they were made by `open`, and nobody uses them any more.
        unsafe {
            guard::call(|| {
                let Opened { heap, fetch, slot, estate, .. } = opened;
                ffi::ExecDropSingleTupleTableSlot(slot);
                if let Some(end) = (*(*heap).rd_tableam).index_fetch_end {
                    end(fetch);
                }
                ffi::FreeExecutorState(estate);
            });
            server::MemoryContextReset(self.context);
        }
    }
}

/// Prepares to fetch rows.
///
/// # Safety
/// Both relations are open; the context lives longer than the result.
unsafe fn open(context: pg_sys::MemoryContext, heap: Rel<'_>, index: Rel<'_>) -> Opened {
    // SAFETY: the caller's contract. A table access method always has the functions for index scans.
    unsafe {
        let blocks = heap.blocks(ForkNumber::MAIN_FORKNUM);
        let reads_ahead =
            pg_sys::effective_io_concurrency > 0 && u32::try_from(pg_sys::NBuffers).is_ok_and(|n| n < blocks);
        let (heap, index) = (heap.as_ptr(), index.as_ptr());
        let (fetch, slot, estate, column, expression, econtext) = guard::call(|| {
            let previous = pg_sys::MemoryContextSwitchTo(context);
            let fetch = (*(*heap).rd_tableam).index_fetch_begin.map_or(null_mut(), |begin| begin(heap));
            // a copy, with what rows lack that are older than a column, is nobody's but ours: no reference is counted
            let columns = ffi::CreateTupleDescCopyConstr((*heap).rd_att);
            let slot = ffi::MakeSingleTupleTableSlot(columns, ffi::table_slot_callbacks(heap));
            let info = ffi::BuildIndexInfo(index);
            let estate = ffi::CreateExecutorState();
            let econtext = ffi::MakePerTupleExprContext(estate);
            (*econtext).ecxt_scantuple = slot;
            // (those of further columns are nobody's business here)
            let column = c_int::from((*info).ii_IndexAttrNumbers[0]);
            let expression = if column == 0 {
                let first = (*(*(*info).ii_Expressions).elements).ptr_value;
                ffi::ExecPrepareExpr(first.cast(), estate)
            } else {
                null_mut()
            };
            pg_sys::MemoryContextSwitchTo(previous);
            (fetch, slot, estate, column, expression, econtext)
        });
        let row_context = (*econtext).ecxt_per_tuple_memory;
        let values = Fetcher::new(context);
        Opened {
            heap,
            fetch,
            slot,
            estate,
            column,
            expression,
            econtext,
            row_context,
            context,
            values,
            reads_ahead,
        }
    }
}

impl Opened {
    /// The value of a row, whole; none when the snapshot sees no such row, or it has no value. It stays until the next
    /// call.
    ///
    /// # Safety
    /// As for [`TableRows::seen`]; a server error jumps over this frame.
    unsafe fn value(&mut self, row: Tid, snapshot: pg_sys::Snapshot) -> Option<&[u8]> {
        // SAFETY: the caller's contract; the column is one of the table's. Nothing here needs dropping.
        unsafe {
            ffi::MemoryContextReset(self.row_context);
            let (mut tid, mut again) = (item_pointer(row), false);
            let previous = pg_sys::MemoryContextSwitchTo(self.context);
            let fetch = (*(*self.heap).rd_tableam).index_fetch_tuple?;
            let found = fetch(self.fetch, &raw mut tid, snapshot, self.slot, &raw mut again, null_mut());
            pg_sys::MemoryContextSwitchTo(self.row_context);
            let mut value = None;
            if found {
                let mut null = true;
                let datum = match self.expression.as_mut() {
                    Some(state) => {
                        let evaluate = state.evalfunc?;
                        evaluate(state, self.econtext, &raw mut null)
                    }
                    None => {
                        let slot = self.slot;
                        if c_int::from((*slot).tts_nvalid) < self.column {
                            ffi::slot_getsomeattrs_int(slot, self.column);
                        }
                        let at = (self.column - 1) as usize;
                        null = (*slot).tts_isnull.add(at).read();
                        (*slot).tts_values.add(at).read()
                    }
                };
                if !null {
                    let datum = datum.cast_mut_ptr::<pg_sys::varlena>();
                    let known = self.values.fetch(datum);
                    value = Some(known.unwrap_or_else(|| varlena::whole(ffi::pg_detoast_datum(datum))));
                }
            }
            pg_sys::MemoryContextSwitchTo(previous);
            value
        }
    }
}

impl SeenRows<'_> {
    /// Says that `row` will be asked for soon. A hint.
    pub fn prefetch(&mut self, row: Tid) {
        if self.opened.reads_ahead {
            #[cfg(not(feature = "pg13"))]
            // SAFETY: the table is open, and has the block of every row that an index names.
            unsafe {
                guard::call(|| ffi::PrefetchBuffer(self.opened.heap, ForkNumber::MAIN_FORKNUM, row.block()));
            }
            #[cfg(feature = "pg13")]
            let _ = row;
        }
    }

    /// The indexed value of a row, a whole varlena; none when the snapshot sees no such row, or it has no value. A
    /// server error unwinds.
    pub fn value(&mut self, row: Tid) -> Option<&[u8]> {
        let SeenRows { opened, snapshot } = self;
        // SAFETY: `seen` was promised all this; the guarded call only calls the server.
        unsafe { guard::call(|| opened.value(row, *snapshot)) }
    }

    /// Lets go of the page of the last row.
    pub fn pause(&mut self) {
        let Opened { slot, fetch, heap, .. } = *self.opened;
        // SAFETY: the slot and the fetch were made by `open`.
        unsafe {
            guard::call(|| {
                if let Some(clear) = (*(*slot).tts_ops).clear {
                    clear(slot);
                }
                if let Some(reset) = (*(*heap).rd_tableam).index_fetch_reset {
                    reset(fetch);
                }
            });
        }
    }
}

/// Rows of a table whose index is being built, as a snapshot of this moment sees them.
pub struct LatestRows {
    rows: TableRows,
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
}

impl LatestRows {
    /// Takes a snapshot. A server error unwinds, and the transaction's end gives back what is not given back.
    pub fn of(call: &BuildCall<'_>) -> Self {
        // SAFETY: a build runs in a transaction, and not in a parallel one.
        let snapshot = unsafe { server::RegisterSnapshot(server::GetLatestSnapshot()) };
        LatestRows { rows: TableRows::new(), heap: call.heap.as_ptr(), index: call.index.as_ptr(), snapshot }
    }

    /// Gives everything back.
    pub fn end(mut self) {
        self.rows.end();
        // SAFETY: it was registered by `of`, and the rows are no longer used.
        unsafe {
            server::UnregisterSnapshot(self.snapshot);
            server::MemoryContextDelete(self.rows.context);
        }
    }

    /// The rows.
    pub fn seen(&mut self) -> SeenRows<'_> {
        // SAFETY: the relations are those of the build that this lives in, and the snapshot is registered.
        unsafe { self.rows.seen(Rel::new(self.heap), Rel::new(self.index), self.snapshot) }
    }
}
