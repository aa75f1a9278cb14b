//! What a vacuum of an index is told and answers (src/include/access/genam.h).

use pgrx::pg_sys;
use vector_index::storage::page::Tid;

use super::guard;
use super::relation::Rel;
use super::server;

/// Rests when cost-based vacuum delay asks for it, and lets a cancel through.
pub fn delay_point() {
    // SAFETY: may be called wherever interrupts may be served: no lock on a buffer is held.
    unsafe {
        #[cfg(feature = "pg18")]
        server::vacuum_delay_point(false);
        #[cfg(not(feature = "pg18"))]
        server::vacuum_delay_point();
    }
}

/// Adds reads that found their buffer remembered to the cost that [`delay_point`] looks at: the server adds
/// only its own.
pub fn charge(hits: u32) {
    // SAFETY: plain variables of this backend.
    unsafe {
        if pg_sys::VacuumCostActive {
            let cost = pg_sys::VacuumCostPageHit.saturating_mul(i32::try_from(hits).unwrap_or(i32::MAX));
            pg_sys::VacuumCostBalance = pg_sys::VacuumCostBalance.saturating_add(cost);
        }
    }
}

/// One call of bulk delete.
pub struct BulkDelete<'v> {
    /// the index
    pub index: Rel<'v>,
    callback: pg_sys::IndexBulkDeleteCallback,
    state: *mut core::ffi::c_void,
    stats: &'v mut pg_sys::IndexBulkDeleteResult,
}

impl<'v> BulkDelete<'v> {
    /// Wraps what the server passed.
    ///
    /// # Safety
    /// The pointers are those of one ambulkdelete call, alive for `'v`.
    pub unsafe fn new(
        info: *mut pg_sys::IndexVacuumInfo,
        stats: &'v mut pg_sys::IndexBulkDeleteResult,
        callback: pg_sys::IndexBulkDeleteCallback,
        state: *mut core::ffi::c_void,
    ) -> Self {
        // SAFETY: the caller's contract: the info names the open index.
        let index = unsafe { Rel::new((*info).index) };
        BulkDelete { index, callback, state, stats }
    }

    /// Whether the row at `tid` is to go. May be asked while a buffer is locked: the server's own access
    /// methods do, and the callback takes no lock on a buffer. It looks at a list in memory, which in a
    /// parallel vacuum is shared and may have to be mapped first: a server error is possible, if unlikely, and
    /// unwinds. What the page's lock and pin protect is left as it is, and the transaction's end lets them go.
    #[inline]
    pub fn is_dead(&self, tid: Tid) -> bool {
        let mut item = item_pointer(tid);
        match self.callback {
            // SAFETY: the callback and its state come from one ambulkdelete call; it takes a TID.
            Some(callback) => unsafe { guard::call(|| callback(&mut item, self.state)) },
            None => false,
        }
    }

    /// Adds to the count of rows that went, and says how many stay: a vacuum with much to remove calls several times,
    /// and each sees the whole index.
    pub fn count(&mut self, removed: u64, kept: u64) {
        self.stats.tuples_removed += removed as f64;
        self.stats.num_index_tuples = kept as f64;
    }
}

/// A TID in the server's form.
#[inline]
pub fn item_pointer(tid: Tid) -> pg_sys::ItemPointerData {
    pg_sys::ItemPointerData {
        ip_blkid: pg_sys::BlockIdData { bi_hi: (tid.block() >> 16) as u16, bi_lo: tid.block() as u16 },
        ip_posid: tid.offset(),
    }
}

/// A TID from the server's form.
#[inline]
pub fn tid(item: pg_sys::ItemPointerData) -> Tid {
    Tid::new(u32::from(item.ip_blkid.bi_hi) << 16 | u32::from(item.ip_blkid.bi_lo), item.ip_posid)
}
