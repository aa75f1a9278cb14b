//! Blocks in memory that cost next to nothing: what is counted is the algorithm.

use vector_index::storage::blocks::{BlockStore, LockMode, OperationLock, PageRef, PageUpdate};
use vector_index::storage::page::{Corruption, Damage};
use zerocopy::IntoBytes;

/// Bytes of a block.
pub const PAGE_SIZE: usize = 8192;

type Page = [u64; PAGE_SIZE / 8];

/// The blocks of an index, for one thread.
#[derive(Debug, Default)]
pub struct Plain {
    pages: Vec<Page>,
}

impl Plain {
    fn page(&self, number: u32) -> Result<&Page, Corruption> {
        self.pages.get(number as usize).ok_or_else(|| Damage::at(0, "no such block").on(number))
    }
}

impl BlockStore for Plain {
    type Error = Corruption;
    type Update<'a> = Held<'a>;

    fn page_size(&self) -> usize {
        PAGE_SIZE
    }

    fn count(&mut self) -> Result<u32, Corruption> {
        Ok(self.pages.len() as u32)
    }

    fn read<R>(
        &mut self,
        block: u32,
        look: impl FnOnce(&[u8]) -> Result<R, Damage>,
    ) -> Result<R, Corruption> {
        look(self.page(block)?.as_bytes()).map_err(|damage| damage.on(block))
    }

    fn update(&mut self) -> Result<Held<'_>, Corruption> {
        Ok(Held { blocks: self, held: Vec::new() })
    }

    fn lock(&mut self, _: OperationLock, _: LockMode) -> Result<(), Corruption> {
        Ok(())
    }

    fn unlock(&mut self, _: OperationLock, _: LockMode) {}
}

/// A change: copies of blocks until its commit.
#[derive(Debug)]
pub struct Held<'a> {
    blocks: &'a mut Plain,
    held: Vec<(u32, Page)>,
}

impl PageUpdate for Held<'_> {
    type Error = Corruption;

    fn open(&mut self, block: u32) -> Result<PageRef, Corruption> {
        let page = *self.blocks.page(block)?;
        self.held.push((block, page));
        Ok(PageRef(self.held.len() - 1))
    }

    fn extend(&mut self) -> Result<PageRef, Corruption> {
        let added =
            self.held.iter().filter(|(number, _)| *number as usize >= self.blocks.pages.len()).count();
        self.held.push(((self.blocks.pages.len() + added) as u32, [0; PAGE_SIZE / 8]));
        Ok(PageRef(self.held.len() - 1))
    }

    fn block(&self, slot: PageRef) -> u32 {
        self.held.get(slot.0).map_or(u32::MAX, |held| held.0)
    }

    fn bytes(&self, slot: PageRef) -> &[u8] {
        self.held.get(slot.0).map_or(&[], |held| held.1.as_bytes())
    }

    fn bytes_mut(&mut self, slot: PageRef) -> Result<&mut [u8], Corruption> {
        let held = self.held.get_mut(slot.0);
        held.map(|held| held.1.as_mut_bytes()).ok_or_else(|| Damage::at(0, "no such slot").on(u32::MAX))
    }

    fn commit(self) -> Result<(), Corruption> {
        for (number, page) in self.held {
            match self.blocks.pages.get_mut(number as usize) {
                Some(place) => *place = page,
                None => self.blocks.pages.push(page),
            }
        }
        Ok(())
    }
}
