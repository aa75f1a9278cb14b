//! Scans: the centres nearest to the query, then the entries of their lists.

use super::candidates::Candidates;
use super::centre_cache::Centres;
use super::format::META_BLOCK;
use super::lists::{BAD_CENTRE, Collector, ListPlace, ReadLists, RunChoice, Services};
use super::packed::found::{Candidate, Counts, Found};
use super::packed::probes::Total;
use crate::filter::Program;
use crate::quant::space::CodedSpace;
use crate::runs::Tree;
use crate::space::ValueBuf;
use crate::storage::page::{Damage, Tid};
use crate::work::memory::push;
use crate::work::ordered::{from_order_key, order_key};
use crate::work::runs::Runs;

/// Of a scan that finds no moment of peace.
const MOVING: Damage = Damage::at(0, "rows move to other pages all the time");
/// How many times more rows than their share tells must lie before the rows wanted for these to be far away, and not by
/// chance. Then those that are met first are not the nearest: the nearest are among as many times more rows, at most...
const LATE: f64 = 1.5;
/// ... this many; or everything is looked at, where no more rows than...
const BEHIND: f64 = 6.0;
/// ... this many match in all, so that little has to be compared.
const FEW: f64 = 20_000.0;
/// How often a batch is begun again because a vacuum has moved rows.
const ATTEMPTS: usize = 100;

/// How a scan searches.
#[derive(Clone, Copy, Debug)]
pub struct ScanSettings {
    /// lists of a batch
    pub probes: usize,
    /// whether somebody said how many
    pub asked: bool,
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
    /// rows given out, of a scan with conditions; what was seen when each list was done
    given: u64,
    progress: Vec<Counts>,
    run: Run,
    /// whether runs are always taken, where there are any, or never; none where the scan chooses
    insists: Option<bool>,
}

