//! Which layout an index has: the one place that tells them apart.

use super::lists::EntryForm;
use super::{packed, v1};
use crate::storage::blocks::BlockStore;

/// The block of the meta page, in every layout.
pub const META_BLOCK: u32 = v1::layout::META_BLOCK;
pub use super::lists::MAX_LISTS;
pub use super::packed::returned::begin_included;

pub use super::info::Info;

/// A layout of pages.
#[allow(clippy::large_enum_variant)] // one to an operation
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// pgvector's
    V1,
    /// codes apart from values
    Packed(packed::Index),
}

impl Layout {
    /// What the storage parameter calls it.
    pub const fn name(&self) -> &'static str {
        match self {
            Layout::V1 => "pgvector",
            Layout::Packed(_) => "packed",
        }
    }

    /// Whether values stand as they were given where their angles are compared, not at unit length.
    pub const fn keeps_lengths(&self) -> bool {
        matches!(self, Layout::Packed(_))
    }

    /// Bytes of the filter keys of a row.
    pub const fn filter_size(&self) -> usize {
        match self {
            Layout::V1 => 0,
            Layout::Packed(index) => index.geometry.filter_size,
        }
    }

    /// Whether it keeps values of INCLUDE columns.
    pub const fn has_included(&self) -> bool {
        matches!(self, Layout::Packed(index) if index.included != 0)
    }

    /// The index whose values have codes, if it is one.
    pub const fn coded(&self) -> Option<packed::Index> {
        match self {
            Layout::V1 => None,
            Layout::Packed(index) => Some(*index),
        }
    }

    /// Returns the form of entries of values of a size.
    pub fn entry_form(&self, value_size: usize) -> EntryForm {
        match self {
            Layout::V1 => v1::entry_form(value_size),
            Layout::Packed(index) => index.entry_form(),
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
    /// lists that a search looks at when nobody says how many, where a build has found that out
    pub probes: Option<u32>,
}

/// Reads the meta page.
///
/// # Errors
/// A block that is none.
pub fn read_meta<B: BlockStore>(blocks: &mut B) -> Result<Meta, B::Error> {
    blocks.read(META_BLOCK, |bytes| {
        if packed::meta::MetaPage::is_one(bytes) {
            let index = packed::meta::MetaPage::read(bytes)?.index(bytes.len())?;
            return Ok(Meta {
                layout: Layout::Packed(index),
                dimensions: index.geometry.dims as u16,
                lists: index.lists as u16,
                probes: index.probes.known(),
            });
        }
        let meta = v1::layout::MetaPage::read(bytes)?;
        Ok(Meta { layout: Layout::V1, dimensions: meta.dimensions, lists: meta.lists, probes: None })
    })
}

/// Counts what an index consists of.
///
/// # Errors
/// A block that cannot be read, or is none of such an index.
pub fn info<B: BlockStore>(blocks: &mut B) -> Result<Info, B::Error> {
    match read_meta(blocks)?.layout {
        Layout::V1 => v1::info::gather(blocks),
        Layout::Packed(index) => packed::info::gather(blocks, &index),
    }
}

/// The packed lists on their blocks; none of another layout.
pub fn packed_lists<'b, B>(
    layout: Layout,
    blocks: &'b mut B,
    memory: &'b mut Memory,
) -> Option<packed::Lists<'b, B>> {
    layout.coded().map(|index| packed::Lists { blocks, index, memory })
}

/// What operations allocate, kept from one to the next, and outside of frames that read blocks.
pub type Memory = packed::Memory;

/// `with_lists!(layout, blocks, memory, lists => body)`: runs `body` with `lists`, the lists of that layout on the
/// blocks.
#[macro_export]
macro_rules! with_lists {
    ($layout:expr, $blocks:expr, $memory:expr, $lists:ident => $body:expr) => {
        match $layout {
            $crate::ivf::format::Layout::V1 => {
                let $lists = &mut $crate::ivf::v1::Pages($blocks);
                $body
            }
            $crate::ivf::format::Layout::Packed(index) => {
                let $lists = &mut $crate::ivf::packed::Lists { blocks: $blocks, index, memory: $memory };
                $body
            }
        }
    };
}
