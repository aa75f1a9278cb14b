//! Rows that clustering works on, and centres beside each other in panels. Everything is squared Euclidean distance:
//! between unit vectors that is twice one minus the cosine, so it orders as the angle does, and between bit strings it
//! is the number of bits that differ.

use half::f16;
use rand::Rng;
use rand::rngs::SmallRng;
use vector_kernels::{ByteCode, Kernels, PANEL, kernels};

use super::sq8::{CentreCodes, RowCodes};
use crate::work::memory::{self, OutOfMemory};

/// What centres are made of and distances are computed on: `f32`, or bytes of eight bits.
pub trait Component: Copy + Default + Send + Sync + 'static {
    /// One sum per dimension.
    type Sum: Copy + Default + Send + Sync;
    /// Whether [`Self::encode`] makes values shorter.
    const CODED: bool;

    /// Squared distances between rows and the [`PANEL`] centres of a panel.
    fn panel(k: &Kernels, rows: &[&[Self]], panel: &[Self], out: &mut [[f32; PANEL]]);
    /// Squared distance of two values.
    fn distance(k: &Kernels, a: &[Self], b: &[Self]) -> f32;
    /// Puts a value into signed bytes; none when it does not fit them, or has as short ones anyway.
    fn encode(k: &Kernels, value: &[Self], out: &mut [i8]) -> Option<ByteCode> {
        let _ = (k, value, out);
        None
    }
    /// Puts a value into a column of a panel.
    fn put(panel: &mut [Self], column: usize, value: &[Self]);
    /// The number of sums that values of `width` lanes have.
    fn sums(width: usize) -> usize;
    /// Adds a value to sums.
    fn add(sums: &mut [Self::Sum], value: &[Self]);
    /// Takes a value out of sums that it was added to.
    fn take(sums: &mut [Self::Sum], value: &[Self]);
    /// The mean of `count` > 0 values.
    fn mean(sums: &[Self::Sum], count: u32, out: &mut [Self]);
    /// Makes it as long as 1; false, and nothing done, when that cannot be.
    fn normalize(k: &Kernels, value: &mut [Self]) -> bool;
    /// A random value; `dims` of its dimensions count.
    fn random(rng: &mut SmallRng, dims: usize, out: &mut [Self]);
}

impl Component for f32 {
    type Sum = f64;
    const CODED: bool = true;

    #[inline]
    fn panel(k: &Kernels, rows: &[&[f32]], panel: &[f32], out: &mut [[f32; PANEL]]) {
        k.l2_squared_panel(rows, panel, out);
    }

    #[inline]
    fn distance(k: &Kernels, a: &[f32], b: &[f32]) -> f32 {
        k.l2_squared_f32(a, b)
    }

    fn encode(k: &Kernels, value: &[f32], out: &mut [i8]) -> Option<ByteCode> {
        let code = k.encode_i8(value, out);
        (code.error.is_finite() && code.scale.is_finite()).then_some(code)
    }

    fn put(panel: &mut [f32], column: usize, value: &[f32]) {
        for (row, x) in panel.chunks_exact_mut(PANEL).zip(value) {
            if let Some(place) = row.get_mut(column) {
                *place = *x;
            }
        }
    }

    fn sums(width: usize) -> usize {
        width
    }

    /// In `f64`: no sum of finite values overflows.
    fn add(sums: &mut [f64], value: &[f32]) {
        for (sum, x) in sums.iter_mut().zip(value) {
            *sum += f64::from(*x);
        }
    }

    fn take(sums: &mut [f64], value: &[f32]) {
        for (sum, x) in sums.iter_mut().zip(value) {
            *sum -= f64::from(*x);
        }
    }

    fn mean(sums: &[f64], count: u32, out: &mut [f32]) {
        for (x, sum) in out.iter_mut().zip(sums) {
            *x = (sum / f64::from(count)) as f32;
        }
    }

    fn normalize(k: &Kernels, value: &mut [f32]) -> bool {
        let norm = k.norm_f32(value);
        let possible = norm > 0.0 && norm.is_finite();
        if possible {
            value.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
        }
        possible
    }

