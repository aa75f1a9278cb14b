//! Which layout an index has: the one place that tells them apart.

use super::lists::EntryForm;
use super::v1;
use crate::storage::blocks::BlockStore;

/// The block of the meta page, in every layout.
pub const META_BLOCK: u32 = v1::layout::META_BLOCK;
/// Lists of an index, at most.
pub const MAX_LISTS: u32 = v1::layout::MAX_LISTS;

pub use super::v1::info::Info;

/// A layout of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// pgvector's
    V1,
}

impl Layout {
    /// Returns the form of entries of values of a size.
    pub fn entry_form(self) -> fn(value_size: usize) -> EntryForm {
        match self {
            Layout::V1 => v1::entry_form,
        }
    }
}

/// What the meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// the layout of all other pages
    pub layout: Layout,
    /// dimensions of every value (bits for `bit`)
    pub dimensions: u16,
    /// number of lists
    pub lists: u16,
}

/// Reads the meta page.
///
/// # Errors
/// A block that is none.
pub fn read_meta<B: BlockStore>(blocks: &mut B) -> Result<Meta, B::Error> {
    blocks.read(META_BLOCK, |bytes| {
        let meta = v1::layout::MetaPage::read(bytes)?;
        Ok(Meta { layout: Layout::V1, dimensions: meta.dimensions, lists: meta.lists })
    })
}

/// Counts what an index consists of.
///
/// # Errors
/// A block that cannot be read, or is none of such an index.
pub fn info<B: BlockStore>(blocks: &mut B) -> Result<Info, B::Error> {
    match read_meta(blocks)?.layout {
        Layout::V1 => v1::info::gather(blocks),
    }
}

/// `with_lists!(layout, blocks, lists => body)`: runs `body` with `lists`, the lists of that layout on the blocks.
#[macro_export]
macro_rules! with_lists {
    ($layout:expr, $blocks:expr, $lists:ident => $body:expr) => {
        match $layout {
            $crate::ivf::format::Layout::V1 => {
                let $lists = &mut $crate::ivf::v1::Pages($blocks);
                $body
            }
        }
    };
}
