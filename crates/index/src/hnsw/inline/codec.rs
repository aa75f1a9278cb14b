//! Codes of edges, and the query that meets them.

use vector_kernels::{BoundTerms, Kernels, PANEL, kernels};

use super::layout::Layout;
use crate::quant::rabitq::{self, Bits, Factors, Met};
use crate::quant::rotation::Rotation;
use crate::quant::space::{CodedSpace, Estimate};
use crate::space::ValueKind;
use crate::storage::page::Damage;
use crate::work::memory::{OutOfMemory, filled, resize};

/// Makes codes and estimates of one index.
#[derive(Debug)]
pub struct Codec {
    kernels: &'static Kernels,
    /// of codes of layer 0
    bits: Bits,
    /// [`Bits::spread`] of them, and of codes of one bit
    spreads: [f32; 2],
    /// none where records have the neighbours' values
    rotation: Option<Rotation>,
    /// what codes are met by
    met: Met,
    /// where that is a difference, the rotation as a matrix, which is faster for a short vector: panels of rows
    matrix: Vec<f32>,
}

/// Values of so many padded elements are short: a rotation for each node that a search reads costs little, and it is
/// among these that neighbours are hundreds of times nearer to each other than to the mean of all, as places in a city
/// are by their degrees.
const SHORT: usize = 32;

impl Codec {
    /// The codec of an index with pages of `layout`, whose meta page has `seed`.
    ///
    /// # Errors
    /// No memory for the rotation.
    pub fn new(layout: &Layout, seed: u64) -> Result<Self, OutOfMemory> {
        let shape = &layout.shape;
        let rotation = match shape.kind {
            ValueKind::Bit => None,
            _ => Some(Rotation::new(shape.dims, seed).map_err(|_| OutOfMemory)?),
        };
        let spreads = [shape.bits, Bits::ONE].map(|bits| bits.spread(Rotation::padded_to(shape.dims)));
        // codes and value are looked at together
        let whole = layout.ground.is_whole() && layout.upper.is_whole();
        let met = match Rotation::padded_to(shape.dims) <= SHORT && whole {
            true => Met::Difference,
            false => Met::Query,
        };
        let kernels = kernels();
        let matrix = match &rotation {
            Some(rotation) if met == Met::Difference => matrix_of(rotation, kernels)?,
            _ => Vec::new(),
        };
        Ok(Codec { kernels, bits: shape.bits, spreads, rotation, met, matrix })
    }

    /// What codes are met by.
    #[inline(always)]
    pub const fn met(&self) -> Met {
        self.met
    }

    /// The kernels.
    #[inline(always)]
    pub const fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// Bits of codes of layer 0.
    #[inline(always)]
    pub const fn bits(&self) -> Bits {
        self.bits
    }

    /// The deviation of estimates by codes of layer 0, or of one bit ([`Bits::spread`]).
    #[inline(always)]
    pub fn spread(&self, bits: Bits) -> f32 {
        self.spreads[usize::from(bits == Bits::ONE)]
    }

    /// Elements of a rotated value; 0 where nothing is rotated.
    pub fn padded(&self) -> usize {
        self.rotation.as_ref().map_or(0, Rotation::padded)
    }

    /// Rotates a value (a unit vector in a cosine space) into `out`, of [`Self::padded`] elements. `widened` is room.
    pub fn rotate<S: CodedSpace>(
        &self,
        space: &S,
        view: S::View<'_>,
        widened: &mut Vec<f32>,
        out: &mut [f32],
    ) {
        if let Some(rotation) = &self.rotation
            && space.widen(view, widened)
        {
            rotation.apply(self.kernels, widened, out);
        }
    }

    /// Makes the code of the edge from `centre` to `value`, both rotated, in `bits`.
    pub fn encode(
        &self,
        bits: Bits,
        estimate: Estimate,
        value: &[f32],
        centre: &[f32],
        code: &mut [u8],
    ) -> Factors {
        rabitq::encode(self.kernels, bits, (estimate.measure(), self.met), value, centre, code)
    }

