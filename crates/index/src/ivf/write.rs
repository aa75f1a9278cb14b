//! Inserts, vacuum, and writing a built index.

use std::borrow::Cow;

use super::centres::{Centres, ListPlace};
use super::scan::{BAD_CENTRE, Chain, read_meta};
use super::v1::layout::{
    Entry, HEAD_BLOCK, List, ListHead, MAX_LISTS, META_BLOCK, MetaPage, PAGE_ID, list_size, place_lists,
    push_entry, write_list,
};
use crate::ValueError;
use crate::space::Space;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, FIRST_OFFSET, INVALID_BLOCK, Page, PageMut, Tid, max_item_size};
use zerocopy::IntoBytes;

/// Why a row cannot be added.
#[derive(Debug)]
pub enum InsertError<E> {
    /// a block
    Store(E),
    /// the value does not fit the index
    Value(ValueError),
}

impl<E> From<E> for InsertError<E> {
    fn from(e: E) -> Self {
        InsertError::Store(e)
    }
}

/// Where a list stands, and where it takes entries.
#[derive(Clone, Copy)]
struct Place {
    block: u32,
    offset: u16,
    insert_page: u32,
}

/// What inserts use again.
#[derive(Debug, Default)]
pub struct Inserter {
    entry: Vec<u8>,
    nearest: Vec<u64>,
}

/// Adds a row to the list with the nearest centre. `value` is a whole varlena, unit-length where the index keeps unit
/// vectors. `centres` are those kept in memory, or none.
///
/// # Errors
/// A damaged block, or a value of other dimensions.
pub fn insert<B: BlockStore, S: Space>(
    blocks: &mut B,
    space: S,
    value: &[u8],
    row: Tid,
    inserter: &mut Inserter,
    centres: &mut Centres,
) -> Result<(), InsertError<B::Error>> {
    let view = space.view(value).map_err(InsertError::Value)?;
    inserter.entry.clear();
    push_entry(row, value, &mut inserter.entry);
    let list = match known_list(blocks, space, view, &mut inserter.nearest, centres)? {
        Some(list) => list,
        None => find_list(blocks, space, view)?,
    };
    let insert_page = append(blocks, list.insert_page, &inserter.entry)?;
    blocks.fault_point("ivfflat.insert.entry")?;
    if insert_page != list.insert_page {
        advance(blocks, list, insert_page)?;
    }
    Ok(())
}

/// The nearest list by the centres kept, when there are any. The list's page must still say the same.
fn known_list<B: BlockStore, S: Space>(
    blocks: &mut B,
    space: S,
    value: S::View<'_>,
    nearest: &mut Vec<u64>,
    centres: &mut Centres,
) -> Result<Option<Place>, B::Error> {
    centres.nearest(space, Some(value), 1, nearest);
    let found = nearest.iter().min().and_then(|&list| centres.place(list as u32 as usize));
    let Some(ListPlace { block, offset, start_page }) = found else { return Ok(None) };
    let head =
        blocks.read(block, |bytes| Ok(List::new(Page::new(bytes, PAGE_ID)?.item(offset)?, offset)?.head))?;
    if head.start_page != start_page {
        centres.clear();
        return Ok(None);
    }
    Ok(Some(Place { block, offset, insert_page: head.insert_page }))
}

fn find_list<B: BlockStore, S: Space>(
    blocks: &mut B,
    space: S,
    value: S::View<'_>,
) -> Result<Place, B::Error> {
    let mut nearest = (f32::INFINITY, Place { block: 0, offset: 0, insert_page: INVALID_BLOCK });
    let mut chain = Chain::new(HEAD_BLOCK);
    while let Some(block) = chain.step(blocks)? {
        chain.next = blocks.read(block, |bytes| {
            let page = Page::new(bytes, PAGE_ID)?;
            for offset in FIRST_OFFSET..=page.max_offset() {
                if let Ok(ahead) = page.item(offset + 2) {
                    vector_kernels::prefetch(ahead);
                }
                let list = List::new(page.item(offset)?, offset)?;
                let centre = space.view(list.centre).map_err(|_| Damage::at(offset, BAD_CENTRE))?;
                let distance = space.distance(value, centre);
                // all may be infinitely far
                if distance < nearest.0 || nearest.1.offset == 0 {
                    nearest = (distance, Place { block, offset, insert_page: list.head.insert_page });
                }
            }
            Ok(page.next())
        })?;
    }
    if nearest.1.offset == 0 {
        return Err(Damage::at(0, "no lists").on(HEAD_BLOCK).into());
    }
    Ok(nearest.1)
}

