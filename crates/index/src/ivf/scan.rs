//! Scans: the centres nearest to the query, then the entries of their lists.

use super::candidates::Candidates;
use super::centre_cache::Centres;
use super::format::META_BLOCK;
use super::lists::{BAD_CENTRE, Collector, ListPlace, ReadLists, Services};
use super::packed::found::Found;
use crate::quant::space::CodedSpace;
use crate::space::ValueBuf;
use crate::storage::page::{Damage, Tid};
use crate::work::memory::push;
use crate::work::ordered::{from_order_key, order_key};
use crate::work::runs::Runs;

/// How often a batch is begun again because a vacuum has moved rows.
const ATTEMPTS: usize = 100;

/// How a scan searches.
#[derive(Clone, Copy, Debug)]
pub struct ScanSettings {
    /// lists of a batch
    pub probes: usize,
    /// lists in all; more than `probes` when the scan goes on after the first batch
    pub max_probes: usize,
    /// bytes of memory that candidates may take
    pub memory: usize,
}

/// The state of one scan. Everything in it that needs dropping stays in it while blocks are read.
#[derive(Debug, Default)]
pub struct Scan {
    /// key of the distance of the centre, then the place in `places`
    lists: Vec<u64>,
    places: Vec<ListPlace>,
    /// lists before are searched, those up to `ordered` in order
    at: usize,
    ordered: usize,
    candidates: Candidates,
    packed: Found,
    unpacked: ValueBuf,
    started: bool,
}

/// Why a scan ends with an error.
#[derive(Debug)]
pub enum ScanError<E> {
    /// a block
    Store(E),
    /// the query does not fit the index
    Query(crate::ValueError),
}

impl<E> From<E> for ScanError<E> {
    fn from(e: E) -> Self {
        ScanError::Store(e)
    }
}

impl Scan {
    /// Forgets the query; memory is kept for the next.
    pub fn reset(&mut self, runs: &mut dyn Runs) {
        self.candidates.clear(runs);
        self.packed.clear(runs);
        self.lists.clear();
        self.places.clear();
        (self.at, self.ordered, self.started) = (0, 0, false);
    }

    /// The next row, or none. `query` is a whole varlena (unit-length where the index keeps unit vectors), `None` for
    /// NULL, and like `settings` the same in all calls up to a reset.
    ///
    /// # Errors
    /// A damaged block, or a query of other dimensions.
    #[inline]
    pub fn next<L: ReadLists, S: CodedSpace>(
        &mut self,
        lists: &mut L,
        space: S,
        query: Option<&[u8]>,
        settings: &ScanSettings,
        services: &mut Services<'_>,
    ) -> Result<Option<Tid>, ScanError<L::Error>> {
        loop {
            let view = query.map(|value| space.view(value)).transpose().map_err(ScanError::Query)?;
            if self.started
                && self.at > 0
                && let Some(row) = lists.next_row(space, view, &mut self.collector(settings, services))?
            {
                return Ok(Some(row));
            }
            if self.started && self.at >= settings.max_probes.min(self.lists.len()) {
                return Ok(None);
            }
            if !self.started {
                self.find_lists(lists, space, view)?;
                self.started = true;
            }
            self.search(lists, space, view, settings, services)?;
        }
    }

    /// Whether lists were found.
    pub fn started(&self) -> bool {
        self.started
    }

    /// Begins with lists found among centres kept in memory. Where there are none, [`Self::next`] goes through the list
    /// pages.
    ///
    /// # Errors
    /// A query of other dimensions.
    pub fn begin<S: CodedSpace>(
        &mut self,
        space: S,
        query: Option<&[u8]>,
        settings: &ScanSettings,
        centres: &mut Centres,
    ) -> Result<(), crate::ValueError> {
        if centres.is_empty() {
            return Ok(());
        }
        let view = query.map(|value| space.view(value)).transpose()?;
        centres.nearest(space, view, settings.max_probes, &mut self.lists);
        // without memory for them the list pages are asked
        if self.places.try_reserve(centres.places().len()).is_ok() {
            self.places.extend_from_slice(centres.places());
            self.started = true;
        }
        Ok(())
    }

