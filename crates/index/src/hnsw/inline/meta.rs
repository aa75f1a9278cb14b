//! The meta page of an inline index: block 0.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::layout::{Layout, NO_NODE, PAGE_ID, Shape};
use crate::filter::{MAX_COLUMNS, Packings};
use crate::hnsw::meta::{EntryPoint, INLINE_MAGIC, INLINE_VERSION, MetaPage};
use crate::quant::rabitq::Bits;
use crate::quant::rotation::Rotation;
use crate::runs::Tree;
use crate::space::ValueKind;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, Page, PageMut, Tid};

pub use crate::hnsw::meta::META_BLOCK;

/// The meta page's struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InlineMeta {
    /// what all layouts begin with; the entry point is its record of layer 0
    pub common: MetaPage,
    /// the entry point's record in its highest layer, or [`NO_NODE`]
    pub top: u32,
    /// of the rotation
    pub seed: u64,
    /// how filter keys are packed ([`Packings::to_number`])
    pub filters: u32,
    /// the type: 0 `vector`, 1 `halfvec`, 2 `bit`
    pub kind: u8,
    /// bits of each element of a code, and [`FROM_COPIES`]
    pub bits: u8,
    /// so many elements of a code have two bits although others have one
    pub doubled: u16,
    /// the roots of the trees of entries, of each filter column that has runs
    pub roots: [u32; MAX_COLUMNS],
    /// the page with the centre of their codes
    pub centre: u32,
    /// the root of the tree of included values; 0 in an index without INCLUDE columns
    pub included: u32,
}

const _: () = assert!(size_of::<InlineMeta>() == 88);

/// In [`InlineMeta::bits`]: the build had no room for values, and made codes of edges of copies of one byte an element.
/// They are not to the last bit those of the values.
pub const FROM_COPIES: u8 = 1 << 7;

/// Where searches begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// the record in the highest layer
    pub id: u32,
    /// that of layer 0
    pub tid: Tid,
    /// the highest layer
    pub level: u8,
}

const KINDS: [ValueKind; 3] = [ValueKind::Vector, ValueKind::Halfvec, ValueKind::Bit];

impl InlineMeta {
    /// The meta page of an empty index.
    pub fn new(shape: &Shape, ef_construction: u16, seed: u64) -> Self {
        let mut common = MetaPage::new(shape.dims as u32, shape.m as u16, ef_construction);
        (common.magic, common.version) = (INLINE_MAGIC, INLINE_VERSION);
        InlineMeta {
            common,
            top: NO_NODE,
            seed,
            filters: shape.filters.to_number(),
            kind: KINDS.iter().position(|&kind| kind == shape.kind).unwrap_or(KINDS.len()) as u8,
            bits: shape.bits.each(),
            doubled: shape.bits.doubled(),
            roots: [INVALID_BLOCK; MAX_COLUMNS],
            centre: INVALID_BLOCK,
            included: 0,
        }
    }

    /// Reads it from the bytes of block 0.
    ///
    /// # Errors
    /// When the page is no such page.
    pub fn read(bytes: &[u8]) -> Result<Self, Damage> {
        let invalid = Damage::at(0, "invalid meta page");
        let common = MetaPage::read(bytes)?;
        let page = Page::new(bytes, PAGE_ID).map_err(|_| invalid)?;
        let (meta, _) = InlineMeta::read_from_prefix(page.contents()).map_err(|_| invalid)?;
        if common.magic != INLINE_MAGIC {
            return Err(invalid);
        }
        meta.shape().map(|_| meta)
    }

    /// What decides where everything stands.
    ///
    /// # Errors
    /// Numbers that no index has.
    pub fn shape(&self) -> Result<Shape, Damage> {
        let kind = KINDS.get(usize::from(self.kind));
        let padded = Rotation::padded_to(self.common.dimensions as usize);
        let bits = Bits::new(self.bits & !FROM_COPIES, self.doubled, padded);
        let shape = match (kind, bits, Packings::of_number(self.filters)) {
            (Some(&kind), Some(bits), Some(filters)) => Some(Shape {
                kind,
                dims: self.common.dimensions as usize,
                m: usize::from(self.common.m),
                bits,
                filters,
            }),
            _ => None,
        };
        let sane = |shape: &Shape| (1..=64_000).contains(&shape.dims);
        shape.filter(sane).ok_or(Damage::at(0, "invalid meta page"))
    }

    /// Whether codes of edges may be those of copies of the values.
    pub const fn from_copies(&self) -> bool {
        self.bits & FROM_COPIES != 0
    }

    /// Where everything stands.
    ///
    /// # Errors
    /// Numbers that no index has.
    pub fn layout(&self, page_size: usize) -> Result<Layout, Damage> {
        Layout::new(self.shape()?, page_size).ok_or(Damage::at(0, "invalid meta page"))
    }

    /// The entry point, when there is one.
    ///
    /// # Errors
    /// An entry point whose level no node can have.
    pub fn entry(&self) -> Result<Option<Entry>, Damage> {
        let entry = self.common.entry_point()?;
        Ok(entry.map(|EntryPoint { tid, level }| Entry { id: self.top, tid, level }))
    }

    /// Sets or clears the entry point.
    pub fn set_entry(&mut self, entry: Option<Entry>) {
        self.common.set_entry_point(entry.map(|Entry { tid, level, .. }| EntryPoint { tid, level }));
        self.top = entry.map_or(NO_NODE, |entry| entry.id);
    }

    /// The tree of entries in the order of a filter column's keys.
    pub fn tree(&self, column: usize) -> Tree {
        Tree { column, root: self.roots.get(column).copied().unwrap_or(INVALID_BLOCK) }
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
pub fn read_meta<B: BlockStore>(blocks: &mut B) -> Result<InlineMeta, B::Error> {
    blocks.read(META_BLOCK, InlineMeta::read)
}

/// Changes the meta page, when `update` returns true.
///
/// # Errors
/// When block 0 is none.
pub fn update_meta<B: BlockStore>(
    blocks: &mut B,
    update: impl FnOnce(&mut InlineMeta) -> bool,
) -> Result<(), B::Error> {
    let mut change = blocks.update()?;
    let slot = change.open(META_BLOCK)?;
    let mut meta = InlineMeta::read(change.bytes(slot)).map_err(|damage| damage.on(META_BLOCK))?;
    if !update(&mut meta) {
        return Ok(());
    }
    let bytes = change.bytes_mut(slot)?;
    let mut page = PageMut::new(bytes, PAGE_ID).map_err(|damage| damage.on(META_BLOCK))?;
    page.set_contents(meta.as_bytes());
    change.commit()
}