    fn random(rng: &mut SmallRng, _: usize, out: &mut [f32]) {
        out.iter_mut().for_each(|x| *x = rng.random());
    }
}

impl Component for u8 {
    type Sum = u32;
    const CODED: bool = false;

    fn panel(k: &Kernels, rows: &[&[u8]], panel: &[u8], out: &mut [[f32; PANEL]]) {
        let width = (panel.len() / PANEL).max(1);
        for (row, out) in rows.iter().zip(out) {
            for (centre, distance) in panel.chunks_exact(width).zip(out) {
                *distance = k.hamming(row, centre) as f32;
            }
        }
    }

    fn distance(k: &Kernels, a: &[u8], b: &[u8]) -> f32 {
        k.hamming(a, b) as f32
    }

    /// Bytes lie row by row: there is nothing to gain from another order.
    fn put(panel: &mut [u8], column: usize, value: &[u8]) {
        if let Some(place) = panel.chunks_exact_mut(value.len().max(1)).nth(column) {
            place.copy_from_slice(value);
        }
    }

    fn sums(width: usize) -> usize {
        8 * width
    }

    fn add(sums: &mut [u32], value: &[u8]) {
        let (sums, _) = sums.as_chunks_mut::<8>();
        for (sums, byte) in sums.iter_mut().zip(value) {
            for (bit, sum) in sums.iter_mut().enumerate() {
                *sum += u32::from(byte >> (7 - bit) & 1);
            }
        }
    }

    fn take(sums: &mut [u32], value: &[u8]) {
        let (sums, _) = sums.as_chunks_mut::<8>();
        for (sums, byte) in sums.iter_mut().zip(value) {
            for (bit, sum) in sums.iter_mut().enumerate() {
                *sum = sum.wrapping_sub(u32::from(byte >> (7 - bit) & 1));
            }
        }
    }

    /// The bits that more than half of the values have.
    fn mean(sums: &[u32], count: u32, out: &mut [u8]) {
        let (sums, _) = sums.as_chunks::<8>();
        for (byte, sums) in out.iter_mut().zip(sums) {
            *byte = 0;
            for (bit, &sum) in sums.iter().enumerate() {
                *byte |= u8::from(u64::from(sum) * 2 > u64::from(count)) << (7 - bit);
            }
        }
    }

    fn normalize(_: &Kernels, _: &mut [u8]) -> bool {
        false
    }

    fn random(rng: &mut SmallRng, dims: usize, out: &mut [u8]) {
        out.iter_mut().for_each(|x| *x = rng.random());
        if let (spare @ 1.., Some(last)) = (out.len() * 8 - dims.min(out.len() * 8), out.last_mut()) {
            *last &= 0xffu8.checked_shl(spare as u32).unwrap_or(0);
        }
    }
}

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

/// Values side by side, [`PANEL`] to a panel, to be compared with one row at a time.
#[derive(Clone, Debug)]
pub struct Panels<L> {
    count: usize,
    width: usize,
    lanes: Vec<L>,
}

impl<L: Component> Panels<L> {
    /// Values of zeros.
    ///
    /// # Errors
    /// No memory.
    pub fn zeros(count: usize, width: usize) -> Result<Self, OutOfMemory> {
        let lanes = memory::filled(L::default(), count.div_ceil(PANEL) * PANEL * width)?;
        Ok(Panels { count, width, lanes })
    }

    /// Bytes of memory that [`Self::zeros`] takes.
    pub fn memory(count: u64, width: u64) -> u64 {
        let columns = count.div_ceil(PANEL as u64).saturating_mul(PANEL as u64);
        columns.saturating_mul(width).saturating_mul(size_of::<L>() as u64)
    }

