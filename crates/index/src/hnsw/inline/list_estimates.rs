//! Distances among the elements of a list, estimated from the codes beside its edges: what a list needs to choose the
//! edge that a new one replaces, from one record instead of as many as it has edges.
//!
//! With r_j the residual of neighbour j, y_j its code and ratio_j = |r_j|^2 / <y_j, r_j>, which the second factor
//! tells: one code and a known vector v estimate <r_j, v> by ratio_j <y_j, v> ([`crate::quant::rabitq`]), two codes
//! estimate <r_j, r_k> by ratio_j ratio_k <y_j, y_k>. Of signs alone that is the arc sine of a cosine (Grothendieck's
//! identity), which [`turn`] undoes; with more bits what is left of it is less than a hundredth.

use super::codec::{Codec, Difference, PreparedQuery, products};
use super::edit::Centre;
use super::graph::InlineGraph;
use super::layout::{RecordLayout, power};
use super::records::look_at_ground;
use crate::hnsw::graph::{EdgeEstimate, Member, Places};
use crate::quant::rabitq::Met;
use crate::quant::space::{CodedSpace, Estimate};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, Tid};
use crate::work::memory::{append, resize};

/// Room for the estimates of one list, and the element that is offered to lists.
#[derive(Debug, Default)]
pub(super) struct ListEstimates {
    /// the list's owner as codes meet it
    centre: PreparedQuery,
    /// the element that is offered, and its difference from the owner
    new: PreparedQuery,
    difference: Difference,
    /// the list's codes, one after the other
    codes: Vec<u8>,
    /// first factors of as many as a list may have, then the second ones
    factors: Vec<f32>,
    products: Vec<i32>,
    /// ratios of the residuals to their codes
    ratios: Vec<f32>,
    /// what products of residuals must be, over the ratio, for two elements to be as near as the owner
    least: Vec<f32>,
    /// what is missing to that
    missing: Vec<f32>,
}

/// Deviations by which one element must seem nearer to another than the owner is. A list has many elements, and one
/// errs: without them, lists of GloVe gave up so many edges for others' sake that recall fell by .012 when two fifths
/// of the rows were inserted; with one it is what exact distances give, and two are no better.
const MARGIN: f32 = 1.0;

/// How an owner is compared with what its list leads to.
struct Terms {
    /// its distance from itself, as the index orders
    alike: f32,
    /// the offered element's distance from it
    distance: f32,
    /// what scales make deviations of the offered element's estimates of
    apart: f32,
    /// what products of residuals count in distances
    weight: f32,
    powers: [f32; 2],
}

impl ListEstimates {
    /// Bytes that it holds.
    pub(super) fn allocated(&self) -> usize {
        let words = self.factors.capacity() + self.products.capacity();
        self.centre.allocated()
            + self.new.allocated()
            + self.difference.allocated()
            + self.codes.capacity()
            + (words + self.ratios.capacity() + self.least.capacity() + self.missing.capacity())
                * size_of::<f32>()
    }

    /// Makes room for a list.
    fn reset(&mut self, records: &RecordLayout) -> Result<(), Damage> {
        let most = records.neighbours;
        self.codes.clear();
        self.codes.try_reserve(records.code_size * most).map_err(|_| Damage::OUT_OF_MEMORY)?;
        resize(&mut self.ratios, most, 0.0)?;
        resize(&mut self.least, most, 0.0)?;
        resize(&mut self.missing, most, 0.0)?;
        Ok(resize(&mut self.products, most, 0)?)
    }

