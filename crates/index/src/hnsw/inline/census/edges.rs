//! The edges of records: those of upper layers name records that belong to the elements which they lead to, and in a
//! deep check every code is what the codec makes of the two values.

use half::f16;
use zerocopy::IntoBytes;

use super::super::codec::Codec;
use super::super::layout::{PageKind, Record, power, state};
use super::super::meta::META_BLOCK;
use super::parts::Met;
use super::{InlineCensus, Pages, Room, estimate_of, place_of, value_of};
use crate::hnsw::census::{Auditor, CheckError, State, fit};
use crate::quant::rabitq::Factors;
use crate::quant::space::{BIT_PAYLOAD, Estimate};
use crate::space::{AnySpace, Space, without};
use crate::storage::blocks::BlockStore;
use crate::storage::page::Tid;
use crate::storage::verify::Violation;
use crate::with_space;

impl<B: BlockStore> InlineCensus<'_, B> {
    /// Looks at the edges of all records of upper layers, and of layer 0 when the check is deep.
    pub(super) fn edges(&mut self, audit: &mut Auditor<'_>) -> Result<(), CheckError<B::Error>> {
        let Self { blocks, space, count, shared, met, room, .. } = self;
        let Some(shared) = shared.as_ref() else { return Ok(()) };
        let mut pages = Pages { blocks: &mut **blocks, count: *count, layout: &shared.layout };
        for block in META_BLOCK + 1..*count {
            let layer = match met.kind(block) {
                Some(PageKind::Ground) if audit.is_deep() => 0,
                Some(PageKind::Upper) => 1,
                _ => continue,
            };
            let mut page = core::mem::take(&mut room.page);
            let looked = match pages.copy(block, page.as_mut_bytes()) {
                Ok(()) => Pass { pages: &mut pages, codec: &shared.codec, space, met, room, audit }.page(
                    block,
                    layer,
                    page.as_bytes(),
                ),
                Err(error) => Err(error),
            };
            room.page = page;
            looked?;
        }
        let (compared, others) = met.of_copies;
        if compared >= ENOUGH && others > compared / 2 {
            let what = format!(
                "codes of {others} of {compared} edges that are not those of the elements at their ends"
            );
            audit.report(Violation::of_index(what));
        }
        Ok(())
    }
}

/// Edges of a build of copies that say whether its codes are those of the values at all.
const ENOUGH: u64 = 100;
/// Edges so many times as long as what rounds their ends to one byte an element are compared.
const FAR: f32 = 4.0;

/// Whether the distance of two rotated values is far above what is lost when both are rounded to one byte an element.
fn is_far(a: &[f32], b: &[f32]) -> bool {
    let largest = |value: &[f32]| value.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    // two errors, each evenly spread over a step, in each of the dimensions
    let lost = (largest(a) + largest(b)) / 127.0 * (a.len() as f32 / 6.0).sqrt();
    let distance = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
    distance.is_finite() && distance > FAR * lost
}

struct Pass<'p, 's, 'c, B> {
    pages: &'p mut Pages<'s, B>,
    codec: &'p Codec,
    space: &'p AnySpace,
    met: &'p mut Met,
    room: &'p mut Room,
    audit: &'p mut Auditor<'c>,
}

