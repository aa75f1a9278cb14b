//! Centres in bytes, which tell most of them apart from the nearest for a fraction of the arithmetic and of the memory.
//!
//! A vector x is kept as signed bytes q with one scale s, so that s q is nearly x, and e >= |x - s q| is known. The inner
//! product of two codes is exact in integers; of two vectors x and y, with codes x' and y', it therefore tells
//!
//! ```text
//! | |x - y| - |x' - y'| | <= e(x) + e(y)                    triangle inequality
//! | x . y - x' . y' |      <= |x'| e(y) + e(x) |y|          Cauchy and Schwarz
//! ```
//!
//! Only centres whose lower bound is not above the least upper bound can be the nearest, mostly a few of hundreds, and
//! only those are compared as floats. So what is found is what all distances would give: [`ROUNDING`] widens the bounds by
//! what kernels may round. (The kernels for one and for sixteen centres round differently in the last bit.)

use vector_kernels::{ByteCode, CodeColumns, CodeHead, GROUP, Kernels, PANEL, PRODUCT_EPS, ROUNDING};

use super::sample::{Component, Panels};
use super::seed::least;
use crate::space::Metric;
use crate::work::memory::{self, OutOfMemory};

/// A signed byte becomes an unsigned one in panels.
const OFFSET: i32 = 128;

/// Bytes of a code of `width` elements.
fn padded(width: usize) -> usize {
    width.next_multiple_of(GROUP)
}

/// Codes of rows of one width.
#[derive(Debug, Default)]
pub struct RowCodes {
    width: usize,
    bytes: Vec<i8>,
    heads: Vec<CodeHead>,
}

/// What is known of a value beside its bytes, if it has any.
fn head(code: ByteCode) -> Option<CodeHead> {
    let ByteCode { scale, error, sum, squares } = code;
    let square = scale * scale * squares as f32;
    let excess = sum.wrapping_mul(OFFSET);
    let head = CodeHead { scale, excess, square, norm: square.sqrt(), error };
    (square.is_finite() && error.is_finite()).then_some(head)
}

impl RowCodes {
    /// Bytes of memory of `rows` rows.
    pub fn memory(rows: u64, width: u64) -> u64 {
        let row = width.next_multiple_of(GROUP as u64).saturating_add(size_of::<CodeHead>() as u64);
        rows.saturating_mul(row)
    }

    /// No rows.
    pub fn clear(&mut self, width: usize) {
        self.width = padded(width);
        self.bytes.clear();
        self.heads.clear();
    }

    /// Takes memory for `rows` rows at once.
    ///
    /// # Errors
    /// No memory.
    pub fn reserve(&mut self, rows: usize) -> Result<(), OutOfMemory> {
        self.bytes.try_reserve_exact(rows.saturating_mul(self.width))?;
        Ok(self.heads.try_reserve_exact(rows)?)
    }

    /// Adds a row by what makes its code; false, and the row is one of zeros, when it has none.
    pub fn push(&mut self, encode: impl FnOnce(&mut [i8]) -> Option<ByteCode>) -> bool {
        let start = self.bytes.len();
        self.bytes.resize(start + self.width, 0);
        let row = self.bytes.get_mut(start..).and_then(encode).and_then(head);
        self.heads.push(row.unwrap_or_default());
        row.is_some()
    }

    /// Row `at`; an empty one beyond the end.
    #[inline]
    pub fn get(&self, at: usize) -> (&[i8], CodeHead) {
        let bytes = self.bytes.get(at * self.width..(at + 1) * self.width);
        (bytes.unwrap_or_default(), self.heads.get(at).copied().unwrap_or_default())
    }
}

/// Codes of centres, in panels.
#[derive(Clone, Debug)]
pub struct CentreCodes {
    size: usize,
    bytes: Vec<u8>,
    columns: Vec<CodeColumns>,
}

impl CentreCodes {
    /// Codes of zeros.
    ///
    /// # Errors
    /// No memory.
    pub fn zeros(count: usize, width: usize) -> Result<Self, OutOfMemory> {
        let (size, panels) = (PANEL * padded(width), count.div_ceil(PANEL));
        let (zeros, none) = ([0.0; PANEL], [f32::NEG_INFINITY; PANEL]);
        let columns = CodeColumns { scale: zeros, square: zeros, error: none, norm: zeros };
        let bytes = memory::filled(OFFSET as u8, panels * size)?;
        Ok(CentreCodes { size, bytes, columns: memory::filled(columns, panels)? })
    }

    /// Bytes of memory that [`Self::zeros`] takes.
    pub fn memory(count: u64, width: u64) -> u64 {
        let column = width.next_multiple_of(GROUP as u64).saturating_add(16);
        count.next_multiple_of(PANEL as u64).saturating_mul(column)
    }

