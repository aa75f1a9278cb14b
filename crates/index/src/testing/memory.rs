//! Blocks in memory that insist on the contract of [`crate::storage::blocks`]: what the server would answer
//! with a deadlock, a lost change or a damaged page is a panic here. Handles on the same blocks stand for
//! backends, one thread each.
#![cfg(any(test, feature = "testing"))]
#![allow(clippy::panic)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::lock::{Again, FairLock};
use crate::hnsw::meta::INLINE_PAGE_ID;
use crate::ivf::packed::layout::PAGE_ID as PACKED_PAGE_ID;
use crate::storage::blocks::{BlockStore, FIFTH_BLOCK, LockMode, OperationLock, PageRef, PageUpdate};
use crate::storage::delta::{append_delta, append_fragment, apply};
use crate::storage::page::{Corruption, Damage, INVALID_BLOCK, hole};
use crate::storage::verify;

/// Bytes of a block.
pub const PAGE_SIZE: usize = 8192;
/// Blocks of one change, at most.
const MAX_HELD: usize = 4;

/// Why a block in memory cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemError {
    /// the block is damaged or does not exist
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// the test wanted it so
    #[error("injected")]
    Injected,
}

/// What was done to the blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// calls of `read`
    pub reads: u64,
    /// committed changes that changed something
    pub changes: u64,
    /// changes that were dropped, or committed without having changed anything
    pub dropped: u64,
    /// pages in committed changes
    pub pages: u64,
    /// bytes that are different after a commit
    pub bytes: u64,
    /// blocks added
    pub extended: u64,
    /// blocks opened by a change that held a higher one: safe only where no other change does it the other way
    pub descending: u64,
    /// operation locks taken
    pub locks: u64,
    /// calls of `pause`
    pub pauses: u64,
}

/// The bytes of a block, aligned as a buffer is.
#[derive(Clone, Debug)]
#[repr(C, align(8))]
struct Room([u8; PAGE_SIZE]);

impl Room {
    fn zero() -> Box<Self> {
        Box::new(Room([0; PAGE_SIZE]))
    }
}

#[derive(Debug)]
struct Block {
    lock: FairLock,
    bytes: RwLock<Box<Room>>,
}

impl Block {
    fn new(number: usize, bytes: Box<Room>) -> Arc<Self> {
        let lock = FairLock::new(format!("block {number}"), Again::Never);
        Arc::new(Block { lock, bytes: RwLock::new(bytes) })
    }

