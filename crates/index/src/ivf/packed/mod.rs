//! The second layout of lists: codes of a bit an element, which bound distances, apart from the values, of which a
//! search reads only those that may be among the nearest.
//!
//! | file | what |
//! |---|---|
//! | [`layout`] | pages, byte by byte |
//! | [`meta`] | the meta page |
//! | [`code`] | codes of rows, when built and when inserted |
//! | `centre_codes` | codes of centres, by which the nearest lists are found |
//! | [`probes`] | how many lists hold the nearest rows |
//! | [`prices`] | what lists and runs cost |
//! | [`query`] | what codes say of distances from a query |
//! | [`found`] | candidates by their bounds, rows by their exact distances |
//! | `stream`, `room` | records that pages cut; where there is room |
//! | `read`, `write`, `vacuum`, `bulk_write`, `census` | the traits of [`lists`](super::lists) |
//! | [`runs`], `runs_census` | entries in the order of filter keys ([`crate::runs`]): built, added, removed, scanned; checked |
//! | `returned` | values of rows that a scan has returned, their tree |
//! | [`info`] | what an index consists of |
//! | [`tune`] | how many lists a search should look at |

mod bulk_write;
mod census;
mod centre_codes;
pub mod code;
pub mod found;
pub mod info;
pub mod layout;
pub mod meta;
pub mod prices;
pub mod probes;
pub mod query;
mod read;
pub mod returned;
mod room;
pub mod runs;
mod runs_census;
mod stream;
pub mod tune;
mod vacuum;
mod write;

#[cfg(test)]
mod filter_tests;
#[cfg(test)]
mod runs_tests;
#[cfg(test)]
mod tests;

use half::f16;

use self::layout::{Geometry, Head};
use self::probes::Probes;
use self::runs::{RunBuild, RunTrees};
use super::lists::{EntryForm, ListPlace};
use crate::filter::Program;
use crate::quant::rotation::Rotation;
use crate::quant::space::Estimate;
use crate::runs::tree::TreeRoom;
use crate::space::{ValueBuf, ValueKind, varlena_header};
use crate::storage::page::{Damage, Tid};
use crate::work::memory::OutOfMemory;

/// What is known of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// the type
    pub kind: ValueKind,
    /// what is estimated
    pub estimate: Estimate,
    /// where everything stands
    pub geometry: Geometry,
    /// of the rotation
    pub seed: u64,
    /// the first block of centres
    pub centres: u32,
    /// the first block of codes of centres; 0 where there are none. Of an index that is to be built, any other number
    /// asks for them even if they do not pay
    pub centre_codes: u32,
    /// the root of the tree of included values; 0 without INCLUDE columns
    pub included: u32,
    /// number of lists
    pub lists: u32,
    /// lists that a search looks at when nobody says how many
    pub probes: Probes,
    /// entries in the order of filter keys
    pub runs: RunTrees,
}

impl Index {
    /// An index that is to be built; none of values that have no codes.
    pub fn new(
        kind: ValueKind,
        estimate: Estimate,
        dims: usize,
        page_size: usize,
        seed: u64,
    ) -> Option<Self> {
        Self::with_keys(kind, estimate, dims, page_size, seed, 0)
    }

    /// The same with `filter_size` bytes of filter keys for each row; none of more columns than there can be, either.
    pub fn with_keys(
        kind: ValueKind,
        estimate: Estimate,
        dims: usize,
        page_size: usize,
        seed: u64,
        filter_size: usize,
    ) -> Option<Self> {
        let geometry = Geometry::of(kind, dims, page_size, filter_size, true)?;
        let coded = estimate != Estimate::Exact;
        let probes = Probes::default();
        coded.then_some(Index {
            kind,
            estimate,
            geometry,
            seed,
            centres: 0,
            centre_codes: 0,
            included: 0,
            lists: 0,
            probes,
            runs: RunTrees::default(),
        })
    }

    /// The same without values: exact distances come from the table. None where pages are too small.
    pub fn without_values(self) -> Option<Self> {
        let Geometry { dims, page_size, filter_size, .. } = self.geometry;
        let geometry = Geometry::of(self.kind, dims, page_size, filter_size, false)?;
        let index = Index { geometry, ..self };
        Some(index.with_runs(self.runs.count()))
    }

