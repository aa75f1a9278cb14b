//! Codes of edges, and the query that meets them.

use vector_kernels::{BoundTerms, Kernels, kernels};

use super::layout::Shape;
use crate::quant::rabitq::{self, Bits, Factors};
use crate::quant::rotation::Rotation;
use crate::quant::space::{CodedSpace, Estimate};
use crate::space::ValueKind;
use crate::storage::page::Damage;
use crate::work::memory::{OutOfMemory, resize};

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
}

impl Codec {
    /// The codec of an index with values of `shape`, whose meta page has `seed`.
    ///
    /// # Errors
    /// No memory for the rotation.
    pub fn new(shape: &Shape, seed: u64) -> Result<Self, OutOfMemory> {
        let rotation = match shape.kind {
            ValueKind::Bit => None,
            _ => Some(Rotation::new(shape.dims, seed).map_err(|_| OutOfMemory)?),
        };
        let spreads = [shape.bits, Bits::ONE].map(|bits| bits.spread(Rotation::padded_to(shape.dims)));
        Ok(Codec { kernels: kernels(), bits: shape.bits, spreads, rotation })
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
        rabitq::encode(self.kernels, bits, estimate.measure(), value, centre, code)
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
        rabitq::encode_both(self.kernels, bits, estimate.measure(), value, centre, code)
    }
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

    /// Products with the codes of neighbours, of `bits` and `stride` bytes apart, into `out`.
    pub fn products(&self, codec: &Codec, bits: Bits, codes: &[u8], stride: usize, out: &mut [i32]) {
        let mut codes = codes;
        for out in out.chunks_mut(rabitq::BATCH) {
            let mut products = rabitq::Products([0; rabitq::BATCH]);
            let end = (out.len() * stride).min(codes.len());
            self.query.products(codec.kernels, bits, &codes[..end], stride, &mut products);
            out.copy_from_slice(&products.0[..out.len()]);
            codes = &codes[end..];
        }
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

    /// What makes bounds of products with the codes of a node's edges, of `bits`, `caution` deviations below the
    /// estimates: `base` is the node's exact distance, `distance` that to its value, `powers` what its factors count
    /// in.
    #[inline(always)]
    pub fn terms(
        &self,
        codec: &Codec,
        bits: Bits,
        (base, distance): (f32, f32),
        powers: [f32; 2],
        caution: f32,
    ) -> BoundTerms {
        let ((scale, middle), [add, scale_power]) = (self.query.product_terms(bits), powers);
        let spread = caution * scale_power * distance * codec.spread(bits);
        BoundTerms { base, add, scale: scale * scale_power, middle, spread }
    }

    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        (self.rotated.capacity() + self.widened.capacity()) * size_of::<f32>() + self.rotated.capacity()
    }
}
