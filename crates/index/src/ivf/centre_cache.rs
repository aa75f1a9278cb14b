//! Centres kept in memory: what finds a row's or a query's lists without going through the list pages again. Centres,
//! the places of lists and their start pages never change after a build, so they hold for as long as the index's file.

use std::collections::BinaryHeap;

use vector_kernels::{PANEL, kernels};

use super::cluster::assign::Assigned;
use super::cluster::panels::{Component, Panels};
use super::lists::{BAD_CENTRE, ListPlace, Listed, ReadLists};
use crate::quant::sq8::{PanelCodes, RowCodes, widened};
use crate::space::{Metric, Space};
use crate::storage::page::Damage;
use crate::work::memory::{self, OutOfMemory, append};
use crate::work::ordered::order_key;

/// Centres whose distances to all others are known, at most.
const PIVOTS: usize = 16;
/// Values of fewer bytes are compared faster than bounds on their distances.
const BOUNDED: usize = 1024;
/// What rounding adds to a distance or takes from it, relatively, at most: sums of 2,000 squares in many lanes stay
/// well below.
const SLACK: f32 = 2e-5;

/// The centres of an index, with distances to a few of them that tell which others need not be looked at: by the
/// triangle inequality a centre is no nearer than |distance of the value and a pivot - distance of the pivot and it|.
#[derive(Debug, Default)]
pub struct Centres {
    places: Vec<ListPlace>,
    /// values of one size, each at a multiple of eight bytes
    words: Vec<u64>,
    value_size: usize,
    /// codes of dense values, where the processor is fast with them; otherwise short ones in panels instead
    codes: Option<PanelCodes>,
    panels: Option<Panels<f32>>,
    /// pivots in `f32`, one after the other; the Euclidean distance of each to each centre; squared norms of centres
    pivots: Vec<f32>,
    apart: Vec<[f32; PIVOTS]>,
    norms: Vec<f32>,
    /// of the last value: its elements; the centres by lower bounds of their distances to it, a key above a number
    wide: Vec<f32>,
    order: Vec<u64>,
    /// its code; lower bounds of the distances to it, in panels
    row: RowCodes,
    lower: Vec<[f32; PANEL]>,
    /// the least of each panel
    least: Vec<f32>,
    /// what codes of rows are made against, list by list; a NaN where that is not known yet
    coded: Vec<f32>,
    /// bytes that all this may take
    most: usize,
}

impl Centres {
    /// No centres; memory is given back.
    pub fn clear(&mut self) {
        *self = Centres::default();
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        let each = size_of::<ListPlace>() + size_of::<[f32; PIVOTS]>() + size_of::<f32>() + 8;
        let panels = self.panels.as_ref().map_or(0, |panels| panels.len() * PANEL);
        let panels = panels * self.value_size.saturating_sub(8);
        let codes = self.codes.as_ref().map_or(0, |_| {
            PanelCodes::memory(self.places.len() as u64, self.value_size.saturating_sub(8) as u64) as usize
        });
        codes
            + panels
            + self.coded.len() * 4
            + self.words.len() * 8
            + self.places.len() * each
            + self.pivots.len() * 4
    }

    /// Reads the centres of an index; there are none afterwards when they would take more than `most` bytes, or
    /// more than the system has. What finds the nearest among them is left out where the index has that itself.
    ///
    /// # Errors
    /// A damaged list page.
    pub fn load<L: ReadLists, S: Space>(
        &mut self,
        lists: &mut L,
        space: S,
        most: usize,
    ) -> Result<(), L::Error> {
        self.clear();
        let mut fits = true;
        lists.each_list(&mut |list| {
            fits = self.add(list, space)? && self.memory() <= most;
            Ok(fits)
        })?;
        self.most = most;
        if !fits || !lists.finds_lists() && self.measure(space).is_err() {
            self.clear();
        }
        Ok(())
    }

