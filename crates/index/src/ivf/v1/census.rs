//! Walking all pages for a check.

use super::Pages;
use super::layout::{Entry, HEAD_BLOCK, List, META_BLOCK, MetaPage, PAGE_ID, Packed, entry_size, list_size};
use crate::ivf::lists::{AuditLists, BAD_CENTRE, BAD_VALUE, ListPlace, Unpack};
use crate::ivf::tally::Tally;
use crate::quant::space::CodedSpace;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, FIRST_OFFSET, INVALID_BLOCK, Tid};
use crate::storage::verify::{self, Violation};

impl<B: BlockStore> AuditLists for Pages<'_, B> {
    type Error = B::Error;

    fn begin(&mut self, tally: &mut Tally) -> Result<Option<u32>, B::Error> {
        tally.blocks = self.0.count()?;
        tally.seen.reset(tally.blocks).map_err(|_| Damage::OUT_OF_MEMORY.on(META_BLOCK))?;
        if tally.blocks == 0 {
            tally.violations.push(Violation::of_index("index has no meta page"));
            return Ok(None);
        }
        tally.seen.note(META_BLOCK);
        match self.0.read(META_BLOCK, |bytes| Ok(MetaPage::read(bytes)))? {
            Ok(meta) => Ok(Some(u32::from(meta.lists))),
            Err(damage) => {
                tally.violation(META_BLOCK, damage.offset, damage.what);
                Ok(None)
            }
        }
    }

    fn lists<S: CodedSpace>(&mut self, space: S, tally: &mut Tally) -> Result<(), B::Error> {
        let mut next = HEAD_BLOCK;
        while next != INVALID_BLOCK {
            if next >= tally.blocks || !tally.seen.note(next) {
                tally.violation(next, 0, "list page does not exist or is chained twice");
                break;
            }
            let block = next;
            next = self.0.read(block, |bytes| Ok(list_page(bytes, block, space, tally)))?;
        }
        Ok(())
    }

    fn entries<S: CodedSpace>(
        &mut self,
        at: usize,
        space: S,
        deep: bool,
        unpack: &mut dyn Unpack,
        tally: &mut Tally,
    ) -> Result<(), B::Error> {
        let Some(&(place, insert)) = tally.lists.get(at) else { return Ok(()) };
        let (mut next, mut found_insert) = (place.start_page, false);
        while next != INVALID_BLOCK {
            let block = next;
            if block >= tally.blocks {
                let what = format!("list leads to block {block}, which does not exist");
                tally.violation(place.block, place.offset, what);
                return self.0.pause();
            }
            if !tally.seen.note(block) {
                tally.violation(block, 0, "page is in two places");
                return self.0.pause();
            }
            found_insert |= block == insert;
            next = self.0.read(block, |bytes| Ok(entry_page(bytes, block, space, deep, unpack, tally)))?;
        }
        if place.start_page == INVALID_BLOCK {
            tally.violation(place.block, place.offset, "list has no pages");
        } else if !found_insert {
            let what = format!("insert page {insert} is not one of the list's");
            tally.violation(place.block, place.offset, what);
        }
        self.0.pause()
    }

    /// Pages that no chain leads to: such as a crash leaves, empty.
    fn strays(&mut self, tally: &mut Tally) -> Result<(), B::Error> {
        for block in 0..tally.blocks {
            if !tally.seen.note(block) {
                continue;
            }
            self.0.read(block, |bytes| {
                if verify::is_zero(bytes) {
                    return Ok(());
                }
                let page = verify::page(bytes, PAGE_ID, true, |damage| {
                    tally.violation(block, damage.offset, damage.what)
                });
                if page.is_some_and(|page| page.max_offset() > 0) {
                    tally.violation(block, 0, "page with items is in no list");
                }
                Ok(())
            })?;
            self.0.pause()?;
        }
        Ok(())
    }
}

/// Checks a list page; returns the next.
fn list_page<S: CodedSpace>(bytes: &[u8], block: u32, space: S, tally: &mut Tally) -> u32 {
    let page =
        verify::page(bytes, PAGE_ID, true, |damage| tally.violation(block, damage.offset, damage.what));
    let Some(page) = page else { return INVALID_BLOCK };
    for offset in FIRST_OFFSET..=page.max_offset() {
        let Ok(item) = page.item(offset) else { continue };
        match List::new(item, offset) {
            Ok(list) => {
                if space.view(list.centre).is_err() {
                    tally.violation(block, offset, BAD_CENTRE);
                } else if item.len() < list_size(list.centre.len()) {
                    tally.violation(block, offset, "list is shorter than its centre");
                }
                let place = ListPlace { block, offset, start_page: list.head.start_page };
                tally.list(place, list.head.insert_page);
            }
            Err(damage) => tally.violation(block, offset, damage.what),
        }
    }
    page.next()
}

/// Checks an entry page; returns the next.
fn entry_page<S: CodedSpace>(
    bytes: &[u8],
    block: u32,
    space: S,
    deep: bool,
    unpack: &mut dyn Unpack,
    tally: &mut Tally,
) -> u32 {
    let page =
        verify::page(bytes, PAGE_ID, true, |damage| tally.violation(block, damage.offset, damage.what));
    let Some(page) = page else { return INVALID_BLOCK };
    for offset in FIRST_OFFSET..=page.max_offset() {
        let Ok(item) = page.item(offset) else { continue };
        tally.entries += 1;
        match Entry::new(item, offset) {
            Ok(entry) if deep => {
                tally.row(entry.row, Tid::new(block, offset));
                let good = match entry.value {
                    Packed::Compressed(value) => {
                        unpack.unpack(value, &mut tally.unpacked)
                            && space.view(tally.unpacked.bytes()).is_ok()
                    }
                    value => value
                        .with(|value| {
                            space.view(value).is_ok() && entry_size(value.len().max(4)) <= item.len()
                        })
                        .unwrap_or(false),
                };
                if !good {
                    tally.violation(block, offset, BAD_VALUE);
                }
            }
            Ok(_) => {}
            Err(damage) => tally.violation(block, offset, damage.what),
        }
    }
    page.next()
}
