//! Values of the row that a scan has returned, for scans that need no table: its vector, and those of INCLUDE columns
//! from their tree. src/ivfflat/README.md has the argument why whoever holds on to the leaf with a row's values may
//! believe that the table has the row.

use zerocopy::FromBytes;

use super::Lists;
use super::found::Candidate;
use super::layout::{PageKind, RECORD_HEAD, record_at};
use super::meta::MetaPage;
use super::stream::read_record;
use crate::filter::Program;
use crate::included;
use crate::ivf::lists::BAD_VALUE;
use crate::quant::space::CodedSpace;
use crate::runs::Tree;
use crate::space::ValueBuf;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, Tid};

/// How often others may be faster before something must be wrong.
pub const TRIES: usize = 16;
/// Of a row that should have some.
pub const NO_VALUES: Damage = Damage::at(0, "row without values");

/// What a look at a row's values says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// they are here
    Here,
    /// the row is gone: a vacuum has removed it, since no snapshot sees it
    Gone,
    /// others have changed the leaf or the row: it is to be found again, up to [`TRIES`] times
    Again,
}

/// Makes an index that was just written one that keeps the values of INCLUDE columns.
///
/// # Errors
/// When it is none of codes, or has some already; no room on disk.
pub fn begin_included<B: BlockStore>(blocks: &mut B) -> Result<(), B::Error> {
    let root = included::add_root(blocks, PageKind::INCLUDED)?;
    let mut twice = false;
    MetaPage::change(blocks, |meta| {
        twice = meta.included != 0;
        meta.with_included(root)
    })?;
    if twice { Err(Damage::internal("included values twice").on(0).into()) } else { Ok(()) }
}

impl<B: BlockStore> Lists<'_, B> {
    /// The root of the tree of included values.
    fn included_root(&self) -> Result<u32, B::Error> {
        match self.index.included {
            0 => Err(Damage::internal("included values of an index without any").on(0).into()),
            root => Ok(root),
        }
    }

    /// Adds the included values of rows, before the rows ([`included::add`]).
    ///
    /// # Errors
    /// Damaged blocks, no room on disk.
    pub fn add_included(&mut self, values: &[u8]) -> Result<(), B::Error> {
        let root = self.included_root()?;
        included::add(self.blocks, PageKind::INCLUDED, root, values)
    }

    /// Copies the included values of a row into `out`. False when there are none.
    ///
    /// # Errors
    /// Damaged blocks, no memory.
    pub fn read_included(&mut self, row: Tid, out: &mut ValueBuf) -> Result<bool, B::Error> {
        let root = self.included_root()?;
        included::read(self.blocks, PageKind::INCLUDED, root, row, out)
    }

    /// Removes the included values of dead rows, when their entries are gone ([`included::remove`]).
    ///
    /// # Errors
    /// Damaged blocks, no memory.
    pub fn remove_included(
        &mut self,
        rows: &mut Vec<Tid>,
        is_dead: &mut impl FnMut(Tid) -> bool,
    ) -> Result<u64, B::Error> {
        let root = self.included_root()?;
        included::remove(self.blocks, PageKind::INCLUDED, root, rows, is_dead)
    }

    /// The leaf on which the included values of a row are: to be held on to before [`Self::read_returned`] looks at it.
    ///
    /// # Errors
    /// Damaged blocks.
    pub fn leaf_of(&mut self, row: Tid) -> Result<u32, B::Error> {
        let root = self.included_root()?;
        included::leaf_of(self.blocks, PageKind::INCLUDED, root, row)
    }

    /// Reads the included values of a row that a scan has returned from the leaf that is held on to into `values`, and
    /// its vector, a whole varlena as it was given, into `vector`. `run` is that of the scan, with its conditions, if
    /// it took one.
    ///
    /// # Errors
    /// Damaged blocks, no memory.
    pub fn read_returned<S: CodedSpace>(
        &mut self,
        space: S,
        candidate: &Candidate,
        run: Option<(Tree, &Program)>,
        leaf: u32,
        values: &mut ValueBuf,
        vector: &mut ValueBuf,
    ) -> Result<Look, B::Error> {
        match included::read_at(self.blocks, PageKind::INCLUDED, leaf, candidate.row, values)? {
            Some(true) => {}
            None => return Ok(Look::Again),
            // Removed after the entry; or there is damage, unless another row got the TID meanwhile, whose values were
            // there before its entry: the next look sees them.
            Some(false) if self.lives(candidate, run)? => return Ok(Look::Again),
            Some(false) => return Ok(Look::Gone),
        }
        let geometry = &self.index.geometry;
        let (place, size) = (candidate.place, geometry.value_size);
        let mut found = None;
        if let Some(at) = record_at(place) {
            let whole = &mut self.memory.whole;
            let start = (place.block(), at);
            found = read_record(self.blocks, geometry, PageKind::Values, start, whole, |record| {
                let (row, _) = Tid::read_from_prefix(record).ok()?;
                let value = record.get(RECORD_HEAD..RECORD_HEAD + size).filter(|_| row == candidate.row)?;
                Some(match space.view(value) {
                    Ok(_) => vector.try_copy_from(value).map_err(Damage::from),
                    Err(_) => Err(Damage::at(place.offset(), BAD_VALUE)),
                })
            })?;
        }
        match found.flatten() {
            Some(copied) => {
                copied.map_err(|damage| damage.on(place.block()))?;
                Ok(Look::Here)
            }
            // Another row took its place: it was removed; or there is damage, unless its place and TID were given to
            // one whose values were there already, and not yet its record: the next look sees that.
            None if self.lives(candidate, run)? => Ok(Look::Again),
            None => Ok(Look::Gone),
        }
    }
}
