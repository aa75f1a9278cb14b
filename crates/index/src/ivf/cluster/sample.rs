//! Rows that clustering works on: kept as their values are, computed with as components.

use half::f16;
use vector_kernels::{Kernels, kernels};

use super::panels::Component;
use crate::quant::sq8::RowCodes;
use crate::work::memory::{self, OutOfMemory};

/// How rows are kept: as their values are, so that a sample of halfvecs takes half the memory of one of vectors.
pub trait Encoding: Copy + Send + Sync + 'static {
    /// What they are computed with.
    type Component: Component;
    /// A row that is kept in lanes.
    #[inline]
    fn plain(row: &[Self]) -> Option<&[Self::Component]> {
        let _ = row;
        None
    }
    /// A row in lanes.
    fn load(k: &Kernels, row: &[Self], out: &mut [Self::Component]);
    /// Adds lanes to rows, rounded to nearest.
    fn store(k: &Kernels, lanes: &[Self::Component], out: &mut Vec<Self>);
}

impl Encoding for f32 {
    type Component = f32;

    #[inline]
    fn plain(row: &[f32]) -> Option<&[f32]> {
        Some(row)
    }

    #[inline]
    fn load(_: &Kernels, row: &[f32], out: &mut [f32]) {
        out.copy_from_slice(row);
    }

    fn store(_: &Kernels, lanes: &[f32], out: &mut Vec<f32>) {
        out.extend_from_slice(lanes);
    }
}

impl Encoding for f16 {
    type Component = f32;

    #[inline]
    fn load(k: &Kernels, row: &[f16], out: &mut [f32]) {
        k.f16_to_f32(row, out);
    }

    fn store(k: &Kernels, lanes: &[f32], out: &mut Vec<f16>) {
        let start = out.len();
        out.resize(start + lanes.len(), f16::ZERO);
        k.f32_to_f16(lanes, out.get_mut(start..).unwrap_or_default());
    }
}

impl Encoding for u8 {
    type Component = u8;

    #[inline]
    fn plain(row: &[u8]) -> Option<&[u8]> {
        Some(row)
    }

    #[inline]
    fn load(_: &Kernels, row: &[u8], out: &mut [u8]) {
        out.copy_from_slice(row);
    }

    fn store(_: &Kernels, lanes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(lanes);
    }
}

/// Rows of one length.
#[derive(Clone, Debug)]
pub struct Sample<T> {
    dims: usize,
    width: usize,
    normalized: bool,
    rows: Vec<T>,
}

impl<T: Encoding> Sample<T> {
    /// No rows yet, of `dims` dimensions in `width` elements each (eight dimensions to an element, for bits), both at
    /// least 1. `normalized` says that rows are unit vectors and centres shall be too.
    pub fn new(dims: usize, width: usize, normalized: bool) -> Self {
        Sample { dims, width: width.max(1), normalized, rows: Vec::new() }
    }

    /// Adds a row, cut or padded to the width that the sample has.
    pub fn push(&mut self, row: &[T], padding: T) {
        let end = self.rows.len() + self.width;
        self.rows.extend(row.iter().take(self.width));
        self.rows.resize(end, padding);
    }

    /// Replaces row `at`, where there is one, by a row of the same length.
    pub fn replace(&mut self, at: usize, row: &[T]) {
        if let Some(place) = self.rows.chunks_exact_mut(self.width).nth(at).filter(|p| p.len() == row.len()) {
            place.copy_from_slice(row);
        }
    }

    /// Takes row `at` away, where there is one; the last takes its place.
    pub fn swap_remove(&mut self, at: usize) {
        let Some(last) = self.len().checked_sub(1).filter(|&last| at <= last) else { return };
        self.rows.copy_within(last * self.width.., at * self.width);
        self.rows.truncate(last * self.width);
    }

    /// Takes memory for `rows` rows at once, so that it need not grow by doubling; returns whether there is as much.
    pub fn reserve(&mut self, rows: usize) -> bool {
        self.rows.try_reserve_exact(rows.saturating_mul(self.width)).is_ok()
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len() / self.width
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Dimensions of a row.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Elements, and lanes, of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Whether rows are unit vectors.
    pub fn normalized(&self) -> bool {
        self.normalized
    }

    /// Codes of all rows; none when a row has none, or without memory. `poll` is called every so often.
    pub fn codes(&self, mut poll: impl FnMut()) -> Option<RowCodes> {
        let (mut codes, mut room) = (RowCodes::default(), Decoded::with_room::<T>(1, self.width).ok()?);
        codes.clear(self.width);
        codes.reserve(self.len()).ok()?;
        for (at, row) in self.rows.chunks_exact(self.width).enumerate() {
            room.clear(self.width);
            room.push(row);
            if !codes.push(|out| T::Component::encode(kernels(), room.row(0), out)) {
                return None;
            }
            if at % 1024 == 0 {
                poll();
            }
        }
        Some(codes)
    }

    /// Row `at`; nothing beyond the end.
    #[inline]
    pub fn row(&self, at: usize) -> &[T] {
        self.rows.get(at * self.width..(at + 1) * self.width).unwrap_or_default()
    }
}

/// Rows in lanes, to be compared with panels: as they are where they are kept so, otherwise copied. Whoever
/// adds more than a few has made room for them.
#[derive(Debug)]
pub struct Decoded<'r, L> {
    width: usize,
    lanes: Vec<L>,
    plain: Vec<&'r [L]>,
}

impl<L> Default for Decoded<'_, L> {
    fn default() -> Self {
        Decoded { width: 0, lanes: Vec::new(), plain: Vec::new() }
    }
}

impl<'r, L: Component> Decoded<'r, L> {
    /// Room for `rows` rows of `width` elements of this type.
    ///
    /// # Errors
    /// No memory.
    pub fn with_room<T: Encoding<Component = L>>(rows: usize, width: usize) -> Result<Self, OutOfMemory> {
        let plain = T::plain(&[]).is_some();
        Ok(Decoded {
            width,
            lanes: memory::with_room(if plain { 0 } else { rows * width })?,
            plain: memory::with_room(if plain { rows } else { 0 })?,
        })
    }

    /// No rows.
    pub fn clear(&mut self, width: usize) {
        self.width = width;
        self.lanes.clear();
        self.plain.clear();
    }

    /// Adds a row, of the same type as the others.
    #[inline]
    pub fn push<T: Encoding<Component = L>>(&mut self, row: &'r [T]) {
        if let Some(row) = T::plain(row) {
            self.plain.push(row);
            return;
        }
        let start = self.lanes.len();
        self.lanes.resize(start + self.width, L::default());
        if let Some(place) = self.lanes.get_mut(start..).filter(|place| place.len() == row.len()) {
            T::load(kernels(), row, place);
        }
    }

    /// Takes the last row away.
    #[inline]
    pub fn pop(&mut self) {
        self.plain.pop();
        self.lanes.truncate(self.lanes.len().saturating_sub(self.width));
    }

    /// Row `at`; nothing beyond the end.
    #[inline]
    pub fn row(&self, at: usize) -> &[L] {
        match self.plain.get(at) {
            Some(row) => row,
            None => self.lanes.get(at * self.width..(at + 1) * self.width).unwrap_or_default(),
        }
    }
}