impl<B: BlockStore> Pass<'_, '_, '_, B> {
    fn page(&mut self, block: u32, layer: u8, bytes: &[u8]) -> Result<(), CheckError<B::Error>> {
        let records = self.pages.layout.records(layer);
        for slot in 0..records.slots.per_page {
            self.pages.blocks.pause()?;
            let head = records.slots.get(bytes, PageKind::of_layer(layer), slot);
            let record = head.and_then(|head| Record::new(records, head, slot));
            let (Ok(record), Some(id)) = (record, records.slots.id(block, slot)) else { continue };
            if record.header.state == state::LIVE {
                self.record(id, layer, &record)?;
            }
        }
        Ok(())
    }

    /// The edges of a record, unless its element is dying: these may lead to what is no element any more.
    fn record(&mut self, id: u32, layer: u8, record: &Record<'_>) -> Result<(), CheckError<B::Error>> {
        let layout = self.pages.layout;
        let records = layout.records(layer);
        let (tid, owner) = match layer {
            0 => (layout.tid(id), layout.tid(id)),
            _ => (place_of(records, id), record.header.heap_tid),
        };
        if !self.is_element(owner, true) {
            return Ok(());
        }
        let whole = self.pages.join(layer, record.bytes(), record.header.rest, &mut self.room.record)?;
        if layer > 0 {
            self.names(tid, record);
            if let (true, Some(ground)) = (whole, layout.ground_id(owner))
                && self.pages.load(ground, 0, &mut self.room.other)?
                && value_of(records, &self.room.record) != value_of(&layout.ground, &self.room.other)
            {
                self.audit.tell(tid, "value that is not that of the element's record of layer 0");
            }
        }
        if whole && self.audit.is_deep() { self.codes(tid, layer, record) } else { Ok(()) }
    }

    /// Whether there is an element, which lives, if that is asked for.
    fn is_element(&self, tid: Tid, living: bool) -> bool {
        self.audit
            .node(tid)
            .is_some_and(|(_, node)| node.state == State::Live || !living && node.state == State::Dying)
    }

    /// Each number of a list is that of the record, in this layer, of the element that stands beside it.
    fn names(&mut self, tid: Tid, record: &Record<'_>) {
        let layout = self.pages.layout;
        for (&id, &place) in record.ids().iter().zip(record.places()) {
            let upper = self.met.upper(id);
            let same = upper.is_some_and(|upper| {
                upper.broken || (upper.ground, upper.layer) == (place, record.header.layer)
            });
            let at = place_of(&layout.upper, id);
            if !same && self.is_element(layout.tid(place), false) && !self.audit.is_damaged(at.block()) {
                let (layer, element) = (record.header.layer, layout.tid(place));
                self.audit.tell(
                    tid,
                    format!("edge to {at}, which is not the record of layer {layer} of {element}"),
                );
            }
        }
    }

    /// Each code, or value in its place, is that of the element which the edge leads to. Codes that a build made of
    /// copies differ in some bits, in more the shorter the edge: of long ones it is counted how many differ in so many
    /// as if they were of other values.
    fn codes(&mut self, tid: Tid, layer: u8, record: &Record<'_>) -> Result<(), CheckError<B::Error>> {
        let layout = self.pages.layout;
        let records = layout.records(layer);
        let (estimate, codec) = (estimate_of(self.space), self.codec);
        let padded = codec.padded();
        {
            let room = &mut *self.room;
            fit(&mut room.code, records.code_size, 0)?;
            fit(&mut room.centre, padded, 0.0)?;
            fit(&mut room.value, padded, 0.0)?;
            fit(&mut room.widened, padded, 0.0)?;
            let value = value_of(records, &room.record);
            if record.own_keys() != records.keys(value) {
                self.audit.tell(tid, "filter keys that are not those behind its value".to_owned());
            }
            if !rotate(codec, self.space, value, &mut room.widened, &mut room.centre) {
                return Ok(());
            }
        }
        let exponents = [record.header.add_exponent, record.header.scale_exponent];
        for (at, &place) in record.places().iter().enumerate() {
            let neighbour = layout.tid(place);
            if !self.is_element(neighbour, false) || !self.pages.load(place, 0, &mut self.room.other)? {
                continue;
            }
            let Room { record: whole, other, widened, centre, value, code, .. } = &mut *self.room;
            let found = whole.as_bytes().get(records.code(at)).unwrap_or_default();
            let bytes = value_of(&layout.ground, other);
            let fault = if estimate == Estimate::Exact {
                let value = without(bytes, layout.shape.filter_size());
                (Some(found) != value.get(BIT_PAYLOAD..)).then_some("a value that is not that of")
            } else if self.met.from_copies {
                if rotate(codec, self.space, bytes, widened, value) && is_far(centre, value) {
                    codec.encode(records.bits, estimate, value, centre, code);
                    let differing = differing(found, code) as usize;
                    self.met.of_copies.0 += 1;
                    self.met.of_copies.1 += u64::from(differing > code.len() * 8 / 3);
                }
                None
            } else if rotate(codec, self.space, bytes, widened, value) {
                let factors = codec.encode(records.bits, estimate, value, centre, code);
                let (add, scale) = (record.adds().get(at).copied(), record.scales().get(at).copied());
                let kept = [add.unwrap_or_default(), scale.unwrap_or_default()];
                let length = length(centre);
                let fault = if !alike(found, code) {
                    Some("a code that is not that of")
                } else if !agree(kept, exponents, &factors, length) {
                    Some("factors that are not those of")
                } else {
                    None
                };
                // An edge back is the one there turned round: another code, where elements lie on the edge of a step.
                fault.filter(|_| {
                    let (_, back) = codec.encode_both(records.bits, estimate, centre, value, code);
                    code.iter_mut().for_each(|byte| *byte = !*byte);
                    !back.is_some_and(|back| alike(found, code) && agree(kept, exponents, &back, length))
                })
            } else {
                None
            };
            let keys = record.edge_keys().chunks_exact(records.edge_keys.max(1)).nth(at);
            let others = keys.is_some_and(|keys| keys != records.keys(bytes));
            let keys = others.then_some("filter keys that are not those of");
            for fault in [fault, keys].into_iter().flatten() {
                self.audit.tell(tid, format!("edge with {fault} the element at {neighbour}"));
            }
        }
        Ok(())
    }
}

