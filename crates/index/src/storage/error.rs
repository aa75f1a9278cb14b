//! Why a page, or what is on it, cannot be used.

use crate::work::memory::OutOfMemory;

/// Of what sort a [`PageError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// the page is not what it should be
    Damage,
    /// there was no memory for what is on it
    OutOfMemory,
    /// a state that this project's code excludes, whatever is on the page
    Internal,
}

/// Why a page or an item on it cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageError {
    /// of what sort, a [`Cause`] in a byte: an enum would offer its spare values for the tag of a result, and results
    /// tell failure cheaper by the null pointer that `what` is not
    cause: u8,
    /// the item; 0 for the page itself
    pub offset: u16,
    /// in words
    pub what: &'static str,
}

impl From<OutOfMemory> for PageError {
    fn from(_: OutOfMemory) -> Self {
        PageError::OUT_OF_MEMORY
    }
}

impl PageError {
    /// There was no memory.
    pub const OUT_OF_MEMORY: PageError =
        PageError { cause: Cause::OutOfMemory as u8, offset: 0, what: "out of memory" };

    /// Damage of an item, or of the page (offset 0).
    #[cold]
    pub const fn at(offset: u16, what: &'static str) -> Self {
        PageError { cause: Cause::Damage as u8, offset, what }
    }

    /// A state that should not be.
    #[cold]
    pub const fn internal(what: &'static str) -> Self {
        PageError { cause: Cause::Internal as u8, offset: 0, what }
    }

    /// Of what sort it is.
    pub const fn cause(&self) -> Cause {
        match self.cause {
            0 => Cause::Damage,
            1 => Cause::OutOfMemory,
            _ => Cause::Internal,
        }
    }

    /// The error of block `block`.
    pub const fn on(self, block: u32) -> BlockError {
        BlockError { block, damage: self }
    }
}

impl core::fmt::Display for PageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.cause() {
            Cause::Damage => write!(f, "{} at offset {}", self.what, self.offset),
            Cause::OutOfMemory | Cause::Internal => f.write_str(self.what),
        }
    }
}

impl core::error::Error for PageError {}

/// A [`PageError`] with its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockError {
    /// the block
    pub block: u32,
    /// what is wrong there
    pub damage: PageError,
}

impl BlockError {
    /// Of what sort it is.
    pub const fn cause(&self) -> Cause {
        self.damage.cause()
    }
}

impl core::fmt::Display for BlockError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let PageError { offset, what, .. } = self.damage;
        match self.cause() {
            Cause::Damage => write!(f, "{what} at block {}, offset {offset}", self.block),
            Cause::OutOfMemory => f.write_str(what),
            Cause::Internal => write!(f, "{what} (block {})", self.block),
        }
    }
}

impl core::error::Error for BlockError {}

/// [`PageError`], where damage is what is looked for.
pub type Damage = PageError;
/// [`BlockError`], where damage is what is looked for.
pub type Corruption = BlockError;
