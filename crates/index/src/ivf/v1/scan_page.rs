//! Reading: list pages, and the pages of a list.

use vector_kernels::prefetch;

use super::Pages;
use super::layout::{Entry, HEAD_BLOCK, List, PAGE_ID, Packed};
use crate::ivf::candidates::Candidates;
use crate::ivf::lists::{BAD_VALUE, Collector, ListPlace, Listed, ReadLists, Unpack};
use crate::quant::space::CodedSpace;
use crate::space::ValueBuf;
use crate::storage::blocks::BlockStore;
use crate::storage::chains::Chain;
use crate::storage::page::{Damage, FIRST_OFFSET, LINE_POINTER, Page, Tid};

/// How many items ahead of the one being looked at memory is asked for.
const PREFETCH_DISTANCE_ITEMS: u16 = 2;

impl<B: BlockStore> ReadLists for Pages<'_, B> {
    type Error = B::Error;

    #[inline]
    fn each_list(
        &mut self,
        look: &mut impl FnMut(Listed<'_>) -> Result<bool, Damage>,
    ) -> Result<(), B::Error> {
        let mut chain = Chain::new(HEAD_BLOCK);
        let mut more = true;
        while let Some(block) = chain.step(self.0)?.filter(|_| more) {
            (chain.next, more) = self.0.read(block, |bytes| {
                let page = Page::new(bytes, PAGE_ID)?;
                for offset in FIRST_OFFSET..=page.max_offset() {
                    if let Ok(ahead) = page.item(offset + PREFETCH_DISTANCE_ITEMS) {
                        prefetch(ahead);
                    }
                    let List { head, centre } = List::new(page.item(offset)?, offset)?;
                    let place = ListPlace { block, offset, start_page: head.start_page };
                    if !look(Listed { place, tail: head.insert_page, centre })? {
                        return Ok((page.next(), false));
                    }
                }
                Ok((page.next(), true))
            })?;
        }
        Ok(())
    }

    fn tail(&mut self, list: ListPlace) -> Result<Option<u32>, B::Error> {
        let ListPlace { block, offset, start_page } = list;
        let head = self
            .0
            .read(block, |bytes| Ok(List::new(Page::new(bytes, PAGE_ID)?.item(offset)?, offset)?.head))?;
        Ok((head.start_page == start_page).then_some(head.insert_page))
    }

    #[inline]
    fn score_list<S: CodedSpace>(
        &mut self,
        list: ListPlace,
        _: f32,
        space: S,
        query: Option<S::View<'_>>,
        found: &mut Collector<'_, '_>,
    ) -> Result<bool, B::Error> {
        let blocks = &mut *self.0;
        let mut chain = Chain::new(list.start_page);
        while let Some(block) = chain.step(blocks)? {
            // A list's pages follow each other as they were built: what tells where the next page's entries lie
            // was asked for one page ago, and what tells it of the page behind that is now.
            let next = block.saturating_add(1);
            for offset in FIRST_OFFSET..FIRST_OFFSET + PREFETCH_DISTANCE_ITEMS {
                blocks.prefetch_item(Tid::new(next, offset), found.entry_size);
            }
            blocks.prefetch_blocks(&[Tid::new(next.saturating_add(1), FIRST_OFFSET)]);
            let most = blocks.page_size() / LINE_POINTER;
            let runs = &mut *found.services.runs;
            found.candidates.make_room(most, runs).map_err(|_| Damage::OUT_OF_MEMORY.on(block))?;
            let (candidates, unpacked, unpack) =
                (&mut *found.candidates, &mut *found.unpacked, &mut *found.services.unpack);
            (chain.next, found.entry_size) =
                blocks.read(block, |bytes| score_page(bytes, space, query, candidates, unpacked, unpack))?;
            let spilled = found.candidates.spill_beyond(found.memory, found.services.runs);
            spilled.map_err(|_| Damage::OUT_OF_MEMORY.on(block))?;
        }
        blocks.pause()?;
        Ok(true)
    }

    fn value_at<R>(
        &mut self,
        entry: Tid,
        unpack: &mut dyn Unpack,
        unpacked: &mut ValueBuf,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, B::Error> {
        self.0.read(entry.block(), |bytes| {
            let item = Page::new(bytes, PAGE_ID)?.item(entry.offset())?;
            Ok(match Entry::new(item, entry.offset())?.value {
                Packed::Compressed(value) => unpack.unpack(value, unpacked).then(|| look(unpacked.bytes())),
                value => value.with(look),
            })
        })
    }
}

/// Adds the entries of a page; returns the next page of its chain, and the bytes of its last entry.
fn score_page<S: CodedSpace>(
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