    /// The same, and the factors of the edge back, whose code has all bits turned over; `None` where there is no scale.
    pub fn encode_both(
        &self,
        bits: Bits,
        estimate: Estimate,
        value: &[f32],
        centre: &[f32],
        code: &mut [u8],
    ) -> (Factors, Option<Factors>) {
        rabitq::encode_both(self.kernels, bits, (estimate.measure(), self.met), value, centre, code)
    }
}

/// A rotation as a matrix: of each [`PANEL`] of its rows all columns, one behind the other.
fn matrix_of(rotation: &Rotation, kernels: &Kernels) -> Result<Vec<f32>, OutOfMemory> {
    let (dims, padded) = (rotation.dims(), rotation.padded());
    let (mut unit, mut column) = (filled(0.0, dims)?, filled(0.0, padded)?);
    let mut matrix = filled(0.0, dims * padded)?;
    for at in 0..dims {
        unit[at] = 1.0;
        rotation.apply(kernels, &unit, &mut column);
        unit[at] = 0.0;
        for (panel, rows) in matrix.chunks_exact_mut(dims * PANEL).zip(column.chunks_exact(PANEL)) {
            panel[at * PANEL..(at + 1) * PANEL].copy_from_slice(rows);
        }
    }
    Ok(matrix)
}

/// A query, prepared once per scan.
#[derive(Debug, Default)]
pub struct PreparedQuery {
    query: rabitq::Query,
    rotated: Vec<f32>,
    widened: Vec<f32>,
    /// |q|^2
    square: f32,
}

impl PreparedQuery {
    /// None yet.
    pub const fn new() -> Self {
        PreparedQuery { query: rabitq::Query::new(), rotated: Vec::new(), widened: Vec::new(), square: 0.0 }
    }

    /// Makes it that of `view`.
    ///
    /// # Errors
    /// No memory.
    pub fn set<S: CodedSpace>(&mut self, codec: &Codec, space: &S, view: S::View<'_>) -> Result<(), Damage> {
        if codec.rotation.is_none() {
            return Ok(());
        }
        resize(&mut self.rotated, codec.padded(), 0.0)?;
        self.widened.try_reserve(codec.padded()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        codec.rotate(space, view, &mut self.widened, &mut self.rotated);
        self.query.set(codec.kernels, &self.rotated, codec.bits).map_err(|_| Damage::OUT_OF_MEMORY)?;
        self.square = self.widened.iter().map(|x| x * x).sum();
        Ok(())
    }

    /// Makes it that of a value that is rotated already, for [`Self::products`] and [`Self::product`] only.
    ///
    /// # Errors
    /// No memory.
    pub fn set_rotated(&mut self, codec: &Codec, rotated: &[f32]) -> Result<(), Damage> {
        self.query.set(codec.kernels, rotated, codec.bits).map_err(|_| Damage::OUT_OF_MEMORY)
    }

    /// Whether bytes can say it.
    pub fn is_usable(&self) -> bool {
        self.query.error().is_finite()
    }

    /// The product of the rotated value with what a code of layer 0 points at, from that with the code itself.
    #[inline(always)]
    pub fn product(&self, product: i32) -> f32 {
        self.query.value(product)
    }

    /// The query rotated; empty where nothing is.
    pub fn rotated(&self) -> &[f32] {
        &self.rotated
    }

    /// What meets the codes of a node's edges.
    #[inline(always)]
    pub fn meeting<'q>(&'q self, codec: &Codec, difference: &'q Difference) -> &'q rabitq::Query {
        match codec.met {
            Met::Query => &self.query,
            Met::Difference => &difference.query,
        }
    }

    /// Products with the codes of neighbours, of `bits` and `stride` bytes apart, into `out`.
    pub fn products(&self, codec: &Codec, bits: Bits, codes: &[u8], stride: usize, out: &mut [i32]) {
        products(&self.query, codec, bits, codes, stride, out);
    }

    /// |q - c| from the exact distance of the centre, which has this norm.
    #[inline(always)]
    pub fn distance_to(&self, estimate: Estimate, base: f32, norm: f32) -> f32 {
        let square = match estimate {
            Estimate::L2 => base,
            Estimate::Cosine => 2.0 * base,
            _ => self.square + norm * norm + 2.0 * base,
        };
        square.max(0.0).sqrt()
    }

    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        (self.rotated.capacity() + self.widened.capacity()) * size_of::<f32>() + self.rotated.capacity()
    }
}

