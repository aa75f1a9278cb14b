//! Writing a built index: meta page, list pages, the pages of each list side by side.

use std::borrow::Cow;

use zerocopy::IntoBytes;

use super::Pages;
use super::layout::{
    HEAD_BLOCK, ListHead, MAX_LISTS, META_BLOCK, MetaPage, PAGE_ID, entry_size, list_size, place_lists,
    write_list,
};
use crate::ivf::lists::{BulkLists, Shape};
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, PageMut, max_item_size};

impl<B: BlockStore> BulkLists for Pages<'_, B> {
    type Error = B::Error;
    type Head = ListHead;

    fn begin(
        &mut self,
        shape: Shape,
        counts: &[u32],
        mut centre: impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<Vec<ListHead>, B::Error> {
        let blocks = &mut *self.0;
        let per_page = |size: usize| (max_item_size(shape.page_size) + 4) / (size + 4);
        let too_large = Damage::at(0, "index has too many pages").on(INVALID_BLOCK);
        let lists_per_page = per_page(list_size(shape.value_size)).max(1);
        let list_pages = u32::try_from(counts.len().div_ceil(lists_per_page)).map_err(|_| too_large)?;
        let entries_per_page = per_page(entry_size(shape.value_size)).max(1) as u32;
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

    fn write_list<'e>(
        &mut self,
        head: ListHead,
        size: usize,
        mut next: impl FnMut() -> Option<Cow<'e, [u8]>>,
    ) -> Result<(), B::Error> {
        let blocks = &mut *self.0;
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
