//! Pages that follow each other.

use super::blocks::BlockStore;
use super::page::{Damage, INVALID_BLOCK};

/// Follows a chain of pages no further than there are blocks.
#[derive(Debug)]
pub struct Chain {
    /// the next block, as the page before has said
    pub next: u32,
    steps: u32,
}

impl Chain {
    /// A chain that begins with block `start`.
    pub fn new(start: u32) -> Self {
        Chain { next: start, steps: 0 }
    }

    /// How many blocks it has come by.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Returns the block to read next; none at the end of the chain.
    ///
    /// # Errors
    /// A chain that leads into itself.
    pub fn step<B: BlockStore>(&mut self, blocks: &mut B) -> Result<Option<u32>, B::Error> {
        if self.next == INVALID_BLOCK {
            return Ok(None);
        }
        self.steps += 1;
        if self.steps.is_multiple_of(1024) && self.steps > blocks.count()? {
            return Err(Damage::at(0, "pages chained in a circle").on(self.next).into());
        }
        Ok(Some(self.next))
    }
}
