//! The planner's estimate: pgvector's formula, so that plans stay what users have, with the share of the elements that
//! a search of the index's layout reads.

use pgrx::pg_sys::GenericCosts;
use vector_index::hnsw::cost::filtered_ef_search;
use vector_index::hnsw::format::Opened;

use super::{open, options};
use crate::error::Error;
use crate::pg::am::{Cost, CostCall};
use crate::pg::blocks::IndexBlocks;

/// Estimates a scan: everything up to the first row is the search, what follows is the rest of a full index scan.
pub fn estimate(call: &CostCall) -> Result<Cost, Error> {
    if !call.ordered() || call.wants_null() {
        return Ok(call.never());
    }
    let generic = call.generic();
    let opened = call.with_index(|index| open(index, &mut IndexBlocks::new(index)))?;
    if !opened.filters().is_empty() && call.filtered() {
        return Ok(call.of_matches(filtered(call, &generic, &opened)));
    }
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

/// Estimates a scan with conditions: it searches the graph, or it goes over the run of entries that the conditions on
/// one filter column leave, of those with runs that which leaves the fewest, and scores the nearest that match,
/// whichever is cheaper; who asks for all rows that match gets them from the run.
fn filtered(call: &CostCall, generic: &GenericCosts, opened: &Opened) -> Cost {
    let (pages, tuples) = (call.index_pages(), call.tuples());
    let (cpu_tuple, cpu_operator) = call.cpu_costs();
    // a plan that reads and sorts what matches pays for no values out of line, and nor does this one
    let random = generic.spc_random_page_cost * call.share_in_line(opened.value_bytes());
    let matching = (tuples * generic.indexSelectivity).max(1.0);
    let ef_search = filtered_ef_search(f64::from(options::ef_search()), generic.indexSelectivity);
    let ef_search = ef_search.min(tuples.max(1.0));
    let (counted, ratio) = opened.expected(tuples, pages, ef_search);
    let read = counted * ratio;
    let search = read * (random + cpu_tuple);

    // filter columns follow the vector
    let shares = (1..).take(opened.filters().runs()).map(|column| call.share_of(column));
    let entries = (tuples * shares.fold(1.0, f64::min)).max(matching);
    let run = opened.expected_of_run(pages, entries, matching);
    let met = generic.spc_random_page_cost + run.leaves * call.seq_page_cost() + entries * cpu_operator;
    let first = met + run.first * random + run.scored * (cpu_tuple + cpu_operator);
    let all = met + run.all * random + matching * (cpu_tuple + cpu_operator);
    let startup = search.min(first);
    Cost {
        startup,
        total: startup.max(all) + matching * cpu_tuple,
        selectivity: generic.indexSelectivity,
        correlation: generic.indexCorrelation,
        pages: read.min(pages),
    }
}