/// What a scan with conditions knows of the run that they leave.
#[derive(Clone, Copy, Debug, Default)]
enum Run {
    /// nobody has asked
    #[default]
    Unknown,
    /// there is none, or nobody wants it any more
    None,
    /// it may be taken
    Open(RunChoice),
    /// it is to be taken at once
    Wanted(RunChoice),
    /// all rows are of it
    Taken,
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
        self.progress.clear();
        (self.at, self.ordered, self.started, self.given) = (0, 0, false, 0);
        self.run = Run::Unknown;
    }

    /// The row that was returned last, where it was found; none of pages without codes.
    pub fn returned(&self) -> Option<Candidate> {
        self.packed.returned()
    }

    /// The tree of whose run that row is, and the conditions; none where it is of a list.
    pub fn run(&self) -> Option<(Tree, &Program)> {
        self.packed.run.map(|tree| (tree, &self.packed.filter))
    }

    /// The distance of that row: the operator's, or its square for the Euclidean one; none without a query.
    pub fn distance_of_returned(&self) -> Option<f64> {
        self.packed.distance_of_returned()
    }

    /// The conditions on filter columns, none at first. They are the same in all calls of [`Self::next`] up to a reset.
    pub fn filter(&mut self) -> &mut Program {
        &mut self.packed.filter
    }

    /// Has all searches take runs where there are any, or none: to compare them.
    pub fn insist_on_runs(&mut self, insists: Option<bool>) {
        self.insists = insists;
    }

    /// The next row, or none. With conditions, every row that meets them comes, if enough are asked for: the scan looks
    /// at the lists that hold the next rows it needs, whatever the settings say of going on. `query` is a whole varlena
    /// (unit-length where the index keeps unit vectors), `None` for NULL, and like `settings` the same in all calls up
    /// to a reset.
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
        let view = query.map(|value| space.view(value)).transpose().map_err(ScanError::Query)?;
        self.packed.asked = if settings.asked { settings.probes } else { 0 };
        if !self.started {
            if !self.wants_run(lists, settings)? {
                self.find_lists(lists, space, view)?;
            }
            self.started = true;
        }
        if !self.packed.filter.is_empty() {
            return Ok(self.next_matching(lists, space, view, settings, services)?);
        }
        loop {
            if self.at > 0
                && let Some(row) = lists.next_row(space, view, &mut self.collector(settings, services))?
            {
                return Ok(Some(row));
            }
            if self.at >= settings.max_probes.min(self.lists.len()) {
                return Ok(None);
            }
            self.search(lists, space, view, settings, services)?;
        }
    }

    /// Whether lists were found.
    pub fn started(&self) -> bool {
        self.started
    }

    /// Begins with lists found by what the index has for that, or among centres kept in memory. Where there is neither,
    /// [`Self::next`] goes through the list pages.
    ///
    /// # Errors
    /// A damaged block, or a query of other dimensions.
    pub fn begin<L: ReadLists, S: CodedSpace>(
        &mut self,
        lists: &mut L,
        space: S,
        query: Option<&[u8]>,
        settings: &ScanSettings,
        centres: &mut Centres,
    ) -> Result<(), ScanError<L::Error>> {
        let view = query.map(|value| space.view(value)).transpose().map_err(ScanError::Query)?;
        if self.wants_run(lists, settings)? {
            self.started = true;
            return Ok(());
        }
        // a scan with conditions goes on for as long as it must
        let most = if self.packed.filter.is_empty() { settings.max_probes } else { usize::MAX };
        if let Some(view) = view {
            let to = (&mut self.lists, &mut self.places);
            self.started = lists.nearest_lists(space, view, most, centres, to)?;
        }
        if self.started || centres.is_empty() {
            return Ok(());
        }
        centres.nearest(space, view, most, &mut self.lists);
        // without memory for them the list pages are asked
        if self.places.try_reserve(centres.places().len()).is_ok() {
            self.places.extend_from_slice(centres.places());
            self.started = true;
        }
        Ok(())
    }

    /// The next row that meets the conditions, or none. Apart from scans without conditions, which stay as short as
    /// they are.
    #[inline(never)]
    fn next_matching<L: ReadLists, S: CodedSpace>(
        &mut self,
        lists: &mut L,
        space: S,
        query: Option<S::View<'_>>,
        settings: &ScanSettings,
        services: &mut Services<'_>,
    ) -> Result<Option<Tid>, L::Error> {
        if let Run::Wanted(run) = self.run {
            self.take_run(lists, space, query, &run, settings, services)?;
        }
        loop {
            // lists that are looked at during the turn may have rows that nobody has asked for yet
            let all = self.at >= self.lists.len();
            if !self.packed.is_ready() && !matches!(self.run, Run::Taken) {
                self.widen(lists, space, query, settings, services)?;
            }
            let row = lists.next_row(space, query, &mut self.collector(settings, services))?;
            if row.is_some() {
                self.given += 1;
                return Ok(row);
            }
            if all {
                return Ok(None);
            }
            if self.at < self.lists.len() {
                let end = self.at + self.at.max(1);
                self.add_lists(lists, space, query, end, settings, services)?;
            }
        }
    }

    /// Whether the run that the conditions leave is the better way from the beginning, if there is one.
    fn wants_run<L: ReadLists>(&mut self, lists: &mut L, settings: &ScanSettings) -> Result<bool, L::Error> {
        if self.packed.filter.is_empty() {
            return Ok(false);
        }
        if let Run::Unknown = self.run {
            let asked = self.insists != Some(false);
            let run = if asked { lists.choose_run(&self.packed.filter)? } else { None };
            self.run = run.map_or(Run::None, |run| {
                // other conditions may leave fewer: that is found out on the way
                let share = (run.entries / run.rows.max(1.0)).min(1.0);
                let rows = self.packed.next_size() as f64 / share;
                let all = Total { rows: run.rows, lists: run.lists };
                let enough = lists.enough_lists(settings.probes.max(1), rows, all).min(run.lists);
                if self.insists == Some(true) || run_pays(&run, enough, share) {
                    Run::Wanted(run)
                } else {
                    Run::Open(run)
                }
            });
        }
        Ok(matches!(self.run, Run::Wanted(_)))
    }

    /// Makes the candidates all rows of a run that meet the conditions, in the place of those that there were.
    fn take_run<L: ReadLists, S: CodedSpace>(
        &mut self,
        lists: &mut L,
        space: S,
        query: Option<S::View<'_>>,
        run: &RunChoice,
        settings: &ScanSettings,
        services: &mut Services<'_>,
    ) -> Result<(), L::Error> {
        self.packed.clear_rows(services.runs);
        self.run = Run::Taken;
        self.at = self.lists.len();
        lists.score_run(run.tree, space, query, &mut self.collector(settings, services))
    }

    /// Looks at as many lists as the next window of rows needs: until there are so many rows that match, and in the
    /// lists that hold the nearest of all rows among which so many match. How many these are, their share says, or
    /// where so many were met, when that was late: as where all that match is far away.
    fn widen<L: ReadLists, S: CodedSpace>(
        &mut self,
        lists: &mut L,
        space: S,
        query: Option<S::View<'_>>,
        settings: &ScanSettings,
        services: &mut Services<'_>,
    ) -> Result<(), L::Error> {
        let window = if query.is_some() { self.packed.next_size() as u64 } else { 1 };
        // those that are gone were counted among the matching ones, too
        let wanted = self.given + self.packed.gone + window;
        loop {
            let Counts { seen, matching } = self.packed.counts;
            let shared = wanted as f64 * seen as f64 / matching as f64;
            let met = self.progress.partition_point(|counts| counts.matching < wanted);
            // those of the lists before the one that had the last of them
            let before = met
                .checked_sub(1)
                .and_then(|at| self.progress.get(at))
                .map_or(0.0, |counts| counts.seen as f64);
            let late = before / shared;
            let total = seen as f64 / self.at.max(1) as f64 * self.lists.len() as f64;
            let all = Total { rows: total, lists: self.lists.len() };
            let rows = match late > LATE {
                true if total * matching as f64 <= FEW * seen as f64 => total,
                true => before * late.min(BEHIND),
                false => shared,
            };
            let enough = match matching {
                0 => usize::MAX,
                _ if query.is_none() && matching >= wanted => self.at,
                _ => lists.enough_lists(settings.probes.max(1), rows, all),
            };
            let enough = if matching < wanted { enough.max(self.at + 1) } else { enough };
            if let Run::Open(run) = self.run
                && seen > 0
                && enough > self.at
            {
                if self.given > 0 {
                    // rows of lists were given out, and would come again
                    self.run = Run::None;
                } else if run_pays(
                    &run,
                    enough.min(self.lists.len()) - self.at,
                    matching as f64 / seen as f64,
                ) {
                    return self.take_run(lists, space, query, &run, settings, services);
                }
            }
            // a share of few rows says little: no more than twice as many as before
            let end = enough.min(self.at.saturating_mul(2).max(settings.probes.max(1))).min(self.lists.len());
            if end <= self.at {
                break;
            }
            self.add_lists(lists, space, query, end, settings, services)?;
        }
        Ok(())
    }

    /// Adds the matching rows of the lists up to `end` to those that are here.
    fn add_lists<L: ReadLists, S: CodedSpace>(
        &mut self,
        lists: &mut L,
        space: S,
        query: Option<S::View<'_>>,
        end: usize,
        settings: &ScanSettings,
        services: &mut Services<'_>,
    ) -> Result<(), L::Error> {
        let end = end.min(self.lists.len());
        if end > self.ordered {
            self.order_lists(end);
        }
        self.packed.reopen();
        let mut attempts = 0;
        while self.at < end {
            let (at, counts) = (self.at, self.packed.counts);
            if self.score(lists, space, query, end, settings, services)? {
                break;
            }
            // those before the last one were looked at in peace, but each row comes once
            self.packed.begin_again(counts);
            (self.at, attempts) = (at, attempts + 1);
            if attempts == ATTEMPTS {
                return Err(MOVING.on(META_BLOCK).into());
            }
        }
        self.packed.open = self.at < self.lists.len();
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
        // what was found among centres in memory, when there was none for the places
        found.clear();
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
        Err(MOVING.on(META_BLOCK).into())
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
            if !found.packed.filter.is_empty() {
                self.progress.truncate(self.at - 1);
                let noted = push(&mut self.progress, found.packed.counts);
                noted.map_err(|memory| Damage::from(memory).on(META_BLOCK))?;
            }
        }
        Ok(true)
    }
}

/// Whether a run takes less than so many lists more, in which this share of the rows matches.
fn run_pays(run: &RunChoice, lists: usize, share: f64) -> bool {
    let rows = lists as f64 / run.lists.max(1) as f64 * run.rows;
    run.prices.run(run.entries) <= run.prices.lists(lists as f64, rows, share)
}
