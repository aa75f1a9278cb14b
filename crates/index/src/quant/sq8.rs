//! Scalar quantisation: vectors in signed bytes with one scale each.
//!
//! A vector x is kept as signed bytes q and a scale s, so that s q is nearly x, and e >= |x - s q| is known. The inner
//! product of two codes is exact in integers. Two things are made of it.
//!
//! **Bounds** ([`RowCodes`] against [`PanelCodes`]), for who wants what all distances would give and computes
//! few of them. With codes x' and y' of x and y:
//!
//! ```text
//! | |x - y| - |x' - y'| | <= e(x) + e(y)                    triangle inequality
//! | x . y - x' . y' |      <= |x'| e(y) + e(x) |y|          Cauchy and Schwarz
//! ```
//!
//! Only vectors whose lower bound is not above the least upper bound can be the nearest, mostly a few of
//! hundreds, and only those need be compared as floats. [`ROUNDING`] widens the bounds by what kernels may
//! round. (The kernels for one and for sixteen columns round differently in the last bit.)
//!
//! **Estimates** ([`CentredEncoder`], [`CentredCode`]), for who compares mostly what is near: codes of the
//! differences from a centre c. They are off by little when the values are near each other, hence both metrics
//! are put as distances of codes, with what the codes lose of a value's norm as one number per value, its
//! offset:
//!
//! ```text
//! |x - y|² ~ |s q|² + |t r|² - 2 s t (q . r)
//! -x . y   = (|x - y|² - |x - c|² - |y - c|²) / 2 - c . (x - c) - c . (y - c) - c . c
//! ```

use vector_kernels::{ByteCode, CodeColumns, CodeHead, GROUP, Kernels, PANEL, PRODUCT_EPS, ROUNDING};

use crate::space::Metric;
use crate::work::memory::{self, OutOfMemory};

/// A signed byte becomes an unsigned one in panels.
const OFFSET: i32 = 128;

/// Makes `out` the code of a vector. Returns what belongs to it, or none when the vector does not fit signed
/// bytes: it has elements that are not finite, or are too large or too small for that.
pub fn encode(k: &Kernels, value: &[f32], out: &mut [i8]) -> Option<ByteCode> {
    let code = k.encode_i8(value, out);
    (code.error.is_finite() && code.scale.is_finite()).then_some(code)
}

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

/// Codes of vectors side by side, [`PANEL`] to a panel, to be compared with one row at a time.
#[derive(Clone, Debug)]
pub struct PanelCodes {
    size: usize,
    bytes: Vec<u8>,
    columns: Vec<CodeColumns>,
}

impl PanelCodes {
    /// Codes of zeros.
    ///
    /// # Errors
    /// No memory.
    pub fn zeros(count: usize, width: usize) -> Result<Self, OutOfMemory> {
        let (size, panels) = (PANEL * padded(width), count.div_ceil(PANEL));
        let (zeros, none) = ([0.0; PANEL], [f32::NEG_INFINITY; PANEL]);
        let columns = CodeColumns { scale: zeros, square: zeros, error: none, norm: zeros };
        let bytes = memory::filled(OFFSET as u8, panels * size)?;
        Ok(PanelCodes { size, bytes, columns: memory::filled(columns, panels)? })
    }

    /// Bytes of memory that [`Self::zeros`] takes.
    pub fn memory(count: u64, width: u64) -> u64 {
        let column = width.next_multiple_of(GROUP as u64).saturating_add(16);
        count.next_multiple_of(PANEL as u64).saturating_mul(column)
    }

    /// Sets vector `at` by what makes its code; `room` is for its bytes.
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

    /// Makes `out` lower bounds of the distances between rows, at most eight, and the vectors of a panel: the Euclidean
    /// distance (not its square), or minus the inner product. Columns without a vector are infinitely far.
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

