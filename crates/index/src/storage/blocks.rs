//! What an access method's algorithms ask of the blocks of an index. In the server: the buffer manager, its locks and
//! generic WAL; in tests: plain memory.
//!
//! Reads answer through closures that run under the block's share lock. A server error inside a read leaves by a jump
//! over the frames that called it, so code that reads blocks keeps everything that needs dropping in structures that
//! outlive the call (a scan's state, a backend's workspace), never in its own frames.

use crate::storage::page::{Corruption, Damage, PageError, Tid};

/// Locks that order whole operations against each other: heavyweight page locks in the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationLock {
    /// inserts share it; raising the entry point and draining inserts take it exclusively
    Update,
    /// scans share it; vacuum drains them by taking it exclusively
    Scan,
}

/// How an operation lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// with others
    Shared,
    /// alone
    Exclusive,
}

/// The blocks of one index.
pub trait BlockStore {
    /// Why a block cannot be had.
    type Error: From<Corruption>;
    /// One logged change of up to four blocks.
    type Update<'a>: PageUpdate<Error = Self::Error>
    where
        Self: 'a;

    /// Bytes of a block.
    fn page_size(&self) -> usize;

    /// The number of blocks.
    fn count(&mut self) -> Result<u32, Self::Error>;

    /// Runs `look` on a block's bytes under its share lock.
    fn read<R>(
        &mut self,
        block: u32,
        look: impl FnOnce(&[u8]) -> Result<R, Damage>,
    ) -> Result<R, Self::Error>;

    /// As [`Self::read`], for a pass over all blocks that will not come back: it need not push others out of memory.
    fn read_in_passing<R>(
        &mut self,
        block: u32,
        look: impl FnOnce(&[u8]) -> Result<R, Damage>,
    ) -> Result<R, Self::Error> {
        self.read(block, look)
    }

    /// Says that the items at `tids` will be read soon, one after the other. A hint.
    fn prefetch_blocks(&mut self, tids: &[Tid]) {
        let _ = tids;
    }

    /// Says that the item of about `size` bytes at `tid` will be read next. A hint; of damaged pages, the TID
    /// may be none.
    fn prefetch_item(&mut self, tid: Tid, size: usize) {
        let _ = (tid, size);
    }

    /// Says that `size` bytes of a block, from `start` on, will be read next. A hint; of damaged pages, the
    /// block may not exist, or end before.
    fn prefetch_bytes(&mut self, block: u32, start: usize, size: usize) {
        let _ = (block, start, size);
    }

    /// Begins a change. Dropping it without commit undoes it.
    fn update(&mut self) -> Result<Self::Update<'_>, Self::Error>;

    /// Says that exactly so many blocks more will be added by [`PageUpdate::extend`]. A hint.
    fn will_extend(&mut self, blocks: u32) {
        let _ = blocks;
    }

    /// A block in which there is room of some class ([`Self::note_room`]) or of a higher one, by what was noted; none
    /// when nobody noted any. It may have been used up since, and be of any kind: whoever is told looks again.
    ///
    /// # Errors
    /// When what was noted cannot be had.
    fn find_room(&mut self, class: u8) -> Result<Option<u32>, Self::Error> {
        let _ = class;
        Ok(None)
    }

    /// Notes that a block has room of this class, 1 to 254; 0: none. What is noted is a hint, and may be lost.
    ///
    /// # Errors
    /// When it cannot be noted.
    fn note_room(&mut self, block: u32, class: u8) -> Result<(), Self::Error> {
        let _ = (block, class);
        Ok(())
    }

    /// Makes all that was noted easy to find, after many notes.
    ///
    /// # Errors
    /// When that fails.
    fn publish_room(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Takes an operation lock. Errors and the end of the transaction release it too.
    fn lock(&mut self, lock: OperationLock, mode: LockMode) -> Result<(), Self::Error>;

    /// Releases an operation lock taken with [`Self::lock`].
    fn unlock(&mut self, lock: OperationLock, mode: LockMode);

    /// A place where a long operation may be cancelled or paused.
    fn pause(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// A step between two changes that has a name, at which a test can stop, cancel or kill the operation. No lock on a
    /// block is held. Does nothing in shipped builds.
    #[inline(always)]
    fn fault_point(&mut self, name: &'static str) -> Result<(), Self::Error> {
        let _ = name;
        Ok(())
    }
}

/// The error for a change that is asked for more blocks than it can have.
pub const FIFTH_BLOCK: PageError = PageError::internal("a change opens a fifth block");

/// A block of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRef(pub usize);

/// A change of up to four blocks that become visible and durable together.
pub trait PageUpdate {
    /// Why it fails.
    type Error: From<Corruption>;

    /// Locks a block exclusively. The caller never asks for a block that the change holds already.
    fn open(&mut self, block: u32) -> Result<PageRef, Self::Error>;
    /// The same when nobody else holds on to the block, be it without a lock: waits for all who do. To be asked for
    /// only where the change holds no other block.
    ///
    /// # Errors
    /// As [`Self::open`], and a cancel while it waits.
    fn open_alone(&mut self, block: u32) -> Result<PageRef, Self::Error> {
        self.open(block)
    }
    /// Adds a block to the index; its bytes are zero.
    fn extend(&mut self) -> Result<PageRef, Self::Error>;
    /// The number of a block.
    fn block(&self, slot: PageRef) -> u32;
    /// The bytes of a block.
    fn bytes(&self, slot: PageRef) -> &[u8];
    /// The bytes of a block, to be changed: from here on the block is part of the change.
    fn bytes_mut(&mut self, slot: PageRef) -> Result<&mut [u8], Self::Error>;
    /// Replaces the bytes from `at` on, as far as there are any, when the change is made. Until then [`Self::bytes`]
    /// may show them or not. For the few bytes that an entry takes: the block is neither copied nor compared.
    ///
    /// # Errors
    /// No memory.
    fn patch(&mut self, slot: PageRef, at: usize, bytes: &[u8]) -> Result<(), Self::Error> {
        if let Some(place) = self.bytes_mut(slot)?.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        Ok(())
    }
    /// Makes the change and lets all blocks go.
    fn commit(self) -> Result<(), Self::Error>;
}
