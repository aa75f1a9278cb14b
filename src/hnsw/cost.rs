//! The planner's estimate: pgvector's formula, so that plans stay what users have.

use vector_index::hnsw::format::read_meta;

use super::{corrupted, options};
use crate::error::Error;
use crate::pg::am::{Cost, CostCall};
use crate::pg::blocks::IndexBlocks;

/// Of the elements that a search could score in layer 0, the share that it had not scored before.
const SCALING: f64 = 0.55;

/// Estimates a scan: everything up to the first row is the search, what follows is the rest of a full index scan.
pub fn estimate(call: &CostCall) -> Result<Cost, Error> {
    if !call.ordered() {
        return Ok(call.never());
    }
    let generic = call.generic();
    let m = call.with_index(|index| {
        read_meta(&mut IndexBlocks::new(index)).map(|meta| f64::from(meta.m)).map_err(|c| corrupted(index, c))
    })?;
    let ratio = scored_share(call.tuples(), m, f64::from(options::ef_search()));

    let mut startup = generic.indexTotalCost * ratio;
    let pages = generic.numIndexPages * ratio;
    let table_pages = call.table_pages();
    if pages > table_pages && ratio < 0.5 {
        // A sequential scan's cost leaves out the pages of values stored out of line, which an index has in its own:
        // count no more pages than the table's, as if read in sequence.
        let seq_page_cost = call.seq_page_cost();
        startup -= pages * (generic.spc_random_page_cost - seq_page_cost);
        startup -= (pages - table_pages) * seq_page_cost;
    }
    Ok(Cost {
        startup,
        total: generic.indexTotalCost,
        selectivity: generic.indexSelectivity,
        correlation: generic.indexCorrelation,
        pages: generic.numIndexPages,
    })
}

/// The share of the index's elements that a search scores: m per upper layer, and in layer 0 what ef_search expansions
/// of 2 m neighbours leave after those seen before.
fn scored_share(tuples: f64, m: f64, ef_search: f64) -> f64 {
    if tuples <= 0.0 {
        return 1.0;
    }
    let levels = (tuples.ln() / m.ln()).trunc();
    let most = 2.0 * m * ef_search;
    let fresh = SCALING * tuples.ln() / (m.ln() * (1.0 + ef_search.ln()));
    ((levels * m + most * fresh) / tuples).min(1.0)
}
