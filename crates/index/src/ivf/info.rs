//! What an ivfflat index consists of, whatever its layout: rows by list, pages by kind.

use serde::Serialize;

use crate::storage::page::{Corruption, Damage};

/// How the rows are shared out among the lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ListRows {
    /// rows of the smallest list
    pub min: u64,
    /// mean
    pub avg: f64,
    /// half of the lists have no more
    pub p50: u64,
    /// nineteen of twenty lists have no more
    pub p95: u64,
    /// rows of the largest list
    pub max: u64,
    /// lists without a row
    pub empty: u64,
    /// how many times more rows a search reads than if all lists were of one size, when it comes to a list as often as
    /// rows are in it: lists * sum(rows^2) / sum(rows)^2, 1 at best
    pub imbalance: f64,
}

/// Blocks by what is on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pages {
    /// the meta page
    pub meta: u32,
    /// pages of lists and their centres
    pub lists: u32,
    /// pages with entries
    pub entries: u32,
    /// pages with values, where these are apart from entries
    pub values: u32,
    /// pages of included values, of an index with INCLUDE columns
    #[serde(skip_serializing_if = "Option::is_none")]
    pub included: Option<u32>,
    /// pages of entries in the order of filter keys, of an index with runs
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<u32>,
    /// pages of lists without an entry
    pub empty: u32,
    /// blocks that no list leads to
    pub unused: u32,
}

/// What an index consists of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info {
    /// the page layout
    pub layout: &'static str,
    /// version of the page format
    pub version: u32,
    /// dimensions of every value
    pub dimensions: u32,
    /// number of lists
    pub lists: u32,
    /// lists that a search looks at when nobody says how many, where a build has found that out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
    /// where exact distances come from, where a layout has a choice
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank: Option<&'static str>,
    /// filter columns that have runs of entries, where there are filter columns
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<usize>,
    /// rows of the table that it holds, dead ones included
    pub rows: u64,
    /// bytes on pages that hold nothing
    pub free_bytes: u64,
    /// blocks by what is on them
    pub pages: Pages,
    /// rows of a list
    pub list_rows: ListRows,
}

/// An error when more pages were read than there can be. Pages that are added meanwhile belong to lists, too.
pub(super) fn within(pages: u32, count: u32, block: u32) -> Result<(), Corruption> {
    // as many again may have been added: a circle exceeds any bound
    if pages > count.saturating_mul(2).saturating_add(1024) {
        return Err(Damage::at(0, "page that is chained in a circle").on(block));
    }
    Ok(())
}

/// Sorts `sizes`.
pub(super) fn distribution(sizes: &mut [u64]) -> ListRows {
    sizes.sort_unstable();
    let (Some(&min), Some(&max)) = (sizes.first(), sizes.last()) else { return ListRows::default() };
    let (lists, rows) = (sizes.len() as f64, sizes.iter().sum::<u64>() as f64);
    let squares: f64 = sizes.iter().map(|&size| (size as f64).powi(2)).sum();
    let share = |share: f64| {
        let at = (lists * share).ceil() as usize;
        sizes.get(at.saturating_sub(1)).copied().unwrap_or(max)
    };
    ListRows {
        min,
        avg: rows / lists,
        p50: share(0.5),
        p95: share(0.95),
        max,
        empty: sizes.iter().filter(|&&size| size == 0).count() as u64,
        imbalance: if rows > 0.0 { lists * squares / rows.powi(2) } else { 1.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_lists_are_described() {
        let rows = distribution(&mut [0, 30, 10, 0, 20, 40]);
        assert_eq!((rows.min, rows.p50, rows.p95, rows.max, rows.empty), (0, 10, 40, 40, 2));
        assert_eq!(rows.imbalance, 6.0 * 3000.0 / 10_000.0);
        assert_eq!(distribution(&mut [7, 7, 7]).imbalance, 1.0);
        assert_eq!(distribution(&mut [0, 0]).imbalance, 1.0);
        assert_eq!(distribution(&mut []), ListRows::default());
    }
}
