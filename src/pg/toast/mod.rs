//! Fetching values stored out of line for a function that is called once per row.
//!
//! PostgreSQL's own fetch (src/backend/access/common/detoast.c, toast_internals.c, heaptoast.c) opens the toast
//! table and its index and descends the index for every value. A scan in storage order finds each value's chunks
//! right behind those of the value before it, or a few items on where a row has other long columns. So this one
//! first looks there, on the same page and the next; for a value of quite another number, where those found before
//! suggest (`places`). A chunk says which value it belongs to and its number, so a wrong guess costs a look and
//! cannot go unnoticed; then the index is asked, which also says where to look next time. Where guesses keep failing
//! only few are made. A guess may read a page that the value turns out not to be on; if that page is damaged, the error
//! names it. A number is given to another value only when the toast index knows none of it, so a chunk that is found
//! has the value that its row means, but for those that never had an index entry or lost it while they stayed: of a
//! transaction that was aborted, or deleted ones that a REINDEX passed over. So a chunk counts only when its inserter
//! committed or is the current transaction, and nothing says that it was deleted; others are left to the index.
//! Whatever is unusual (compressed values, other table access methods, lengths that do not add up) is left to
//! PostgreSQL, whose errors are the ones to be seen.
//!
//! State hangs on the function's own FmgrInfo and dies with the query. The two arguments have one each, so that
//! a constant argument (the result of a subquery, say) is fetched once.

mod chunks;
pub mod last_row;
mod places;

use core::ffi::c_int;

use pgrx::pg_sys::{self, Datum, Oid, Relation, varlena};

use self::chunks::{Chunk, Chunks, Progress, Seen, look_for};
use self::places::{Guess, Known};
use super::ffi;
use super::varlena::{HEADER, header_4b, header_4b_compressed};

/// Largest value that gets a buffer for as long as the query runs; the largest `vector` has 64,008 bytes, the
/// largest `sparsevec` 128,016.
const LARGEST: usize = 132 << 10;

const PAGE: usize = pg_sys::BLCKSZ as usize;

/// A pointer to a value stored out of line (`varatt_external` of varatt.h), as read from the row.
#[derive(Clone, Copy)]
#[repr(C)]
struct External {
    raw_size: i32,
    ext_info: u32,
    value: Oid,
    relation: Oid,
}

const _: () = assert!(size_of::<External>() == size_of::<pg_sys::varatt_external>());

/// Tag of an on-disk pointer.
const VARTAG_ONDISK: u8 = 18;
/// First byte of any external value.
const EXTERNAL: u8 = if cfg!(target_endian = "little") { 0x01 } else { 0x80 };

/// Whether a varlena is a pointer to a value on disk.
///
/// # Safety
/// `datum` is a varlena.
#[inline(always)]
pub unsafe fn is_out_of_line(datum: *const varlena) -> bool {
    // SAFETY: an external value has a tag byte after the first.
    unsafe { datum.cast::<u8>().read() == EXTERNAL && datum.cast::<u8>().add(1).read() == VARTAG_ONDISK }
}

impl External {
    /// The pointer in `datum`, if it is one to an uncompressed value on disk.
    ///
    /// # Safety
    /// `datum` is a varlena.
    #[inline]
    unsafe fn read(datum: *const varlena) -> Option<Self> {
        // SAFETY: the caller's contract.
        unsafe { Self::read_any(datum) }.filter(|external| !external.is_compressed())
    }

    /// The pointer in `datum`, if it is one to a value on disk.
    ///
    /// # Safety
    /// As for [`Self::read`].
    #[inline]
    unsafe fn read_any(datum: *const varlena) -> Option<Self> {
        // SAFETY: the caller's contract; the on-disk kind has a pointer after its tag, at any alignment.
        unsafe {
            is_out_of_line(datum).then(|| datum.cast::<u8>().add(2).cast::<External>().read_unaligned())
        }
    }

    /// Whether the value is compressed: else its raw size is its own and that of a header.
    fn is_compressed(&self) -> bool {
        self.len() + HEADER != self.raw_size.max(0) as usize
    }

    /// Bytes of the value without header. (The two highest bits name the compression from PostgreSQL 14 on;
    /// before, the size was an int32 and they are zero. A compressed value is shorter than its raw size.)
    fn len(&self) -> usize {
        (self.ext_info & 0x3fff_ffff) as usize
    }
}

