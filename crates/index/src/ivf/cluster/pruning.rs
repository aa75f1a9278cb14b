//! Rows against panels of centres with most distances left out: only centres that by their codes may be near enough are
//! compared.

use vector_kernels::{Kernels, PANEL};

use super::panels::{Component, Panels, least};
use crate::quant::sq8::{PanelCodes, RowCodes, widened};
use crate::space::Metric;

/// A row that is compared with panels.
#[derive(Clone, Copy, Debug)]
pub struct PanelQuery<'a, L> {
    /// the row
    pub lanes: &'a [L],
    /// which code is its own
    pub code: usize,
    /// larger squared distances need not be known; infinite: larger ones than the smallest
    pub limit: f32,
    /// a column of the panel that does not count, if there is one of that number
    pub skip: usize,
}

impl<'a, L> PanelQuery<'a, L> {
    /// One that asks nothing.
    pub const NONE: Self = PanelQuery { lanes: &[], code: 0, limit: 0.0, skip: usize::MAX };
}

/// Centres to be compared with rows, with codes of both or without.
#[derive(Clone, Copy, Debug)]
pub struct BoundPruning<'a, L> {
    /// the centres
    pub panels: &'a Panels<L>,
    /// codes of these, and of rows
    pub codes: Option<(&'a PanelCodes, &'a RowCodes)>,
}

impl<'a, L: Component> BoundPruning<'a, L> {
    /// Makes `out` squared distances between rows, at most eight, and the centres of a panel, each of which
    /// `centre` gives. Those above a row's limit may be less than they are, but not less than the limit;
    /// columns that do not count are infinitely far.
    pub fn distances(
        &self,
        k: &Kernels,
        panel: usize,
        rows: &[PanelQuery<'_, L>],
        centre: impl Fn(usize) -> &'a [L],
        out: &mut [[f32; PANEL]],
    ) {
        let columns = self.panels.columns(panel);
        if let Some((codes, row_codes)) = self.codes {
            let mut bounds = [[0f32; PANEL]; 8];
            codes.lower(k, Metric::L2, panel, rows.iter().map(|row| row_codes.get(row.code)), &mut bounds);
            for ((asking, lower), out) in rows.iter().zip(&mut bounds).zip(&mut *out) {
                if let Some(skip) = lower.get_mut(asking.skip) {
                    *skip = f32::INFINITY;
                }
                let mut limit = asking.limit.sqrt();
                let smallest = least(lower);
                if limit == f32::INFINITY && smallest < limit {
                    let column = lower.iter().position(|&l| l == smallest).unwrap_or_default();
                    let head = row_codes.get(asking.code).1;
                    limit = codes.upper(Metric::L2, panel, head, column, smallest);
                }
                limit = widened(Metric::L2, limit);
                *out = lower.map(|lower| lower * lower);
                if smallest <= limit {
                    for (column, (out, lower)) in out.iter_mut().zip(lower).enumerate().take(columns) {
                        if *lower <= limit && column != asking.skip {
                            *out = L::distance(k, asking.lanes, centre(panel * PANEL + column));
                        }
                    }
                }
            }
            return;
        }
        let lanes: [&[L]; 8] = core::array::from_fn(|i| rows.get(i).map_or(&[][..], |row| row.lanes));
        L::panel(k, &lanes[..rows.len().min(8)], self.panels.panel(panel), out);
        for (asking, out) in rows.iter().zip(out) {
            out[columns..].fill(f32::INFINITY);
            if let Some(skip) = out.get_mut(asking.skip) {
                *skip = f32::INFINITY;
            }
        }
    }
}
