//! Reading: heads, centres, codes of a list, values.

use core::ops::Range;

use zerocopy::FromBytes;

use super::layout::{
    ANOTHER_KIND, ANOTHER_LIST, CodePage, Head, MAX_BLOCKS, PageKind, RECORD_HEAD, START, front, heads,
    heads_per_page, put, record_at,
};
use super::probes::Total;
use super::query::{Bounds, deviations};
use super::stream::{NO_VALUE, read_record};
use super::{Index, Lists, found::Candidate};
use crate::filter::Program;
use crate::ivf::centre_cache::Centres;
use crate::ivf::lists::{BAD_VALUE, Collector, ListPlace, Listed, ReadLists, RunChoice, TableValues, Unpack};
use crate::quant::space::CodedSpace;
use crate::runs::Tree;
use crate::space::ValueBuf;
use crate::storage::blocks::BlockStore;
use crate::storage::chains::Chain;
use crate::storage::page::{Damage, INVALID_BLOCK, Tid};
use crate::work::memory::append;

/// Of a row whose value in the table cannot be the one that was indexed.
const BAD_ROW: &str = "row of the table has a value of another kind than the index";
/// Of an entry that belongs to no row.
pub const NO_ROW: &str = "entry without a row";
/// The first list page.
pub const HEAD_BLOCK: u32 = 1;
/// How many values ahead of the one being looked at memory is asked for.
const PREFETCH_DISTANCE_VALUES: usize = 4;

/// The place of list `number` whose first page is `start`.
pub fn list_place(number: u32, start: u32, page_size: usize) -> ListPlace {
    let per_page = heads_per_page(page_size) as u32;
    ListPlace {
        block: HEAD_BLOCK + number / per_page,
        offset: (number % per_page) as u16 + 1,
        start_page: start,
    }
}

/// The number of a list.
pub fn list_number(place: ListPlace, page_size: usize) -> u32 {
    let per_page = heads_per_page(page_size) as u32;
    let before = place.block.saturating_sub(HEAD_BLOCK).saturating_mul(per_page);
    before.saturating_add(u32::from(place.offset.saturating_sub(1)))
}

/// What a code page says to a scan.
enum Step {
    /// where the list goes on, and its epoch if this is its first page
    Next(u32, u32),
    /// the page is not one of the list's
    Lost(Damage),
}

