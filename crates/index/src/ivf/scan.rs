//! Scans: the centres nearest to the query, then the entries of their lists.

use super::candidates::Candidates;
use super::centre_cache::Centres;
use super::lists::{BAD_CENTRE, Collector, ListPlace, ReadLists, Services};
use crate::space::{Space, ValueBuf};
use crate::storage::page::{Damage, Tid};
use crate::work::memory::push;
use crate::work::ordered::order_key;
use crate::work::runs::Runs;

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
    pub fn next<L: ReadLists, S: Space>(
        &mut self,
        lists: &mut L,
        space: S,
        query: Option<&[u8]>,
        settings: &ScanSettings,
        services: &mut Services<'_>,
    ) -> Result<Option<Tid>, ScanError<L::Error>> {
        loop {
            if let Some(row) = self.candidates.pop(services.runs) {
                return Ok(Some(row));
            }
            if self.started && self.at >= settings.max_probes.min(self.lists.len()) {
                return Ok(None);
            }
            let view = query.map(|value| space.view(value)).transpose().map_err(ScanError::Query)?;
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
    pub fn begin<S: Space>(
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
    fn find_lists<L: ReadLists, S: Space>(
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

    /// Collects the entries of the next batch of lists.
    fn search<L: ReadLists, S: Space>(
        &mut self,
        lists: &mut L,
        space: S,
        query: Option<S::View<'_>>,
        settings: &ScanSettings,
        services: &mut Services<'_>,
    ) -> Result<(), L::Error> {
        self.candidates.clear(services.runs);
        let end = (self.at + settings.probes.max(1)).min(settings.max_probes).min(self.lists.len());
        if end > self.ordered {
            self.order_lists(end);
        }
        let mut found = Collector {
            candidates: &mut self.candidates,
            memory: settings.memory,
            unpacked: &mut self.unpacked,
            services,
            entry_size: 0,
        };
        while self.at < end {
            let list = self.lists.get(self.at).and_then(|&list| self.places.get(list as u32 as usize));
            self.at += 1;
            if let Some(&list) = list {
                lists.score_list(list, space, query, &mut found)?;
            }
        }
        Ok(())
    }
}
