//! Blocks in plain memory whose reads cost what a pinned and share-locked buffer costs: four atomic operations on a
//! header of its own cache line.

use std::sync::atomic::{AtomicU32, Ordering};

use vector_index::storage::blocks::{BlockStore, LockMode, OperationLock, PageRef, PageUpdate};
use vector_index::storage::page::{Corruption, Damage, Tid};
use vector_kernels::prefetch_line;

/// Bytes of a page.
pub const PAGE_SIZE: usize = 8192;

/// A buffer's header in a cache line of its own.
#[repr(align(64))]
#[derive(Default)]
struct Header {
    pins: AtomicU32,
    lock: AtomicU32,
}

/// A block, aligned as a buffer is.
#[repr(align(8192))]
struct Page([u8; PAGE_SIZE]);

/// The blocks.
pub struct Plain {
    /// side by side, as shared buffers are
    pages: Vec<Page>,
    headers: Vec<Header>,
    /// calls of `read`
    pub reads: u64,
}

impl Plain {
    /// So many blocks of zeros.
    pub fn new(blocks: u32) -> Self {
        let mut plain = Plain { pages: Vec::new(), headers: Vec::new(), reads: 0 };
        (0..blocks).for_each(|_| plain.add());
        plain
    }

    /// Adds a block of zeros.
    pub fn add(&mut self) {
        self.pages.push(Page([0; PAGE_SIZE]));
        self.headers.push(Header::default());
    }

    /// How many there are.
    pub fn blocks(&self) -> u32 {
        self.pages.len() as u32
    }

    /// Bytes of all.
    pub fn size(&self) -> usize {
        self.pages.len() * PAGE_SIZE
    }

    fn page(&self, block: u32) -> &[u8] {
        &self.pages[block as usize].0
    }

    /// A page, to be filled.
    pub fn page_mut(&mut self, block: u32) -> &mut [u8] {
        &mut self.pages[block as usize].0
    }
}

/// A change, made at once: nobody else is there.
pub struct Change<'a> {
    plain: &'a mut Plain,
    held: Vec<u32>,
}

impl PageUpdate for Change<'_> {
    type Error = Corruption;
    fn open(&mut self, block: u32) -> Result<PageRef, Corruption> {
        self.held.push(block);
        Ok(PageRef(self.held.len() - 1))
    }
    fn extend(&mut self) -> Result<PageRef, Corruption> {
        self.plain.add();
        self.open(self.plain.pages.len() as u32 - 1)
    }
    fn block(&self, at: PageRef) -> u32 {
        self.held[at.0]
    }
    fn bytes(&self, at: PageRef) -> &[u8] {
        self.plain.page(self.held[at.0])
    }
    fn bytes_mut(&mut self, at: PageRef) -> Result<&mut [u8], Corruption> {
        Ok(self.plain.page_mut(self.held[at.0]))
    }
    fn commit(self) -> Result<(), Corruption> {
        Ok(())
    }
}

impl BlockStore for Plain {
    type Error = Corruption;
    type Update<'a> = Change<'a>;

    fn page_size(&self) -> usize {
        PAGE_SIZE
    }

    fn count(&mut self) -> Result<u32, Corruption> {
        Ok(self.headers.len() as u32)
    }

    #[inline(always)]
    fn read<R>(
        &mut self,
        block: u32,
        look: impl FnOnce(&[u8]) -> Result<R, Damage>,
    ) -> Result<R, Corruption> {
        self.reads += 1;
        let missing = Damage::at(0, "block does not exist").on(block);
        let header = self.headers.get(block as usize).ok_or(missing)?;
        header.pins.fetch_add(1, Ordering::AcqRel);
        header.lock.fetch_add(1, Ordering::AcqRel);
        let result = look(self.page(block)).map_err(|damage| damage.on(block));
        header.lock.fetch_sub(1, Ordering::AcqRel);
        header.pins.fetch_sub(1, Ordering::AcqRel);
        result
    }

    fn prefetch_blocks(&mut self, tids: &[Tid]) {
        for tid in tids {
            if let Some(header) = self.headers.get(tid.block() as usize) {
                prefetch_line(std::ptr::from_ref(header).cast());
                let page = self.page(tid.block());
                prefetch_line(page.as_ptr());
                prefetch_line(page.as_ptr().wrapping_add(24 + 4 * usize::from(tid.offset())));
            }
        }
    }

    fn prefetch_item(&mut self, tid: Tid, size: usize) {
        if (tid.block() as usize) < self.headers.len() {
            let page = self.page(tid.block());
            let at = 20 + 4 * usize::from(tid.offset());
            let line =
                page.get(at..at + 4).and_then(|b| b.first_chunk::<4>()).map_or(0, |b| u32::from_ne_bytes(*b));
            self.prefetch_bytes(tid.block(), (line & 0x7fff) as usize, size);
        }
    }

    fn prefetch_bytes(&mut self, block: u32, start: usize, size: usize) {
        if let Some(header) = self.headers.get(block as usize) {
            prefetch_line(std::ptr::from_ref(header).cast());
            let page = self.page(block).as_ptr();
            prefetch_line(page);
            for at in (start..start + size).step_by(64) {
                prefetch_line(page.wrapping_add(at));
            }
        }
    }

    fn update(&mut self) -> Result<Change<'_>, Corruption> {
        Ok(Change { plain: self, held: Vec::new() })
    }

    fn lock(&mut self, _: OperationLock, _: LockMode) -> Result<(), Corruption> {
        Ok(())
    }

    fn unlock(&mut self, _: OperationLock, _: LockMode) {}
}
