//! What an hnsw index consists of, counted: elements by state and level, edges by layer, pages by kind. One pass over
//! the blocks in a constant amount of memory, by whatever layout ([`super::v1::info`], [`super::inline::info`]). Others
//! may change the index meanwhile; the counts are then of no single moment, each page's of its own.

use serde::Serialize;

use super::meta::{EntryPoint, MetaPage};
use super::params::layer_slots;

/// Layers that are told apart; what is above counts with the highest. An index of 2^64 rows has fewer.
const LAYERS: usize = 64;

/// Degrees that are told apart: two times the largest `m`, and none.
const DEGREES: usize = 201;

/// How many edges the elements of a layer have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Degrees {
    /// fewest
    pub min: usize,
    /// mean
    pub avg: f64,
    /// most
    pub max: usize,
    /// elements by number of edges, from none to as many as there are slots
    pub histogram: Vec<u64>,
}

/// One layer of the graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// its number; 0 has every element
    pub layer: usize,
    /// live elements
    pub elements: u64,
    /// edges from live elements
    pub edges: u64,
    /// edges of an element
    pub degree: Degrees,
}

/// Where searches begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// block of the element
    pub block: u32,
    /// its offset there: of its tuple, or one more than the number of its slot
    pub offset: u16,
    /// its level
    pub level: u8,
}

/// Blocks by what is on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pages {
    /// the meta page
    pub meta: u32,
    /// pages with elements, or with places of former ones
    pub elements: u32,
    /// pages with records of the layers above the lowest, where these have their own
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper: Option<u32>,
    /// pages with what records do not hold, where these are cut
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rests: Option<u32>,
    /// pages with rows that equal others, where these have their own
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u32>,
    /// pages with the filter keys of elements side by side, where there are filter columns
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<u32>,
    /// pages with the values of INCLUDE columns, where there are some
    #[serde(skip_serializing_if = "Option::is_none")]
    pub included: Option<u32>,
    /// pages without an item
    pub empty: u32,
    /// blocks that were added and never used
    pub unused: u32,
}

/// What an index consists of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info {
    /// the layout of its pages
    pub layout: &'static str,
    /// version of the page format
    pub version: u32,
    /// dimensions of every value
    pub dimensions: u32,
    /// `m` that it was built with
    pub m: u16,
    /// `ef_construction` that it was built with
    pub ef_construction: u16,
    /// rows of the table that it holds, dead ones included
    pub rows: u64,
    /// live elements: one for each distinct value, or on pgvector's pages for each ten rows of one
    pub elements: u64,
    /// elements without rows that vacuum has not yet taken out of the graph
    pub dying: u64,
    /// places of deleted elements, which inserts use again
    pub deleted: u64,
    /// bytes on pages that hold nothing
    pub free_bytes: u64,
    /// bits of an element of a neighbour's code, where records have codes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_bits: Option<u8>,
    /// elements of such a code that have two bits although others have one, where there are some
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_doubled: Option<u16>,
    /// set where a build without room for the values made codes of copies of them, of one byte an element
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub codes_of_copies: bool,
    /// filter columns that have runs of entries, where there are filter columns
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<usize>,
    /// places for elements that are free, those of deleted ones included, where places have one size
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_slots: Option<u64>,
    /// where searches begin; none in an empty index
    pub entry_point: Option<Entry>,
    /// blocks by what is on them
    pub pages: Pages,
    /// live elements by level
    pub levels: Vec<u64>,
    /// the layers, lowest first
    pub layers: Vec<Layer>,
}

impl Info {
    /// That of an index with this meta page, of which no page was looked at yet.
    pub(super) fn new(layout: &'static str, meta: &MetaPage, entry: Option<EntryPoint>) -> Self {
        Info {
            layout,
            version: meta.version,
            dimensions: meta.dimensions,
            m: meta.m,
            ef_construction: meta.ef_construction,
            rows: 0,
            elements: 0,
            dying: 0,
            deleted: 0,
            free_bytes: 0,
            code_bits: None,
            code_doubled: None,
            codes_of_copies: false,
            runs: None,
            free_slots: None,
            entry_point: entry.map(|e| Entry {
                block: e.tid.block(),
                offset: e.tid.offset(),
                level: e.level,
            }),
            pages: Pages { meta: 1, ..Pages::default() },
            levels: Vec::new(),
            layers: Vec::new(),
        }
    }
}

/// Counts while they grow; on the heap, for its size.
pub(super) struct Counts {
    levels: [u64; LAYERS],
    degrees: [[u64; DEGREES]; LAYERS],
}

impl Counts {
    pub(super) fn new() -> Box<Self> {
        Box::new(Counts { levels: [0; LAYERS], degrees: [[0; DEGREES]; LAYERS] })
    }

    /// Counts an element of a level.
    pub(super) fn element(&mut self, level: u8) {
        if let Some(count) = self.levels.get_mut(usize::from(level)) {
            *count += 1;
        }
    }

    /// Counts the edges of an element in a layer.
    pub(super) fn edges(&mut self, layer: u8, degree: usize) {
        if let Some(count) = self.degrees.get_mut(usize::from(layer)).and_then(|d| d.get_mut(degree)) {
            *count += 1;
        }
    }

    /// Puts what was counted into `info`, of an index of `m` connections.
    pub(super) fn finish(&self, info: &mut Info, m: usize) {
        info.levels = trimmed(&self.levels);
        info.layers = self.layers(m);
    }

    fn layers(&self, m: usize) -> Vec<Layer> {
        let layer = |(number, counts): (usize, &[u64; DEGREES])| {
            let elements: u64 = counts.iter().sum();
            let edges = (0u64..).zip(counts).map(|(degree, &count)| degree * count).sum();
            let max = counts.iter().rposition(|&count| count > 0)?;
            let slots = layer_slots(m, number.min(1) as u8);
            Some(Layer {
                layer: number,
                elements,
                edges,
                degree: Degrees {
                    min: counts.iter().position(|&count| count > 0)?,
                    avg: edges as f64 / elements as f64,
                    max,
                    histogram: counts.iter().take(slots.max(max) + 1).copied().collect(),
                },
            })
        };
        self.degrees.iter().enumerate().map_while(layer).collect()
    }
}

/// Without the zeros at the end.
fn trimmed(counts: &[u64]) -> Vec<u64> {
    let used = counts.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
    counts.iter().take(used).copied().collect()
}