    fn copy(&self) -> Box<Room> {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One committed change, as a log of it would be replayed.
#[derive(Clone, Debug)]
struct Record {
    /// blocks in the file by then
    blocks: usize,
    pages: Vec<(usize, Box<Room>)>,
}

/// What was committed since the recording began.
#[derive(Debug)]
struct Journal {
    base: Vec<Box<Room>>,
    records: Vec<Record>,
}

#[derive(Debug)]
struct Store {
    page_id: u16,
    blocks: RwLock<Vec<Arc<Block>>>,
    locks: [FairLock; 2],
    counts: Mutex<Counts>,
    journal: Mutex<Option<Journal>>,
    operations: AtomicU64,
    crash_at: AtomicU64,
    down: AtomicBool,
    rooms: Mutex<Rooms>,
}

/// Room that was noted, block by block, as a free space map has it: what it says may be out of date, and now and then
/// is, so that nobody relies on it.
#[derive(Debug, Default)]
struct Rooms {
    noted: BTreeMap<u32, u8>,
    /// the block behind the one that was told last
    next: u32,
    calls: u64,
}

/// Of so many notes and questions, one goes wrong.
const STALE: u64 = 13;

impl Rooms {
    fn note(&mut self, block: u32, class: u8) {
        self.calls += 1;
        if self.calls.is_multiple_of(STALE) {
            return;
        }
        match class {
            0 => self.noted.remove(&block),
            class => self.noted.insert(block, class),
        };
    }

    fn find(&mut self, class: u8, blocks: u32) -> Option<u32> {
        self.calls += 1;
        if self.calls.is_multiple_of(STALE) {
            // any block, or one behind the last
            return Some((self.calls / STALE) as u32 % (blocks + 2));
        }
        let fits = |(&block, &noted): (&u32, &u8)| (noted >= class).then_some(block);
        let found = self.noted.range(self.next..).find_map(fits).or_else(|| self.noted.iter().find_map(fits));
        self.next = found.map_or(0, |block| block + 1);
        found
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    fn new(page_id: u16, pages: Vec<Box<Room>>) -> Arc<Self> {
        let blocks = pages.into_iter().enumerate().map(|(at, bytes)| Block::new(at, bytes)).collect();
        Arc::new(Store {
            page_id,
            blocks: RwLock::new(blocks),
            locks: [OperationLock::Update, OperationLock::Scan]
                .map(|lock| FairLock::new(format!("operation lock {lock:?}"), Again::SameMode)),
            counts: Mutex::default(),
            journal: Mutex::new(None),
            operations: AtomicU64::new(0),
            crash_at: AtomicU64::new(u64::MAX),
            down: AtomicBool::new(false),
            rooms: Mutex::default(),
        })
    }

    fn len(&self) -> usize {
        self.blocks.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn block(&self, block: u32) -> Result<Arc<Block>, MemError> {
        let blocks = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        let found = blocks.get(block as usize).cloned();
        found.ok_or(MemError::Corrupt(Damage::at(0, "block does not exist").on(block)))
    }

    fn pages(&self) -> Vec<Box<Room>> {
        let blocks = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        blocks.iter().map(|block| block.copy()).collect()
    }

    fn lock(&self, lock: OperationLock) -> &FairLock {
        match lock {
            OperationLock::Update => &self.locks[0],
            OperationLock::Scan => &self.locks[1],
        }
    }

    fn faults(&self, bytes: &[u8], block: u32) -> Vec<Damage> {
        let mut faults = Vec::new();
        // the first block of every index is a meta page, whose contents are no items; slots and codes are none either
        let items = block != 0 && ![INLINE_PAGE_ID, PACKED_PAGE_ID].contains(&self.page_id);
        verify::page(bytes, self.page_id, items, |fault| faults.push(fault));
        faults
    }
}

/// A handle on blocks in memory, for one backend. Gates that it holds are released when it is dropped, as at the end
/// of a transaction.
#[derive(Debug)]
pub struct MemBlocks {
    store: Arc<Store>,
    held: Vec<(OperationLock, LockMode)>,
    operations: u64,
    fail_at: u64,
    steps: u64,
    stop_at: u64,
}

impl MemBlocks {
    /// No blocks yet; those to come carry `page_id`.
    pub fn new(page_id: u16) -> Self {
        Self::of(Store::new(page_id, Vec::new()))
    }

    /// Blocks of these bytes, each padded with zeros or cut to a page.
    pub fn from_pages<'p>(page_id: u16, pages: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let room = |bytes: &[u8]| {
            let mut room = Room::zero();
            let len = bytes.len().min(PAGE_SIZE);
            room.0[..len].copy_from_slice(&bytes[..len]);
            room
        };
        Self::of(Store::new(page_id, pages.into_iter().map(room).collect()))
    }

    fn of(store: Arc<Store>) -> Self {
        MemBlocks { store, held: Vec::new(), operations: 0, fail_at: u64::MAX, steps: 0, stop_at: u64::MAX }
    }

    /// Another handle on the same blocks, for another thread.
    pub fn share(&self) -> Self {
        Self::of(Arc::clone(&self.store))
    }

    /// Blocks of their own with the same bytes, and nothing else of these. Nobody changes them meanwhile.
    pub fn copy(&self) -> Self {
        Self::of(Store::new(self.store.page_id, self.store.pages()))
    }

    /// Changes bytes behind everybody's back, to damage them.
    pub fn edit(&mut self, block: u32, edit: impl FnOnce(&mut [u8])) {
        if let Ok(block) = self.store.block(block) {
            edit(&mut block.bytes.write().unwrap_or_else(PoisonError::into_inner).0);
        }
    }

    /// Adds a block of zeros, as a crash may leave it.
    pub fn add_zero_block(&mut self) {
        self.add();
    }

    /// Takes blocks off the end of the file.
    pub fn cut(&mut self, blocks: u32) {
        self.store.blocks.write().unwrap_or_else(PoisonError::into_inner).truncate(blocks as usize);
    }

    fn add(&self) -> (u32, Arc<Block>) {
        let mut blocks = self.store.blocks.write().unwrap_or_else(PoisonError::into_inner);
        let block = Block::new(blocks.len(), Room::zero());
        blocks.push(Arc::clone(&block));
        (blocks.len() as u32 - 1, block)
    }

    /// Lets the `n`-th operation of this handle from now on fail (1: the next), and those after it succeed.
    pub fn fail_at(&mut self, n: u64) {
        self.fail_at = self.operations + n;
    }

    /// Lets the `n`-th named step of this handle from now on fail (1: the next), and those after it succeed.
    pub fn stop_at(&mut self, n: u64) {
        self.stop_at = self.steps + n;
    }

    /// Lets nothing fail any more.
    pub fn fail_never(&mut self) {
        (self.fail_at, self.stop_at) = (u64::MAX, u64::MAX);
    }

    /// Operations of this handle so far.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Lets the server go down at the `n`-th operation from now on, of whatever handle: from there on everything
    /// fails. What had been committed is in [`Self::copy`].
    pub fn crash_at(&self, n: u64) {
        let at = self.store.operations.load(Ordering::SeqCst) + n;
        self.store.crash_at.store(at, Ordering::SeqCst);
    }

    /// Whether the server went down.
    pub fn is_down(&self) -> bool {
        self.store.down.load(Ordering::SeqCst)
    }

    /// What was done by all handles.
    pub fn counts(&self) -> Counts {
        *locked(&self.store.counts)
    }

    /// Starts counting again.
    pub fn reset_counts(&self) {
        *locked(&self.store.counts) = Counts::default();
    }

    /// Keeps every change from now on, for [`Self::after`].
    pub fn record(&self) {
        *locked(&self.store.journal) = Some(Journal { base: self.store.pages(), records: Vec::new() });
    }

    /// How many changes were committed since [`Self::record`].
    pub fn recorded(&self) -> usize {
        locked(&self.store.journal).as_ref().map_or(0, |journal| journal.records.len())
    }

    /// The blocks as they were after the first `changes` recorded changes: what recovery finds after a crash that
    /// lost the log behind them, or a standby that has replayed so far.
    pub fn after(&self, changes: usize) -> Self {
        let journal = locked(&self.store.journal);
        let Some(journal) = journal.as_ref() else { panic!("nothing was recorded") };
        let mut pages = journal.base.clone();
        for record in journal.records.iter().take(changes) {
            pages.resize_with(record.blocks.max(pages.len()), Room::zero);
            for (block, bytes) in &record.pages {
                if let Some(page) = pages.get_mut(*block) {
                    page.clone_from(bytes);
                }
            }
        }
        Self::of(Store::new(self.store.page_id, pages))
    }

    /// Whether this handle holds an operation lock.
    pub fn holds(&self, lock: OperationLock, mode: LockMode) -> bool {
        self.held.contains(&(lock, mode))
    }

    /// Releases the operation locks that this handle holds.
    pub fn end_transaction(&mut self) {
        for (lock, mode) in self.held.drain(..) {
            self.store.lock(lock).unlock(mode);
        }
    }

    fn operate(&mut self) -> Result<(), MemError> {
        self.operations += 1;
        if self.store.operations.fetch_add(1, Ordering::SeqCst) + 1
            >= self.store.crash_at.load(Ordering::SeqCst)
        {
            self.store.down.store(true, Ordering::SeqCst);
        }
        if self.operations == self.fail_at || self.is_down() { Err(MemError::Injected) } else { Ok(()) }
    }

    fn tally(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut locked(&self.store.counts));
    }
}

impl Drop for MemBlocks {
    fn drop(&mut self) {
        self.end_transaction();
    }
}

/// Lets a block's shared lock go, however its reader ends.
struct Reading<'b>(&'b Block);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.lock.unlock(LockMode::Shared);
    }
}

