//! Codes of rows: of the residual between a value and its list's centre, both rotated, a bit an element.

use vector_kernels::kernels;

use super::Index;
use super::layout::RECORD_HEAD;
use super::runs::run_centre;
use crate::ivf::lists::EntryCoder;
use crate::quant::rabitq::{self, Bits, Met};
use crate::quant::rotation::Rotation;
use crate::quant::space::{CodedSpace, Estimate};
use crate::storage::page::Damage;
use crate::work::memory::{OutOfMemory, resize};

/// What makes a bound of a code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    /// the part that does not depend on the query; minus infinity when nothing can be said of the row
    pub add: f32,
    /// what the product of code and rotated query is multiplied with
    pub scale: f32,
}

/// Makes the code of a rotated value around a rotated centre.
pub fn encode(bits: Bits, estimate: Estimate, value: &[f32], centre: &[f32], code: &mut [u8]) -> Factors {
    let factors = rabitq::encode(kernels(), bits, (estimate.measure(), Met::Query), value, centre, code);
    let (add, scale) = (factors.add, factors.scale);
    // a residual that has no code, or numbers that no float says
    if scale == 0.0 && factors.deviation > 0.0 || !add.is_finite() || !scale.is_finite() {
        return Factors { add: f32::NEG_INFINITY, scale: 0.0 };
    }
    Factors { add, scale }
}

/// Rotates a value (a unit vector in a cosine space) into `out`, which becomes as long as rotated values are.
///
/// # Errors
/// No memory.
pub fn rotate<S: CodedSpace>(
    rotation: &Rotation,
    space: &S,
    view: S::View<'_>,
    widened: &mut Vec<f32>,
    out: &mut Vec<f32>,
) -> Result<(), OutOfMemory> {
    resize(out, rotation.padded(), 0.0)?;
    widened.clear();
    widened.try_reserve(rotation.padded())?;
    if space.widen(view, widened) {
        rotation.apply(kernels(), widened, out);
    }
    Ok(())
}

/// Completes the entries of a build.
pub struct Coder<S> {
    index: Index,
    space: S,
    rotation: Rotation,
    /// rotated, one after the other
    centres: Vec<f32>,
    /// what codes of entries in runs are made against; empty where there are none
    run_centre: Vec<f32>,
}

impl<S: CodedSpace> Coder<S> {
    /// The coder of an index with these centres, whole varlenas.
    ///
    /// # Errors
    /// No memory, or a centre that is no value of the space.
    pub fn new(
        index: Index,
        space: S,
        lists: usize,
        mut centre: impl FnMut(usize, &mut crate::space::ValueBuf) -> Result<(), OutOfMemory>,
    ) -> Result<Self, Damage> {
        let rotation = Rotation::new(index.geometry.dims, index.seed).map_err(|_| OutOfMemory)?;
        let padded = rotation.padded();
        let mut centres: Vec<f32> = Vec::new();
        centres.try_reserve_exact(lists.saturating_mul(padded)).map_err(|_| OutOfMemory)?;
        let (mut value, mut widened, mut rotated) = (crate::space::ValueBuf::new(), Vec::new(), Vec::new());
        for at in 0..lists {
            centre(at, &mut value)?;
            let view = space.view(value.bytes()).map_err(|_| Damage::internal("centre of another space"))?;
            rotate(&rotation, &space, view, &mut widened, &mut rotated)?;
            centres.extend_from_slice(&rotated);
        }
        let run_centre = match index.runs.geometry() {
            Some(geometry) => run_centre(&index, geometry, &centres)?,
            None => Vec::new(),
        };
        Ok(Coder { index, space, rotation, centres, run_centre })
    }

    /// What codes of entries in runs are made against, rotated; empty where there are none.
    pub fn run_centre(&self) -> &[f32] {
        &self.run_centre
    }

    /// Bytes of memory for `lists` lists.
    pub fn memory(index: &Index, lists: usize) -> usize {
        lists.saturating_add(16).saturating_mul(index.geometry.padded).saturating_mul(size_of::<f32>())
    }
}

impl<S: CodedSpace> EntryCoder for Coder<S> {
    fn complete(&self, list: u32, entry: &mut [u8], room: &mut [Vec<f32>; 2]) -> Result<(), Damage> {
        let (geometry, padded) = (&self.index.geometry, self.rotation.padded());
        let missing = Damage::internal("entry of another form");
        let (record, rest) = entry.split_at_mut_checked(geometry.record).ok_or(missing)?;
        let value = record.get(RECORD_HEAD..RECORD_HEAD + geometry.value_size).ok_or(missing)?;
        let view = self.space.view(value).map_err(|_| missing)?;
        let [widened, rotated] = room;
        rotate(&self.rotation, &self.space, view, widened, rotated)?;
        let start = list as usize * padded;
        let centre = self.centres.get(start..start + padded).ok_or(missing)?;
        let (factors, rest) = rest.split_at_mut_checked(8).ok_or(missing)?;
        let code = rest.get_mut(..geometry.code).ok_or(missing)?;
        let Factors { add, scale } = encode(Bits::ONE, self.index.estimate, rotated, centre, code);
        factors[..4].copy_from_slice(&add.to_ne_bytes());
        factors[4..].copy_from_slice(&scale.to_ne_bytes());
        if self.run_centre.is_empty() {
            return Ok(());
        }
        let (factors, code) = rest
            .get_mut(geometry.code..geometry.code + self.index.runs.part())
            .and_then(|part| part.split_at_mut_checked(8))
            .ok_or(missing)?;
        let Factors { add, scale } = encode(Bits::ONE, self.index.estimate, rotated, &self.run_centre, code);
        factors[..4].copy_from_slice(&add.to_ne_bytes());
        factors[4..].copy_from_slice(&scale.to_ne_bytes());
        Ok(())
    }
}
