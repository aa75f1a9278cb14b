//! What centres are made of, and centres side by side in panels. Everything is squared Euclidean distance: between unit
//! vectors that is twice one minus the cosine, so it orders as the angle does, and between bit strings it is the number
//! of bits that differ.

use rand::Rng;
use rand::rngs::SmallRng;
use vector_kernels::{ByteCode, Kernels, PANEL, kernels};

use crate::quant::sq8::{self, PanelCodes};
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
        sq8::encode(k, value, out)
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

/// The smallest of a panel's distances.
#[inline]
pub(in crate::ivf) fn least(distances: &[f32; PANEL]) -> f32 {
    let mut lanes = *distances;
    let mut half = PANEL / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = if lanes[i + half] < lanes[i] { lanes[i + half] } else { lanes[i] };
        }
        half /= 2;
    }
    lanes[0]
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
    codes: Option<PanelCodes>,
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
            codes: codes.then(|| PanelCodes::zeros(count, width)).transpose()?,
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
    pub fn codes(&self) -> Option<&PanelCodes> {
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
