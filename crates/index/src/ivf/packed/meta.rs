//! The meta page of a packed index: block 0.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Index;
use super::layout::{Geometry, PAGE_ID};
use super::probes::Probes;
use super::runs::RunTrees;
use crate::filter::{KEY_SIZE, MAX_COLUMNS};
use crate::ivf::lists::MAX_LISTS;
use crate::quant::space::Estimate;
use crate::space::ValueKind;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, Page, PageMut};

/// First field of the meta page: another one than the first layout's, so that a library that knows only that says that
/// the index is not valid.
pub const MAGIC: u32 = 0xA9F1_A75E;
/// The format described here.
pub const VERSION: u32 = 5;

/// The meta page's struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MetaPage {
    /// [`MAGIC`]
    pub magic: u32,
    /// [`VERSION`]
    pub version: u32,
    /// dimensions of every value
    pub dimensions: u32,
    /// number of lists
    pub lists: u32,
    /// the type: 0 `vector`, 1 `halfvec`
    pub kind: u8,
    /// what is estimated: 0 Euclidean distances, 1 inner products, 2 cosines
    pub estimate: u8,
    /// where exact distances come from: 0 the values in the index, 1 those of the table
    pub rerank: u8,
    /// filter columns
    pub columns: u8,
    /// the first block of centres
    pub centres: u32,
    /// of the rotation
    pub seed: u64,
    /// lists that a search looks at when nobody says how many; 0 when nobody has found out
    pub probes: u32,
    /// of an index with filter columns, the logarithms of these for more rows
    pub more_probes: [u8; 4],
    /// the first block of codes of centres; 0 where there are none
    pub centre_codes: u32,
    /// the root of the tree of included values; 0 in an index without INCLUDE columns
    pub included: u32,
    /// the roots of the trees of entries in the order of filter keys, of each column that has one; 0 of others
    pub run_roots: [u32; MAX_COLUMNS],
    /// the page with the centre of their codes; 0 where it is zero
    pub run_centre: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<MetaPage>() == 88);

const KINDS: [ValueKind; 2] = [ValueKind::Vector, ValueKind::Halfvec];
const ESTIMATES: [Estimate; 3] = [Estimate::L2, Estimate::InnerProduct, Estimate::Cosine];

fn number_of<T: PartialEq>(all: &[T], one: &T) -> u8 {
    all.iter().position(|other| other == one).unwrap_or(all.len()) as u8
}

impl MetaPage {
    /// The meta page of an index.
    pub fn new(index: &Index, lists: u32, centres: u32) -> Self {
        MetaPage {
            magic: MAGIC,
            version: VERSION,
            dimensions: index.geometry.dims as u32,
            lists,
            kind: number_of(&KINDS, &index.kind),
            estimate: number_of(&ESTIMATES, &index.estimate),
            rerank: u8::from(!index.geometry.own_values),
            columns: (index.geometry.filter_size / KEY_SIZE) as u8,
            centres,
            seed: index.seed,
            probes: 0,
            more_probes: [0; 4],
            centre_codes: index.centre_codes,
            included: index.included,
            run_roots: [0; MAX_COLUMNS],
            run_centre: 0,
            reserved: 0,
        }
    }

    /// The same with runs.
    pub fn with_runs(self, run_roots: [u32; MAX_COLUMNS], run_centre: u32) -> Self {
        MetaPage { run_roots, run_centre, ..self }
    }

    /// The same with another number of probes.
    pub fn with_probes(self, probes: Probes) -> Self {
        MetaPage { probes: probes.first, more_probes: probes.more, ..self }
    }

    /// The same with a tree of included values.
    pub fn with_included(self, root: u32) -> Self {
        MetaPage { included: root, ..self }
    }

    /// Whether the bytes of block 0 are the meta page of such an index, sound or not.
    pub fn is_one(bytes: &[u8]) -> bool {
        let page = Page::new(bytes, PAGE_ID);
        page.is_ok_and(|page| page.contents().first_chunk() == Some(&MAGIC.to_ne_bytes()))
    }

    /// Reads it from the bytes of block 0.
    ///
    /// # Errors
    /// When the page is no such page.
    pub fn read(bytes: &[u8]) -> Result<Self, Damage> {
        let invalid = Damage::at(0, "invalid meta page");
        let page = Page::new(bytes, PAGE_ID).map_err(|_| invalid)?;
        let (meta, _) = MetaPage::read_from_prefix(page.contents()).map_err(|_| invalid)?;
        let lists = 1..=MAX_LISTS;
        let sane = meta.magic == MAGIC && meta.version == VERSION && lists.contains(&meta.lists);
        if sane { meta.index(bytes.len()).map(|_| meta) } else { Err(invalid) }
    }

    /// What it says of the index.
    ///
    /// # Errors
    /// Numbers that no index has.
    pub fn index(&self, page_size: usize) -> Result<Index, Damage> {
        let invalid = Damage::at(0, "invalid meta page");
        let kind = *KINDS.get(usize::from(self.kind)).ok_or(invalid)?;
        let estimate = *ESTIMATES.get(usize::from(self.estimate)).ok_or(invalid)?;
        let filter_size = usize::from(self.columns) * KEY_SIZE;
        let (dims, own_values) = (self.dimensions as usize, self.rerank == 0);
        let geometry = Geometry::of(kind, dims, page_size, filter_size, own_values).ok_or(invalid)?;
        // values of the table are no reason to keep others
        let known = self.rerank <= 1 && self.centres > 0 && (own_values || self.included == 0);
        let runs = RunTrees::new(kind, &geometry, self.run_roots, self.run_centre).ok_or(invalid)?;
        let index = Index {
            kind,
            estimate,
            geometry,
            seed: self.seed,
            centres: self.centres,
            centre_codes: self.centre_codes,
            included: self.included,
            lists: self.lists,
            probes: Probes { first: self.probes, more: self.more_probes },
            runs,
        };
        if known { Ok(index) } else { Err(invalid) }
    }

    /// Changes the meta page of an index that is being built, of which nobody else knows.
    ///
    /// # Errors
    /// A page that is none.
    pub fn change<B: BlockStore>(blocks: &mut B, new: impl FnOnce(Self) -> Self) -> Result<(), B::Error> {
        let on_meta = |damage: Damage| damage.on(0);
        let mut change = blocks.update()?;
        let slot = change.open(0)?;
        let meta = MetaPage::read(change.bytes(slot)).map_err(on_meta)?;
        let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(on_meta)?;
        page.set_contents(new(meta).as_bytes());
        change.commit()
    }

    /// Makes `bytes` the meta page.
    pub fn write(&self, bytes: &mut [u8]) {
        PageMut::init(bytes, PAGE_ID).set_contents(self.as_bytes());
    }
}