    /// Sets centre `at` by what makes its code; `room` is for its bytes.
    pub fn set(
        &mut self,
        at: usize,
        room: &mut Vec<i8>,
        encode: impl FnOnce(&mut [i8]) -> Option<ByteCode>,
    ) -> bool {
        room.clear();
        room.resize(self.size / PANEL, 0);
        let code = encode(room).and_then(head);
        let CodeHead { scale, square, norm, error, .. } = code.unwrap_or_default();
        let column = at % PANEL;
        let start = at / PANEL * self.size;
        if let (Some(panel), Some(columns)) =
            (self.bytes.get_mut(start..start + self.size), self.columns.get_mut(at / PANEL))
        {
            let (panel, _) = panel.as_chunks_mut::<GROUP>();
            let places = panel.iter_mut().skip(column).step_by(PANEL);
            for (place, group) in places.zip(room.as_chunks::<GROUP>().0) {
                *place = group.map(|x| x as u8 ^ OFFSET as u8);
            }
            columns.scale[column] = scale;
            columns.square[column] = square;
            // without a code it may be anywhere
            columns.error[column] = if code.is_some() { error } else { f32::INFINITY };
            columns.norm[column] = (norm + error) * (1.0 + ROUNDING);
        }
        code.is_some()
    }

    /// Panels.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Makes `out` lower bounds of the distances between rows, at most eight, and the centres of a panel: the Euclidean
    /// distance (not its square), or minus the inner product. Columns without a centre are infinitely far.
    #[inline]
    pub fn lower<'c>(
        &self,
        k: &Kernels,
        metric: Metric,
        panel: usize,
        rows: impl Iterator<Item = (&'c [i8], CodeHead)>,
        out: &mut [[f32; PANEL]],
    ) {
        let Some(columns) = self.columns.get(panel) else { return };
        let (mut codes, mut heads) = ([&[][..]; 8], [CodeHead::default(); 8]);
        let mut count = 0;
        for ((code, head), row) in codes.iter_mut().zip(&mut heads).zip(rows) {
            (*code, *head) = row;
            count += 1;
        }
        let mut products = [[0; PANEL]; 8];
        let bytes = self.bytes.get(panel * self.size..(panel + 1) * self.size).unwrap_or_default();
        k.inner_product_byte_panel(&codes[..count], bytes, &mut products);
        match metric {
            Metric::InnerProduct => k.code_inner_product_bounds(&heads[..count], columns, &products, out),
            _ => k.code_l2_bounds(&heads[..count], columns, &products, out),
        }
    }

    /// What [`Self::lower`] has to say of one row.
    #[inline]
    pub fn lower_of(
        &self,
        k: &Kernels,
        metric: Metric,
        panel: usize,
        row: (&[i8], CodeHead),
    ) -> [f32; PANEL] {
        let (mut products, mut out) = ([[0; PANEL]], [[0f32; PANEL]]);
        if let Some(columns) = self.columns.get(panel) {
            let bytes = self.bytes.get(panel * self.size..(panel + 1) * self.size).unwrap_or_default();
            k.inner_product_byte_panel(&[row.0], bytes, &mut products);
            match metric {
                Metric::InnerProduct => k.code_inner_product_bounds(&[row.1], columns, &products, &mut out),
                _ => k.code_l2_bounds(&[row.1], columns, &products, &mut out),
            }
        }
        let [out] = out;
        out
    }

    /// The upper bound for one column of what [`Self::lower`] has told.
    #[inline]
    pub fn upper(&self, metric: Metric, panel: usize, row: CodeHead, column: usize, lower: f32) -> f32 {
        let Some(columns) = self.columns.get(panel) else { return f32::INFINITY };
        let (c, error) = (column % PANEL, columns.error[column % PANEL]);
        if metric == Metric::InnerProduct {
            let error = row.norm * error + (row.error + ROUNDING * row.norm) * columns.norm[c];
            return lower + 2.0 * error;
        }
        let error = row.error + error;
        let (between, squares) = (lower + error, row.square + columns.square[c]);
        (between * between + 2.0 * PRODUCT_EPS * squares).sqrt() + error
    }
}

/// The largest distance that may still round to the same as one of `distance`, or to less.
#[inline]
pub fn widened(metric: Metric, distance: f32) -> f32 {
    if metric == Metric::InnerProduct { distance } else { distance * (1.0 + ROUNDING) }
}

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
    pub codes: Option<(&'a CentreCodes, &'a RowCodes)>,
}

impl<'a, L: Component> BoundPruning<'a, L> {
    /// Makes `out` squared distances between rows, at most eight, and the centres of a panel, each of which `centre` gives.
    /// Those above a row's limit may be less than they are, but not less than the limit; columns that do not count are
    /// infinitely far.
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
