//! Scans: the centres nearest to the query, then the entries of their lists.

use super::candidates::Candidates;
use super::centres::Centres;
use super::v1::layout::{Entry, HEAD_BLOCK, List, META_BLOCK, MetaPage, PAGE_ID, Packed};
use crate::space::{Space, ValueBuf};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, FIRST_OFFSET, INVALID_BLOCK, LINE_POINTER, Page, Tid};
use crate::work::ordered::order_key;
use crate::work::runs::Runs;
use vector_kernels::prefetch;

/// Undoes the server's compression of a value in place.
pub trait Unpack {
    /// Makes `out` the whole value; false when that cannot be done.
    fn unpack(&mut self, compressed: &[u8], out: &mut ValueBuf) -> bool;
}

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
    /// key of the distance of the centre, then the place in `starts`
    lists: Vec<u64>,
    starts: Vec<u32>,
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

/// What the server does for a scan.
pub struct Services<'a> {
    /// keeps what does not fit in memory
    pub runs: &'a mut dyn Runs,
    /// decompresses values
    pub unpack: &'a mut dyn Unpack,
}

/// Reads the meta page.
///
/// # Errors
/// A block that is none.
pub fn read_meta<B: BlockStore>(blocks: &mut B) -> Result<MetaPage, B::Error> {
    blocks.read(META_BLOCK, MetaPage::read)
}

/// Follows a chain of pages no further than there are blocks.
pub(super) struct Chain {
    pub(super) next: u32,
    steps: u32,
}

impl Chain {
    pub(super) fn new(start: u32) -> Self {
        Chain { next: start, steps: 0 }
    }

    /// The block to read next.
    pub(super) fn step<B: BlockStore>(&mut self, blocks: &mut B) -> Result<Option<u32>, B::Error> {
        if self.next == INVALID_BLOCK {
            return Ok(None);
        }
        self.steps += 1;
        if self.steps.is_multiple_of(1024) && self.steps > blocks.count()? {
            return Err(Damage::at(0, "pages chained in a circle").on(self.next).into());
        }
        Ok(Some(self.next))
    }
}

/// How many entries ahead of the one being scored memory is asked for.
const PREFETCH_DISTANCE_ITEMS: u16 = 2;

pub(super) const BAD_CENTRE: &str = "centre does not fit the index";
pub(super) const BAD_VALUE: &str = "value does not fit the index";

impl Scan {
    /// Forgets the query; memory is kept for the next.
    pub fn reset(&mut self, runs: &mut dyn Runs) {
        self.candidates.clear(runs);
        self.lists.clear();
        self.starts.clear();
        (self.at, self.ordered, self.started) = (0, 0, false);
    }

