//! Positions of items and of rows.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The position of an item: block and offset, or of a heap row (ItemPointerData).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Tid {
    block_hi: [u8; 2],
    block_lo: [u8; 2],
    offset: [u8; 2],
}

const _: () = assert!(size_of::<Tid>() == 6);

impl Tid {
    /// The TID that stands for none.
    pub const INVALID: Tid = Tid { block_hi: [0xff; 2], block_lo: [0xff; 2], offset: [0; 2] };

    /// Block and offset.
    #[inline]
    pub const fn new(block: u32, offset: u16) -> Self {
        Tid {
            block_hi: ((block >> 16) as u16).to_ne_bytes(),
            block_lo: (block as u16).to_ne_bytes(),
            offset: offset.to_ne_bytes(),
        }
    }

    /// The block number.
    #[inline]
    pub const fn block(self) -> u32 {
        (u16::from_ne_bytes(self.block_hi) as u32) << 16 | u16::from_ne_bytes(self.block_lo) as u32
    }

    /// The offset number; 0 when invalid.
    #[inline]
    pub const fn offset(self) -> u16 {
        u16::from_ne_bytes(self.offset)
    }

    /// Whether it stands for an item (ItemPointerIsValid).
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.offset() != 0
    }

    /// Both numbers in one, block first: below 2^48.
    #[inline]
    pub const fn packed(self) -> u64 {
        (self.block() as u64) << 16 | self.offset() as u64
    }

    /// The reverse of [`Self::packed`].
    #[inline]
    pub const fn from_packed(packed: u64) -> Self {
        Tid::new((packed >> 16) as u32, packed as u16)
    }
}

impl core::fmt::Display for Tid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "({},{})", self.block(), self.offset())
    }
}
