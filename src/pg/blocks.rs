//! Blocks of an index behind `vector_index::storage::blocks`: the buffer manager, its locks, generic WAL and
//! page locks.
//!
//! Reading is the hot path of every search, so it calls the server without a guard: a server error in a read
//! jumps over the frames between here and the callback's caller. The contract in
//! `vector_index::storage::blocks` keeps those free of anything that needs dropping. Changes go through the
//! guard and unwind properly.

use core::ffi::c_int;
use core::ops::Range;

use pgrx::pg_sys::{self, Buffer, ForkNumber};
use vector_index::storage::blocks::{BlockStore, LockMode, OperationLock};
use vector_index::storage::page::{Corruption, Damage, Tid};
use vector_kernels::prefetch_line;

use super::change::IndexChange;
use super::extend::Ahead;
use super::ffi;
use super::free_space;
use super::interrupts;
use super::recent_buffers;
use super::relation::Rel;
use super::server;

/// Bytes of a block.
pub const PAGE_SIZE: usize = pg_sys::BLCKSZ as usize;

/// The blocks of one fork of an index.
pub struct IndexBlocks<'r> {
    relation: Rel<'r>,
    fork: ForkNumber::Type,
    /// the ring for all reads, or none
    strategy: pg_sys::BufferAccessStrategy,
    /// the ring for passes over all blocks
    passing: pg_sys::BufferAccessStrategy,
    logged: bool,
    pausing: bool,
    remembers: bool,
    reads_ahead: bool,
    count: u32,
    hits: u32,
    /// those of the hits that a vacuum's cost holds already
    charged: u32,
    ahead: Ahead,
}

impl<'r> IndexBlocks<'r> {
    /// The main fork, changes logged as the relation needs it.
    pub fn new(relation: Rel<'r>) -> Self {
        let fork = ForkNumber::MAIN_FORKNUM;
        IndexBlocks {
            relation,
            fork,
            strategy: core::ptr::null_mut(),
            passing: core::ptr::null_mut(),
            logged: true,
            pausing: false,
            remembers: recent_buffers::usable(relation),
            reads_ahead: recent_buffers::reads_ahead(relation),
            count: 0,
            hits: 0,
            charged: 0,
            ahead: Ahead::default(),
        }
    }

    /// For a build: changes are not logged, since the whole fork is at its end.
    pub fn building(relation: Rel<'r>) -> Self {
        IndexBlocks { logged: false, ..Self::new(relation) }
    }

    /// For the init fork of an unlogged index, written by a build too.
    pub fn building_init(relation: Rel<'r>) -> Self {
        IndexBlocks { fork: ForkNumber::INIT_FORKNUM, remembers: false, ..Self::building(relation) }
    }

    /// For a vacuum: reads go through a small ring of buffers, and long operations heed cost-based delays.
    pub fn vacuuming(relation: Rel<'r>) -> Self {
        IndexBlocks { strategy: bulk_ring(), pausing: true, ..Self::new(relation) }
    }

    /// For a vacuum that also searches: only its passes over all blocks go through the ring. What searches visit comes
    /// back, and would be read from disk each time.
    pub fn vacuuming_graph(relation: Rel<'r>) -> Self {
        IndexBlocks { passing: bulk_ring(), pausing: true, ..Self::new(relation) }
    }

    /// For a scan with its ring of buffers, if it has one.
    pub fn scanning(relation: Rel<'r>, ring: Ring) -> Self {
        IndexBlocks { strategy: ring.0, ..Self::new(relation) }
    }