    /// The same with runs of its first filter columns, as many as somebody says, or as [`RunTrees::by_default`] does.
    pub fn with_wanted_runs(self, count: Option<usize>) -> Self {
        self.with_runs(count.unwrap_or_else(|| RunTrees::by_default(self.kind, &self.geometry)))
    }

    /// The same with runs of its first filter columns, so many of them at most: of values of so many dimensions that a
    /// page holds few codes there are none.
    pub fn with_runs(self, count: usize) -> Self {
        Index { runs: RunTrees::planned(self.kind, &self.geometry, count), ..self }
    }

    /// Where exact distances come from, as the storage parameter says it.
    pub const fn rerank(&self) -> &'static str {
        if self.geometry.own_values { "own" } else { "heap" }
    }

    /// The form in which a build keeps a row: its record, its factors and its code, those of its entries in runs, its
    /// filter keys.
    pub fn entry_form(&self) -> EntryForm {
        let geometry = &self.geometry;
        let keys_at = geometry.record + 8 + geometry.code + self.runs.part();
        EntryForm {
            size: (keys_at + geometry.filter_size).next_multiple_of(8),
            elements_at: layout::RECORD_HEAD + 8,
            keys_at,
            write: write_record,
        }
    }

    /// Bytes of a row's entry, and of its value.
    fn row_parts(&self) -> (f64, f64) {
        let geometry = &self.geometry;
        let entry = geometry.block_size as f64 / geometry.block_entries.max(1) as f64;
        let value = if geometry.own_values { geometry.record as f64 } else { 0.0 };
        (entry + geometry.filter_size as f64, value)
    }

    /// The share of codes in the bytes of lists.
    pub fn code_share(&self) -> f64 {
        let (entry, value) = self.row_parts();
        entry / (entry + value)
    }

    /// Bytes that a row takes in its list, about.
    pub fn row_bytes(&self) -> f64 {
        let (entry, value) = self.row_parts();
        entry + value
    }

    /// Bytes of an element.
    pub const fn element(&self) -> usize {
        match self.kind {
            ValueKind::Halfvec => size_of::<f16>(),
            _ => size_of::<f32>(),
        }
    }
}

/// Makes zeros a record.
fn write_record(row: Tid, header: [u8; 4], elements: &[u8], out: &mut [u8]) {
    layout::put(out, 0, zerocopy::IntoBytes::as_bytes(&row));
    layout::put(out, layout::RECORD_HEAD, &varlena_header(8 + elements.len()));
    layout::put(out, layout::RECORD_HEAD + 4, &header);
    layout::put(out, layout::RECORD_HEAD + 8, elements);
}

/// What operations allocate, kept from one to the next, and outside of frames that read blocks.
#[derive(Debug, Default)]
pub struct Memory {
    rotation: Option<(u64, Rotation)>,
    widened: Vec<f32>,
    rotated: Vec<f32>,
    centre: Vec<f32>,
    code: Vec<u8>,
    /// the code that an entry has
    stored: Vec<u8>,
    /// a value or a record, put together
    whole: ValueBuf,
    heads: Vec<Head>,
    /// the head of a list that an insert has just read
    head: Option<(ListPlace, Head)>,
    vacuum: vacuum::Room,
    centre_codes: centre_codes::Found,
    /// what changes of runs allocate, and the way to a leaf
    tree: TreeRoom,
    path: Vec<u32>,
    /// conditions, while a run is gone over
    filter: Program,
    /// entries for runs, while an index is built
    pub built_runs: Option<RunBuild>,
}

impl Memory {
    /// The rotation of an index.
    ///
    /// # Errors
    /// No memory.
    fn rotation(&mut self, index: &Index) -> Result<&Rotation, Damage> {
        let (dims, seed) = (index.geometry.dims, index.seed);
        let known = self.rotation.as_ref().is_some_and(|(of, r)| *of == seed && r.dims() == dims);
        if !known {
            self.rotation = Some((seed, Rotation::new(dims, seed).map_err(|_| OutOfMemory)?));
        }
        self.rotation.as_ref().map(|(_, rotation)| rotation).ok_or(Damage::internal("no rotation"))
    }
}

/// The lists of an index on its blocks.
#[derive(Debug)]
pub struct Lists<'b, B> {
    /// the blocks
    pub blocks: &'b mut B,
    /// what the meta page says
    pub index: Index,
    /// what operations allocate
    pub memory: &'b mut Memory,
}