    /// Adds a list; returns whether there was memory.
    fn add<S: Space>(&mut self, list: Listed<'_>, space: S) -> Result<bool, Damage> {
        let (centre, bad) = (list.centre, Damage::at(list.place.offset, BAD_CENTRE));
        space.view(centre).map_err(|_| bad)?;
        if self.places.is_empty() {
            self.value_size = centre.len();
        } else if self.value_size != centre.len() {
            return Err(bad);
        }
        let room = self.places.try_reserve(1).and(self.words.try_reserve(centre.len().div_ceil(8)));
        if room.is_err() || memory::is_short() {
            return Ok(false);
        }
        self.places.push(list.place);
        let (whole, rest) = centre.as_chunks::<8>();
        self.words.extend(whole.iter().map(|&word| u64::from_ne_bytes(word)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            self.words.push(u64::from_ne_bytes(last));
        }
        Ok(true)
    }

    /// Chooses pivots, evenly among the centres (neighbours in number are neighbours in space where a build numbered
    /// them so), and measures from there.
    fn measure<S: Space>(&mut self, space: S) -> Result<(), OutOfMemory> {
        let lists = self.places.len();
        if !matches!(space.metric(), Metric::L2 | Metric::InnerProduct) {
            return Ok(());
        }
        if kernels().fast_byte_panels() && self.encode(space)? {
            return Ok(());
        }
        if self.value_size < BOUNDED {
            return self.lay_out(space);
        }
        if lists >= 4 * PIVOTS { self.measure_bounds(space) } else { Ok(()) }
    }

    fn measure_bounds<S: Space>(&mut self, space: S) -> Result<(), OutOfMemory> {
        let lists = self.places.len();
        let mut wide = core::mem::take(&mut self.wide);
        let mut dense = true;
        for pivot in 0..PIVOTS {
            let centre = self.view(space, (2 * pivot + 1) * lists / (2 * PIVOTS));
            dense &= centre.is_some_and(|centre| space.widen(centre, &mut wide));
            append(&mut self.pivots, &wide)?;
        }
        self.apart.try_reserve_exact(lists)?;
        self.norms.try_reserve_exact(lists)?;
        for at in 0..if dense { lists } else { 0 } {
            if self.view(space, at).is_some_and(|centre| space.widen(centre, &mut wide)) {
                self.norms.push(kernels().inner_product_f32(&wide, &wide));
                self.apart.push(to_pivots(&self.pivots, &wide));
            }
        }
        self.wide = wide;
        Ok(())
    }

    /// Makes codes; false when there are values without.
    fn encode<S: Space>(&mut self, space: S) -> Result<bool, OutOfMemory> {
        let (mut wide, mut room, lists) = (core::mem::take(&mut self.wide), Vec::new(), self.places.len());
        let mut codes: Option<PanelCodes> = None;
        let mut coded = true;
        for at in 0..lists {
            coded = self.view(space, at).is_some_and(|centre| space.widen(centre, &mut wide));
            if at == 0 {
                codes = Some(PanelCodes::zeros(lists, wide.len())?);
            }
            let set =
                |codes: &mut PanelCodes| codes.set(at, &mut room, |out| f32::encode(kernels(), &wide, out));
            coded = coded && codes.as_mut().is_some_and(set);
            if !coded {
                break;
            }
        }
        self.wide = wide;
        self.codes = codes.filter(|_| coded);
        Ok(coded)
    }

    /// Makes `nearest` those that may be among the `count` nearest by their codes, without their distances; false when
    /// there are no codes.
    fn by_codes<S: Space>(
        &mut self,
        space: S,
        value: S::View<'_>,
        count: usize,
        nearest: &mut Vec<u64>,
    ) -> bool {
        let (metric, Some(codes)) = (space.metric(), &self.codes) else { return false };
        if !space.widen(value, &mut self.wide) {
            return false;
        }
        self.row.clear(self.wide.len());
        if !self.row.push(|out| f32::encode(kernels(), &self.wide, out)) {
            return false;
        }
        let (k, row) = (kernels(), self.row.get(0));
        let room = memory::resize(&mut self.lower, codes.len(), [0.0; PANEL]);
        if room.and_then(|()| memory::resize(&mut self.least, codes.len(), 0.0)).is_err() {
            return false;
        }
        codes.lower_of_all(k, metric, row, &mut self.lower, &mut self.least);
        let (mut smallest, mut first) = (f32::INFINITY, 0);
        for (panel, &here) in self.least.iter().enumerate() {
            if here < smallest {
                (smallest, first) = (here, panel);
            }
        }
        let upper = |at: usize| {
            let lower = self.lower.as_flattened().get(at).copied().unwrap_or_default();
            codes.upper(metric, at / PANEL, row.1, at, lower)
        };
        // the upper bounds of any `count` of them are a limit; those with the least lower ones are a good choice
        let limit = if count <= 1 {
            let panel = self.lower.get(first).copied().unwrap_or_default();
            upper(first * PANEL + panel.iter().position(|&l| l == smallest).unwrap_or_default())
        } else {
            let lower = self.lower.as_flattened().iter().enumerate().take(self.places.len());
            nearest.extend(lower.map(|(at, &l)| u64::from(order_key(l)) << 32 | at as u64));
            let last = count.min(nearest.len()) - 1;
            nearest.select_nth_unstable(last);
            let uppers = nearest.iter().take(last + 1).map(|&at| upper(at as u32 as usize));
            let limit =
                uppers.fold(f32::NEG_INFINITY, |limit, upper| if upper > limit { upper } else { limit });
            nearest.clear();
            limit
        };
        let limit = widened(metric, limit);
        for (panel, (lower, least)) in self.lower.iter().zip(&self.least).enumerate() {
            if *least > limit {
                continue;
            }
            // a bound that is no number is no bound
            let near = lower.iter().enumerate().filter(|(_, lower)| {
                !matches!(lower.partial_cmp(&&limit), Some(core::cmp::Ordering::Greater))
            });
            let lists = near.map(|(column, _)| panel * PANEL + column).filter(|&at| at < self.places.len());
            nearest.extend(lists.map(|at| at as u64));
        }
        true
    }

    /// Puts short values into panels.
    fn lay_out<S: Space>(&mut self, space: S) -> Result<(), OutOfMemory> {
        let (mut wide, lists) = (core::mem::take(&mut self.wide), self.places.len());
        let mut panels: Option<Panels<f32>> = None;
        for at in 0..lists {
            if !self.view(space, at).is_some_and(|centre| space.widen(centre, &mut wide)) {
                return Ok(());
            }
            if at == 0 {
                panels = Some(Panels::zeros(lists, wide.len())?);
            }
            if let Some(panels) = &mut panels {
                panels.set(at, &wide);
            }
        }
        (self.wide, self.panels, self.words) = (wide, panels, Vec::new());
        Ok(())
    }

    /// All distances to a value, by panels; false when there are none.
    fn by_panels<S: Space>(&mut self, space: S, value: S::View<'_>, nearest: &mut Vec<u64>) -> bool {
        let Some(panels) = &self.panels else { return false };
        if !space.widen(value, &mut self.wide) {
            return false;
        }
        let mut out = [[0f32; PANEL]];
        for at in 0..panels.len() {
            f32::by(space.metric(), kernels(), &[&self.wide], panels.panel(at), &mut out);
            let distances = out.iter().flatten().take(panels.columns(at)).enumerate();
            nearest.extend(distances.map(|(column, &distance)| {
                let distance = if distance.is_nan() { f32::INFINITY } else { distance };
                u64::from(order_key(distance)) << 32 | (at * PANEL + column) as u64
            }));
        }
        true
    }

    /// Centre `at`, where there is one.
    pub fn view<S: Space>(&self, space: S, at: usize) -> Option<S::View<'_>> {
        let words = self.value_size.div_ceil(8);
        let words = self.words.get(at * words..(at + 1) * words)?;
        space.view(zerocopy::IntoBytes::as_bytes(words).get(..self.value_size)?).ok()
    }

