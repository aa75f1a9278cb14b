//! Codes of centres, on pages of their own: which lists are nearest to a value is found without comparing it with all
//! centres, whatever memory a backend has for them.
//!
//! Centres that lie near each other make a *group*, around a *middle* that stands behind the last centre. A value is
//! compared with all middles, and gets bounds of its distances from all centres by their codes around the middles,
//! which are like those of rows, but of more bits. The centres that seem nearest get their exact distances, and then
//! those whose lower bounds are not above these.
//!
//! With a bit an element and one middle for all, too many centres may be among the nearest: at 100 dimensions, and
//! wherever they lie in clusters, finding lists took 40 to 500 microseconds more. Leaving out groups that are far would
//! save some nanoseconds for each centre, and lose some of those that are near.

use vector_kernels::kernels;
use zerocopy::{FromBytes, IntoBytes};

use super::code::{Factors, encode, rotate};
use super::layout::{CodePage, Entry, Geometry, Head, PageKind, fill_centre_codes, set_next};
use super::query::{Bounds, Query};
use super::read::{each_centre, list_place, read_centre};
use super::{Index, Lists, Memory};
use crate::ivf::centre_cache::Centres;
use crate::ivf::format::META_BLOCK;
use crate::ivf::lists::{BAD_CENTRE, ListPlace};
use crate::quant::rabitq::Bits;
use crate::quant::space::{CodedSpace, Estimate};
use crate::space::ValueKind;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, INVALID_BLOCK, Tid};
use crate::work::memory::{append, collected, push, resize, with_room};
use crate::work::ordered::order_key;

/// Of code pages that do not hold what the meta page says.
pub(super) const OTHER_NUMBER: Damage =
    Damage::at(0, "codes of another number of centres than the meta page says");
/// A middle as near to nothing as this has no direction.
const NO_DIRECTION: f64 = 1e-6;

/// How many deviations from its estimate a centre's distance may lie. Which lists come last among those that a search
/// looks at says little, so this is less than for rows.
const DEVIATIONS: f32 = 1.4;
/// Values of up to so many dimensions have codes of four bits an element, and of up to so many two: the fewer elements
/// there are, the less a bit of each says, and an exact distance costs as much as dozens of codes.
const SHORT: usize = 320;
const MIDDLING: usize = 1280;
/// Blocks of a group, at most.
const GROUP_BLOCKS: usize = 2;
/// How often a division of centres into two halves is improved.
const ROUNDS: usize = 3;

/// A centre by its bounds.
#[derive(Clone, Copy, Debug)]
struct Near {
    lower: f32,
    upper: f32,
    number: u32,
    start: u32,
}

impl Near {
    fn estimate(&self) -> f32 {
        self.lower + self.upper
    }
}

/// A middle as a value sees it.
#[derive(Clone, Copy, Debug)]
struct Middle {
    distance: f32,
    norm: f32,
}

/// What searches use again.
#[derive(Debug, Default)]
pub(super) struct Found {
    query: Query,
    near: Vec<Near>,
    middles: Vec<Middle>,
    /// pages by the distance of the nearest middle
    pages: Vec<u64>,
}

/// How codes of centres stand on pages: they are as those of rows, without places of values and filter keys. For a heap
/// TID a code has the first page of its list and, for an offset, the list's number and one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) geometry: Geometry,
    bits: Bits,
    lists: u32,
    group_blocks: usize,
}

impl Plan {
    /// The plan for so many lists; none where values have no codes.
    pub(super) fn new(of: &Geometry, kind: ValueKind, lists: u32) -> Option<Self> {
        let bits = match of.dims {
            dims if dims <= SHORT => Bits::FOUR,
            dims if dims <= MIDDLING => Bits::TWO,
            _ => Bits::ONE,
        };
        let geometry = Geometry::of_bits(kind, of.dims, of.page_size, 0, false, bits)?;
        Some(Plan { bits, geometry, lists, group_blocks: geometry.blocks.clamp(1, GROUP_BLOCKS) })
    }