    /// The relation.
    pub fn relation(&self) -> Rel<'r> {
        self.relation
    }

    /// Pins a block that exists.
    #[inline(always)]
    fn pin(&mut self, block: u32) -> Buffer {
        if self.remembers
            && let Some(buffer) = recent_buffers::pin(self.relation, block, self.enough())
        {
            self.hits += 1;
            return buffer;
        }
        self.pin_slowly(block)
    }

    /// Up to which usage count reading raises it: nearly the most there is, and once for a ring (PinBuffer, bufmgr.c).
    #[inline(always)]
    fn enough(&self) -> u32 {
        if self.strategy.is_null() { 4 } else { 1 }
    }

    #[inline(never)]
    fn pin_slowly(&mut self, block: u32) -> Buffer {
        // SAFETY: the relation is open, the block exists (callers), and the frames above hold nothing that needs
        // dropping (module comment).
        let buffer = unsafe {
            ffi::ReadBufferExtended(
                self.relation.as_ptr(),
                self.fork,
                block,
                pg_sys::ReadBufferMode::RBM_NORMAL,
                self.strategy,
            )
        };
        if self.remembers {
            recent_buffers::remember(self.relation, block, buffer);
        }
        buffer
    }

    /// Holds on to a block, so that no vacuum removes a row from it before it is let go.
    ///
    /// # Errors
    /// A block that does not exist.
    pub fn hold(&mut self, block: u32) -> Result<Hold, Corruption> {
        self.check_exists(block)?;
        Ok(Hold(self.pin(block)))
    }

    #[inline(always)]
    fn check_exists(&mut self, block: u32) -> Result<(), Corruption> {
        if block < self.count { Ok(()) } else { self.check_exists_now(block) }
    }

    #[cold]
    fn check_exists_now(&mut self, block: u32) -> Result<(), Corruption> {
        self.count = self.relation.blocks(self.fork);
        if block < self.count { Ok(()) } else { Err(Damage::at(0, "block does not exist").on(block)) }
    }

    /// Tells the statistics collector of the reads that found their buffer remembered: the server's own functions
    /// count only the others. (Not done by dropping: see the module comment.)
    pub fn count_hits(&mut self) {
        self.charged = 0;
        recent_buffers::count_hits(self.relation, core::mem::take(&mut self.hits));
    }
}

/// A block that is held on to. It is let go by hand, or by the server when the query fails.
pub struct Hold(Buffer);

impl Hold {
    /// Lets the block go.
    pub fn release(self) {
        // SAFETY: pinned when it was made, by the query that releases it.
        unsafe { server::ReleaseBuffer(self.0) };
    }
}

fn bulk_ring() -> pg_sys::BufferAccessStrategy {
    // SAFETY: allocates in the current memory context; the server frees it with that.
    unsafe { server::GetAccessStrategy(pg_sys::BufferAccessStrategyType::BAS_BULKREAD) }
}

/// A small ring of buffers for blocks that would otherwise push others out of the shared ones, or none. Lives
/// as long as the memory context that was current when it was made.
#[derive(Clone, Copy)]
pub struct Ring(pg_sys::BufferAccessStrategy);

impl Ring {
    /// A ring when the relation is larger than a quarter of the shared buffers: the server's own rule for sequential
    /// scans (heapam.c).
    pub fn for_scan(relation: Rel<'_>) -> Self {
        // SAFETY: the setting is a plain variable; the ring is allocated in the current memory context.
        unsafe {
            if relation.blocks(ForkNumber::MAIN_FORKNUM) <= (pg_sys::NBuffers / 4).max(0) as u32 {
                return Ring(core::ptr::null_mut());
            }
            Ring(server::GetAccessStrategy(pg_sys::BufferAccessStrategyType::BAS_BULKREAD))
        }
    }
}

/// The bytes of a pinned buffer.
#[inline(always)]
pub(super) fn page_address(buffer: Buffer) -> *mut u8 {
    // SAFETY: BufferGetBlock (src/include/storage/bufmgr.h): a pinned buffer's number is within its array.
    unsafe {
        if buffer < 0 {
            (*ffi::LocalBufferBlockPointers.add((-buffer - 1) as usize)).cast()
        } else {
            ffi::BufferBlocks.cast::<u8>().add((buffer - 1) as usize * PAGE_SIZE)
        }
    }
}

const SHARE: c_int = pg_sys::BUFFER_LOCK_SHARE as c_int;

impl<'r> BlockStore for IndexBlocks<'r> {
    type Error = Corruption;
    type Update<'a>
        = IndexChange<'a>
    where
        Self: 'a;

    fn page_size(&self) -> usize {
        PAGE_SIZE
    }

    fn count(&mut self) -> Result<u32, Corruption> {
        self.count = self.relation.blocks(self.fork);
        Ok(self.count)
    }

    #[inline(always)]
    fn read<R>(
        &mut self,
        block: u32,
        look: impl FnOnce(&[u8]) -> Result<R, Damage>,
    ) -> Result<R, Corruption> {
        self.check_exists(block)?;
        let buffer = self.pin(block);
        // SAFETY: the buffer is pinned by `pin` and locked here, so its bytes stay as they are until the unlock; the
        // slice ends with the closure. Should the closure panic, the transaction's end lets lock and pin go.
        let result = unsafe {
            ffi::LockBuffer(buffer, SHARE);
            let bytes = core::slice::from_raw_parts(page_address(buffer).cast_const(), PAGE_SIZE);
            let result = look(bytes);
            ffi::UnlockReleaseBuffer(buffer);
            result
        };
        result.map_err(|damage| damage.on(block))
    }

