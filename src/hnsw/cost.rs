//! The planner's estimate: pgvector's formula, so that plans stay what users have, with the share of the elements that
//! a search of the index's layout reads.

use super::{open, options};
use crate::error::Error;
use crate::pg::am::{Cost, CostCall};
use crate::pg::blocks::IndexBlocks;

/// Estimates a scan: everything up to the first row is the search, what follows is the rest of a full index scan.
pub fn estimate(call: &CostCall) -> Result<Cost, Error> {
    if !call.ordered() {
        return Ok(call.never());
    }
    let generic = call.generic();
    let opened = call.with_index(|index| open(index, &mut IndexBlocks::new(index)))?;
    let (counted, ratio) =
        opened.expected(call.tuples(), generic.numIndexPages, f64::from(options::ef_search()));
    let total = generic.indexTotalCost * counted / generic.numIndexPages.max(1.0);

    let mut startup = total * ratio;
    let pages = counted * ratio;
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
        total,
        selectivity: generic.indexSelectivity,
        correlation: generic.indexCorrelation,
        pages: counted,
    })
}