/// Rotates a value; false when it is none, which has been told.
fn rotate(codec: &Codec, space: &AnySpace, value: &[u8], widened: &mut Vec<f32>, out: &mut [f32]) -> bool {
    with_space!(space, space => match space.view(value) {
        Ok(view) => {
            codec.rotate(space, view, widened, out);
            true
        }
        Err(_) => false,
    })
}

fn length(value: &[f32]) -> f32 {
    value.iter().map(|x| x * x).sum::<f32>().sqrt()
}

/// Whether two codes are the same, as far as processors agree: on another one sums are rounded otherwise, and an
/// element at the edge of a step may be on its other side.
fn alike(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && differing(a, b) as usize <= 2 + a.len() / 64
}

/// In how many bits two codes differ.
fn differing(a: &[u8], b: &[u8]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

/// What the lowest bit that is set in a number stands for; infinite in zero.
fn lowest_bit(half: f16) -> f32 {
    let bits = half.to_bits();
    let (exponent, mantissa) = (i32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    let digits = if exponent > 0 { 1 << 10 | mantissa } else { mantissa };
    // numbers below 2^-14 have the steps of those
    if digits == 0 { f32::INFINITY } else { 2f32.powi(digits.trailing_zeros() as i32 + exponent.max(1) - 25) }
}

/// Whether factors, kept in half precision times powers of two, are those of the two values. `centre` is the length of
/// the value that the edge begins at.
fn agree(kept: [f16; 2], exponents: [i8; 2], factors: &Factors, centre: f32) -> bool {
    // squares of such lengths overflow in one order of a sum and not in another
    if !(centre < LONGEST && factors.add.abs().sqrt() < LONGEST) {
        return true;
    }
    // two roundings to 11 bits, and the smallest step that there is
    let near = |kept: f16, exponent: i8, exact: f32, sums: f32| {
        let power = power(exponent);
        let error = (kept.to_f32() * power - exact).abs();
        // beside a much larger factor, which has gone since, it may have been kept in larger steps
        let coarse = lowest_bit(kept) * power;
        error <= (exact.abs() / 1024.0 + power / 8_388_608.0 + sums).max(coarse)
    };
    // the sums over all elements, which nearly cancel out
    let sums = 1e-5 * (factors.add.abs().sqrt() + centre) * centre;
    near(kept[0], exponents[0], factors.add, sums) && near(kept[1], exponents[1], factors.scale, 0.0)
}

/// Values whose factors are compared are shorter.
pub(super) const LONGEST: f32 = 1e18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bit_is_that_of_the_number_as_it_is_kept() {
        let least = f16::from_bits(1);
        for (number, bit) in
            [(1.0, 1.0), (-1.5, 0.5), (19.0625, 0.0625), (2048.0, 2048.0), (6.1e-5, 2f32.powi(-24))]
        {
            assert_eq!(lowest_bit(f16::from_f32(number)), bit, "{number}");
        }
        assert_eq!(lowest_bit(least), least.to_f32());
        assert_eq!(lowest_bit(f16::ZERO), f32::INFINITY);
    }

    #[test]
    fn factors_agree_with_what_they_were_made_of() {
        let factors = |add, scale| Factors { add, scale, deviation: 0.0 };
        let kept = [f16::from_f32(3.25), f16::from_f32(-0.5)];
        assert!(agree(kept, [2, 0], &factors(13.001, -0.5001), 1.0));
        assert!(!agree(kept, [2, 0], &factors(14.5, -0.5), 1.0));
        assert!(!agree([f16::from_f32(3.251), kept[1]], [2, 0], &factors(12.0, -0.5), 1.0));
        // 3.25 times 4 in steps of a quarter times 4, beside a larger one
        assert!(agree(kept, [2, 0], &factors(13.4, -0.5), 1.0));
    }
}
