//! How far nodes are from each other while the graph is built: exactly, or by codes of one byte per element around the
//! mean of the values, which come from memory four times as fast (`quant::sq8`).

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use vector_kernels::{Kernels, kernels, prefetch};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Elements;
use super::arena::Arena;
use crate::hnsw::search::{CandidateQueue, Scored};
use crate::quant::sq8::{CentredCode, CentredEncoder, CentredHead};
use crate::space::{Metric, Space};
use crate::work::memory::{OutOfMemory, collected, with_room};
use crate::work::workers::Worker;

/// Distances between nodes.
pub(super) trait Score: Copy + Send + Sync {
    /// A node whose distances from others are wanted.
    type Prepared: Copy;

    /// Prepares a node.
    fn prepare(&self, node: u32) -> Self::Prepared;

    /// The distance between two nodes, never NaN.
    fn distance(&self, from: Self::Prepared, to: u32) -> f32;

    /// Asks the cache for what `distance` will read of a node.
    fn prefetch(&self, node: u32);
}

/// Distances of the values themselves.
#[derive(Debug)]
pub(super) struct Exact<'a, S>(pub &'a Elements<S>);

impl<S> Clone for Exact<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Exact<'_, S> {}

impl<'a, S: Space> Score for Exact<'a, S> {
    type Prepared = Option<S::View<'a>>;

    #[inline(always)]
    fn prepare(&self, node: u32) -> Self::Prepared {
        self.0.view(node)
    }

    #[inline(always)]
    fn distance(&self, from: Self::Prepared, to: u32) -> f32 {
        // both are there: values were checked when they were pushed
        match (from, self.0.view(to)) {
            (Some(from), Some(to)) => self.0.space.distance(from, to),
            _ => f32::INFINITY,
        }
    }

    #[inline(always)]
    fn prefetch(&self, node: u32) {
        prefetch(self.0.values.get(node as usize));
    }
}

/// A cache line of bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub(super) struct Block([i8; 64]);

impl Default for Block {
    fn default() -> Self {
        Block([0; 64])
    }
}

/// Offset and scale at the end of a code.
const TAIL: usize = 2 * size_of::<f32>();

/// The copies of all values.
#[derive(Debug)]
pub(super) struct Codes {
    codes: Arena<Block>,
    /// bytes to multiply: the dimensions, and zeros up to a whole vector where there is room
    len: usize,
    centre: Vec<f32>,
    metric: Metric,
    kernels: &'static Kernels,
}

impl Codes {
    /// Room for the codes of values of `dims` dimensions, in chunks of about `chunk` bytes.
    fn arena(dims: usize, chunk: usize) -> Arena<Block> {
        Arena::new((dims + TAIL).div_ceil(size_of::<Block>()), chunk)
    }

    /// Bytes that the codes of `nodes` values of `dims` dimensions allocate, with what it takes to make them.
    pub fn size(nodes: usize, dims: usize, chunk: usize) -> usize {
        Self::arena(dims, chunk).growth(nodes) + dims * 8 * size_of::<f32>()
    }

    /// Codes of zeros around `centre`, when there is memory.
    pub fn new(nodes: usize, centre: Vec<f32>, metric: Metric, chunk: usize) -> Option<Self> {
        let mut codes = Self::arena(centre.len(), chunk);
        if !codes.extend(nodes) {
            return None;
        }
        let room = centre.len().saturating_add(TAIL).next_multiple_of(size_of::<Block>()) - TAIL;
        let len = centre.len().next_multiple_of(16).min(room);
        Some(Codes { codes, len, centre, metric, kernels: kernels() })
    }

    /// No codes yet; they come one by one, of values that have as many elements as `centre`.
    pub fn empty(centre: Vec<f32>, metric: Metric, chunk: usize) -> Option<Self> {
        Self::new(0, centre, metric, chunk)
    }

    /// Bytes of a code of a value of `dims` dimensions.
    pub fn code_bytes(dims: usize) -> usize {
        (dims + TAIL).next_multiple_of(size_of::<Block>())
    }

    /// Bytes that one more code would allocate.
    pub fn growth(&self) -> usize {
        self.codes.growth(1)
    }