impl<B: BlockStore> Lists<'_, B> {
    /// The head of a list; none when there is another list now where it stood.
    pub fn head(&mut self, list: ListPlace) -> Result<Option<Head>, B::Error> {
        let at = usize::from(list.offset.saturating_sub(1));
        let head = self.blocks.read(list.block, |bytes| {
            heads(bytes)?.get(at).copied().ok_or(Damage::at(list.offset, "no such list"))
        })?;
        Ok((head.start == list.start_page).then_some(head))
    }

    /// Whether an entry that a scan has met is still there: in its list, or where the scan took a run, in that.
    pub(super) fn lives(
        &mut self,
        candidate: &Candidate,
        run: Option<(Tree, &Program)>,
    ) -> Result<bool, B::Error> {
        if let Some((tree, filter)) = run {
            return self.lives_in_run(candidate, tree, filter);
        }
        let mut chain = Chain::new(u32::from_ne_bytes(candidate.start));
        while let Some(block) = chain.step(self.blocks)? {
            self.blocks.pause()?;
            let geometry = &self.index.geometry;
            let (found, next) = self.blocks.read(block, |bytes| {
                let Ok(page) = CodePage::new(geometry, bytes) else {
                    return Ok((false, INVALID_BLOCK));
                };
                let is_it = |block: super::layout::Block<'_>| {
                    let mut at = 0..block.len;
                    at.any(|at| {
                        block.live >> at & 1 == 1
                            && block.rows.get(at) == Some(&candidate.row)
                            && block.places.get(at) == Some(&candidate.place)
                    })
                };
                Ok((page.blocks().any(is_it), page.next()))
            })?;
            if found {
                return Ok(true);
            }
            chain.next = next;
        }
        Ok(false)
    }

    /// The exact distance of a row; none when a vacuum has taken it away, or when the table has it and shows none.
    #[inline]
    fn exact<S: CodedSpace>(
        &mut self,
        space: S,
        query: S::View<'_>,
        candidate: &Candidate,
        run: Option<(Tree, &Program)>,
        table: &mut dyn TableValues,
    ) -> Result<Option<f64>, B::Error> {
        let geometry = &self.index.geometry;
        if !geometry.own_values {
            let start = u32::from_ne_bytes(candidate.start);
            // a read of the block behind the last one that there can be would make the table longer
            if !candidate.row.is_valid() || candidate.row.block() == INVALID_BLOCK {
                return Err(Damage::at(0, NO_ROW).on(start).into());
            }
            let whole = &mut self.memory.whole;
            let there = table.value(candidate.row, whole).map_err(|memory| Damage::from(memory).on(start))?;
            let distance = there.then(|| space.view(whole.bytes()).map(|value| space.exact(value, query)));
            return Ok(distance.transpose().map_err(|_| Damage::at(0, BAD_ROW).on(start))?);
        }
        let (place, size) = (candidate.place, geometry.value_size);
        let mut found = None;
        if let Some(at) = record_at(place) {
            let whole = &mut self.memory.whole;
            let values = PageKind::Values;
            found = read_record(self.blocks, geometry, values, (place.block(), at), whole, |record| {
                let (row, _) = Tid::read_from_prefix(record).ok()?;
                let value = record.get(RECORD_HEAD..RECORD_HEAD + size).filter(|_| row == candidate.row)?;
                Some(space.view(value).map(|value| space.exact(value, query)).ok())
            })?;
        }
        match found.flatten() {
            Some(Some(distance)) => return Ok(Some(distance)),
            Some(None) => return Err(Damage::at(place.offset(), BAD_VALUE).on(place.block()).into()),
            None => {}
        }
        // a vacuum has freed the place, or there is damage
        if self.lives(candidate, run)? {
            return Err(Damage::at(place.offset(), NO_VALUE.what).on(place.block()).into());
        }
        Ok(None)
    }

    /// The next row, and the first page of its list.
    #[inline]
    pub(super) fn next_with_list<S: CodedSpace>(
        &mut self,
        space: S,
        query: S::View<'_>,
        found: &mut Collector<'_, '_>,
    ) -> Result<Option<(Tid, u32)>, B::Error> {
        if let Some(row) = found.packed.ready() {
            return Ok(Some(row));
        }
        self.complete_window(space, query, found)?;
        Ok(found.packed.ready())
    }

    /// Gives rows their exact distances until a window of them is complete.
    fn complete_window<S: CodedSpace>(
        &mut self,
        space: S,
        query: S::View<'_>,
        found: &mut Collector<'_, '_>,
    ) -> Result<(), B::Error> {
        let (rows, memory) = (&mut *found.packed, found.memory);
        let start = self.index.centres;
        let short = |memory: crate::work::memory::OutOfMemory| Damage::from(memory).on(start);
        loop {
            rows.begin_window().map_err(short)?;
            while let Some(candidate) = rows.wanted(memory, found.services.runs).map_err(short)? {
                if let Some(ahead) = rows.ahead(PREFETCH_DISTANCE_VALUES) {
                    let (place, size) = (ahead.place, self.index.geometry.record);
                    match self.index.geometry.own_values {
                        true => {
                            self.blocks.prefetch_bytes(place.block(), usize::from(place.offset()) * 8, size);
                        }
                        false => found.services.table.prefetch(ahead.row),
                    }
                }
                let run = rows.run.map(|tree| (tree, &rows.filter));
                match self.exact(space, query, &candidate, run, found.services.table)? {
                    Some(distance) => rows.add_exact(&candidate, distance).map_err(short)?,
                    None => rows.gone += 1,
                }
                // where the table shows few rows, all of them may be asked for
                self.blocks.pause()?;
            }
            found.services.table.pause();
            if rows.end_window(found.services.runs).map_err(short)? {
                return Ok(());
            }
        }
    }

    fn epoch(&mut self, start: u32) -> Result<u32, B::Error> {
        let geometry = &self.index.geometry;
        self.blocks.read(start, |bytes| Ok(CodePage::new(geometry, bytes)?.front.epoch))
    }
}

