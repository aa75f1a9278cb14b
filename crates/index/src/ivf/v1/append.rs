//! Adding entries to lists, and removing them.

use zerocopy::IntoBytes;

use super::Pages;
use super::layout::{Entry, List, ListHead, PAGE_ID, push_entry};
use crate::ivf::lists::{ListPlace, Met, Workspace, WriteLists};
use crate::quant::space::CodedSpace;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::chains::Chain;
use crate::storage::page::{Damage, FIRST_OFFSET, INVALID_BLOCK, Page, PageMut, Tid};

impl<B: BlockStore> WriteLists for Pages<'_, B> {
    fn append<S: CodedSpace>(
        &mut self,
        list: ListPlace,
        tail: u32,
        _: S,
        row: Tid,
        value: &[u8],
        workspace: &mut Workspace,
    ) -> Result<(), B::Error> {
        let blocks = &mut *self.0;
        workspace.entry.clear();
        push_entry(row, value, &mut workspace.entry);
        let insert_page = append(blocks, tail, &workspace.entry)?;
        blocks.fault_point("ivfflat.insert.entry")?;
        if insert_page != tail {
            advance(blocks, list, tail, insert_page)?;
        }
        Ok(())
    }

    fn remove(
        &mut self,
        list: ListPlace,
        is_dead: &mut dyn FnMut(Tid) -> bool,
        workspace: &mut Workspace,
        met: &mut Met,
    ) -> Result<(), B::Error> {
        let blocks = &mut *self.0;
        let (mut chain, mut first_free) = (Chain::new(list.start_page), None);
        while let Some(block) = chain.step(blocks)? {
            blocks.pause()?;
            let dead = &mut workspace.offsets;
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
            met.kept += live as u64;
            chain.next = next;
            if !dead.is_empty() {
                first_free = first_free.or(Some(block));
                met.removed += dead.len() as u64;
                remove(blocks, block, dead)?;
            }
            blocks.fault_point("ivfflat.vacuum.page")?;
        }
        if let Some(page) = first_free {
            // all its entries fit there again
            set_insert_page(blocks, list, |_| Some(page))?;
        }
        Ok(())
    }
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
fn advance<B: BlockStore>(
    blocks: &mut B,
    list: ListPlace,
    tail: u32,
    insert_page: u32,
) -> Result<(), B::Error> {
    set_insert_page(blocks, list, |current| (current >= tail && insert_page > current).then_some(insert_page))
}

fn set_insert_page<B: BlockStore>(
    blocks: &mut B,
    place: ListPlace,
    choose: impl FnOnce(u32) -> Option<u32>,
) -> Result<(), B::Error> {
    let ListPlace { block, offset, .. } = place;
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

/// Removes the dead entries of a page. Entries are only added since they were found, behind the others. A scan keeps
/// no pin on a page it has left, so the lock is enough.
fn remove<B: BlockStore>(blocks: &mut B, block: u32, dead: &[u16]) -> Result<(), B::Error> {
    let mut change = blocks.update()?;
    let slot = change.open(block)?;
    Page::new(change.bytes(slot), PAGE_ID).map_err(|d| d.on(block))?;
    let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(|d| d.on(block))?;
    page.remove(dead).map_err(|d| d.on(block))?;
    change.commit()
}
