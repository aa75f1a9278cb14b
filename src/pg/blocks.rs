//! Blocks of an index behind `vector_index::storage::blocks`: the buffer manager, its locks, generic WAL and
//! page locks.
//!
//! Reading is the hot path of every search, so it calls the server without a guard: a server error in a read
//! jumps over the frames between here and the callback's caller. The contract in
//! `vector_index::storage::blocks` keeps those free of anything that needs dropping. Changes go through the
//! guard and unwind properly.

use core::ffi::c_int;
use core::mem::ManuallyDrop;
use core::ops::Range;

use pgrx::pg_sys::{self, Buffer, ForkNumber};
use vector_index::storage::blocks::{BlockStore, FIFTH_BLOCK, LockMode, OperationLock, PageRef, PageUpdate};
use vector_index::storage::page::{Corruption, Damage, Tid};
use vector_kernels::prefetch_line;

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
fn page_address(buffer: Buffer) -> *mut u8 {
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
const EXCLUSIVE: c_int = pg_sys::BUFFER_LOCK_EXCLUSIVE as c_int;

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
        Ok(IndexChange {
            relation: self.relation,
            fork: self.fork,
            logged: self.logged,
            log: core::ptr::null_mut(),
            held: [const { None }; pg_sys::MAX_GENERIC_XLOG_PAGES as usize],
            count: &mut self.count,
            ahead: &mut self.ahead,
        })
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

/// A locked block of a change: its buffer, and where its bytes are changed (a copy that generic WAL gave, or the
/// buffer itself), once they are.
struct Held {
    buffer: Buffer,
    image: *mut u8,
    new: bool,
}

/// A change of up to four blocks. Dropped without commit, it leaves them as they were.
pub struct IndexChange<'a> {
    relation: Rel<'a>,
    fork: ForkNumber::Type,
    logged: bool,
    log: *mut pg_sys::GenericXLogState,
    held: [Option<Held>; pg_sys::MAX_GENERIC_XLOG_PAGES as usize],
    count: &'a mut u32,
    ahead: &'a mut Ahead,
}

impl IndexChange<'_> {
    /// Room for one more block. To be asked for before the block is locked.
    fn room(&self) -> Result<usize, Corruption> {
        let room = self.held.iter().position(Option::is_none);
        room.ok_or(FIFTH_BLOCK.on(pg_sys::InvalidBlockNumber))
    }

    fn mode(&mut self, place: usize, buffer: Buffer, new: bool) -> PageRef {
        if let Some(held) = self.held.get_mut(place) {
            *held = Some(Held { buffer, image: core::ptr::null_mut(), new });
        }
        PageRef(place)
    }

    fn held(&self, slot: PageRef) -> Option<&Held> {
        self.held.get(slot.0).and_then(Option::as_ref)
    }

    fn read_buffer(&mut self, block: u32) -> Result<Buffer, Corruption> {
        if block >= *self.count {
            // guarded: an error here must unwind and let go of what the change holds
            // SAFETY: the relation is open.
            *self.count =
                unsafe { server::RelationGetNumberOfBlocksInFork(self.relation.as_ptr(), self.fork) };
            if block >= *self.count {
                return Err(Damage::at(0, "block does not exist").on(block));
            }
        }
        // SAFETY: the relation is open and the block exists.
        Ok(unsafe {
            server::ReadBufferExtended(
                self.relation.as_ptr(),
                self.fork,
                block,
                pg_sys::ReadBufferMode::RBM_NORMAL,
                core::ptr::null_mut(),
            )
        })
    }

    fn release(&mut self) {
        for held in self.held.iter_mut().filter_map(Option::take) {
            // SAFETY: this change locked and pinned the buffer.
            unsafe { server::UnlockReleaseBuffer(held.buffer) };
        }
    }
}

