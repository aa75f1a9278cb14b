//! The planner's estimate: pgvector's formula, so that plans stay what users have. Of packed lists a scan reads the
//! codes, which are few of the pages, and of the values those that may be among the nearest.

use vector_index::ivf::format::read_meta;

use super::{corrupted, options};
use crate::error::Error;
use crate::pg::am::{Cost, CostCall};
use crate::pg::blocks::IndexBlocks;

/// Pages of a list mostly lie side by side: this share of all pages counts as read in sequence.
const SEQUENTIAL: f64 = 0.5;

/// Estimates a scan: what comes before the first row is the search of the lists probed.
pub fn estimate(call: &CostCall) -> Result<Cost, Error> {
    if !call.ordered() {
        return Ok(call.never());
    }
    let generic = call.generic();
    let (lists, share, probes) = call.with_index(|index| {
        let meta = read_meta(&mut IndexBlocks::new(index)).map_err(|c| corrupted(index, c))?;
        let share = meta.layout.coded().map_or(1.0, |index| index.code_share());
        Ok::<_, Error>((f64::from(meta.lists), share, options::probes(meta.probes)))
    })?;
    // what a scan reads of all that there is
    let ratio = (probes as f64 / lists).min(1.0) * share;
    let seq_page_cost = call.seq_page_cost();
    let random_extra = generic.spc_random_page_cost - seq_page_cost;

    let total = generic.indexTotalCost - SEQUENTIAL * generic.numIndexPages * random_extra;
    let mut startup = total * ratio;
    let pages = generic.numIndexPages * ratio;
    let table_pages = call.table_pages();
    if pages > table_pages && ratio < 0.5 {
        // A sequential scan's cost leaves out the pages of values stored out of line, which an index has in its own:
        // count no more pages than the table's, as if read in sequence.
        startup -= (1.0 - SEQUENTIAL) * pages * random_extra;
        startup -= (pages - table_pages) * seq_page_cost;
    }
    Ok(Cost {
        startup,
        total,
        selectivity: generic.indexSelectivity,
        correlation: generic.indexCorrelation,
        pages: generic.numIndexPages,
    })
}
