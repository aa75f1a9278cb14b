//! The numbers of the algorithm.

use rand::Rng;

use crate::filter::MAX_COLUMNS;
use crate::storage::page::SPECIAL_SIZE;

/// Default of `m`.
pub const DEFAULT_M: i32 = 16;
/// Smallest `m`.
pub const MIN_M: i32 = 2;
/// Largest `m`.
pub const MAX_M: i32 = 100;
/// Default of `ef_construction`.
pub const DEFAULT_EF_CONSTRUCTION: i32 = 64;
/// Smallest `ef_construction`.
pub const MIN_EF_CONSTRUCTION: i32 = 4;
/// Largest `ef_construction`.
pub const MAX_EF_CONSTRUCTION: i32 = 1000;
/// Default of `runs`.
pub const DEFAULT_RUNS: i32 = 2;
/// Smallest `runs`.
pub const MIN_RUNS: i32 = 1;
/// Largest `runs`.
pub const MAX_RUNS: i32 = MAX_COLUMNS as i32;
/// Default of `hnsw.ef_search`.
pub const DEFAULT_EF_SEARCH: i32 = 40;
/// Smallest `hnsw.ef_search`.
pub const MIN_EF_SEARCH: i32 = 1;
/// Largest `hnsw.ef_search`.
pub const MAX_EF_SEARCH: i32 = 1000;
/// Most dimensions of an indexed `vector`; other types have multiples of it.
pub const MAX_DIMS: i32 = 2000;
/// Most stored elements of an indexed `sparsevec`.
pub const MAX_NNZ: i32 = 1000;
/// Rows with one value that share an element in a build; so many fit an element tuple of pgvector's pages.
pub const HEAP_TIDS: usize = 10;
/// No element is in a higher layer.
pub const MAX_LEVEL: u8 = 63;

/// Connections that an element may have in a layer (paper, section 4.1: M_max0 = 2 M).
#[inline]
pub const fn layer_slots(m: usize, layer: u8) -> usize {
    if layer == 0 { m * 2 } else { m }
}

/// The slots of layer `layer` among all of an element of level `level`, which stand top layer first.
#[inline]
pub fn layer_range(level: u8, layer: u8, m: usize) -> core::ops::Range<usize> {
    let start = usize::from(level.saturating_sub(layer)) * m;
    start..start + layer_slots(m, layer)
}

/// The highest level whose neighbour tuple fits a page of `page_size` bytes.
pub const fn max_level(page_size: usize, m: usize) -> u8 {
    // page header, special area, tuple header, line pointer
    let slots = (page_size - 24 - SPECIAL_SIZE - 4 - 4) / 6;
    let levels = (slots / m).saturating_sub(2);
    if levels > MAX_LEVEL as usize { MAX_LEVEL } else { levels as u8 }
}

/// Draws a level: floor(-ln(u) / ln(m)), at most `max` (paper, algorithm 1 and section 4.1).
pub fn random_level(rng: &mut impl Rng, m: usize, max: u8) -> u8 {
    // u in (0, 1]
    let u = 1.0 - rng.random::<f64>();
    let level = -u.ln() / (m.max(2) as f64).ln();
    // a float beyond u8 saturates
    (level as u8).min(max)
}