impl PageUpdate for IndexChange<'_> {
    type Error = Corruption;

    fn open(&mut self, block: u32) -> Result<PageRef, Corruption> {
        let room = self.room()?;
        let buffer = self.read_buffer(block)?;
        // SAFETY: pinned just now.
        unsafe { server::LockBuffer(buffer, EXCLUSIVE) };
        Ok(self.mode(room, buffer, false))
    }

    fn extend(&mut self) -> Result<PageRef, Corruption> {
        let room = self.room()?;
        if let Some(buffer) = self.ahead.take(self.relation, self.fork) {
            // SAFETY: pinned just now, and nobody else knows the block.
            unsafe { server::LockBuffer(buffer, EXCLUSIVE) };
            return Ok(self.mode(room, buffer, true));
        }
        let relation = self.relation.as_ptr();
        let extension = pg_sys::ExclusiveLock as c_int;
        // SAFETY: the relation is open. P_NEW adds a zeroed block; the extension lock keeps others from adding the
        // same one, and nobody else knows the block before it is linked.
        let buffer = unsafe {
            server::LockRelationForExtension(relation, extension);
            let buffer = server::ReadBufferExtended(
                relation,
                self.fork,
                pg_sys::InvalidBlockNumber,
                pg_sys::ReadBufferMode::RBM_NORMAL,
                core::ptr::null_mut(),
            );
            server::LockBuffer(buffer, EXCLUSIVE);
            server::UnlockRelationForExtension(relation, extension);
            buffer
        };
        Ok(self.mode(room, buffer, true))
    }

    fn block(&self, slot: PageRef) -> u32 {
        match self.held(slot) {
            // SAFETY: the buffer is pinned.
            Some(held) => unsafe { server::BufferGetBlockNumber(held.buffer) },
            None => pg_sys::InvalidBlockNumber,
        }
    }

    fn bytes(&self, slot: PageRef) -> &[u8] {
        match self.held(slot) {
            Some(held) => {
                let start =
                    if held.image.is_null() { page_address(held.buffer) } else { held.image }.cast_const();
                // SAFETY: the buffer is pinned and locked exclusively by this change, whose borrow the slice shares;
                // an image is a page of this change's WAL state.
                unsafe { core::slice::from_raw_parts(start, PAGE_SIZE) }
            }
            None => &[],
        }
    }

    fn bytes_mut(&mut self, slot: PageRef) -> Result<&mut [u8], Corruption> {
        let Some(held) = self.held.get_mut(slot.0).and_then(Option::as_mut) else { return Ok(&mut []) };
        if held.image.is_null() {
            held.image = if self.logged {
                let flags = if held.new { pg_sys::GENERIC_XLOG_FULL_IMAGE as c_int } else { 0 };
                // SAFETY: the relation is open; the buffer is pinned and locked exclusively, and registered once.
                unsafe {
                    if self.log.is_null() {
                        self.log = server::GenericXLogStart(self.relation.as_ptr());
                    }
                    server::GenericXLogRegisterBuffer(self.log, held.buffer, flags).cast()
                }
            } else {
                page_address(held.buffer)
            };
        }
        // SAFETY: as in `bytes`; the borrow is exclusive.
        Ok(unsafe { core::slice::from_raw_parts_mut(held.image, PAGE_SIZE) })
    }

    fn commit(mut self) -> Result<(), Corruption> {
        if self.logged {
            if !self.log.is_null() {
                // SAFETY: the state was started by this change and is finished once.
                unsafe {
                    server::GenericXLogFinish(core::mem::replace(&mut self.log, core::ptr::null_mut()))
                };
            }
        } else {
            for held in self.held.iter().flatten().filter(|held| !held.image.is_null()) {
                // SAFETY: pinned and locked exclusively.
                unsafe { server::MarkBufferDirty(held.buffer) };
            }
        }
        self.release();
        // nothing is left to undo
        let _ = ManuallyDrop::new(self);
        Ok(())
    }
}

impl Drop for IndexChange<'_> {
    fn drop(&mut self) {
        // While a server error unwinds, the transaction's end releases everything, in the right order.
        if std::thread::panicking() {
            return;
        }
        if !self.log.is_null() {
            // SAFETY: the state was started by this change and not finished.
            unsafe { server::GenericXLogAbort(self.log) };
        }
        self.release();
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
