//! How much memory clustering takes, and what it keeps beside the least when it may take more.

use vector_kernels::{PANEL, kernels};

use super::means::Means;
use super::panels::{Centres, Component};
use super::sample::Encoding;
use crate::quant::sq8::{PanelCodes, RowCodes};

/// Rows that are worked on together: their lanes stay in the second-level cache while panels pass by.
pub(super) fn chunk_rows(width: usize) -> usize {
    (131_072 / width.max(1)).clamp(16, 256)
}

/// What clustering keeps beside the least that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// lower bounds per row
    pub bounds: usize,
    /// sums of clusters, so that only rows which change sides are read
    pub sums: bool,
    /// codes of rows and centres
    pub codes: bool,
}

impl Plan {
    /// The least.
    pub const LEAST: Self = Plan { bounds: 1, sums: false, codes: false };
}

/// Memory that `rows` rows of `width` elements and their clustering into `lists` need, in bytes, with one bound
/// per row, the result included.
pub fn memory<T: Encoding>(rows: u64, lists: u64, width: u64, threads: u64) -> u64 {
    let values = rows.saturating_add(lists).saturating_mul(width).saturating_mul(size_of::<T>() as u64);
    // nearest centre and distance, which is where clustering ends when there are no more rows than lists
    let seeding = values.saturating_add(rows.saturating_mul(8)).saturating_add(scratch::<T>(width, threads));
    if rows < lists {
        return seeding;
    }
    // order of rows, one bound; for relocations: error, cost, runner-up
    let per_row = rows.saturating_mul(20);
    let per_list = lists.saturating_mul(64);
    let centres = Centres::<T::Component>::memory(lists, width);
    [per_row, per_list, centres].iter().fold(seeding, |sum, &part| sum.saturating_add(part))
}

/// Memory of the threads that work on rows of `width` elements.
pub fn scratch<T: Encoding>(width: u64, threads: u64) -> u64 {
    let lane = size_of::<T::Component>() as u64;
    let sums = (T::Component::sums(width as usize) as u64).saturating_mul(8);
    let chunk =
        (chunk_rows(width as usize) as u64).saturating_mul(width.saturating_mul(lane).saturating_add(256));
    threads.saturating_mul(sums.saturating_add(chunk))
}

/// What fits into `budget` bytes, and how many of them it takes.
///
/// # Errors
/// The bytes needed, when clustering does not fit at all.
pub fn plan<T: Encoding>(
    rows: u64,
    lists: u64,
    width: u64,
    threads: u64,
    budget: u64,
) -> Result<(Plan, u64), u64> {
    let needed = memory::<T>(rows, lists, width, threads);
    let mut left = budget.checked_sub(needed).ok_or(needed)?;
    let groups = lists.div_ceil(PANEL as u64);
    let of_sums = Means::<<T::Component as Component>::Sum>::memory(
        rows,
        lists,
        T::Component::sums(width as usize) as u64,
    );
    let sums = of_sums <= left / 2;
    left -= if sums { of_sums } else { 0 };
    let of_codes = RowCodes::memory(rows, width).saturating_add(PanelCodes::memory(lists, width));
    let codes = T::Component::CODED && kernels().fast_byte_panels() && of_codes <= left / 2;
    left -= if codes { of_codes } else { 0 };
    let bounds = (1 + left / (4 * rows.max(1))).min(groups).max(1);
    let taken = needed
        .saturating_add(if sums { of_sums } else { 0 })
        .saturating_add(if codes { of_codes } else { 0 })
        .saturating_add((bounds - 1).saturating_mul(4 * rows));
    Ok((Plan { bounds: bounds as usize, sums, codes }, taken))
}
