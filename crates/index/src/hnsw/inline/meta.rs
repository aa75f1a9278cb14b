//! The meta page of an inline index: block 0.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::layout::{Layout, NO_NODE, PAGE_ID, Shape};
use crate::hnsw::params::MAX_LEVEL;
use crate::quant::rabitq::Bits;
use crate::space::ValueKind;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, INVALID_BLOCK, Page, PageMut};

/// First field of the meta page: another one than the first layout's, so that a library that knows only that says that
/// the index is not valid.
pub const MAGIC: u32 = 0xA953_1A7E;
/// The format described here.
pub const VERSION: u32 = 1;
/// The block of the meta page.
pub const META_BLOCK: u32 = 0;

/// The meta page's struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MetaPage {
    /// [`MAGIC`]
    pub magic: u32,
    /// [`VERSION`]
    pub version: u32,
    /// dimensions of every value; bits for `bit`
    pub dimensions: u32,
    /// connections per layer
    pub m: u16,
    /// queue length of inserts
    pub ef_construction: u16,
    /// the entry point's record in its highest layer, or [`NO_NODE`]
    pub entry: u32,
    /// its level, -1 when there is none
    pub entry_level: i16,
    /// the type: 0 `vector`, 1 `halfvec`, 2 `bit`
    pub kind: u8,
    /// bits of a code's element
    pub bits: u8,
    /// of the rotation
    pub seed: u64,
    /// bytes of filter values beside each id
    pub filter_size: u32,
    /// the last block that a build wrote
    pub last_block: u32,
}

const _: () = assert!(size_of::<MetaPage>() == 40);

/// Where searches begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// the record in the highest layer
    pub id: u32,
    /// that layer
    pub level: u8,
}

const KINDS: [ValueKind; 3] = [ValueKind::Vector, ValueKind::Halfvec, ValueKind::Bit];

impl MetaPage {
    /// The meta page of an empty index.
    pub fn new(shape: &Shape, ef_construction: u16, seed: u64) -> Self {
        MetaPage {
            magic: MAGIC,
            version: VERSION,
            dimensions: shape.dims as u32,
            m: shape.m as u16,
            ef_construction,
            entry: NO_NODE,
            entry_level: -1,
            kind: KINDS.iter().position(|&kind| kind == shape.kind).unwrap_or(KINDS.len()) as u8,
            bits: shape.bits.get(),
            seed,
            filter_size: shape.filter_size as u32,
            last_block: INVALID_BLOCK,
        }
    }

    /// Reads it from the bytes of block 0.
    ///
    /// # Errors
    /// When the page is no such page.
    pub fn read(bytes: &[u8]) -> Result<Self, Damage> {
        let invalid = Damage::at(0, "invalid meta page");
        let page = Page::new(bytes, PAGE_ID).map_err(|_| invalid)?;
        let (meta, _) = MetaPage::read_from_prefix(page.contents()).map_err(|_| invalid)?;
        if meta.magic != MAGIC || meta.version != VERSION {
            return Err(invalid);
        }
        meta.layout(bytes.len()).map(|_| meta)
    }

    /// Where everything stands.
    ///
    /// # Errors
    /// Numbers that no index has.
    pub fn layout(&self, page_size: usize) -> Result<Layout, Damage> {
        let shape = match (KINDS.get(usize::from(self.kind)), Bits::new(self.bits)) {
            (Some(&kind), Some(bits)) => Some(Shape {
                kind,
                dims: self.dimensions as usize,
                m: usize::from(self.m),
                bits,
                filter_size: self.filter_size as usize,
            }),
            _ => None,
        };
        let sane = |shape: &Shape| {
            (2..=100).contains(&shape.m)
                && (1..=64_000).contains(&shape.dims)
                && shape.filter_size < page_size
        };
        let layout = shape.filter(sane).and_then(|shape| Layout::new(shape, page_size));
        layout.ok_or(Damage::at(0, "invalid meta page"))
    }

    /// The entry point, when there is one.
    ///
    /// # Errors
    /// An entry point whose level no node can have.
    pub fn entry(&self) -> Result<Option<Entry>, Damage> {
        if self.entry == NO_NODE {
            return Ok(None);
        }
        let level = u8::try_from(self.entry_level).ok().filter(|&level| level <= MAX_LEVEL);
        let entry = level.map(|level| Entry { id: self.entry, level });
        entry.map(Some).ok_or(Damage::at(0, "invalid entry point"))
    }

    /// Sets or clears the entry point.
    pub fn set_entry(&mut self, entry: Option<Entry>) {
        (self.entry, self.entry_level) =
            entry.map_or((NO_NODE, -1), |entry| (entry.id, i16::from(entry.level)));
    }

    /// Makes `bytes` the meta page.
    pub fn write(&self, bytes: &mut [u8]) {
        PageMut::init(bytes, PAGE_ID).set_contents(self.as_bytes());
    }
}

/// Reads the meta page.
///
/// # Errors
/// When block 0 is none.
pub fn read_meta<B: BlockStore>(blocks: &mut B) -> Result<MetaPage, B::Error> {
    blocks.read(META_BLOCK, MetaPage::read)
}