impl BlockStore for MemBlocks {
    type Error = MemError;
    type Update<'a> = MemChange<'a>;

    fn page_size(&self) -> usize {
        PAGE_SIZE
    }

    fn count(&mut self) -> Result<u32, MemError> {
        self.operate()?;
        Ok(self.store.len() as u32)
    }

    fn read<R>(&mut self, number: u32, look: impl FnOnce(&[u8]) -> Result<R, Damage>) -> Result<R, MemError> {
        self.operate()?;
        let block = self.store.block(number)?;
        self.tally(|counts| counts.reads += 1);
        block.lock.lock(LockMode::Shared);
        let reading = Reading(&block);
        let result = look(&block.bytes.read().unwrap_or_else(PoisonError::into_inner).0);
        drop(reading);
        result.map_err(|damage| damage.on(number).into())
    }

    fn update(&mut self) -> Result<MemChange<'_>, MemError> {
        self.operate()?;
        Ok(MemChange { blocks: self, held: Vec::new(), committed: false })
    }

    fn find_room(&mut self, class: u8) -> Result<Option<u32>, MemError> {
        self.operate()?;
        let blocks = self.store.len() as u32;
        Ok(locked(&self.store.rooms).find(class, blocks))
    }

    fn note_room(&mut self, block: u32, class: u8) -> Result<(), MemError> {
        self.operate()?;
        locked(&self.store.rooms).note(block, class);
        Ok(())
    }

    fn lock(&mut self, lock: OperationLock, mode: LockMode) -> Result<(), MemError> {
        self.operate()?;
        self.store.lock(lock).lock(mode);
        self.held.push((lock, mode));
        self.tally(|counts| counts.locks += 1);
        Ok(())
    }

    fn unlock(&mut self, lock: OperationLock, mode: LockMode) {
        let Some(at) = self.held.iter().position(|held| *held == (lock, mode)) else {
            panic!("operation lock {lock:?} is released {mode:?} and not held so");
        };
        self.held.swap_remove(at);
        self.store.lock(lock).unlock(mode);
    }

    fn pause(&mut self) -> Result<(), MemError> {
        self.operate()?;
        self.tally(|counts| counts.pauses += 1);
        Ok(())
    }

    fn fault_point(&mut self, _: &'static str) -> Result<(), MemError> {
        self.steps += 1;
        if self.steps == self.stop_at || self.is_down() { Err(MemError::Injected) } else { Ok(()) }
    }
}