    /// The same of all panels, and the least bound of each, in places for as many panels.
    pub fn lower_of_all(
        &self,
        k: &Kernels,
        metric: Metric,
        (code, head): (&[i8], CodeHead),
        lower: &mut [[f32; PANEL]],
        least: &mut [f32],
    ) {
        let code = code.get(..self.size / PANEL).unwrap_or_default();
        let euclidean = metric != Metric::InnerProduct;
        k.code_row_bounds((code, &head), &self.bytes, &self.columns, euclidean, lower, least);
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

/// Makes codes of differences from a centre.
#[derive(Clone, Copy, Debug)]
pub struct CentredEncoder<'a> {
    centre: &'a [f32],
    centre_square: f64,
    metric: Metric,
    kernels: &'static Kernels,
}

/// What belongs to a code of a difference beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CentredHead {
    /// what of a distance does not depend on the other vector
    pub offset: f32,
    /// what bytes are multiplied with
    pub scale: f32,
}

impl<'a> CentredEncoder<'a> {
    /// An encoder of vectors of the length of `centre`, for distances by `metric`: L2 (squared), or the inner product.
    pub fn new(kernels: &'static Kernels, centre: &'a [f32], metric: Metric) -> Self {
        let norm = kernels.norm_f32(centre);
        CentredEncoder { centre, centre_square: norm * norm, metric, kernels }
    }

    /// Makes `out` the code of `value`, which becomes its difference from the centre. Returns what belongs to
    /// the code, or none when a number leaves the range of `f32`.
    pub fn encode(&self, value: &mut [f32], out: &mut [i8]) -> Option<CentredHead> {
        let (k, inner) = (self.kernels, self.metric != Metric::L2);
        let along = if inner { f64::from(k.inner_product_f32(value, self.centre)) } else { 0.0 };
        let distance = if inner { f64::from(k.l2_squared_f32(value, self.centre)) } else { 0.0 };
        value.iter_mut().zip(self.centre).for_each(|(x, c)| *x -= c);
        let ByteCode { scale, squares, .. } = k.encode_i8(value, out);
        let own = f64::from(scale) * f64::from(scale) * f64::from(squares);
        let offset = if inner {
            ((own - distance) / 2.0 - along + self.centre_square / 2.0) as f32
        } else {
            own as f32
        };
        // sums of offsets and products must stay finite, too, and so must what elements were multiplied with
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let fits = offset.abs() < 1e37 && own < 1e37 && scale.is_finite() && inverse.is_finite();
        fits.then_some(CentredHead { offset, scale })
    }
}

/// A code of a difference in parts.
#[derive(Clone, Copy, Debug)]
pub struct CentredCode<'a> {
    /// the bytes, both sides' as many
    pub bytes: &'a [i8],
    /// what belongs to them
    pub head: CentredHead,
}

impl<'a> CentredCode<'a> {
    /// A code whose distances from others are wanted.
    #[inline(always)]
    pub fn prepare(self, metric: Metric) -> Self {
        let factor = if metric == Metric::L2 { 2.0 } else { 1.0 };
        CentredCode { head: CentredHead { scale: self.head.scale * factor, ..self.head }, ..self }
    }