/// Adds an entry to the first page from `start` on with room for it; returns which.
fn append<B: BlockStore>(blocks: &mut B, start: u32, entry: &[u8]) -> Result<u32, B::Error> {
    let mut chain = Chain::new(start);
    loop {
        let Some(block) = chain.step(blocks)? else {
            return Err(Damage::at(0, "list without pages").on(start).into());
        };
        let mut change = blocks.update()?;
        let slot = change.open(block)?;
        let page = Page::new(change.bytes(slot), PAGE_ID).map_err(|d| d.on(block))?;
        if page.free_space() >= entry.len() {
            let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(|d| d.on(block))?;
            page.append(entry).ok_or(Damage::at(0, "no room for an entry").on(block))?;
            change.commit()?;
            return Ok(block);
        }
        if page.next() != INVALID_BLOCK {
            // dropped: nothing was changed
            chain.next = page.next();
            continue;
        }
        let added = change.extend()?;
        let new = change.block(added);
        let mut page = PageMut::init(change.bytes_mut(added)?, PAGE_ID);
        page.append(entry).ok_or(Damage::at(0, "no room for an entry").on(new))?;
        PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(|d| d.on(block))?.set_next(new);
        change.commit()?;
        return Ok(new);
    }
}

/// Moves a list's insert page forward to `insert_page`, unless a vacuum has moved it back meanwhile: pages of a list
/// lie in the order of their numbers.
fn advance<B: BlockStore>(blocks: &mut B, list: Place, insert_page: u32) -> Result<(), B::Error> {
    set_insert_page(blocks, list.block, list.offset, |current| {
        (current >= list.insert_page && insert_page > current).then_some(insert_page)
    })
}

fn set_insert_page<B: BlockStore>(
    blocks: &mut B,
    block: u32,
    offset: u16,
    choose: impl FnOnce(u32) -> Option<u32>,
) -> Result<(), B::Error> {
    let mut change = blocks.update()?;
    let slot = change.open(block)?;
    let page = Page::new(change.bytes(slot), PAGE_ID).map_err(|d| d.on(block))?;
    let list = page.item(offset).and_then(|item| List::new(item, offset)).map_err(|d| d.on(block))?;
    let Some(insert_page) = choose(list.head.insert_page) else { return Ok(()) };
    let head = ListHead { insert_page, ..list.head };
    let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(|d| d.on(block))?;
    let item = page.item_mut(offset).map_err(|d| d.on(block))?;
    if let Some(place) = item.get_mut(..size_of::<ListHead>()) {
        place.copy_from_slice(head.as_bytes());
    }
    change.commit()
}

/// Memory of a vacuum that must not lie in frames while blocks are read.
#[derive(Debug, Default)]
pub struct Vacuum {
    starts: Vec<u32>,
    dead: Vec<u16>,
    /// entries that are gone
    pub removed: u64,
    /// entries that stay
    pub kept: u64,
}

impl Vacuum {
    /// Removes the entries of dead rows. `is_dead` must neither raise nor read blocks.
    ///
    /// # Errors
    /// A damaged block.
    pub fn run<B: BlockStore>(
        &mut self,
        blocks: &mut B,
        is_dead: &mut dyn FnMut(Tid) -> bool,
    ) -> Result<(), B::Error> {
        read_meta(blocks)?;
        let mut chain = Chain::new(HEAD_BLOCK);
        while let Some(block) = chain.step(blocks)? {
            let starts = &mut self.starts;
            starts.clear();
            chain.next = blocks.read(block, |bytes| {
                let page = Page::new(bytes, PAGE_ID)?;
                for offset in FIRST_OFFSET..=page.max_offset() {
                    starts.push(List::new(page.item(offset)?, offset)?.head.start_page);
                }
                Ok(page.next())
            })?;
            for at in 0..self.starts.len() {
                let start = self.starts.get(at).copied().unwrap_or(INVALID_BLOCK);
                let first_free = self.list(blocks, start, is_dead)?;
                if let Some(page) = first_free {
                    // all its entries fit there again
                    set_insert_page(blocks, block, at as u16 + FIRST_OFFSET, |_| Some(page))?;
                }
            }
        }
        Ok(())
    }

    /// Cleans one list; returns the first page that has room now.
    fn list<B: BlockStore>(
        &mut self,
        blocks: &mut B,
        start: u32,
        is_dead: &mut dyn FnMut(Tid) -> bool,
    ) -> Result<Option<u32>, B::Error> {
        let (mut chain, mut first_free) = (Chain::new(start), None);
        while let Some(block) = chain.step(blocks)? {
            blocks.pause()?;
            let dead = &mut self.dead;
            dead.clear();
            let (next, live) = blocks.read(block, |bytes| {
                let page = Page::new(bytes, PAGE_ID)?;
                for offset in FIRST_OFFSET..=page.max_offset() {
                    if is_dead(Entry::new(page.item(offset)?, offset)?.row) {
                        dead.push(offset);
                    }
                }
                Ok((page.next(), usize::from(page.max_offset()) - dead.len()))
            })?;
            self.kept += live as u64;
            chain.next = next;
            if !self.dead.is_empty() {
                first_free = first_free.or(Some(block));
                self.remove(blocks, block)?;
            }
            blocks.fault_point("ivfflat.vacuum.page")?;
        }
        Ok(first_free)
    }