/// A block that a change holds: its bytes as they will be.
#[derive(Debug)]
struct Held {
    number: u32,
    block: Arc<Block>,
    bytes: Box<Room>,
    new: bool,
    changed: bool,
    /// what will be replaced when the change is made
    patches: Vec<u8>,
}

impl Held {
    fn apply_patches(&mut self) -> Result<(), Corruption> {
        if self.patches.is_empty() {
            return Ok(());
        }
        apply(&mut self.bytes.0, &self.patches).map_err(|damage| damage.on(self.number))
    }

    /// Makes the bytes those that replay of the change will make, wherever that is not what was meant: nothing is known
    /// of bytes where the page had nothing.
    fn replay(&mut self) -> Result<(), Corruption> {
        if !self.changed || self.new {
            return Ok(());
        }
        let (mut page, mut delta) = (self.block.copy(), Vec::new());
        append_delta(&page.0, &self.bytes.0, &mut delta).map_err(|damage| damage.on(self.number))?;
        if let Some(free) = hole(&page.0) {
            page.0[free].fill(0x55);
        }
        apply(&mut page.0, &delta).map_err(|damage| damage.on(self.number))?;
        self.bytes = page;
        Ok(())
    }
}

/// A change of blocks in memory.
#[derive(Debug)]
pub struct MemChange<'a> {
    blocks: &'a mut MemBlocks,
    held: Vec<Held>,
    committed: bool,
}