/// Where one argument's last value was, and its bytes.
#[derive(Clone, Copy)]
#[repr(C)]
struct Slot {
    relation: Oid,
    /// The value that `buffer` holds; invalid while it is being filled.
    value: Oid,
    /// The number of the last value found; 0 for none.
    last: u32,
    transaction: i64,
    statement: i64,
    buffer: *mut u8,
    capacity: usize,
    next: Place,
    /// Guesses in a row that failed.
    misses: u32,
    /// A transaction that committed; 0 for none.
    inserter: u32,
}

/// An item of a page.
#[derive(Clone, Copy)]
struct Place {
    block: u32,
    offset: u16,
}

impl Place {
    fn next_page(self) -> Self {
        Place { block: self.block.saturating_add(1), offset: 1 }
    }
}

/// Everything one function keeps; zero is its first state.
#[repr(C)]
struct State {
    slots: [Slot; 2],
}

/// The bytes of the varlena in argument `n` (0 or 1), with a four-byte header, if they are stored out of line
/// in a way that this module knows. They stay until the same argument is fetched again.
///
/// # Safety
/// `fcinfo` is a live call, its argument `n` a varlena, and a server error may jump over the caller's frames.
/// The result must not outlive the call.
pub unsafe fn fetch<'a>(
    fcinfo: pg_sys::FunctionCallInfo,
    n: usize,
    datum: *const varlena,
) -> Option<&'a [u8]> {
    // SAFETY: see each step; the caller vouches for fcinfo and datum.
    unsafe {
        let external = External::read(datum)?;
        if HEADER + external.len() > LARGEST {
            return None;
        }
        let slot = state((*fcinfo).flinfo)?.slots.get_mut(n)?;
        slot.value_of(&external, (*(*fcinfo).flinfo).fn_mcxt)
    }
}

/// Values fetched one after the other by a build, for which there is no function whose FmgrInfo could keep the state.
pub struct Fetcher {
    slot: Slot,
    context: pg_sys::MemoryContext,
}

impl Fetcher {
    /// Keeps its buffer in `context`.
    pub fn new(context: pg_sys::MemoryContext) -> Self {
        Fetcher { slot: Slot::EMPTY, context }
    }

    /// The value of a row that is dead, whose chunks may be removed at any time, compressed or not: only its
    /// header says. `None` for values that are stored in another way. The bytes stay until the next call.
    ///
    /// # Safety
    /// As for [`Self::fetch`].
    pub unsafe fn fetch_of_dead(&mut self, datum: *const varlena) -> Option<Remains<'_>> {
        // SAFETY: the caller's contract; the header of a compressed value says so, and the server decompresses by that.
        unsafe {
            let external = External::read_any(datum)?;
            let size = HEADER + external.len();
            if size > LARGEST {
                return None;
            }
            let slot = &mut self.slot;
            slot.value = Oid::INVALID;
            slot.reserve(size, self.context);
            slot.buffer.cast::<u32>().write(header_4b(size));
            if external.is_compressed() {
                slot.buffer.cast::<u32>().write(header_4b_compressed(size));
            }
            let lock = pg_sys::AccessShareLock as c_int;
            let relation = ffi::table_open(external.relation, lock);
            let heap = (*(*relation).rd_rel).relam == Oid::from(pg_sys::BuiltinOid::HEAP_TABLE_AM_OID);
            let found = heap && slot.fill_from_index(relation, &external);
            ffi::table_close(relation, lock);
            if !heap {
                return None;
            }
            Some(if found {
                Remains::Value(core::slice::from_raw_parts(slot.buffer, size))
            } else {
                Remains::Gone
            })
        }
    }

    /// As [`fetch`]. The bytes stay until the next call.
    ///
    /// # Safety
    /// `datum` is a varlena of a row that is there, the context given to [`Self::new`] is not deleted, and a server
    /// error may jump over the caller's frames.
    pub unsafe fn fetch(&mut self, datum: *const varlena) -> Option<&[u8]> {
        // SAFETY: the caller's contract.
        unsafe {
            let external = External::read(datum)?;
            if HEADER + external.len() > LARGEST {
                return None;
            }
            self.slot.value_of(&external, self.context)
        }
    }
}