    /// That of an index that has codes of centres.
    pub(super) fn of(index: &Index) -> Option<Self> {
        Self::new(&index.geometry, index.kind, index.lists).filter(|_| index.centre_codes > 0)
    }

    /// Centres of a group: the last one may have fewer.
    fn per_group(&self) -> usize {
        (self.group_blocks * self.geometry.block_entries).max(1)
    }

    fn groups_per_page(&self) -> usize {
        (self.geometry.blocks / self.group_blocks).max(1)
    }

    /// Codes of a page: the last one may have fewer.
    pub(super) fn per_page(&self) -> usize {
        self.per_group() * self.groups_per_page()
    }

    /// Groups.
    pub(super) fn groups(&self) -> u32 {
        self.lists.div_ceil(self.per_group() as u32)
    }

    /// Pages of codes.
    pub(super) fn pages(&self) -> u32 {
        self.lists.div_ceil(self.per_page() as u32)
    }

    /// Codes of page `page`.
    pub(super) fn codes_of(&self, page: u32) -> usize {
        (self.lists as usize).saturating_sub(page as usize * self.per_page()).min(self.per_page())
    }

    /// The group of entry `at` of page `page`.
    pub(super) fn group_of(&self, page: u32, at: usize) -> usize {
        page as usize * self.groups_per_page() + at / self.per_group()
    }

    /// Whether all this pays: against codes of a byte an element that each backend makes in memory.
    pub(super) fn pays(&self) -> bool {
        let (lists, dims) = (f64::from(self.lists), self.geometry.padded as f64);
        let bytes = lists * (BYTES.0 * dims + BYTES.1);
        let middles = f64::from(self.groups()) * (FLOATS.0 * dims + FLOATS.1);
        let planes = f64::from(self.bits.each());
        let bits = lists * (BITS.0 * dims * planes + BITS.1) + PAGE * f64::from(self.pages());
        BEFORE + middles + bits < bytes
    }
}

/// Costs of comparing a value with one centre, in nanoseconds, as measured by `cargo bench --bench ivf_layouts`: with a
/// code of a byte an element in memory, per element and besides...
const BYTES: (f64, f64) = (0.07, 0.5);
/// ... with a middle, per element and besides...
const FLOATS: (f64, f64) = (0.08, 10.0);
/// ... with a code of a bit an element, per element and besides...
const BITS: (f64, f64) = (0.005, 3.0);
/// ... a page of those, and what goes before: tables, and exact distances.
const PAGE: f64 = 100.0;
const BEFORE: f64 = 3000.0;

/// Limits what is here to those that may be among the `count` nearest; returns the least bound that tells.
fn narrow(near: &mut Vec<Near>, count: usize) -> f32 {
    let Some(last) = count.checked_sub(1).filter(|&last| last < near.len()) else { return f32::INFINITY };
    let (_, limit, _) = near.select_nth_unstable_by(last, |a, b| a.upper.total_cmp(&b.upper));
    let limit = limit.upper;
    near.retain(|near| near.lower <= limit);
    limit
}