    /// The number of values.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The number of panels.
    pub fn len(&self) -> usize {
        self.count.div_ceil(PANEL)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Values in panel `at`.
    #[inline]
    pub fn columns(&self, at: usize) -> usize {
        self.count.saturating_sub(at * PANEL).min(PANEL)
    }

    /// Panel `at`.
    #[inline]
    pub fn panel(&self, at: usize) -> &[L] {
        let size = PANEL * self.width;
        self.lanes.get(at * size..(at + 1) * size).unwrap_or_default()
    }

    /// Sets value `at`.
    pub fn set(&mut self, at: usize, value: &[L]) {
        let size = PANEL * self.width;
        let start = at / PANEL * size;
        if let Some(panel) = self.lanes.get_mut(start..start + size) {
            L::put(panel, at % PANEL, value);
        }
    }
}

/// Centres, each once in a row and once in a panel.
#[derive(Clone, Debug)]
pub struct Centres<L> {
    rows: Vec<L>,
    panels: Panels<L>,
    codes: Option<CentreCodes>,
}

impl<L: Component> Centres<L> {
    /// Centres of zeros, with codes or without.
    ///
    /// # Errors
    /// No memory.
    pub fn zeros(count: usize, width: usize, codes: bool) -> Result<Self, OutOfMemory> {
        Ok(Centres {
            rows: memory::filled(L::default(), count * width)?,
            panels: Panels::zeros(count, width)?,
            codes: codes.then(|| CentreCodes::zeros(count, width)).transpose()?,
        })
    }

    /// Bytes of memory that [`Self::zeros`] takes, without codes.
    pub fn memory(count: u64, width: u64) -> u64 {
        let rows = count.saturating_mul(width).saturating_mul(size_of::<L>() as u64);
        rows.saturating_add(Panels::<L>::memory(count, width))
    }

    /// The number of centres.
    pub fn count(&self) -> usize {
        self.panels.count
    }

    /// Their panels.
    #[inline]
    pub fn panels(&self) -> &Panels<L> {
        &self.panels
    }

    /// Their codes.
    #[inline]
    pub fn codes(&self) -> Option<&CentreCodes> {
        self.codes.as_ref()
    }

    /// Brings the codes of centres that `changed` up to date.
    pub fn recode(&mut self, changed: impl Fn(usize) -> bool) {
        let Some(codes) = &mut self.codes else { return };
        let mut room = Vec::new();
        let rows = self.rows.chunks_exact(self.panels.width.max(1)).enumerate();
        for (at, row) in rows.filter(|(at, _)| changed(*at)) {
            codes.set(at, &mut room, |out| L::encode(kernels(), row, out));
        }
    }

    /// Centre `at`.
    #[inline]
    pub fn row(&self, at: usize) -> &[L] {
        let width = self.panels.width;
        self.rows.get(at * width..(at + 1) * width).unwrap_or_default()
    }

    /// Sets centre `at`.
    pub fn set(&mut self, at: usize, value: &[L]) {
        if let Some(row) = self.rows.chunks_exact_mut(self.panels.width.max(1)).nth(at) {
            row.copy_from_slice(value);
            self.panels.set(at, value);
            if let Some(codes) = &mut self.codes {
                codes.set(at, &mut Vec::new(), |out| L::encode(kernels(), value, out));
            }
        }
    }

    /// Panels with the rows of their centres, to be changed apart from each other.
    pub fn groups_mut(&mut self) -> impl Iterator<Item = Group<'_, L>> {
        let width = self.panels.width;
        let size = (PANEL * width).max(1);
        let groups = self.rows.chunks_mut(size).zip(self.panels.lanes.chunks_mut(size));
        groups.map(move |(rows, panel)| Group { width, rows, panel })
    }
}

/// The centres of one panel.
#[derive(Debug)]
pub struct Group<'a, L> {
    width: usize,
    rows: &'a mut [L],
    panel: &'a mut [L],
}

impl<L: Component> Group<'_, L> {
    /// The centre in `column`.
    pub fn row(&self, column: usize) -> &[L] {
        self.rows.get(column * self.width..(column + 1) * self.width).unwrap_or_default()
    }

    /// Sets the centre in `column`.
    pub fn set(&mut self, column: usize, value: &[L]) {
        if let Some(row) = self.rows.chunks_exact_mut(self.width.max(1)).nth(column) {
            row.copy_from_slice(value);
            L::put(self.panel, column, value);
        }
    }
}

/// Rows in lanes, to be compared with panels: as they are where they are kept so, otherwise copied. Whoever adds more than
/// a few has made room for them.
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