    /// Estimates the distances of a list's elements from its owner, and from the element that is offered. False when
    /// an edge has no code that tells anything: its element has the owner's value, or its distance is not finite.
    fn fill(
        &mut self,
        codec: &Codec,
        records: &RecordLayout,
        terms: &Terms,
        slots: &[Tid],
        out: &mut Vec<EdgeEstimate>,
    ) -> bool {
        let (count, size) = (slots.len(), records.code_size);
        let (adds, scales) = self.factors.split_at(records.neighbours.min(self.factors.len()));
        let Some(found) = self.products.get_mut(..count) else { return false };
        if self.codes.len() != count * size || scales.len() != count || adds.len() < count {
            return false;
        }
        let &Terms { alike, distance, apart, weight, powers: [add_power, scale_power] } = terms;
        // of what codes are met by the owner's difference from itself is nothing
        let of_owner = codec.met() == Met::Query;
        if of_owner {
            self.centre.products(codec, codec.bits(), &self.codes, size, found);
        }
        let factors =
            || adds.iter().map(|add| add * add_power).zip(scales.iter().map(|scale| scale * scale_power));
        for ((&tid, (add, scale)), &product) in slots.iter().zip(factors()).zip(found.iter()) {
            let product = if of_owner { self.centre.product(product) } else { 0.0 };
            let own = alike + add + scale * product;
            if scale == 0.0 || !own.is_finite() {
                return false;
            }
            // reserved by who read the list
            out.push(EdgeEstimate { tid, own, new: distance + add });
        }
        let places = out.iter().zip(&mut self.ratios).zip(&mut self.least);
        for (((edge, ratio), least), (_, scale)) in places.zip(factors()) {
            *ratio = -scale / weight;
            // d(a, b) = own(a) + own(b) - alike - weight <r_a, r_b>, which is to be own(a) at most
            *least = (edge.own - alike) / (weight * *ratio);
        }
        let new = self.new.meeting(codec, &self.difference);
        products(new, codec, codec.bits(), &self.codes, size, found);
        for ((edge, (_, scale)), &product) in out.iter_mut().zip(factors()).zip(found.iter()) {
            edge.new += scale * new.value(product) + MARGIN * scale.abs() * apart;
        }
        true
    }

    /// [`crate::hnsw::graph::GraphRead::estimated_nearer`].
    fn near_of(&mut self, codec: &Codec, size: usize, at: usize) -> Places {
        let mut near = Places::default();
        let bits = codec.bits();
        let (count, elements) = (self.codes.len() / size.max(1), codec.padded());
        let (Some(code), Some(&ratio), Some(products), Some(missing)) = (
            self.codes.get(at * size..(at + 1) * size),
            self.ratios.get(at),
            self.products.get_mut(..count),
            self.missing.get_mut(..count),
        ) else {
            return near;
        };
        // what is missing to be as near as the owner
        let (per_ratio, margin) =
            (1.0 / ratio, MARGIN * bits.pair_spread(elements) * (elements as f32).sqrt());
        for (missing, least) in missing.iter_mut().zip(&self.least) {
            *missing = least * per_ratio + margin;
        }
        // An element y of a code is the sum of 2^(p - 1) s over its planes, where s is 1 or -1 as the bit says, so that
        // <y_a, y_b> is, over all two planes, 2^(p + q - 2) times the elements less twice the bits that differ.
        let mut begin = 0;
        for part in bits.parts(elements) {
            let range = begin..begin + part.bytes();
            begin = range.end;
            let codes = self.codes.get(range.start..).unwrap_or_default();
            let code = code.get(range).unwrap_or_default();
            codec.kernels().plane_differences(codes, size, part.planes, code, products);
            let (most, elements) = (((1 << part.planes) - 1) as f32, part.elements as f32);
            let (all, weight) = (0.25 * most * most * elements, (part.weight * part.weight) as f32);
            let places = missing.iter_mut().zip(products.iter());
            if part.planes == 1 {
                let (per_element, turned) =
                    (4.0 / elements, weight * elements * (0.5 / core::f32::consts::PI));
                places.for_each(|(missing, &differing)| {
                    *missing -= turned * turn((all - 0.5 * differing as f32) * per_element);
                });
            } else {
                places.for_each(|(missing, &differing)| {
                    *missing -= weight * (all - 0.5 * differing as f32);
                });
            }
        }
        for (word, missing) in self.missing.get(..count).unwrap_or_default().chunks(64).enumerate() {
            near.set(word, codec.kernels().below(missing, 0.0));
        }
        near.remove(at);
        near
    }
}