/// The difference of a query and a node's value, as the codes of the node's edges meet it ([`Met::Difference`]).
#[derive(Debug, Default)]
pub struct Difference {
    query: rabitq::Query,
    widened: Vec<f32>,
    rotated: Vec<f32>,
}

impl Difference {
    /// None yet.
    pub const fn new() -> Self {
        Difference { query: rabitq::Query::new(), widened: Vec::new(), rotated: Vec::new() }
    }

    /// Makes it that of a prepared query and a value.
    ///
    /// # Errors
    /// No memory.
    pub fn set<S: CodedSpace>(
        &mut self,
        codec: &Codec,
        space: &S,
        prepared: &PreparedQuery,
        value: S::View<'_>,
    ) -> Result<(), Damage> {
        let Difference { query, widened, rotated } = self;
        let dims = prepared.widened.len();
        if rotated.len() != codec.padded() {
            resize(rotated, codec.padded(), 0.0)?;
            widened.try_reserve(dims).map_err(|_| Damage::OUT_OF_MEMORY)?;
        }
        if !(space.widen(value, widened) && widened.len() == dims) {
            return Err(Damage::internal("value without elements"));
        }
        for (own, query) in widened.iter_mut().zip(&prepared.widened) {
            *own = query - *own;
        }
        let (rows, _) = rotated.as_chunks_mut::<PANEL>();
        for (rows, panel) in rows.iter_mut().zip(codec.matrix.chunks_exact(dims.max(1) * PANEL)) {
            codec.kernels.inner_product_panel(&[widened], panel, core::slice::from_mut(rows));
        }
        query.set(codec.kernels, rotated, codec.bits).map_err(|_| Damage::OUT_OF_MEMORY)
    }

    /// Makes it that of two rotated values, for codes of layer 0.
    ///
    /// # Errors
    /// No memory.
    pub fn set_rotated(&mut self, codec: &Codec, value: &[f32], centre: &[f32]) -> Result<(), Damage> {
        let Difference { query, rotated, .. } = self;
        resize(rotated, codec.padded(), 0.0)?;
        for ((own, value), centre) in rotated.iter_mut().zip(value).zip(centre) {
            *own = value - centre;
        }
        query.set(codec.kernels, rotated, codec.bits).map_err(|_| Damage::OUT_OF_MEMORY)
    }

    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        (self.rotated.capacity() + self.widened.capacity()) * size_of::<f32>() + self.rotated.capacity()
    }
}

/// Products of a query with codes of `bits`, `stride` bytes apart, into `out`.
pub fn products(
    query: &rabitq::Query,
    codec: &Codec,
    bits: Bits,
    mut codes: &[u8],
    stride: usize,
    out: &mut [i32],
) {
    for out in out.chunks_mut(rabitq::BATCH) {
        let mut products = rabitq::Products([0; rabitq::BATCH]);
        let end = (out.len() * stride).min(codes.len());
        query.products(codec.kernels, bits, &codes[..end], stride, &mut products);
        out.copy_from_slice(&products.0[..out.len()]);
        codes = &codes[end..];
    }
}

/// What makes bounds of products of a query with the codes of a node's edges, of `bits`, `caution` deviations below the
/// estimates: `base` is the node's exact distance, `distance` that to its value, `powers` what its factors count in.
#[inline(always)]
pub fn terms(
    query: &rabitq::Query,
    codec: &Codec,
    bits: Bits,
    (base, distance): (f32, f32),
    powers: [f32; 2],
    caution: f32,
) -> BoundTerms {
    let ((scale, middle), [add, scale_power]) = (query.product_terms(bits), powers);
    let spread = caution * scale_power * distance * codec.spread(bits);
    BoundTerms { base, add, scale: scale * scale_power, middle, spread }
}