/// Shows the centre of list `number`, a whole varlena. `whole` is room for one that is cut.
pub fn read_centre<B: BlockStore, R>(
    blocks: &mut B,
    index: &Index,
    number: u32,
    whole: &mut ValueBuf,
    look: impl FnOnce(&[u8]) -> R,
) -> Result<R, B::Error> {
    let geometry = &index.geometry;
    let place = centre_place(index.centres, number, geometry.record, geometry.space());
    let size = geometry.value_size;
    let found = read_record(blocks, geometry, PageKind::Centres, place, whole, |record| {
        record.get(RECORD_HEAD..RECORD_HEAD + size).map(look)
    })?;
    Ok(found.flatten().ok_or(Damage::at(0, "no centre").on(place.0))?)
}

/// Shows centres, whole varlenas, until `look` returns false; returns whether it did not. `whole` is room for one that
/// is cut.
///
/// # Errors
/// A damaged block, or what `look` says.
pub(super) fn each_centre<B: BlockStore>(
    blocks: &mut B,
    index: &Index,
    whole: &mut ValueBuf,
    numbers: Range<u32>,
    look: &mut impl FnMut(u32, &[u8]) -> Result<bool, Damage>,
) -> Result<bool, B::Error> {
    let geometry = &index.geometry;
    let (record, space, end) = (geometry.record, geometry.space(), numbers.end);
    let (mut number, mut more) = (numbers.start, true);
    let mut show = |number: u32, record: &[u8]| -> Result<bool, Damage> {
        let centre = record.get(RECORD_HEAD..RECORD_HEAD + geometry.value_size);
        look(number, centre.ok_or(ANOTHER_KIND)?)
    };
    while more && number < end {
        let (block, at) = centre_place(index.centres, number, record, space);
        if at + record <= space {
            blocks.read(block, |bytes| {
                let front = front(bytes, PageKind::Centres)?;
                let mut at = at;
                while more && number < end && at + record <= usize::from(front.used) {
                    let bytes = bytes.get(START + at..START + at + record).ok_or(ANOTHER_KIND)?;
                    more = show(number, bytes)?;
                    (number, at) = (number + 1, at + record);
                }
                if more && number < end && at + record <= space {
                    return Err(Damage::at(0, "centres are missing"));
                }
                Ok(())
            })?;
        } else {
            let kind = PageKind::Centres;
            let shown = read_record(blocks, geometry, kind, (block, at), whole, |bytes| show(number, bytes))?;
            let shown = shown.ok_or(Damage::at(0, "centres are missing").on(block))?;
            more = shown.map_err(|damage| damage.on(block))?;
            number += 1;
        }
    }
    Ok(more)
}

/// Block and byte of a centre.
pub fn centre_place(first: u32, number: u32, record: usize, space: usize) -> (u32, usize) {
    let at = u64::from(number) * record as u64;
    let pages = u32::try_from(at / space as u64).unwrap_or(u32::MAX);
    (first.saturating_add(pages), (at % space as u64) as usize)
}