    /// Adds the code of a value, which becomes its difference from the centre. Returns false, and adds one of zeros,
    /// when a number leaves the range of f32; none when there is no memory.
    pub fn push(&mut self, value: &mut [f32]) -> Option<bool> {
        if !self.codes.extend(1) {
            return None;
        }
        let Codes { codes, centre, metric, kernels, .. } = self;
        let encoder =
            Encoder { encoder: CentredEncoder::new(kernels, centre, *metric), width: codes.width() };
        let last = codes.len() - 1;
        Some(encoder.encode(value, codes.get_mut(last)))
    }

    /// Makes `out` the value that a node's code stands for.
    pub fn decode(&self, node: u32, out: &mut [f32]) {
        let CentredCode { bytes, head } = self.get(node);
        for ((out, byte), centre) in out.iter_mut().zip(bytes).zip(&self.centre) {
            *out = centre + head.scale * f32::from(*byte);
        }
    }

    /// The codes in pieces: the number of the first, and the blocks of as many as follow.
    pub fn pieces(&mut self) -> (Encoder<'_>, impl Iterator<Item = (usize, &mut [Block])>) {
        let Codes { codes, centre, metric, kernels, .. } = self;
        let encoder = CentredEncoder::new(kernels, centre, *metric);
        (Encoder { encoder, width: codes.width() }, codes.pieces_mut())
    }

    #[inline(always)]
    fn get(&self, node: u32) -> CentredCode<'_> {
        let bytes = self.codes.get(node as usize).as_bytes();
        let number = |at: usize| {
            let bytes = bytes.get(bytes.len().wrapping_sub(at)..).and_then(|b| b.first_chunk());
            f32::from_ne_bytes(bytes.copied().unwrap_or_default())
        };
        let (offset, scale) = (number(TAIL), number(TAIL / 2));
        let bytes = <[i8]>::ref_from_bytes(bytes.get(..self.len).unwrap_or_default()).unwrap_or_default();
        CentredCode { bytes, head: CentredHead { offset, scale } }
    }
}

/// Makes codes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoder<'a> {
    encoder: CentredEncoder<'a>,
    width: usize,
}

impl Encoder<'_> {
    /// Blocks of a code.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Writes the code of `value`, which becomes its difference from the centre. Returns false when a number leaves the
    /// range of f32.
    pub fn encode(&self, value: &mut [f32], blocks: &mut [Block]) -> bool {
        let bytes = blocks.as_mut_bytes();
        let (bytes, tail) = bytes.split_at_mut(bytes.len().saturating_sub(TAIL));
        let Ok(bytes) = <[i8]>::mut_from_bytes(bytes) else { return false };
        let Some(CentredHead { offset, scale }) = self.encoder.encode(value, bytes) else { return false };
        for (place, number) in tail.chunks_exact_mut(size_of::<f32>()).zip([offset, scale]) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        true
    }
}

impl<'a> Score for &'a Codes {
    type Prepared = CentredCode<'a>;

    #[inline(always)]
    fn prepare(&self, node: u32) -> CentredCode<'a> {
        let codes: &'a Codes = self;
        codes.get(node).prepare(codes.metric)
    }

    #[inline(always)]
    fn distance(&self, from: CentredCode<'a>, to: u32) -> f32 {
        from.distance(self.kernels, self.get(to))
    }

    #[inline(always)]
    fn prefetch(&self, node: u32) {
        prefetch(self.codes.get(node as usize).as_bytes());
    }
}

/// Rows that the centre is the mean of.
const CENTRE_SAMPLE: usize = 4096;
/// Rows that are compared with all others to see whether codes are true to their values: a hundredth or two of
/// a build's work.
const PROBES: usize = 16;
/// Comparisons between two looks at the clock.
const STRIDE: u32 = 256;
/// Nearest neighbours looked at, how many of the nearest codes they must be among, and what share of them.
const NEAREST: usize = 10;
const AMONG: usize = 20;
const FAITHFUL: f64 = 0.97;

