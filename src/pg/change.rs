//! Changes of blocks, logged as generic WAL (src/backend/access/transam/generic_xlog.c): replay needs nothing of this
//! extension. The records are the server's own kind, made here, since its own functions copy whole pages three times
//! and compare them byte by byte: most of what an insert or a vacuum of a small entry took.

use core::cell::Cell;
use core::ffi::c_int;
use core::mem::ManuallyDrop;
use core::ops::Range;

use pgrx::pg_sys::{self, Buffer, ForkNumber};
use vector_index::storage::blocks::{FIFTH_BLOCK, PageRef, PageUpdate};
use vector_index::storage::delta::{append_delta, append_fragment, apply, apply_to_clean, fits};
use vector_index::storage::page::{Corruption, Damage, Page};
use vector_index::work::memory::append;

use super::blocks::{PAGE_SIZE, page_address};
use super::extend::Ahead;
use super::ffi;
use super::guard;
use super::recent_buffers;
use super::relation::Rel;
use super::server;

/// Blocks of a change, at most: those of a generic WAL record.
const BLOCKS: usize = pg_sys::MAX_GENERIC_XLOG_PAGES as usize;
const EXCLUSIVE: c_int = pg_sys::BUFFER_LOCK_EXCLUSIVE as c_int;

/// A page, aligned as buffers are.
#[repr(C, align(64))]
struct PageImage([u8; PAGE_SIZE]);

/// The blocks of a change as they will be, and what of that is to be logged.
struct Images {
    pages: [PageImage; BLOCKS],
    /// of a block that is not changed otherwise: what is replaced
    patches: [Vec<u8>; BLOCKS],
    deltas: Vec<u8>,
}

thread_local! {
    /// kept from one change to the next
    static SPARE: Cell<Option<Box<Images>>> = const { Cell::new(None) };
}

impl Images {
    fn take() -> Box<Self> {
        SPARE.take().unwrap_or_else(|| {
            let pages = [const { PageImage([0; PAGE_SIZE]) }; BLOCKS];
            Box::new(Images { pages, patches: [const { Vec::new() }; BLOCKS], deltas: Vec::new() })
        })
    }
}

/// What becomes of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// nothing
    None,
    /// a few of its bytes are replaced
    Patched,
    /// it becomes its image, or is changed in place where nothing is logged
    Whole,
}

/// A locked block of a change.
struct Held {
    buffer: Buffer,
    new: bool,
    change: Kind,
}

/// A change of up to four blocks. Dropped without commit, it leaves them as they were.
pub struct IndexChange<'a> {
    relation: Rel<'a>,
    fork: ForkNumber::Type,
    /// whether it is made in images; otherwise in place
    logged: bool,
    images: Option<Box<Images>>,
    held: [Option<Held>; BLOCKS],
    /// whether buffers of blocks are remembered
    remembers: bool,
    /// the number of blocks as last seen
    count: &'a mut u32,
    /// reads that found their buffer remembered
    hits: &'a mut u32,
    /// blocks that were added beforehand
    ahead: &'a mut Ahead,
}

/// Up to which usage count reading raises it: nearly the most there is.
const OFTEN: u32 = 4;