impl<B: BlockStore> ReadLists for Lists<'_, B> {
    type Error = B::Error;

    fn each_list(
        &mut self,
        look: &mut impl FnMut(Listed<'_>) -> Result<bool, Damage>,
    ) -> Result<(), B::Error> {
        let index = self.index;
        let (geometry, count) = (&index.geometry, index.lists);
        let per_page = heads_per_page(geometry.page_size) as u32;
        let mut number = 0u32;
        // that of another index's list, perhaps
        self.memory.head = None;
        while number < count {
            let block = HEAD_BLOCK + number / per_page;
            let found = &mut self.memory.heads;
            found.clear();
            self.blocks.read(block, |bytes| Ok(append(found, heads(bytes)?)?))?;
            let first = number;
            let end = count.min(first + per_page);
            if found.len() != (end - first) as usize {
                return Err(Damage::at(0, "another number of lists than the meta page says")
                    .on(block)
                    .into());
            }
            let super::Memory { heads: found, whole, .. } = &mut *self.memory;
            let more = each_centre(self.blocks, &index, whole, number..end, &mut |number, centre| {
                let head = found.get((number - first) as usize).ok_or(ANOTHER_KIND)?;
                let place = list_place(number, head.start, geometry.page_size);
                look(Listed { place, tail: head.insert, centre })
            })?;
            if !more {
                return Ok(());
            }
            number = end;
        }
        Ok(())
    }

    fn tail(&mut self, list: ListPlace) -> Result<Option<u32>, B::Error> {
        let head = self.head(list)?;
        self.memory.head = head.map(|head| (list, head));
        Ok(head.map(|head| head.insert))
    }

    fn enough_lists(&self, probes: usize, rows: f64, all: Total) -> usize {
        self.index.probes.for_rows(probes, rows, all)
    }

    fn finds_lists(&self) -> bool {
        self.index.centre_codes > 0
    }

    fn nearest_lists<S: CodedSpace>(
        &mut self,
        space: S,
        value: S::View<'_>,
        count: usize,
        centres: &Centres,
        to: (&mut Vec<u64>, &mut Vec<ListPlace>),
    ) -> Result<bool, B::Error> {
        self.nearest_by_codes(space, value, count, centres, to)
    }

    fn prefetch_list(&mut self, list: ListPlace) {
        let size = self.index.geometry.block_size.min(self.index.geometry.space());
        self.blocks.prefetch_bytes(list.start_page, 0, START + size);
    }

    #[inline]
    fn score_list<S: CodedSpace>(
        &mut self,
        list: ListPlace,
        distance: f32,
        space: S,
        query: Option<S::View<'_>>,
        found: &mut Collector<'_, '_>,
    ) -> Result<bool, B::Error> {
        let index = self.index;
        let geometry = &index.geometry;
        let number = list_number(list, geometry.page_size);
        let rows = &mut *found.packed;
        if let Some(view) = query
            && !rows.query.is_ready()
        {
            let set = rows.query.set(&index, self.memory, &space, view);
            set.map_err(|damage| damage.on(list.block))?;
        }
        let start = list.start_page;
        let (mut chain, mut epoch) = (Chain::new(start), 0);
        while let Some(block) = chain.step(self.blocks)? {
            let runs = &mut *found.services.runs;
            let rows = &mut *rows;
            let step = self.blocks.read(block, |bytes| {
                let page = match CodePage::new(geometry, bytes) {
                    Ok(page) if page.front.list == number => page,
                    Ok(_) => return Ok(Step::Lost(ANOTHER_LIST)),
                    Err(damage) => return Ok(Step::Lost(damage)),
                };
                let which = if rows.filter.is_empty() {
                    [u32::MAX; MAX_BLOCKS]
                } else {
                    rows.counts.seen += page.len() as u64;
                    page.select(&rows.filter)
                };
                if query.is_none() {
                    for block in page.selected(&which) {
                        rows.counts.matching += u64::from(block.live.count_ones());
                        for at in (0..block.len).filter(|at| block.live >> at & 1 == 1) {
                            let (Some(&row), Some(&place)) = (block.rows.get(at), block.places.get(at))
                            else {
                                continue;
                            };
                            rows.add_unordered(Candidate { row, place, start: start.to_ne_bytes() }, runs)?;
                        }
                    }
                    return Ok(Step::Next(page.next(), page.front.epoch));
                }
                let deviations = deviations(rows.asked, index.lists);
                let base = rows.query.base(index.estimate, distance, page.front.norm, deviations);
                let mut bounds = Bounds::default();
                for block in page.selected(&which) {
                    rows.counts.matching += u64::from(block.live.count_ones());
                    rows.query.bounds(geometry, &base, &block, &mut bounds);
                    rows.add(&block, &bounds, start, runs)?;
                }
                Ok(Step::Next(page.next(), page.front.epoch))
            })?;
            match step {
                Step::Next(next, now) => {
                    chain.next = next;
                    epoch = if block == start { now } else { epoch };
                }
                Step::Lost(damage) if block == start => return Err(damage.on(block).into()),
                Step::Lost(damage) => {
                    // a vacuum has taken the page out of the list, or there is damage
                    return if self.epoch(start)? == epoch {
                        Err(damage.on(block).into())
                    } else {
                        Ok(false)
                    };
                }
            }
            let spilled = rows.spill_beyond(found.memory, found.services.runs);
            spilled.map_err(|memory| Damage::from(memory).on(block))?;
        }
        if chain.steps() > 1 && self.epoch(start)? != epoch {
            return Ok(false);
        }
        self.blocks.pause()?;
        Ok(true)
    }

    fn choose_run(&mut self, filter: &Program) -> Result<Option<RunChoice>, B::Error> {
        self.shortest_run(filter)
    }

    fn score_run<S: CodedSpace>(
        &mut self,
        tree: Tree,
        space: S,
        query: Option<S::View<'_>>,
        found: &mut Collector<'_, '_>,
    ) -> Result<(), B::Error> {
        self.score_entries(tree, space, query, found)
    }

    #[inline]
    fn next_row<S: CodedSpace>(
        &mut self,
        space: S,
        query: Option<S::View<'_>>,
        found: &mut Collector<'_, '_>,
    ) -> Result<Option<Tid>, B::Error> {
        let Some(query) = query else {
            let row = found.packed.next_unordered(found.services.runs);
            return Ok(row.map_err(|memory| Damage::from(memory).on(self.index.centres))?);
        };
        Ok(self.next_with_list(space, query, found)?.map(|(row, _)| row))
    }

    fn value_at<R>(
        &mut self,
        entry: Tid,
        _: &mut dyn Unpack,
        unpacked: &mut ValueBuf,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, B::Error> {
        let geometry = &self.index.geometry;
        if !geometry.own_values {
            return Ok(None);
        }
        let super::Memory { code: keys, whole, .. } = &mut *self.memory;
        let (block, slot) = (entry.block(), usize::from(entry.offset().saturating_sub(1)));
        let place = self.blocks.read(block, |bytes| {
            let page = CodePage::new(geometry, bytes)?;
            let n = geometry.block_entries.max(1);
            let Some(block) = page.blocks().nth(slot / n) else { return Ok(None) };
            keys.clear();
            append(keys, block.keys_of(slot % n))?;
            Ok(block.places.get(slot % n).copied())
        })?;
        let Some((place, at)) = place.and_then(|place| Some((place, record_at(place)?))) else {
            return Ok(None);
        };
        let (start, size) = ((place.block(), at), geometry.value_size);
        let found = read_record(self.blocks, geometry, PageKind::Values, start, whole, |record| {
            let Some(value) = record.get(RECORD_HEAD..RECORD_HEAD + size) else { return Ok(None) };
            if keys.is_empty() {
                return Ok(Some(look(value)));
            }
            let item = unpacked.try_reset(size + keys.len())?;
            put(item, 0, value);
            put(item, size, keys);
            Ok::<_, Damage>(Some(look(item)))
        })?;
        Ok(found.transpose().map_err(|damage| damage.on(block))?.flatten())
    }
}