/// The mean of a sample of the values; none when they are not dense.
pub(super) fn centre<S: Space>(elements: &Elements<S>) -> Option<Vec<f32>> {
    let nodes = elements.rows.len();
    let step = nodes.div_ceil(CENTRE_SAMPLE).max(1);
    let (mut value, mut sums, mut count) = (Vec::new(), Vec::<f64>::new(), 0.0);
    for node in (0..nodes).step_by(step) {
        if !elements.space.widen(elements.view(node as u32)?, &mut value) {
            return None;
        }
        sums.resize(value.len(), 0.0);
        for (sum, x) in sums.iter_mut().zip(&value) {
            *sum += f64::from(*x);
        }
        count += 1.0;
    }
    Some(sums.iter().map(|sum| (sum / count) as f32).collect())
}

/// Compares some rows with all others: whether those nearest by their values are also nearest by their codes.
#[derive(Debug, Default)]
pub(super) struct Probes {
    next: AtomicUsize,
    found: AtomicUsize,
    wanted: AtomicUsize,
}

impl Probes {
    /// Returns how many rows of `nodes` are compared.
    pub fn count(nodes: usize) -> usize {
        PROBES.min(nodes)
    }

    /// Takes the next row; returns false when none is left.
    pub fn step<S: Space>(&self, elements: &Elements<S>, codes: &Codes, worker: &mut Worker<'_, '_>) -> bool {
        let (nodes, probe) = (elements.rows.len(), self.next.fetch_add(1, Relaxed));
        if probe >= Self::count(nodes) {
            return false;
        }
        let node = (probe * (nodes / PROBES).max(1)) as u32;
        let exact = Exact(elements);
        let (value, code) = (exact.prepare(node), codes.prepare(node));
        let (mut nearest, mut among) = (CandidateQueue::new(), CandidateQueue::new());
        for other in (0..nodes as u32).filter(|&other| other != node) {
            if other.is_multiple_of(STRIDE) && !worker.goes_on() {
                return false;
            }
            nearest.offer(Scored { distance: exact.distance(value, other), node: other }, true, NEAREST);
            among.offer(Scored { distance: codes.distance(code, other), node: other }, true, AMONG);
        }
        // rows with equal codes are equally near
        let bound = among.iter().next_back().map_or(f32::INFINITY, |s| s.distance);
        let found = nearest.iter().filter(|s| codes.distance(code, s.node) <= bound).count();
        self.found.fetch_add(found, Relaxed);
        self.wanted.fetch_add(nearest.len(), Relaxed);
        true
    }

    /// Whether the codes will do.
    pub fn faithful(&self) -> bool {
        self.found.load(Relaxed) as f64 >= FAITHFUL * self.wanted.load(Relaxed) as f64
    }
}

/// Whether codes around `centre` are true to values like those of a sample, which come one after the other.
///
/// # Errors
/// No memory.
pub(super) fn faithful_to(sample: &[f32], centre: &[f32], metric: Metric) -> Result<bool, OutOfMemory> {
    let (width, kernels) = (centre.len().max(1), kernels());
    let mut codes = Codes::empty(collected(centre.iter().copied())?, metric, 64 << 10).ok_or(OutOfMemory)?;
    let mut room = with_room(width)?;
    for value in sample.chunks_exact(width) {
        room.clear();
        room.extend_from_slice(value);
        if !codes.push(&mut room).ok_or(OutOfMemory)? {
            return Ok(false);
        }
    }
    let rows = sample.len() / width;
    let value = |at: u32| sample.get(at as usize * width..(at as usize + 1) * width).unwrap_or_default();
    let (mut found, mut wanted) = (0, 0);
    for probe in (0..rows as u32).step_by((rows / PROBES).max(1)) {
        let (mut nearest, mut among) = (CandidateQueue::new(), CandidateQueue::new());
        let prepared = (&codes).prepare(probe);
        for other in (0..rows as u32).filter(|&other| other != probe) {
            let distance = match metric {
                Metric::L2 => kernels.l2_squared_f32(value(probe), value(other)),
                _ => -kernels.inner_product_f32(value(probe), value(other)),
            };
            nearest.offer(Scored { distance, node: other }, true, NEAREST);
            among.offer(Scored { distance: (&codes).distance(prepared, other), node: other }, true, AMONG);
        }
        let bound = among.iter().next_back().map_or(f32::INFINITY, |s| s.distance);
        found += nearest.iter().filter(|s| (&codes).distance(prepared, s.node) <= bound).count();
        wanted += nearest.len();
    }
    Ok(found as f64 >= FAITHFUL * wanted as f64)
}