impl MemChange<'_> {
    /// Whether there is room for one more block.
    fn check_room(&self) -> Result<(), MemError> {
        if self.held.len() < MAX_HELD { Ok(()) } else { Err(FIFTH_BLOCK.on(INVALID_BLOCK).into()) }
    }

    fn mode(&mut self, number: u32, block: Arc<Block>, new: bool) -> PageRef {
        let held = self.held.iter().any(|held| held.number == number);
        assert!(!held, "a change opens block {number}, which it holds");
        if self.held.iter().any(|held| held.number > number) {
            self.blocks.tally(|counts| counts.descending += 1);
        }
        block.lock.lock(LockMode::Exclusive);
        let bytes = block.copy();
        self.held.push(Held { number, block, bytes, new, changed: false, patches: Vec::new() });
        PageRef(self.held.len() - 1)
    }

    fn held(&self, slot: PageRef) -> &Held {
        match self.held.get(slot.0) {
            Some(held) => held,
            None => panic!("a change has no slot {}", slot.0),
        }
    }

    /// A page that was sound, or had just been added, is sound.
    fn insist_on_sound(&self, held: &Held) {
        assert!(held.changed || !held.new, "block {} was added and left as it was", held.number);
        let (before, store) = (held.block.copy(), &self.blocks.store);
        if verify::is_zero(&before.0) || store.faults(&before.0, held.number).is_empty() {
            let faults = store.faults(&held.bytes.0, held.number);
            assert!(faults.is_empty(), "block {} after a change: {faults:?}", held.number);
        }
    }
}

impl PageUpdate for MemChange<'_> {
    type Error = MemError;

    fn open(&mut self, block: u32) -> Result<PageRef, MemError> {
        self.blocks.operate()?;
        self.check_room()?;
        let found = self.blocks.store.block(block)?;
        Ok(self.mode(block, found, false))
    }

    fn extend(&mut self) -> Result<PageRef, MemError> {
        self.blocks.operate()?;
        self.check_room()?;
        let (number, block) = self.blocks.add();
        self.blocks.tally(|counts| counts.extended += 1);
        Ok(self.mode(number, block, true))
    }

    fn block(&self, slot: PageRef) -> u32 {
        self.held(slot).number
    }

    fn bytes(&self, slot: PageRef) -> &[u8] {
        &self.held(slot).bytes.0
    }

    fn bytes_mut(&mut self, slot: PageRef) -> Result<&mut [u8], MemError> {
        self.blocks.operate()?;
        self.held(slot);
        let held = &mut self.held[slot.0];
        held.changed = true;
        Ok(&mut held.bytes.0)
    }

    fn patch(&mut self, slot: PageRef, at: usize, bytes: &[u8]) -> Result<(), MemError> {
        self.blocks.operate()?;
        self.held(slot);
        let held = &mut self.held[slot.0];
        assert!(at + bytes.len() <= PAGE_SIZE, "block {} is patched behind its end", held.number);
        held.changed = true;
        append_fragment(at, bytes, &mut held.patches).map_err(|damage| damage.on(held.number).into())
    }

    fn commit(mut self) -> Result<(), MemError> {
        self.blocks.operate()?;
        self.held.iter_mut().try_for_each(Held::apply_patches)?;
        self.held.iter().for_each(|held| self.insist_on_sound(held));
        self.held.iter_mut().try_for_each(Held::replay)?;
        let mut pages = Vec::new();
        let mut bytes = 0;
        for held in &self.held {
            if held.changed {
                let mut place = held.block.bytes.write().unwrap_or_else(PoisonError::into_inner);
                bytes += place.0.iter().zip(&held.bytes.0).filter(|(a, b)| a != b).count() as u64;
                place.clone_from(&held.bytes);
                pages.push((held.number as usize, held.bytes.clone()));
            }
        }
        let store = &self.blocks.store;
        let count = pages.len() as u64;
        if let Some(journal) = locked(&store.journal).as_mut().filter(|_| count > 0) {
            journal.records.push(Record { blocks: store.len(), pages });
        }
        self.committed = count > 0;
        if self.committed {
            self.blocks.tally(|counts| {
                counts.changes += 1;
                counts.pages += count;
                counts.bytes += bytes;
            });
        }
        Ok(())
    }
}

impl Drop for MemChange<'_> {
    fn drop(&mut self) {
        for held in &self.held {
            held.block.lock.unlock(LockMode::Exclusive);
        }
        if !self.committed {
            self.blocks.tally(|counts| counts.dropped += 1);
        }
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