    /// Removes the dead entries of a page. Entries are only added since they were found, behind the others. A scan keeps
    /// no pin on a page it has left, so the lock is enough.
    fn remove<B: BlockStore>(&mut self, blocks: &mut B, block: u32) -> Result<(), B::Error> {
        self.removed += self.dead.len() as u64;
        let mut change = blocks.update()?;
        let slot = change.open(block)?;
        Page::new(change.bytes(slot), PAGE_ID).map_err(|d| d.on(block))?;
        let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(|d| d.on(block))?;
        page.remove(&self.dead).map_err(|d| d.on(block))?;
        change.commit()
    }
}

/// What a build writes: entries of one size, list by list.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// dimensions (bits)
    pub dimensions: u16,
    /// bytes of a value, its four-byte header included
    pub value_size: usize,
    /// bytes of a page
    pub page_size: usize,
}

/// Adds the meta page and the list pages to an empty file: `counts[i]` entries will follow for list `i`, each list on
/// pages of its own. `centre` makes its argument a list's centre, a whole varlena of `shape.value_size` bytes.
///
/// # Errors
/// A file that cannot be extended, more pages than there are block numbers.
pub fn write_lists<B: BlockStore>(
    blocks: &mut B,
    shape: Shape,
    counts: &[u32],
    mut centre: impl FnMut(usize, &mut Vec<u8>),
) -> Result<Vec<ListHead>, B::Error> {
    let per_page = |size: usize| (max_item_size(shape.page_size) + 4) / (size + 4);
    let too_large = Damage::at(0, "index has too many pages").on(INVALID_BLOCK);
    let lists_per_page = per_page(list_size(shape.value_size)).max(1);
    let list_pages = u32::try_from(counts.len().div_ceil(lists_per_page)).map_err(|_| too_large)?;
    let entries_per_page = per_page(super::v1::layout::entry_size(shape.value_size)).max(1) as u32;
    let (heads, end) =
        place_lists(counts, entries_per_page, HEAD_BLOCK + list_pages.max(1)).ok_or(too_large)?;
    blocks.will_extend(end);
    add_page(blocks, META_BLOCK, |bytes| {
        let lists = counts.len().min(MAX_LISTS as usize) as u16;
        PageMut::init(bytes, PAGE_ID).set_contents(MetaPage::new(shape.dimensions, lists).as_bytes());
        true
    })?;
    let (mut item, mut value) = (Vec::new(), Vec::new());
    let mut at = 0;
    for (number, heads) in heads.chunks(lists_per_page).enumerate() {
        let block = HEAD_BLOCK + number as u32;
        let last = number as u32 + 1 >= list_pages;
        add_page(blocks, block, |bytes| {
            let mut page = PageMut::init(bytes, PAGE_ID);
            page.set_next(if last { INVALID_BLOCK } else { block + 1 });
            heads.iter().all(|&head| {
                centre(at, &mut value);
                write_list(head, &value, &mut item);
                at += 1;
                page.append(&item).is_some()
            })
        })?;
    }
    Ok(heads)
}

/// Adds the pages of the next list. `next` gives its entries, one after the other, each of `size` bytes.
///
/// # Errors
/// A file that cannot be extended.
pub fn write_entries<'e, B: BlockStore>(
    blocks: &mut B,
    head: ListHead,
    size: usize,
    mut next: impl FnMut() -> Option<Cow<'e, [u8]>>,
) -> Result<(), B::Error> {
    for block in head.start_page..=head.insert_page {
        blocks.pause()?;
        add_page(blocks, block, |bytes| {
            let mut page = PageMut::init(bytes, PAGE_ID);
            page.set_next(if block == head.insert_page { INVALID_BLOCK } else { block + 1 });
            while page.as_page().free_space() >= size {
                let Some(entry) = next() else { break };
                if page.append(&entry).is_none() {
                    return false;
                }
            }
            true
        })?;
    }
    Ok(())
}

/// Adds a page that must become block `expected`.
fn add_page<B: BlockStore>(
    blocks: &mut B,
    expected: u32,
    fill: impl FnOnce(&mut [u8]) -> bool,
) -> Result<(), B::Error> {
    let mut change = blocks.update()?;
    let slot = change.extend()?;
    let block = change.block(slot);
    if block != expected || !fill(change.bytes_mut(slot)?) {
        return Err(Damage::at(0, "page is not where the build wants it").on(block).into());
    }
    change.commit()
}