    /// Returns an estimate of the distance between two vectors, of which `self` was prepared: squared, or minus
    /// the inner product.
    #[inline(always)]
    pub fn distance(self, kernels: &Kernels, to: CentredCode<'_>) -> f32 {
        let product = kernels.inner_product_i8(self.bytes, to.bytes) as f32;
        self.head.offset + to.head.offset - self.head.scale * to.head.scale * product
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use vector_kernels::kernels;

    use super::*;

    fn random(rng: &mut SmallRng, dims: usize) -> Vec<f32> {
        (0..dims).map(|_| rng.random_range(-1.0f32..1.0)).collect()
    }

    fn exact(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
        let pairs = a.iter().zip(b).map(|(x, y)| (f64::from(*x), f64::from(*y)));
        if metric == Metric::L2 {
            pairs.map(|(x, y)| (x - y) * (x - y)).sum()
        } else {
            -pairs.map(|(x, y)| x * y).sum::<f64>()
        }
    }

    #[test]
    fn bounds_hold() {
        let k = kernels();
        let mut rng = SmallRng::seed_from_u64(5);
        for (dims, metric) in [(7, Metric::L2), (64, Metric::L2), (33, Metric::InnerProduct)] {
            let columns: Vec<_> = (0..PANEL + 3).map(|_| random(&mut rng, dims)).collect();
            let mut panels = PanelCodes::zeros(columns.len(), dims).unwrap();
            let mut room = Vec::new();
            for (at, column) in columns.iter().enumerate() {
                assert!(panels.set(at, &mut room, |out| encode(k, column, out)));
            }
            let row = random(&mut rng, dims);
            let mut rows = RowCodes::default();
            rows.clear(dims);
            assert!(rows.push(|out| encode(k, &row, out)));
            for panel in 0..panels.len() {
                let lower = panels.lower_of(k, metric, panel, rows.get(0));
                for (at, &lower) in lower.iter().enumerate() {
                    let Some(column) = columns.get(panel * PANEL + at) else {
                        assert_eq!(lower, f32::INFINITY);
                        continue;
                    };
                    let distance = exact(metric, &row, column);
                    let distance = if metric == Metric::L2 { distance.sqrt() } else { distance } as f32;
                    let upper = panels.upper(metric, panel, rows.get(0).1, at, lower);
                    assert!(lower <= distance && distance <= upper, "{lower} {distance} {upper}");
                    assert!(upper - lower < 0.2 * (dims as f32).sqrt(), "bounds so wide tell nothing");
                }
            }
        }
    }

    #[test]
    fn estimates_are_near_the_distances() {
        let k = kernels();
        let mut rng = SmallRng::seed_from_u64(6);
        for metric in [Metric::L2, Metric::InnerProduct] {
            let centre = random(&mut rng, 80);
            let encoder = CentredEncoder::new(k, &centre, metric);
            let near = |rng: &mut SmallRng| -> Vec<f32> {
                centre.iter().map(|c| c + rng.random_range(-0.5f32..0.5)).collect()
            };
            for _ in 0..20 {
                let (a, b) = (near(&mut rng), near(&mut rng));
                let (mut of_a, mut of_b) = ([0; 80], [0; 80]);
                let (head_a, head_b) =
                    (encoder.encode(&mut a.clone(), &mut of_a), encoder.encode(&mut b.clone(), &mut of_b));
                let from = CentredCode { bytes: &of_a, head: head_a.unwrap() }.prepare(metric);
                let estimate = from.distance(k, CentredCode { bytes: &of_b, head: head_b.unwrap() });
                let distance = exact(metric, &a, &b);
                assert!(
                    (f64::from(estimate) - distance).abs() < 0.15,
                    "{metric:?}: {estimate}, not {distance}"
                );
            }
            let mut zero = centre.clone();
            assert_eq!(encoder.encode(&mut zero, &mut [0; 80]).map(|head| head.scale), Some(0.0));
            assert_eq!(encoder.encode(&mut [3e19; 80], &mut [0; 80]), None);
        }
    }

    #[test]
    fn what_does_not_fit_bytes_has_no_code() {
        let k = kernels();
        assert!(encode(k, &[f32::NAN, 1.0], &mut [0; 2]).is_none());
        assert!(encode(k, &[1e20, 1.0], &mut [0; 2]).is_none());
        assert!(encode(k, &[1e-20, 0.0], &mut [0; 2]).is_none());
        let mut rows = RowCodes::default();
        rows.clear(2);
        assert!(!rows.push(|out| encode(k, &[f32::INFINITY, 1.0], out)));
        assert_eq!(rows.get(0).1, CodeHead::default());
    }
}