    /// Makes `out` what codes of the rows of list `at` are made against: `make` makes that of its centre, once. Nothing
    /// where the centre is not at hand.
    ///
    /// # Errors
    /// As `make`.
    pub fn coded<S: Space>(
        &mut self,
        space: S,
        at: usize,
        out: &mut Vec<f32>,
        make: impl FnOnce(S::View<'_>, &mut Vec<f32>) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        out.clear();
        let lists = self.places.len().max(1);
        let width = self.coded.len() / lists;
        let known = self.coded.get(at * width..(at + 1) * width).unwrap_or_default();
        if known.first().is_some_and(|first| !first.is_nan()) {
            return Ok(append(out, known)?);
        }
        let Some(centre) = self.view(space, at) else { return Ok(()) };
        make(centre, out)?;
        let all = out.len().saturating_mul(lists);
        if self.coded.is_empty() && self.memory().saturating_add(all.saturating_mul(4)) <= self.most {
            self.coded = memory::filled(f32::NAN, all)?;
        }
        if let Some(place) = self.coded.chunks_exact_mut(out.len().max(1)).nth(at) {
            place.copy_from_slice(out);
        }
        Ok(())
    }

    /// The place of list `at`.
    pub fn place(&self, at: usize) -> Option<ListPlace> {
        self.places.get(at).copied()
    }

    /// The number of the list at `place`.
    pub fn number(&self, place: ListPlace) -> Option<usize> {
        let key = |place: &ListPlace| (place.block, place.offset);
        self.places.binary_search_by_key(&key(&place), key).ok()
    }

    /// The places of all lists.
    pub fn places(&self) -> &[ListPlace] {
        &self.places
    }

    /// Makes `nearest` at least the `count` lists whose centres are nearest to `value`, in any order: the
    /// distance's key above the list's number. No value is equally far from all.
    pub fn nearest<S: Space>(
        &mut self,
        space: S,
        value: Option<S::View<'_>>,
        count: usize,
        nearest: &mut Vec<u64>,
    ) {
        nearest.clear();
        let lists = self.places.len();
        let distance = |centres: &Self, at: usize| {
            let distance = value.zip(centres.view(space, at)).map_or(0.0, |(v, c)| space.distance(v, c));
            u64::from(order_key(distance)) << 32 | at as u64
        };
        if value.is_some_and(|value| self.by_panels(space, value, nearest)) {
            return;
        }
        if count <= lists / 4 && value.is_some_and(|value| self.by_codes(space, value, count, nearest)) {
            nearest.iter_mut().for_each(|at| *at = distance(self, *at as usize));
            return;
        }
        if count > lists / 4 || !value.is_some_and(|value| self.bound(space, value)) {
            nearest.extend((0..lists).map(|at| distance(self, at)));
            return;
        }
        let mut heap = BinaryHeap::from(core::mem::take(nearest));
        for at in 0..self.order.len() {
            let (bound, list) = self.order.get(at).map_or((0, 0), |&o| ((o >> 32) as u32, o as u32));
            let furthest = heap.peek().copied().filter(|_| heap.len() >= count.max(1));
            // those that follow are no nearer
            if furthest.is_some_and(|furthest| (furthest >> 32) < u64::from(bound)) {
                break;
            }
            let found = distance(self, list as usize);
            match furthest {
                None => heap.push(found),
                Some(furthest) if found < furthest => {
                    heap.pop();
                    heap.push(found);
                }
                Some(_) => {}
            }
        }
        *nearest = heap.into_vec();
    }

    /// Orders the centres by lower bounds of their distances to `value`; false when there are no bounds.
    fn bound<S: Space>(&mut self, space: S, value: S::View<'_>) -> bool {
        if self.apart.len() != self.places.len() || !space.widen(value, &mut self.wide) {
            return false;
        }
        let to = to_pivots(&self.pivots, &self.wide);
        let norm = kernels().inner_product_f32(&self.wide, &self.wide);
        if !norm.is_finite() || to.iter().any(|to| !to.is_finite()) {
            return false;
        }
        let euclidean = space.metric() == Metric::L2;
        self.order.clear();
        self.order.extend(self.apart.iter().zip(&self.norms).enumerate().map(|(at, (apart, centre))| {
            let mut lower = [0f32; PIVOTS];
            for ((lower, to), apart) in lower.iter_mut().zip(&to).zip(apart) {
                *lower = (to - apart).abs() - SLACK * (to + apart);
            }
            let lower = lower.iter().fold(0f32, |most, &lower| most.max(lower));
            let square = lower * lower * (1.0 - SLACK);
            // by the law of cosines
            let bound =
                if euclidean { square } else { (square - norm - centre) / 2.0 - SLACK * (norm + centre) };
            let bound = if bound.is_nan() { f32::NEG_INFINITY } else { bound };
            u64::from(order_key(bound)) << 32 | at as u64
        }));
        self.order.sort_unstable();
        true
    }
}

/// Euclidean distances of a value to the pivots.
fn to_pivots(pivots: &[f32], value: &[f32]) -> [f32; PIVOTS] {
    let mut to = [0f32; PIVOTS];
    for (to, pivot) in to.iter_mut().zip(pivots.chunks_exact(value.len().max(1))) {
        *to = kernels().l2_squared_f32(pivot, value).sqrt();
    }
    to
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::ivf::tests::value;
    use crate::space::{AnySpace, Dense, ValueKind};

    /// Points around `around`, or anywhere.
    fn point(rng: &mut SmallRng, around: Option<&[f32]>, dims: usize) -> Vec<f32> {
        let near = |x: f32, rng: &mut SmallRng| x + rng.random_range(-0.2..0.2);
        match around {
            Some(around) => around.iter().map(|&x| near(x, rng)).collect(),
            None => (0..dims).map(|_| rng.random_range(-3.0..3.0)).collect(),
        }
    }

    fn add(centres: &mut Centres, at: u32, point: &[f32], space: Dense<f32>) {
        let place = ListPlace { block: at + 1, offset: 1, start_page: at + 900 };
        let centre = value(point);
        assert!(centres.add(Listed { place, tail: 0, centre: centre.bytes() }, space).unwrap());
    }

    #[test]
    fn bounds_leave_out_nothing_that_is_nearer() {
        let lists = if cfg!(miri) { 70 } else { 400 };
        let mut rng = SmallRng::seed_from_u64(11);
        // with bounds and in panels, and by codes
        for (metric, dims, way) in [Metric::L2, Metric::InnerProduct]
            .into_iter()
            .flat_map(|metric| [(metric, 300, 0), (metric, 20, 0), (metric, 300, 1), (metric, 20, 1)])
        {
            let AnySpace::Vector(space) = AnySpace::new(ValueKind::Vector, metric, dims) else { panic!() };
            let hubs: Vec<_> = (0..8).map(|_| point(&mut rng, None, dims as usize)).collect();
            let points: Vec<_> =
                (0..lists).map(|i| point(&mut rng, Some(&hubs[i * 8 / lists]), dims as usize)).collect();
            let mut centres = Centres::default();
            for (at, point) in (0..).zip(&points) {
                add(&mut centres, at, point, space);
            }
            match way {
                // as on a processor that is not fast with codes
                0 if dims == 300 => centres.measure_bounds(space).unwrap(),
                0 => centres.lay_out(space).unwrap(),
                _ => assert!(centres.encode(space).unwrap()),
            }
            assert_eq!(
                (centres.apart.len(), centres.panels.is_some(), centres.codes.is_some()),
                (if way == 0 && dims == 300 { lists } else { 0 }, way == 0 && dims < 300, way == 1)
            );
            for round in 0..if cfg!(miri) { 3 } else { 60 } {
                let near = (round % 3 > 0).then(|| &points[round % lists][..]);
                let query = value(&point(&mut rng, near, dims as usize));
                let query = space.view(query.bytes()).unwrap();
                let (mut all, mut some) = (Vec::new(), Vec::new());
                centres.nearest(space, Some(query), lists, &mut all);
                assert_eq!(all.len(), lists);
                all.sort_unstable();
                let first = value(&points[all[0] as u32 as usize]);
                let to_first = space.distance(space.view(first.bytes()).unwrap(), query);
                assert!(points.iter().all(|point| {
                    let point = value(point);
                    let to = space.distance(space.view(point.bytes()).unwrap(), query);
                    to >= to_first - 1e-4 * to_first.abs()
                }));
                for count in [1, 2, 17] {
                    centres.nearest(space, Some(query), count, &mut some);
                    some.sort_unstable();
                    assert_eq!(some[..count], all[..count], "{metric:?}");
                }
                let (first, place) = (all[0] as u32, centres.place(all[0] as u32 as usize).unwrap());
                assert_eq!((place.block, place.offset, place.start_page), (first + 1, 1, first + 900));
            }
            centres.nearest(space, None, 1, &mut Vec::new());
        }
    }

    #[test]
    fn a_query_without_direction_finds_lists() {
        for lists in [64usize, 70, 75, 100] {
            let mut rng = SmallRng::seed_from_u64(11);
            let AnySpace::Vector(space) = AnySpace::new(ValueKind::Vector, Metric::InnerProduct, 20) else {
                panic!()
            };
            let mut centres = Centres::default();
            for at in 0..lists {
                add(&mut centres, at as u32, &point(&mut rng, None, 20), space);
            }
            assert!(centres.encode(space).unwrap());
            let zero = value(&[0.0; 20]);
            for count in 1..=lists / 4 {
                let mut some = Vec::new();
                centres.nearest(space, Some(space.view(zero.bytes()).unwrap()), count, &mut some);
                assert!(some.len() >= count, "{lists} lists, {count} asked for, {} found", some.len());
            }
        }
    }
}