impl<'a> IndexChange<'a> {
    /// Begins a change of a fork. What is not `logged` is made in place, and cannot be undone.
    pub fn new(
        (relation, fork): (Rel<'a>, ForkNumber::Type),
        (logged, remembers): (bool, bool),
        (count, hits): (&'a mut u32, &'a mut u32),
        ahead: &'a mut Ahead,
    ) -> Self {
        let held = [const { None }; BLOCKS];
        IndexChange { relation, fork, logged, images: None, held, remembers, count, hits, ahead }
    }

    /// Room for one more block. To be asked for before the block is locked.
    fn room(&self) -> Result<usize, Corruption> {
        let room = self.held.iter().position(Option::is_none);
        room.ok_or(FIFTH_BLOCK.on(pg_sys::InvalidBlockNumber))
    }

    /// The same for a block of the file, which must not be one of the change's already: its lock would be waited for
    /// forever.
    fn room_for(&self, block: u32) -> Result<usize, Corruption> {
        // SAFETY: the buffers are pinned.
        let number = |held: &Held| unsafe { server::BufferGetBlockNumber(held.buffer) };
        if self.held.iter().flatten().any(|held| number(held) == block) {
            return Err(Damage::at(0, "block leads to itself").on(block));
        }
        self.room()
    }

    fn hold(&mut self, place: usize, buffer: Buffer, new: bool) -> PageRef {
        if let Some(held) = self.held.get_mut(place) {
            *held = Some(Held { buffer, new, change: Kind::None });
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
        if self.remembers {
            // SAFETY: calls the server once at most, with nothing that needs dropping between here and there.
            let known = unsafe { guard::call(|| recent_buffers::pin(self.relation, block, OFTEN)) };
            if let Some(buffer) = known {
                *self.hits += 1;
                return Ok(buffer);
            }
        }
        // SAFETY: the relation is open and the block exists.
        let buffer = unsafe {
            server::ReadBufferExtended(
                self.relation.as_ptr(),
                self.fork,
                block,
                pg_sys::ReadBufferMode::RBM_NORMAL,
                core::ptr::null_mut(),
            )
        };
        if self.remembers {
            recent_buffers::remember(self.relation, block, buffer);
        }
        Ok(buffer)
    }

    fn release(&mut self) {
        for held in self.held.iter_mut().filter_map(Option::take) {
            // SAFETY: this change locked and pinned the buffer.
            unsafe { server::UnlockReleaseBuffer(held.buffer) };
        }
        if let Some(images) = self.images.take() {
            SPARE.set(Some(images));
        }
    }

    /// Changes the buffers, and logs it where the relation is logged.
    fn write(&mut self) -> Result<(), Corruption> {
        let Some(images) = &mut self.images else { return Ok(()) };
        let Images { pages, patches, deltas } = &mut **images;
        deltas.clear();
        // the part of `deltas` that is a block's, of those that change
        let mut parts: [Option<Range<usize>>; BLOCKS] = [const { None }; BLOCKS];
        for (((held, image), patches), part) in self.held.iter().zip(&*pages).zip(&*patches).zip(&mut parts) {
            let Some(held) = held else { continue };
            let start = deltas.len();
            // SAFETY: the buffer is pinned and locked exclusively.
            let old = unsafe { bytes_of(held.buffer) };
            let made = match held.change {
                Kind::None => continue,
                Kind::Whole if held.new => Ok(()),
                Kind::Whole => append_delta(old, &image.0, deltas),
                Kind::Patched if !fits(old, patches) => Err(Damage::at(0, "invalid page")),
                Kind::Patched => append(deltas, patches).map_err(Damage::from),
            };
            // SAFETY: the buffer is pinned.
            made.map_err(|damage| damage.on(unsafe { server::BufferGetBlockNumber(held.buffer) }))?;
            *part = (held.new || deltas.len() > start).then_some(start..deltas.len());
        }
        if parts.iter().all(Option::is_none) {
            return Ok(());
        }
        let changed = || {
            let held = self.held.iter().zip(&*pages).zip(&parts).enumerate();
            held.filter_map(|(at, ((held, image), part))| {
                Some((at as u8, held.as_ref()?, image, deltas.get(part.clone()?)?))
            })
        };
        let logged = self.relation.needs_wal();
        if logged {
            // SAFETY: a record is begun only here, and inserted below.
            unsafe { server::XLogBeginInsert() };
        }
        let critical = Critical::begin();
        for (number, held, image, delta) in changed() {
            // SAFETY: the buffer is pinned and locked exclusively; its delta lives on until the record is there.
            unsafe { change_buffer(logged.then_some(number), held, image, delta) };
        }
        if logged {
            // SAFETY: the record was begun above, and has a block at least.
            let at = unsafe { ffi::XLogInsert(pg_sys::RmgrIds::RM_GENERIC_ID as u8, 0) };
            for (_, held, ..) in changed() {
                // SAFETY: as above; a page begins with the place of its last record, the higher half first (PageSetLSN,
                // src/include/storage/bufpage.h).
                unsafe { page_address(held.buffer).cast::<[u32; 2]>().write([(at >> 32) as u32, at as u32]) };
            }
        }
        critical.end();
        Ok(())
    }
}

/// The bytes of a buffer.
///
/// # Safety
/// It is pinned and locked, and stays so while they are used; nobody changes them meanwhile.
unsafe fn bytes_of<'b>(buffer: Buffer) -> &'b [u8] {
    // SAFETY: the caller's contract.
    unsafe { core::slice::from_raw_parts(page_address(buffer).cast_const(), PAGE_SIZE) }
}

/// A critical section (src/include/miscadmin.h): an error within ends the server, which then recovers.
struct Critical(());

impl Critical {
    fn begin() -> Self {
        // SAFETY: a variable of this backend.
        unsafe { pg_sys::CritSectionCount += 1 };
        Critical(())
    }

    fn end(self) {
        // SAFETY: as in `begin`.
        unsafe { pg_sys::CritSectionCount -= 1 };
    }
}

/// Changes a buffer, and registers that under a number in the record that was begun, if one was.
///
/// # Safety
/// In a critical section; the buffer is pinned and locked exclusively, and `delta` is of its page and lives until the
/// record is inserted.
unsafe fn change_buffer(number: Option<u8>, held: &Held, image: &PageImage, delta: &[u8]) {
    let standard = pg_sys::REGBUF_STANDARD as u8;
    // SAFETY: the caller's contract.
    unsafe {
        let page = core::slice::from_raw_parts_mut(page_address(held.buffer), PAGE_SIZE);
        // It was made for this page just now. Where nothing is there are zeros, as after replay, and were before.
        if held.new {
            page.copy_from_slice(&image.0);
            let _ = apply(page, &[]);
        } else {
            let _ = apply_to_clean(page, delta);
        }
        ffi::MarkBufferDirty(held.buffer);
        match number {
            None => {}
            Some(number) if held.new => {
                ffi::XLogRegisterBuffer(number, held.buffer, standard | pg_sys::REGBUF_FORCE_IMAGE as u8);
            }
            Some(number) => {
                ffi::XLogRegisterBuffer(number, held.buffer, standard);
                ffi::XLogRegisterBufData(number, delta.as_ptr().cast(), delta.len() as u32);
            }
        }
    }
}

impl PageUpdate for IndexChange<'_> {
    type Error = Corruption;

    fn open(&mut self, block: u32) -> Result<PageRef, Corruption> {
        let room = self.room_for(block)?;
        let buffer = self.read_buffer(block)?;
        // SAFETY: pinned just now, and locked then.
        let new = unsafe {
            server::LockBuffer(buffer, EXCLUSIVE);
            // zeros, as a crash leaves a block that was added: no record may count on what it was
            Page::is_new(bytes_of(buffer))
        };
        Ok(self.hold(room, buffer, new))
    }

    fn open_alone(&mut self, block: u32) -> Result<PageRef, Corruption> {
        let room = self.room_for(block)?;
        let buffer = self.read_buffer(block)?;
        // SAFETY: pinned just now, once: no scan of this backend is open beside a vacuum.
        unsafe { server::LockBufferForCleanup(buffer) };
        Ok(self.hold(room, buffer, false))
    }

    fn extend(&mut self) -> Result<PageRef, Corruption> {
        let room = self.room()?;
        if let Some(buffer) = self.ahead.take(self.relation, self.fork) {
            // SAFETY: pinned just now, and nobody else knows the block.
            unsafe { server::LockBuffer(buffer, EXCLUSIVE) };
            return Ok(self.hold(room, buffer, true));
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
        Ok(self.hold(room, buffer, true))
    }

    fn block(&self, slot: PageRef) -> u32 {
        match self.held(slot) {
            // SAFETY: the buffer is pinned.
            Some(held) => unsafe { server::BufferGetBlockNumber(held.buffer) },
            None => pg_sys::InvalidBlockNumber,
        }
    }

    fn bytes(&self, slot: PageRef) -> &[u8] {
        match (self.held(slot), &self.images) {
            (Some(held), Some(images)) if held.change == Kind::Whole => {
                images.pages.get(slot.0).map_or(&[], |image| &image.0)
            }
            // SAFETY: the buffer is pinned and locked exclusively by this change, whose borrow the slice shares.
            (Some(held), _) => unsafe { bytes_of(held.buffer) },
            _ => &[],
        }
    }

    fn bytes_mut(&mut self, slot: PageRef) -> Result<&mut [u8], Corruption> {
        let Some(held) = self.held.get_mut(slot.0).and_then(Option::as_mut) else { return Ok(&mut []) };
        let before = core::mem::replace(&mut held.change, Kind::Whole);
        if !self.logged {
            // SAFETY: the buffer is pinned and locked exclusively by this change, whose borrow is exclusive.
            return Ok(unsafe { core::slice::from_raw_parts_mut(page_address(held.buffer), PAGE_SIZE) });
        }
        let Images { pages, patches, .. } = &mut **self.images.get_or_insert_with(Images::take);
        let (Some(PageImage(image)), Some(patches)) = (pages.get_mut(slot.0), patches.get(slot.0)) else {
            return Ok(&mut []);
        };
        if before != Kind::Whole {
            // SAFETY: as above.
            image.copy_from_slice(unsafe { bytes_of(held.buffer) });
        }
        if before == Kind::Patched {
            // SAFETY: the buffer is pinned.
            let block = || unsafe { server::BufferGetBlockNumber(held.buffer) };
            apply(image, patches).map_err(|damage| damage.on(block()))?;
        }
        Ok(image)
    }

    fn patch(&mut self, slot: PageRef, at: usize, bytes: &[u8]) -> Result<(), Corruption> {
        let Some(held) = self.held.get_mut(slot.0).and_then(Option::as_mut) else { return Ok(()) };
        if at + bytes.len() > PAGE_SIZE {
            return Ok(());
        }
        if !self.logged || held.new || held.change == Kind::Whole {
            if let Some(place) = self.bytes_mut(slot)?.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
            return Ok(());
        }
        let images = self.images.get_or_insert_with(Images::take);
        let Some(patches) = images.patches.get_mut(slot.0) else { return Ok(()) };
        if held.change == Kind::None {
            held.change = Kind::Patched;
            patches.clear();
        }
        // SAFETY: the buffer is pinned.
        let block = || unsafe { server::BufferGetBlockNumber(held.buffer) };
        append_fragment(at, bytes, patches).map_err(|damage| damage.on(block()))
    }

    fn commit(mut self) -> Result<(), Corruption> {
        if self.logged {
            self.write()?;
        } else {
            for held in self.held.iter().flatten().filter(|held| held.change != Kind::None) {
                // SAFETY: pinned and locked exclusively.
                unsafe { server::MarkBufferDirty(held.buffer) };
            }
        }
        self.release();
        // nothing is left to undo, nor memory to give back
        let _ = ManuallyDrop::new(self);
        Ok(())
    }
}

impl Drop for IndexChange<'_> {
    fn drop(&mut self) {
        // While a server error unwinds, the transaction's end releases everything, in the right order.
        if !std::thread::panicking() {
            self.release();
        }
    }
}