/// What is left of a value whose row is dead.
pub enum Remains<'a> {
    /// all of it
    Value(&'a [u8]),
    /// not all of it
    Gone,
}

/// A value stored out of line, to be fetched later.
#[derive(Clone, Copy)]
pub struct ToastPointer([u8; EXTERNAL_SIZE]);

/// Bytes of a pointer: first byte, tag, pointer.
const EXTERNAL_SIZE: usize = 2 + size_of::<External>();

impl ToastPointer {
    /// The value of `datum`, if this module knows how it is stored.
    ///
    /// # Safety
    /// `datum` is a varlena.
    pub unsafe fn new(datum: *const varlena) -> Option<Self> {
        // SAFETY: an on-disk pointer has as many bytes.
        unsafe { External::read(datum).map(|_| ToastPointer(datum.cast::<[u8; EXTERNAL_SIZE]>().read())) }
    }

    /// The pointer as a varlena.
    pub fn as_ptr(&self) -> *mut varlena {
        self.0.as_ptr().cast_mut().cast()
    }

    /// Values loaded together have ascending numbers.
    pub fn number(&self) -> u32 {
        // SAFETY: `new` has seen that it is a pointer.
        unsafe { External::read(self.as_ptr()) }.map_or(0, |external| external.value.to_u32())
    }
}

impl Slot {
    const EMPTY: Slot = Slot {
        relation: Oid::INVALID,
        value: Oid::INVALID,
        last: 0,
        transaction: 0,
        statement: 0,
        buffer: core::ptr::null_mut(),
        capacity: 0,
        next: Place { block: u32::MAX, offset: 1 },
        misses: 0,
        inserter: 0,
    };

    /// The value, whole, in a buffer of `context`.
    ///
    /// # Safety
    /// As for [`fetch`]; `context` is the one that the buffer always comes from.
    unsafe fn value_of<'a>(
        &mut self,
        external: &External,
        context: pg_sys::MemoryContext,
    ) -> Option<&'a [u8]> {
        let (slot, size) = (self, HEADER + external.len());
        // SAFETY: see each step; the caller vouches for the value.
        unsafe {
            let (transaction, statement) =
                (ffi::GetCurrentTransactionStartTimestamp(), ffi::GetCurrentStatementStartTimestamp());
            // A va_valueid can be used again once nobody can see the value: not within a statement that does.
            let held = slot.value == external.value
                && slot.relation == external.relation
                && (slot.transaction, slot.statement) == (transaction, statement);
            if !held {
                if slot.relation != external.relation {
                    (slot.relation, slot.last) = (external.relation, 0);
                    slot.next = Place { block: u32::MAX, offset: 1 };
                }
                slot.value = Oid::INVALID;
                slot.reserve(size, context);
                slot.buffer.cast::<u32>().write(header_4b(size));
                if !slot.fill(external) {
                    return None;
                }
                slot.last = external.value.to_u32();
                (slot.value, slot.transaction, slot.statement) = (external.value, transaction, statement);
            }
            Some(core::slice::from_raw_parts(slot.buffer, size))
        }
    }
}

/// # Safety
/// `flinfo` is null or the FmgrInfo of one of this extension's functions, none of which uses `fn_extra` for
/// anything else.
unsafe fn state<'a>(flinfo: *mut pg_sys::FmgrInfo) -> Option<&'a mut State> {
    // SAFETY: fn_extra is null or what was put there here; all-zero bytes are a State (invalid Oids, a null
    // buffer without capacity). One call at a time uses a FmgrInfo.
    unsafe {
        let flinfo = flinfo.as_mut()?;
        if flinfo.fn_extra.is_null() {
            flinfo.fn_extra = ffi::MemoryContextAllocZero(flinfo.fn_mcxt, size_of::<State>());
        }
        flinfo.fn_extra.cast::<State>().as_mut()
    }
}

impl Slot {
    /// Makes room for `size` bytes, aligned to 8.
    ///
    /// # Safety
    /// `context` is the memory context that the state lives in.
    unsafe fn reserve(&mut self, size: usize, context: pg_sys::MemoryContext) {
        if self.capacity >= size {
            return;
        }
        // SAFETY: the old buffer came from here and nothing points into it (the previous call is over).
        unsafe {
            if !self.buffer.is_null() {
                let old = core::mem::replace(&mut self.buffer, core::ptr::null_mut());
                self.capacity = 0;
                ffi::pfree(old.cast());
            }
            let capacity = size.next_power_of_two();
            self.buffer = ffi::MemoryContextAlloc(context, capacity).cast();
            self.capacity = capacity;
        }
    }