    /// The next row, or none. `query` is a whole varlena (unit-length where the index keeps unit vectors), `None` for
    /// NULL, and like `settings` the same in all calls up to a reset.
    ///
    /// # Errors
    /// A damaged block, or a query of other dimensions.
    #[inline]
    pub fn next<B: BlockStore, S: Space>(
        &mut self,
        blocks: &mut B,
        space: S,
        query: Option<&[u8]>,
        settings: &ScanSettings,
        services: &mut Services<'_>,
    ) -> Result<Option<Tid>, ScanError<B::Error>> {
        loop {
            if let Some(row) = self.candidates.pop(services.runs) {
                return Ok(Some(row));
            }
            if self.started && self.at >= settings.max_probes.min(self.lists.len()) {
                return Ok(None);
            }
            let view = query.map(|value| space.view(value)).transpose().map_err(ScanError::Query)?;
            if !self.started {
                self.find_lists(blocks, space, view)?;
                self.started = true;
            }
            self.search(blocks, space, view, settings, services)?;
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
        self.starts.extend(centres.start_pages());
        self.started = true;
        Ok(())
    }

    /// Collects all lists with the distances of their centres.
    fn find_lists<B: BlockStore, S: Space>(
        &mut self,
        blocks: &mut B,
        space: S,
        query: Option<S::View<'_>>,
    ) -> Result<(), B::Error> {
        let (lists, starts) = (&mut self.lists, &mut self.starts);
        let mut chain = Chain::new(HEAD_BLOCK);
        while let Some(block) = chain.step(blocks)? {
            chain.next = blocks.read(block, |bytes| {
                let page = Page::new(bytes, PAGE_ID)?;
                for offset in FIRST_OFFSET..=page.max_offset() {
                    if let Ok(ahead) = page.item(offset + PREFETCH_DISTANCE_ITEMS) {
                        prefetch(ahead);
                    }
                    let list = List::new(page.item(offset)?, offset)?;
                    let centre = space.view(list.centre).map_err(|_| Damage::at(offset, BAD_CENTRE))?;
                    let distance = query.map_or(0.0, |query| space.distance(centre, query));
                    lists.push(u64::from(order_key(distance)) << 32 | starts.len() as u64);
                    starts.push(list.head.start_page);
                }
                Ok(page.next())
            })?;
        }
        Ok(())
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
    fn search<B: BlockStore, S: Space>(
        &mut self,
        blocks: &mut B,
        space: S,
        query: Option<S::View<'_>>,
        settings: &ScanSettings,
        services: &mut Services<'_>,
    ) -> Result<(), B::Error> {
        self.candidates.clear(services.runs);
        let end = (self.at + settings.probes.max(1)).min(settings.max_probes).min(self.lists.len());
        if end > self.ordered {
            self.order_lists(end);
        }
        // bytes of an entry, once one was seen
        let mut size = 0;
        while self.at < end {
            let list = self.lists.get(self.at).copied().unwrap_or_default();
            let start = self.starts.get(list as u32 as usize).copied().unwrap_or(INVALID_BLOCK);
            self.at += 1;
            let mut chain = Chain::new(start);
            while let Some(block) = chain.step(blocks)? {
                // A list's pages follow each other as they were built: what tells where the next page's entries lie
                // was asked for one page ago, and what tells it of the page behind that is now.
                let next = block.saturating_add(1);
                for offset in FIRST_OFFSET..FIRST_OFFSET + PREFETCH_DISTANCE_ITEMS {
                    blocks.prefetch_item(Tid::new(next, offset), size);
                }
                blocks.prefetch_blocks(&[Tid::new(next.saturating_add(1), FIRST_OFFSET)]);
                let most = blocks.page_size() / LINE_POINTER;
                self.candidates
                    .make_room(most, services.runs)
                    .map_err(|_| Damage::OUT_OF_MEMORY.on(block))?;
                let (candidates, unpacked, unpack) =
                    (&mut self.candidates, &mut self.unpacked, &mut *services.unpack);
                (chain.next, size) = blocks
                    .read(block, |bytes| score_page(bytes, space, query, candidates, unpacked, unpack))?;
                let spilled = candidates.spill_beyond(settings.memory, services.runs);
                spilled.map_err(|_| Damage::OUT_OF_MEMORY.on(block))?;
            }
            blocks.pause()?;
        }
        Ok(())
    }
}

/// Adds the entries of a page; returns the next page of its chain, and the bytes of its last entry.
fn score_page<S: Space>(
    bytes: &[u8],
    space: S,
    query: Option<S::View<'_>>,
    candidates: &mut Candidates,
    unpacked: &mut ValueBuf,
    unpack: &mut dyn Unpack,
) -> Result<(u32, usize), Damage> {
    let page = Page::new(bytes, PAGE_ID)?;
    let mut size = 0;
    for offset in FIRST_OFFSET..=page.max_offset() {
        if let Ok(ahead) = page.item(offset + PREFETCH_DISTANCE_ITEMS) {
            prefetch(ahead);
        }
        let item = page.item(offset)?;
        size = item.len();
        let entry = Entry::new(item, offset)?;
        let Some(query) = query else {
            candidates.push(0.0, entry.row);
            continue;
        };
        let distance = |value: &[u8]| space.view(value).map(|view| space.distance(view, query));
        let distance = match entry.value {
            Packed::Whole(value) => distance(value).ok(),
            Packed::Compressed(value) => {
                if unpack.unpack(value, unpacked) {
                    distance(unpacked.bytes()).ok()
                } else {
                    None
                }
            }
            short => short.with(distance).and_then(Result::ok),
        };
        candidates.push(distance.ok_or(Damage::at(offset, BAD_VALUE))?, entry.row);
    }
    Ok((page.next(), size))
}