    fn read_in_passing<R>(
        &mut self,
        block: u32,
        look: impl FnOnce(&[u8]) -> Result<R, Damage>,
    ) -> Result<R, Corruption> {
        let always = core::mem::replace(&mut self.strategy, self.passing);
        let result = self.read(block, look);
        self.strategy = always;
        result
    }

    #[inline(always)]
    fn prefetch_blocks(&mut self, tids: &[Tid]) {
        if self.remembers {
            recent_buffers::prefetch_blocks(self.relation, tids);
        }
    }

    #[inline(always)]
    fn prefetch_item(&mut self, tid: Tid, size: usize) {
        if self.remembers {
            recent_buffers::prefetch_item(self.relation, tid, size);
        }
    }

    #[inline(always)]
    fn prefetch_bytes(&mut self, block: u32, start: usize, size: usize) {
        if self.remembers {
            if self.reads_ahead && block < self.count {
                recent_buffers::read_ahead(self.relation, block);
            }
            recent_buffers::prefetch_bytes(self.relation, block, start, size);
        }
    }

    fn find_room(&mut self, class: u8) -> Result<Option<u32>, Corruption> {
        let Some(block) = free_space::find(self.relation, class) else { return Ok(None) };
        if block < self.count || block < self.count()? {
            return Ok(Some(block));
        }
        // the map may outlive blocks that a crash took
        free_space::note(self.relation, block, 0);
        Ok(None)
    }

    fn note_room(&mut self, block: u32, class: u8) -> Result<(), Corruption> {
        free_space::note(self.relation, block, class);
        Ok(())
    }

    fn publish_room(&mut self) -> Result<(), Corruption> {
        free_space::publish(self.relation);
        Ok(())
    }

    fn update(&mut self) -> Result<IndexChange<'_>, Corruption> {
        let Self { relation, fork, logged, remembers, .. } = *self;
        let counts = (&mut self.count, &mut self.hits);
        Ok(IndexChange::new((relation, fork), (logged, remembers), counts, &mut self.ahead))
    }

    fn will_extend(&mut self, blocks: u32) {
        self.ahead.want(blocks);
    }

    fn lock(&mut self, lock: OperationLock, mode: LockMode) -> Result<(), Corruption> {
        for page in lock_pages(lock, mode) {
            // SAFETY: the relation is open; a heavyweight lock ends with the transaction at the latest.
            unsafe { server::LockPage(self.relation.as_ptr(), page, lock_mode(mode)) };
        }
        Ok(())
    }

    fn unlock(&mut self, lock: OperationLock, mode: LockMode) {
        for page in lock_pages(lock, mode) {
            // SAFETY: the caller holds it.
            unsafe { server::UnlockPage(self.relation.as_ptr(), page, lock_mode(mode)) };
        }
    }

    fn pause(&mut self) -> Result<(), Corruption> {
        if self.pausing {
            super::vacuum::charge(self.hits.wrapping_sub(self.charged));
            self.charged = self.hits;
            super::vacuum::delay_point();
        } else {
            interrupts::check();
        }
        Ok(())
    }

    #[cfg(feature = "fault_points")]
    fn fault_point(&mut self, name: &'static str) -> Result<(), Corruption> {
        super::faults::reach(name);
        Ok(())
    }
}

/// Page locks that scans share out among them.
const SCAN_LOCKS: u32 = 16;

/// The page locks that an operation lock consists of. A scan takes one of several, by its backend's number, and who
/// waits for all scans takes each: were there one only, all scans of all backends would meet at one partition of the
/// lock manager (src/backend/storage/lmgr/README).
#[inline]
fn lock_pages(lock: OperationLock, mode: LockMode) -> Range<u32> {
    match (lock, mode) {
        (OperationLock::Update, _) => 0..1,
        (OperationLock::Scan, LockMode::Exclusive) => 1..1 + SCAN_LOCKS,
        (OperationLock::Scan, LockMode::Shared) => {
            // SAFETY: set when the process began.
            let own = 1 + unsafe { pg_sys::MyProcPid } as u32 % SCAN_LOCKS;
            own..own + 1
        }
    }
}

fn lock_mode(mode: LockMode) -> c_int {
    match mode {
        LockMode::Shared => pg_sys::ShareLock as c_int,
        LockMode::Exclusive => pg_sys::ExclusiveLock as c_int,
    }
}

/// Makes the bytes of `address` likely to be cached.
#[inline(always)]
pub(super) fn prefetch_lines(address: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        prefetch_line(address.wrapping_byte_add(line));
    }
    // one more when the bytes do not begin a line
    prefetch_line(address.wrapping_byte_add(bytes).wrapping_byte_sub(1));
}