/// The cosine of the angle between two vectors of whose elements' signs so much more than half are the same: sin(x
/// pi / 2).
#[inline(always)]
fn turn(x: f32) -> f32 {
    let x = x.clamp(-1.0, 1.0) * core::f32::consts::FRAC_PI_2;
    let square = x * x;
    x * (1.0 - square * (1.0 / 6.0 - square * (1.0 / 120.0 - square * (1.0 / 5040.0))))
}

impl<B: BlockStore, S: CodedSpace> InlineGraph<'_, B, S> {
    /// [`crate::hnsw::graph::GraphRead::begin_estimates`].
    pub(super) fn prepare_offered(&mut self, value: &[u8]) -> Result<bool, Damage> {
        let InlineGraph { index, room, .. } = self;
        let Ok(view) = index.space.view(value) else { return Ok(false) };
        let new = &mut room.estimates.new;
        new.set(&index.codec, &index.space, view)?;
        Ok(new.is_usable())
    }

    /// [`crate::hnsw::graph::GraphRead::estimate_list`].
    pub(super) fn read_estimates(
        &mut self,
        owner: &Member,
        distance: f32,
        slots: &mut Vec<Tid>,
        out: &mut Vec<EdgeEstimate>,
    ) -> Result<bool, B::Error> {
        slots.clear();
        out.clear();
        let on_page = |damage: Damage| B::Error::from(damage.on(owner.tid.block()));
        if !self.rotate(Centre { tid: owner.tid, version: Some(owner.version), value: None })? {
            return Ok(false);
        }
        let InlineGraph { blocks, index, room, .. } = self;
        let (layout, codec) = (&index.layout, &index.codec);
        let records = &layout.ground;
        let (list, padded) = (&mut room.estimates, codec.padded());
        let Some(centre) = room.edits.rotated.get(owner.tid, padded) else { return Ok(false) };
        list.reset(records).map_err(on_page)?;
        match codec.met() {
            Met::Query => {
                list.centre.set_rotated(codec, centre).map_err(on_page)?;
                if !list.centre.is_usable() {
                    return Ok(false);
                }
            }
            Met::Difference => {
                list.difference.set_rotated(codec, list.new.rotated(), centre).map_err(on_page)?;
            }
        }
        let head = look_at_ground(*blocks, layout, owner.tid, |record| {
            if !record.is_live() || record.header.version != owner.version {
                return Ok(None);
            }
            let count = record.len();
            let room = slots.try_reserve(count).and_then(|()| out.try_reserve(count));
            room.map_err(|_| Damage::OUT_OF_MEMORY)?;
            slots.extend(record.ids().iter().map(|&id| layout.tid(id)));
            let codes = record.codes().and_then(|codes| codes.get(..count * records.code_size));
            append(&mut list.codes, codes.unwrap_or_default())?;
            let factors = record.factors();
            resize(&mut list.factors, factors.len(), 0.0)?;
            codec.kernels().f16_to_f32(factors, &mut list.factors);
            let header = record.header;
            Ok(Some((header.norm, [header.add_exponent, header.scale_exponent].map(power))))
        })?;
        let Some((norm, powers)) = head else { return Ok(false) };
        let estimate = index.space.estimate();
        let (alike, base, weight) = match estimate {
            Estimate::L2 => (0.0, distance, 2.0),
            Estimate::Cosine => (-1.0, 1.0 + distance, 1.0),
            _ => (-norm * norm, distance, 1.0),
        };
        let apart = list.new.distance_to(estimate, base, norm) * codec.spread(codec.bits());
        Ok(list.fill(codec, records, &Terms { alike, distance, apart, weight, powers }, slots, out))
    }

    /// [`crate::hnsw::graph::GraphRead::estimated_nearer`].
    pub(super) fn near_of(&mut self, at: usize) -> Places {
        let InlineGraph { index, room, .. } = self;
        room.estimates.near_of(&index.codec, index.layout.ground.code_size, at)
    }
}

#[cfg(test)]
#[path = "list_estimates_tests.rs"]
mod tests;