    /// Fetches the value into the buffer behind its header; false when it is not there as expected.
    ///
    /// # Safety
    /// The buffer has room for it.
    unsafe fn fill(&mut self, external: &External) -> bool {
        let lock = pg_sys::AccessShareLock as c_int;
        // SAFETY: the row that holds the pointer is visible, so its toast table exists. The relation is closed
        // on every path that returns; an error's cleanup closes it otherwise.
        unsafe {
            let relation = ffi::table_open(external.relation, lock);
            let heap = (*(*relation).rd_rel).relam == Oid::from(pg_sys::BuiltinOid::HEAP_TABLE_AM_OID);
            let found = heap && (self.guess(relation, external) || self.fill_from_index(relation, external));
            ffi::table_close(relation, lock);
            found
        }
    }

    /// Looks behind the last value's chunks, or where the number leads to; seldom, where that has failed lately.
    ///
    /// # Safety
    /// As for `fill`; `relation` is the open toast table.
    unsafe fn guess(&mut self, relation: Relation, external: &External) -> bool {
        let number = external.value.to_u32();
        let ahead = number.wrapping_sub(self.last);
        if (self.last == 0 || !(1..=NEAR).contains(&ahead))
            && let Some(guess) = places::guess(external.relation.to_u32(), number)
        {
            // SAFETY: the caller's contract.
            let found = unsafe { self.fill_from(relation, external, guess) };
            places::judge(external.relation.to_u32(), found);
            return found;
        }
        if self.misses >= 8 && !self.misses.is_multiple_of(16) {
            self.misses = self.misses.wrapping_add(1).max(8);
            return false;
        }
        // SAFETY: the caller's contract.
        let found = unsafe { self.fill_from_neighbour(relation, external) };
        self.misses = if found { 0 } else { self.misses.wrapping_add(1) };
        found
    }

