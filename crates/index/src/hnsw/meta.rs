//! The meta page: what an index is, with what it was built, where searches and inserts begin. All layouts begin
//! with this struct; its magic number tells them apart (`format.rs`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::params::MAX_LEVEL;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, Page, PageMut, Tid};

/// Identifies the pages of hnsw indexes.
pub const PAGE_ID: u16 = 0xFF90;
/// Identifies the pages of those with inline codes.
pub const INLINE_PAGE_ID: u16 = 0xFF91;
/// First field of the meta page.
pub const MAGIC: u32 = 0xA953_A953;
/// First field of that of an index with inline codes: a library that knows only the other says that the index is not
/// valid.
pub const INLINE_MAGIC: u32 = 0xA953_1A7E;
/// The format of pgvector.
pub const VERSION: u32 = 1;
/// That of inline codes.
pub const INLINE_VERSION: u32 = 3;
/// The block of the meta page.
pub const META_BLOCK: u32 = 0;
/// The first element page.
pub const HEAD_BLOCK: u32 = 1;

/// The meta page's struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MetaPage {
    /// [`MAGIC`] or [`INLINE_MAGIC`]
    pub magic: u32,
    /// [`VERSION`] or [`INLINE_VERSION`]
    pub version: u32,
    /// dimensions of every value
    pub dimensions: u32,
    /// connections per layer
    pub m: u16,
    /// queue length of inserts
    pub ef_construction: u16,
    /// block of the entry point, or [`INVALID_BLOCK`]
    pub entry_block: u32,
    /// its offset
    pub entry_offset: u16,
    /// its level, -1 when there is none
    pub entry_level: i16,
    /// where inserts begin to look for room
    pub insert_page: u32,
}

const _: () = assert!(size_of::<MetaPage>() == 28);

/// Where searches begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryPoint {
    /// its element tuple
    pub tid: Tid,
    /// its level
    pub level: u8,
}

impl MetaPage {
    /// The meta page of an empty index.
    pub fn new(dimensions: u32, m: u16, ef_construction: u16) -> Self {
        MetaPage {
            magic: MAGIC,
            version: VERSION,
            dimensions,
            m,
            ef_construction,
            entry_block: INVALID_BLOCK,
            entry_offset: 0,
            entry_level: -1,
            insert_page: HEAD_BLOCK,
        }
    }

    /// Reads it from the bytes of block 0.
    ///
    /// # Errors
    /// When the page is no such page.
    pub fn read(bytes: &[u8]) -> Result<Self, Damage> {
        let invalid = Damage::at(0, "invalid meta page");
        let page = Page::unidentified(bytes).map_err(|_| invalid)?;
        let (meta, _) = MetaPage::read_from_prefix(page.contents()).map_err(|_| invalid)?;
        let id = if meta.magic == INLINE_MAGIC { INLINE_PAGE_ID } else { PAGE_ID };
        Page::new(bytes, id).map_err(|_| invalid)?;
        let sane = matches!(meta.magic, MAGIC | INLINE_MAGIC)
            && meta.version == if meta.magic == INLINE_MAGIC { INLINE_VERSION } else { VERSION }
            && (2..=100).contains(&meta.m);
        if sane { Ok(meta) } else { Err(invalid) }
    }

    /// The entry point, when there is one.
    ///
    /// # Errors
    /// An entry point whose level no element can have.
    pub fn entry_point(&self) -> Result<Option<EntryPoint>, Damage> {
        if self.entry_block == INVALID_BLOCK {
            return Ok(None);
        }
        let level = u8::try_from(self.entry_level).ok().filter(|&level| level <= MAX_LEVEL);
        match level {
            Some(level) if self.entry_offset != 0 => {
                Ok(Some(EntryPoint { tid: Tid::new(self.entry_block, self.entry_offset), level }))
            }
            _ => Err(Damage::at(0, "invalid entry point")),
        }
    }

    /// Sets or clears the entry point.
    pub fn set_entry_point(&mut self, entry: Option<EntryPoint>) {
        (self.entry_block, self.entry_offset, self.entry_level) = match entry {
            Some(e) => (e.tid.block(), e.tid.offset(), i16::from(e.level)),
            None => (INVALID_BLOCK, 0, -1),
        };
    }
}

/// Reads the meta page.
///
/// # Errors
/// When block 0 is none.
pub fn read_meta<B: BlockStore>(blocks: &mut B) -> Result<MetaPage, B::Error> {
    blocks.read(META_BLOCK, MetaPage::read)
}

/// Changes the meta page, when `update` returns true.
///
/// # Errors
/// When block 0 is none.
pub fn update_meta<B: BlockStore>(
    blocks: &mut B,
    update: impl FnOnce(&mut MetaPage) -> bool,
) -> Result<(), B::Error> {
    let mut change = blocks.update()?;
    let slot = change.open(META_BLOCK)?;
    let mut meta = MetaPage::read(change.bytes(slot)).map_err(|damage| damage.on(META_BLOCK))?;
    if !update(&mut meta) {
        return Ok(());
    }
    let bytes = change.bytes_mut(slot)?;
    let mut page = PageMut::new(bytes, PAGE_ID).map_err(|damage| damage.on(META_BLOCK))?;
    page.set_contents(meta.as_bytes());
    change.commit()
}