impl<B: BlockStore> Lists<'_, B> {
    /// Adds the lists whose centres are nearest to `value` to `found`, at least `count` of them where there are as many
    /// and in any order: the distance's key above the place in `places`, to which their places are added. False, and
    /// nothing is found, when the index has no codes of centres, or when `count` is a large part of them all.
    ///
    /// # Errors
    /// A damaged block, or no memory.
    pub(super) fn nearest_by_codes<S: CodedSpace>(
        &mut self,
        space: S,
        value: S::View<'_>,
        count: usize,
        centres: &Centres,
        (found, places): (&mut Vec<u64>, &mut Vec<ListPlace>),
    ) -> Result<bool, B::Error> {
        let index = self.index;
        let first = index.centre_codes;
        if first == 0 || count == 0 || count > index.lists as usize / 4 {
            return Ok(false);
        }
        let Some(plan) = Plan::of(&index) else { return Ok(false) };
        self.memory.rotation(&index).map_err(|damage| damage.on(first))?;
        let Memory { rotation, widened, rotated, centre_codes: Found { query, .. }, .. } = &mut *self.memory;
        if let Some((_, rotation)) = rotation {
            let prepared = rotate(rotation, &space, value, widened, rotated).map_err(Damage::from);
            prepared
                .and_then(|()| query.set_rotated(rotated, plan.bits))
                .map_err(|damage| damage.on(first))?;
        }
        self.find_middles(&plan, space, value)?;
        let short = |memory| B::Error::from(Damage::from(memory).on(first));
        let distance = |centre: &[u8]| space.view(centre).map(|centre| space.distance(centre, value)).ok();
        let bad = Damage::at(0, BAD_CENTRE).on(index.centres);
        let Memory { whole, centre_codes: Found { query, near, middles, pages }, .. } = &mut *self.memory;
        near.clear();
        let (mut limit, mut codes, mut bounds) = (f32::INFINITY, 0, Bounds::default());
        // how many wait until those that cannot be among the nearest go
        let mut most = 4 * count + 64;
        for &page in &*pages {
            let number = page as u32;
            self.blocks.read(first.saturating_add(number), |bytes| {
                let page = CodePage::of_kind(&plan.geometry, bytes, PageKind::CentreCodes)?;
                for (at, block) in page.blocks().enumerate() {
                    let group = plan.group_of(number, at * plan.geometry.block_entries);
                    let Some(middle) = middles.get(group) else { return Err(OTHER_NUMBER) };
                    let base = query.base(index.estimate, middle.distance, middle.norm, DEVIATIONS);
                    query.bounds(&plan.geometry, &base, &block, &mut bounds);
                    let mut which = bounds.not_above(limit) & block.live;
                    while which != 0 {
                        let at = which.trailing_zeros() as usize;
                        which &= which - 1;
                        let (Some(&row), Some(&lower), Some(&upper)) =
                            (block.rows.get(at), bounds.lower.get(at), bounds.upper.get(at))
                        else {
                            continue;
                        };
                        // a bound that is no number is no bound
                        let (lower, upper) = match lower.is_nan() || upper.is_nan() {
                            true => (f32::NEG_INFINITY, f32::INFINITY),
                            false => (lower, upper),
                        };
                        let number = u32::from(row.offset()).wrapping_sub(1);
                        push(near, Near { lower, upper, number, start: row.block() })?;
                    }
                    codes += block.len;
                    if near.len() > most {
                        limit = narrow(near, count);
                        most = most.max(2 * near.len());
                    }
                }
                Ok(())
            })?;
        }
        if codes != index.lists as usize {
            return Err(OTHER_NUMBER.on(first).into());
        }
        narrow(near, count);
        let last = count.min(near.len()).saturating_sub(1);
        if !near.is_empty() {
            near.select_nth_unstable_by(last, |a, b| a.estimate().total_cmp(&b.estimate()));
        }
        // bounds of angles are of one less the cosine
        let shift = if index.estimate == Estimate::Cosine { 1.0 } else { 0.0 };
        let mut farthest = f32::NEG_INFINITY;
        for at in 0..near.len() {
            let Some(&Near { lower, number, start, .. }) = near.get(at) else { break };
            if number >= index.lists {
                return Err(OTHER_NUMBER.on(first).into());
            }
            if at > last && lower - shift > farthest {
                continue;
            }
            let exact = match centres.view(space, number as usize) {
                Some(centre) => space.distance(centre, value),
                None => read_centre(self.blocks, &index, number, whole, distance)?.ok_or(bad)?,
            };
            if at <= last {
                farthest = if exact > farthest { exact } else { farthest };
            } else if last == 0 && exact < farthest {
                farthest = exact;
            }
            push(found, u64::from(order_key(exact)) << 32 | places.len() as u64).map_err(short)?;
            push(places, list_place(number, start, index.geometry.page_size)).map_err(short)?;
        }
        self.blocks.pause()?;
        Ok(true)
    }

    /// Finds the distances of a value from all middles, and the order of pages.
    fn find_middles<S: CodedSpace>(
        &mut self,
        plan: &Plan,
        space: S,
        value: S::View<'_>,
    ) -> Result<(), B::Error> {
        let index = self.index;
        let needs_norm = index.estimate == Estimate::InnerProduct;
        let Memory { whole, centre_codes: Found { middles, pages, .. }, .. } = &mut *self.memory;
        middles.clear();
        pages.clear();
        let numbers = index.lists..index.lists.saturating_add(plan.groups());
        each_centre(self.blocks, &index, whole, numbers, &mut |_, middle| {
            let middle = space.view(middle).map_err(|_| Damage::at(0, BAD_CENTRE))?;
            let norm = if needs_norm { space.norm(middle) as f32 } else { 0.0 };
            push(middles, Middle { distance: space.distance(middle, value), norm })?;
            Ok(true)
        })?;
        for (page, middles) in (0u32..).zip(middles.chunks(plan.groups_per_page())) {
            let nearest = middles.iter().fold(f32::INFINITY, |least, middle| least.min(middle.distance));
            let key = u64::from(order_key(nearest)) << 32 | u64::from(page);
            push(pages, key).map_err(|memory| Damage::from(memory).on(index.centres))?;
        }
        pages.sort_unstable();
        Ok(())
    }

    /// Brings the numbers of centres into the order of their groups.
    pub(super) fn group_centres(
        &mut self,
        plan: &Plan,
        centre: &mut impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<Vec<u32>, B::Error> {
        let short = |memory| B::Error::from(Damage::from(memory).on(META_BLOCK));
        let bad = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
        let mut order = collected(0..plan.lists).map_err(short)?;
        let mut room = Division::new(&self.index).map_err(bad)?;
        let mut parts = Vec::new();
        push(&mut parts, 0..order.len()).map_err(short)?;
        while let Some(part) = parts.pop() {
            let groups = part.len().div_ceil(plan.per_group());
            if groups < 2 {
                continue;
            }
            // only the last group has fewer centres than others
            let left = groups / 2 * plan.per_group();
            self.blocks.pause()?;
            room.divide(order.get_mut(part.clone()).unwrap_or_default(), left, centre).map_err(bad)?;
            push(&mut parts, part.start..part.start + left).map_err(short)?;
            push(&mut parts, part.start + left..part.end).map_err(short)?;
        }
        Ok(order)
    }

    /// The middle of centres, a whole varlena like theirs. Where they have none that is a value (of angles, it may have
    /// no direction), the first of them.
    fn middle_of(
        &self,
        numbers: &[u32],
        centre: &mut impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<Vec<u8>, Damage> {
        let index = &self.index;
        let (mut value, mut mean) = (Vec::new(), Division::new(index)?);
        mean.mean(numbers, centre)?;
        centre(numbers.first().copied().unwrap_or_default() as usize, &mut value);
        let norm = mean.sums.iter().map(|x| x * x).sum::<f64>().sqrt();
        if !norm.is_finite() || index.estimate == Estimate::Cosine && norm < NO_DIRECTION {
            return Ok(value);
        }
        let elements = value.get_mut(8..).unwrap_or_default().chunks_exact_mut(index.element());
        for (place, &mean) in elements.zip(&mean.sums) {
            match index.kind {
                ValueKind::Halfvec => place.copy_from_slice(half::f16::from_f64(mean).as_bytes()),
                _ => place.copy_from_slice(&(mean as f32).to_ne_bytes()),
            }
        }
        Ok(value)
    }

    /// The middles of all groups.
    pub(super) fn middles(
        &self,
        plan: &Plan,
        order: &[u32],
        centre: &mut impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<Vec<Vec<u8>>, Damage> {
        let mut middles = with_room(order.len().div_ceil(plan.per_group()))?;
        for numbers in order.chunks(plan.per_group()) {
            middles.push(self.middle_of(numbers, centre)?);
        }
        Ok(middles)
    }

    /// Writes the codes of all centres in the order of their groups.
    ///
    /// # Errors
    /// A file that cannot be extended, or no memory.
    pub(super) fn write_centre_codes(
        &mut self,
        plan: &Plan,
        order: &[u32],
        (heads, middles): (&[Head], &[Vec<u8>]),
        centre: &mut impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<(), B::Error> {
        let first = self.index.centre_codes;
        let on = |damage: Damage| B::Error::from(damage.on(first));
        let missing = || on(Damage::internal("centre of no group"));
        let (mut value, mut codes, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        for (page, numbers) in (0u32..).zip(order.chunks(plan.per_page())) {
            let block = first + page;
            codes.clear();
            entries.clear();
            for (at, &number) in numbers.iter().enumerate() {
                let middle = middles.get(plan.group_of(page, at)).ok_or_else(missing)?;
                let head = heads.get(number as usize).ok_or_else(missing)?;
                centre(number as usize, &mut value);
                let Factors { add, scale } = self.centre_code(plan, &value, middle).map_err(on)?;
                let row = Tid::new(head.start, number as u16 + 1);
                let entry = Entry { row, place: row, add, scale };
                push(&mut entries, entry).map_err(|memory| on(memory.into()))?;
                append(&mut codes, &self.memory.code).map_err(|memory| on(memory.into()))?;
            }
            let mut filled = Ok(());
            self.add_page(block, |bytes| {
                filled = fill_centre_codes(&plan.geometry, bytes, &entries, &codes);
                set_next(bytes, if page + 1 < plan.pages() { block + 1 } else { INVALID_BLOCK });
            })?;
            filled.map_err(on)?;
        }
        Ok(())
    }

    /// Makes the code of a centre around the middle; it stands in the memory then.
    pub(super) fn centre_code(
        &mut self,
        plan: &Plan,
        value: &[u8],
        middle: &[u8],
    ) -> Result<Factors, Damage> {
        let index = self.index;
        self.memory.rotation(&index)?;
        let Memory { rotation, widened, rotated, centre, code, .. } = &mut *self.memory;
        let Some((_, rotation)) = rotation else { return Err(Damage::internal("no rotation")) };
        for (value, out) in [(middle, &mut *centre), (value, &mut *rotated)] {
            resize(out, rotation.padded(), 0.0)?;
            elements(&index, value, widened)?;
            rotation.apply(kernels(), widened, out);
        }
        resize(code, plan.geometry.code, 0)?;
        Ok(encode(plan.bits, index.estimate, rotated, centre, code))
    }
}

/// Makes `out` the elements of a value, of unit length where angles are compared.
fn elements(index: &Index, value: &[u8], out: &mut Vec<f32>) -> Result<(), Damage> {
    out.clear();
    out.try_reserve(index.geometry.padded)
        .map_err(|e| Damage::from(crate::work::memory::OutOfMemory::from(e)))?;
    let bytes = value.get(8..).unwrap_or_default();
    match index.kind {
        ValueKind::Halfvec => {
            out.extend(
                bytes.chunks_exact(2).filter_map(|x| Some(half::f16::read_from_bytes(x).ok()?.to_f32())),
            );
        }
        _ => out.extend(bytes.chunks_exact(4).filter_map(|x| f32::read_from_bytes(x).ok())),
    }
    if index.estimate == Estimate::Cosine {
        let norm = out.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        let per_norm = if norm > 0.0 { 1.0 / norm } else { 0.0 };
        out.iter_mut().for_each(|x| *x = (f64::from(*x) * per_norm) as f32);
    }
    Ok(())
}

/// What divides centres into halves that lie apart.
struct Division<'i> {
    index: &'i Index,
    value: Vec<u8>,
    wide: Vec<f32>,
    /// a mean
    sums: Vec<f64>,
    /// from one half to the other
    direction: Vec<f32>,
    along: Vec<(f32, u32)>,
}

impl<'i> Division<'i> {
    fn new(index: &'i Index) -> Result<Self, Damage> {
        let dims = index.geometry.dims;
        let mut sums = Vec::new();
        resize(&mut sums, dims, 0.0)?;
        let mut direction = Vec::new();
        resize(&mut direction, dims, 0.0)?;
        Ok(Division { index, value: Vec::new(), wide: Vec::new(), sums, direction, along: Vec::new() })
    }

    /// Reads a centre.
    fn read(&mut self, number: u32, centre: &mut impl FnMut(usize, &mut Vec<u8>)) -> Result<(), Damage> {
        centre(number as usize, &mut self.value);
        elements(self.index, &self.value, &mut self.wide)
    }

    /// Finds the mean of centres.
    fn mean(&mut self, numbers: &[u32], centre: &mut impl FnMut(usize, &mut Vec<u8>)) -> Result<(), Damage> {
        self.sums.fill(0.0);
        for &number in numbers {
            self.read(number, centre)?;
            self.sums.iter_mut().zip(&self.wide).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        let count = numbers.len().max(1) as f64;
        self.sums.iter_mut().for_each(|sum| *sum /= count);
        Ok(())
    }

    /// The number of the centre that is farthest from the mean.
    fn farthest(
        &mut self,
        numbers: &[u32],
        centre: &mut impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<Option<u32>, Damage> {
        let mut farthest = (f64::NEG_INFINITY, None);
        for &number in numbers {
            self.read(number, centre)?;
            let apart =
                self.sums.iter().zip(&self.wide).map(|(mean, x)| (f64::from(*x) - mean).powi(2)).sum();
            if apart > farthest.0 {
                farthest = (apart, Some(number));
            }
        }
        Ok(farthest.1)
    }

    /// Brings `left` of the centres that lie near each other before the others: at first by where they lie along the
    /// line from the one that is farthest from their mean to the one that is farthest from that, then along the line
    /// between the means of the halves.
    fn divide(
        &mut self,
        numbers: &mut [u32],
        left: usize,
        centre: &mut impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<(), Damage> {
        self.mean(numbers, centre)?;
        let mut ends = [const { Vec::new() }; 2];
        for end in &mut ends {
            let Some(farthest) = self.farthest(numbers, centre)? else { return Ok(()) };
            self.read(farthest, centre)?;
            self.sums.iter_mut().zip(&self.wide).for_each(|(sum, x)| *sum = f64::from(*x));
            append(end, &self.sums)?;
        }
        for round in 0..=ROUNDS {
            let between = ends[0].iter().zip(&ends[1]).map(|(a, b)| (b - a) as f32);
            self.direction.iter_mut().zip(between).for_each(|(place, x)| *place = x);
            self.along.clear();
            for &number in &*numbers {
                self.read(number, centre)?;
                push(&mut self.along, (kernels().inner_product_f32(&self.direction, &self.wide), number))?;
            }
            if left < self.along.len() {
                let by_place = |a: &(f32, u32), b: &(f32, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
                self.along.select_nth_unstable_by(left, by_place);
            }
            numbers.iter_mut().zip(&self.along).for_each(|(place, (_, number))| *place = *number);
            if round < ROUNDS {
                let (low, high) = numbers.split_at(left.min(numbers.len()));
                for (end, half) in ends.iter_mut().zip([low, high]) {
                    self.mean(half, centre)?;
                    end.clone_from(&self.sums);
                }
            }
        }
        Ok(())
    }
}
