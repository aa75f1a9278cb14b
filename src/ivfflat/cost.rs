//! The planner's estimate: pgvector's formula, so that plans stay what users have. Of packed lists a scan reads the
//! codes, which are few of the pages, and of the values those that may be among the nearest. Under conditions on filter
//! columns it looks at as many lists as hold enough rows that match, and at their codes only. Where the index has
//! no values, those of such rows are read from the table, each on a page of its own.

use pgrx::pg_sys::GenericCosts;
use vector_index::ivf::format::{Meta, read_meta};
use vector_index::ivf::packed::Index;
use vector_index::ivf::packed::probes::{Total, WINDOW};

use super::{corrupted, options};
use crate::error::Error;
use crate::pg::am::{Cost, CostCall};
use crate::pg::blocks::{IndexBlocks, PAGE_SIZE};

/// Pages of a list mostly lie side by side: this share of all pages counts as read in sequence.
const SEQUENTIAL: f64 = 0.5;

/// Estimates a scan: what comes before the first row is the search of the lists probed.
pub fn estimate(call: &CostCall) -> Result<Cost, Error> {
    if !call.ordered() || call.wants_null() {
        return Ok(call.never());
    }
    let generic = call.generic();
    let meta =
        call.with_index(|index| read_meta(&mut IndexBlocks::new(index)).map_err(|c| corrupted(index, c)))?;
    if meta.layout.filter_size() > 0 && call.filtered() {
        return Ok(call.of_matches(filtered(call, &generic, &meta)));
    }
    let share = meta.layout.coded().map_or(1.0, |index| index.code_share());
    let (lists, probes) = (f64::from(meta.lists), options::probes(meta.probes));
    // what a scan reads of all that there is
    let ratio = (probes as f64 / lists).min(1.0) * share;
    let seq_page_cost = call.seq_page_cost();
    let random_extra = generic.spc_random_page_cost - seq_page_cost;

    let list_pages = generic.numIndexPages * share_of_lists(call, &meta);
    let left_out = (generic.numIndexPages - list_pages) * generic.spc_random_page_cost;
    let total = generic.indexTotalCost - left_out - SEQUENTIAL * list_pages * random_extra;
    let mut startup = total * ratio;
    let pages = list_pages * ratio;
    let table_pages = call.table_pages();
    if pages > table_pages && ratio < 0.5 {
        // A sequential scan's cost leaves out the pages of values stored out of line, which an index has in its own:
        // count no more pages than the table's, as if read in sequence.
        startup -= (1.0 - SEQUENTIAL) * pages * random_extra;
        startup -= (pages - table_pages) * seq_page_cost;
    }
    let without_values = meta.layout.coded().is_some_and(|index| !index.geometry.own_values);
    let of_table = if without_values { generic.spc_random_page_cost } else { 0.0 };
    let values = |rows: f64| (VALUES_PER_ROW * rows).min(call.tuples()) * of_table;
    // exact distances that a row takes which is given out beyond the first ones: many such rows are what a filter of
    // the executor's costs
    let rows = if meta.layout.coded().is_some() { call.tuples() * OF_ROW * seq_page_cost } else { 0.0 };
    Ok(Cost {
        startup: startup + values(WINDOW),
        total: total + values(call.tuples()) + rows,
        selectivity: generic.indexSelectivity,
        correlation: generic.indexCorrelation,
        pages: list_pages,
    })
}

/// The share of lists in the pages of an index: searches of lists come by no others. A row's included values cost about
/// what the row in the table would; the server counts that where the table is looked at, and nothing where it is not.
fn share_of_lists(call: &CostCall, meta: &Meta) -> f64 {
    let apart = |index: &Index| meta.layout.has_included() || index.runs.count() > 0;
    meta.layout.coded().filter(apart).map_or(1.0, |index| {
        let pages = call.tuples() * index.row_bytes() / PAGE_SIZE as f64 + f64::from(meta.lists);
        (pages / call.index_pages().max(1.0)).min(1.0)
    })
}

/// What a row given out of packed lists takes, in pages read in sequence: 3 to 8 microseconds where such a page with
/// its rows takes 3.
const OF_ROW: f64 = 1.0;

/// Values that a scan reads for each row that it gives out, about.
const VALUES_PER_ROW: f64 = 3.0;

/// Rows whose values a scan of a run reads for the first rows, over those it reads for each row.
const RUN_VALUES: f64 = 2.0 * WINDOW;

/// Estimates a scan with conditions. Keys of rows stand beside their codes: what a list costs is its code pages, a
/// comparison of each row's keys, and the codes of what matches.
fn filtered(call: &CostCall, generic: &GenericCosts, meta: &Meta) -> Cost {
    let Some(index) = meta.layout.coded() else { return call.never() };
    let (pages, tuples) = (call.index_pages() * share_of_lists(call, meta), call.tuples());
    let (cpu_tuple, cpu_operator) = call.cpu_costs();
    let selectivity = generic.indexSelectivity;
    let matching = (tuples * selectivity).max(1.0);
    // the nearest rows among which there are enough for a window
    let among = (WINDOW / selectivity.max(f64::MIN_POSITIVE)).min(tuples);
    let all = Total { rows: tuples, lists: usize::from(meta.lists) };
    let lists = index.probes.for_rows(options::probes(meta.probes), among, all) as f64;
    let ratio = if matching <= WINDOW { 1.0 } else { (lists / f64::from(meta.lists)).min(1.0) };

    let random = generic.spc_random_page_cost;
    let code_pages = pages * index.code_share();
    let value_pages = if index.geometry.own_values { (pages - code_pages).max(1.0) } else { tuples };
    let page_cost = SEQUENTIAL * call.seq_page_cost() + (1.0 - SEQUENTIAL) * random;
    // a plan that reads and sorts what matches pays for no values out of line, and nor does this one
    let of_value = random * call.share_in_line(index.geometry.value_size as f64);
    let values = |rows: f64| (VALUES_PER_ROW * rows).min(matching).min(value_pages) * of_value;
    let codes = code_pages * page_cost + tuples * cpu_operator + matching * (cpu_tuple + cpu_operator);
    // filter columns follow the vector; bounds of a run lie farther apart than those of lists
    let shares = (1..).take(index.runs.count()).map(|column| call.share_of(column));
    let least = shares.fold(1.0, f64::min);
    let entries = (tuples * least).max(matching);
    let leaves = index.runs.leaves(entries);
    let run = random + leaves * call.seq_page_cost() + (entries + matching) * cpu_operator;
    // without a condition on one of their columns there is none
    let run = if least < 1.0 { run } else { f64::INFINITY };
    let of_run = run + values(RUN_VALUES);
    let (all, startup) = (codes.min(run), (codes * ratio + values(WINDOW)).min(of_run));
    Cost {
        startup,
        total: startup.max(all + values(matching)) + matching * cpu_tuple,
        selectivity,
        correlation: generic.indexCorrelation,
        pages: (code_pages * ratio).min(pages),
    }
}