    /// Looks for the value's first chunk at `guess`, and where the values there lead to.
    ///
    /// # Safety
    /// As for `guess`.
    unsafe fn fill_from(&mut self, relation: Relation, external: &External, mut guess: Guess) -> bool {
        let number = external.value.to_u32();
        // SAFETY: as in `fill_from_neighbour`.
        unsafe {
            let end = ffi::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
            for attempt in 0..ATTEMPTS {
                if guess.block >= end {
                    return false;
                }
                let buffer = ffi::ReadBuffer(relation, guess.block);
                ffi::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as c_int);
                let page = core::slice::from_raw_parts(pg_sys::BufferGetPage(buffer).cast::<u8>(), PAGE);
                let seen = look_for(number, page);
                let mut chunks = Chunks::new(self.buffer, external.value, external.len(), self.inserter);
                let mut place = Place { block: guess.block, offset: 1 };
                let mut progress = Progress::EndOfPage;
                if let Seen::Here(offset) = seen {
                    place.offset = offset;
                    progress = chunks.take_from_page(page, &mut place.offset);
                }
                ffi::UnlockReleaseBuffer(buffer);
                self.inserter = chunks.inserter;
                guess = match seen {
                    Seen::Here(_) => {
                        if attempt > 0 {
                            let found = Known { value: number, block: guess.block };
                            places::learn(external.relation.to_u32(), found);
                        }
                        return match progress {
                            Progress::Complete { last_item } => {
                                self.next = if last_item { place.next_page() } else { place };
                                true
                            }
                            Progress::EndOfPage => self.follow(relation, chunks, place.next_page()),
                            Progress::ForeignChunk => false,
                        };
                    }
                    Seen::Before(largest) => guess.behind(largest, number),
                    Seen::Behind(smallest) => guess.before(smallest, number),
                    Seen::Nothing => return false,
                };
            }
        }
        false
    }

    /// # Safety
    /// As for `guess`.
    unsafe fn fill_from_neighbour(&mut self, relation: Relation, external: &External) -> bool {
        let chunks = Chunks::new(self.buffer, external.value, external.len(), self.inserter);
        // SAFETY: the caller's contract.
        self.next.block != u32::MAX && unsafe { self.follow(relation, chunks, self.next) }
    }

    /// Takes the value's chunks from `place` on.
    ///
    /// # Safety
    /// As for `guess`.
    unsafe fn follow(&mut self, relation: Relation, mut chunks: Chunks, mut place: Place) -> bool {
        let mut idle_pages = 0;
        // SAFETY: blocks are read only below the relation's current end, which cannot come nearer under the
        // lock that is held; a page is looked at under its share lock and not after.
        unsafe {
            let end = ffi::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
            while place.block < end {
                let buffer = ffi::ReadBuffer(relation, place.block);
                ffi::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as c_int);
                let page = core::slice::from_raw_parts(pg_sys::BufferGetPage(buffer).cast::<u8>(), PAGE);
                let before = (chunks.sequence, place.offset);
                let state = chunks.take_from_page(page, &mut place.offset);
                ffi::UnlockReleaseBuffer(buffer);
                self.inserter = chunks.inserter;
                match state {
                    Progress::Complete { last_item } => {
                        self.next = if last_item { place.next_page() } else { place };
                        return true;
                    }
                    Progress::EndOfPage => {
                        // The first page may have nothing left behind the last value. Beyond that, and past
                        // strangers unless the last guess was right, there is no reason to look further.
                        let idle = chunks.sequence == before.0;
                        idle_pages += u32::from(idle);
                        if idle_pages == 2 || (idle && self.misses > 0 && place.offset > before.1) {
                            return false;
                        }
                        place = place.next_page();
                    }
                    Progress::ForeignChunk => return false,
                }
            }
        }
        false
    }

    /// Asks the toast table's index, as PostgreSQL does.
    ///
    /// # Safety
    /// As for `fill_from_neighbour`.
    unsafe fn fill_from_index(&mut self, relation: Relation, external: &External) -> bool {
        let mut chunks = Chunks::new(self.buffer, external.value, external.len(), 0);
        let lock = pg_sys::AccessShareLock as c_int;
        let (mut complete, mut first) = (false, None);
        // SAFETY: the calls are those of heap_fetch_toast_slice; a tuple is looked at before the scan moves on.
        // Zero is the start of every kind of snapshot, and a toast snapshot has no more than its kind.
        unsafe {
            let mut snapshot: pg_sys::SnapshotData = core::mem::zeroed();
            snapshot.snapshot_type = pg_sys::SnapshotType::SNAPSHOT_TOAST;
            let mut indexes: *mut Relation = core::ptr::null_mut();
            let mut count: c_int = 0;
            let valid = ffi::toast_open_indexes(relation, lock, &raw mut indexes, &raw mut count);
            let mut key: pg_sys::ScanKeyData = core::mem::zeroed();
            ffi::ScanKeyInit(
                &raw mut key,
                1,
                pg_sys::BTEqualStrategyNumber as u16,
                Oid::from(pg_sys::F_OIDEQ),
                Datum::from(external.value),
            );
            let index = *indexes.add(valid.max(0) as usize);
            let scan = ffi::systable_beginscan_ordered(relation, index, &raw mut snapshot, 1, &raw mut key);
            loop {
                let tuple =
                    ffi::systable_getnext_ordered(scan, pg_sys::ScanDirection::ForwardScanDirection).as_ref();
                let Some(tuple) = tuple else { break };
                let bytes = core::slice::from_raw_parts(tuple.t_data.cast::<u8>(), tuple.t_len as usize);
                if !Chunk::new(bytes).is_some_and(|chunk| chunks.take(chunk)) {
                    complete = false;
                    break;
                }
                complete = chunks.complete();
                let id = tuple.t_self;
                let block = u32::from(id.ip_blkid.bi_hi) << 16 | u32::from(id.ip_blkid.bi_lo);
                self.next = Place { block, offset: id.ip_posid.saturating_add(1) };
                first = first.or(Some(block));
            }
            ffi::systable_endscan_ordered(scan);
            ffi::toast_close_indexes(indexes, count, lock);
        }
        if let (true, Some(block)) = (complete, first) {
            places::learn(external.relation.to_u32(), Known { value: external.value.to_u32(), block });
        }
        complete
    }
}

/// Numbers that are so little ahead of the last value's belong to the rows behind it: the numbers between them to their
/// other long columns.
const NEAR: u32 = 64;
/// Pages that are looked at for one guess.
const ATTEMPTS: usize = 3;