    /// Collects all lists with the distances of their centres.
    fn find_lists<L: ReadLists, S: CodedSpace>(
        &mut self,
        lists: &mut L,
        space: S,
        query: Option<S::View<'_>>,
    ) -> Result<(), L::Error> {
        let (found, places) = (&mut self.lists, &mut self.places);
        lists.each_list(&mut |list| {
            let bad = Damage::at(list.place.offset, BAD_CENTRE);
            let centre = space.view(list.centre).map_err(|_| bad)?;
            let distance = query.map_or(0.0, |query| space.distance(centre, query));
            let key = u64::from(order_key(distance)) << 32 | places.len() as u64;
            push(found, key).and(push(places, list.place)).map_err(|_| Damage::OUT_OF_MEMORY)?;
            Ok(true)
        })
    }

    /// Puts the nearest `upto` lists in order.
    fn order_lists(&mut self, upto: usize) {
        let rest = self.lists.get_mut(self.ordered..).unwrap_or_default();
        let wanted = upto.saturating_sub(self.ordered);
        if wanted < rest.len() {
            let (nearest, _, _) = rest.select_nth_unstable(wanted);
            nearest.sort_unstable();
            self.ordered += wanted;
        } else {
            rest.sort_unstable();
            self.ordered += rest.len();
        }
    }

    fn collector<'a, 's>(
        &'a mut self,
        settings: &ScanSettings,
        services: &'a mut Services<'s>,
    ) -> Collector<'a, 's> {
        Collector {
            candidates: &mut self.candidates,
            packed: &mut self.packed,
            memory: settings.memory,
            unpacked: &mut self.unpacked,
            services,
            entry_size: 0,
        }
    }

    /// Collects the entries of the next batch of lists.
    fn search<L: ReadLists, S: CodedSpace>(
        &mut self,
        lists: &mut L,
        space: S,
        query: Option<S::View<'_>>,
        settings: &ScanSettings,
        services: &mut Services<'_>,
    ) -> Result<(), L::Error> {
        let start = self.at;
        let end = (start + settings.probes.max(1)).min(settings.max_probes).min(self.lists.len());
        if end > self.ordered {
            self.order_lists(end);
        }
        for _ in 0..ATTEMPTS {
            self.at = start;
            self.candidates.clear(services.runs);
            self.packed.clear_rows(services.runs);
            if self.score(lists, space, query, end, settings, services)? {
                return Ok(());
            }
        }
        let moved = Damage::at(0, "rows move to other pages all the time");
        Err(moved.on(META_BLOCK).into())
    }

    /// Adds the entries of the lists up to `end`; returns false when that has to be done again.
    fn score<L: ReadLists, S: CodedSpace>(
        &mut self,
        lists: &mut L,
        space: S,
        query: Option<S::View<'_>>,
        end: usize,
        settings: &ScanSettings,
        services: &mut Services<'_>,
    ) -> Result<bool, L::Error> {
        let mut found = Collector {
            candidates: &mut self.candidates,
            packed: &mut self.packed,
            memory: settings.memory,
            unpacked: &mut self.unpacked,
            services,
            entry_size: 0,
        };
        let place = |lists: &[u64], at: usize| {
            let &key = lists.get(at)?;
            Some((from_order_key((key >> 32) as u32), *self.places.get(key as u32 as usize)?))
        };
        while self.at < end {
            if let Some((_, ahead)) = place(&self.lists, self.at + 1).filter(|_| self.at + 1 < end) {
                lists.prefetch_list(ahead);
            }
            let list = place(&self.lists, self.at);
            self.at += 1;
            if let Some((distance, list)) = list
                && !lists.score_list(list, distance, space, query, &mut found)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
