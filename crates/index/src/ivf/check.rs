//! The invariants of an index on its pages. A healthy index has no violations, and neither has one that a crash has
//! interrupted: pages that were added and never linked are no violation.

use super::scan::{BAD_CENTRE, BAD_VALUE, Unpack};
use super::v1::layout::{
    Entry, HEAD_BLOCK, List, META_BLOCK, MetaPage, PAGE_ID, Packed, entry_size, list_size,
};
use crate::space::{Space, ValueBuf};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, FIRST_OFFSET, INVALID_BLOCK, Tid};
use crate::storage::verify::{self, Violation, Violations};
use crate::work::memory::{is_short, push, resize};

/// Which blocks a walk has come by.
struct Seen(Vec<u64>);

impl Seen {
    /// Notes a block; whether it was new. Blocks that do not exist are not.
    fn note(&mut self, block: u32) -> bool {
        let bit = 1u64 << (block % 64);
        let new = self.0.get(block as usize / 64).is_some_and(|word| word & bit == 0);
        if let Some(word) = self.0.get_mut(block as usize / 64) {
            *word |= bit;
        }
        new
    }
}

/// What a check collects: must not lie in frames while blocks are read.
#[derive(Debug, Default)]
pub struct Check {
    /// what does not hold
    pub violations: Violations,
    /// start page, insert page and place of each list
    lists: Vec<(u32, u32, u32, u16)>,
    seen: Vec<u64>,
    unpacked: ValueBuf,
    /// entries seen
    pub entries: u64,
    /// with `deep`: row and place of each entry, by row at last
    census: Vec<(u64, u64)>,
    /// whether there was too little memory for all of that
    short: bool,
}

impl Check {
    /// Checks an index of values in `space`: the meta page, list pages, chains, entries; with `deep`, also that each
    /// value is one of the index, that no row is there twice, and that every page of the file is what it should be.
    ///
    /// # Errors
    /// A block that cannot be had at all.
    pub fn run<B: BlockStore, S: Space>(
        &mut self,
        blocks: &mut B,
        space: S,
        deep: bool,
        unpack: &mut dyn Unpack,
    ) -> Result<(), B::Error> {
        let count = blocks.count()?;
        self.seen.clear();
        resize(&mut self.seen, count as usize / 64 + 1, 0)
            .map_err(|_| Damage::OUT_OF_MEMORY.on(META_BLOCK))?;
        let mut seen = Seen(core::mem::take(&mut self.seen));
        let result = self.walk(blocks, space, deep, unpack, count, &mut seen);
        self.seen = core::mem::take(&mut seen.0);
        result
    }

    fn walk<B: BlockStore, S: Space>(
        &mut self,
        blocks: &mut B,
        space: S,
        deep: bool,
        unpack: &mut dyn Unpack,
        count: u32,
        seen: &mut Seen,
    ) -> Result<(), B::Error> {
        let violations = &mut self.violations;
        if count == 0 {
            violations.push(Violation::of_index("index has no meta page"));
            return Ok(());
        }
        seen.note(META_BLOCK);
        let meta = blocks.read(META_BLOCK, |bytes| Ok(MetaPage::read(bytes)))?;
        let meta = match meta {
            Ok(meta) => meta,
            Err(damage) => {
                violations.push(Violation::at(META_BLOCK, damage.offset, damage.what));
                return Ok(());
            }
        };
        self.lists.clear();
        let mut next = HEAD_BLOCK;
        while next != INVALID_BLOCK {
            if next >= count || !seen.note(next) {
                self.violations.push(Violation::at(next, 0, "list page does not exist or is chained twice"));
                break;
            }
            let (block, this) = (next, &mut *self);
            next = blocks.read(block, |bytes| Ok(this.list_page(bytes, block, space)))?;
        }
        if self.lists.len() != usize::from(meta.lists) {
            let what = format!("meta page tells {} lists, list pages hold {}", meta.lists, self.lists.len());
            self.violations.push(Violation::at(META_BLOCK, 0, what));
        }
        for at in 0..self.lists.len() {
            self.chain(blocks, at, space, deep, unpack, count, seen)?;
            blocks.pause()?;
        }
        if deep {
            self.strays(blocks, count, seen)?;
            self.census.sort_unstable();
            for pair in self.census.windows(2) {
                if let [(a, _), (b, place)] = pair
                    && a == b
                {
                    let (row, place) = (Tid::from_packed(*b), Tid::from_packed(*place));
                    let what = format!("row {row} of the table is in the index twice");
                    self.violations.push(Violation::at(place.block(), place.offset(), what));
                }
            }
        }
        Ok(())
    }

    /// Whether there was too little memory for everything that was to be kept.
    pub fn out_of_memory(&self) -> bool {
        self.short || self.violations.out_of_memory()
    }

    /// Where the index has a row, as far as the deep check saw.
    pub fn find(&self, row: Tid) -> Option<Tid> {
        let at = self.census.partition_point(|entry| entry.0 < row.packed());
        self.census.get(at).filter(|entry| entry.0 == row.packed()).map(|entry| Tid::from_packed(entry.1))
    }

    /// Rows in blocks from `block` on and their places.
    pub fn rows_from(&self, block: u32) -> impl Iterator<Item = (Tid, Tid)> {
        let at = self.census.partition_point(|entry| entry.0 < Tid::new(block, 0).packed());
        let rows = self.census.get(at..).unwrap_or_default().iter();
        rows.map(|&(row, place)| (Tid::from_packed(row), Tid::from_packed(place)))
    }

    /// Checks a list page; returns the next.
    fn list_page<S: Space>(&mut self, bytes: &[u8], block: u32, space: S) -> u32 {
        let violations = &mut self.violations;
        let Some(page) = verify::page(bytes, PAGE_ID, true, |damage| {
            violations.push(Violation::at(block, damage.offset, damage.what));
        }) else {
            return INVALID_BLOCK;
        };
        for offset in FIRST_OFFSET..=page.max_offset() {
            let Ok(item) = page.item(offset) else { continue };
            match List::new(item, offset) {
                Ok(list) => {
                    if space.view(list.centre).is_err() {
                        self.violations.push(Violation::at(block, offset, BAD_CENTRE));
                    } else if item.len() < list_size(list.centre.len()) {
                        self.violations.push(Violation::at(block, offset, "list is shorter than its centre"));
                    }
                    let list = (list.head.start_page, list.head.insert_page, block, offset);
                    self.short |= push(&mut self.lists, list).is_err();
                }
                Err(damage) => self.violations.push(Violation::at(block, offset, damage.what)),
            }
        }
        page.next()
    }

    /// Checks a list's entries.
    #[allow(clippy::too_many_arguments)]
    fn chain<B: BlockStore, S: Space>(
        &mut self,
        blocks: &mut B,
        at: usize,
        space: S,
        deep: bool,
        unpack: &mut dyn Unpack,
        count: u32,
        seen: &mut Seen,
    ) -> Result<(), B::Error> {
        let Some(&(start, insert, list_block, list_offset)) = self.lists.get(at) else { return Ok(()) };
        let (mut next, mut found_insert) = (start, false);
        while next != INVALID_BLOCK {
            let block = next;
            if block >= count {
                self.violations.push(Violation::at(
                    list_block,
                    list_offset,
                    format!("list leads to block {block}, which does not exist"),
                ));
                return Ok(());
            }
            if !seen.note(block) {
                self.violations.push(Violation::at(block, 0, "page is in two places"));
                return Ok(());
            }
            found_insert |= block == insert;
            let this = &mut *self;
            next = blocks.read(block, |bytes| Ok(this.entry_page(bytes, block, space, deep, unpack)))?;
        }
        if start == INVALID_BLOCK {
            self.violations.push(Violation::at(list_block, list_offset, "list has no pages"));
        } else if !found_insert {
            let what = format!("insert page {insert} is not one of the list's");
            self.violations.push(Violation::at(list_block, list_offset, what));
        }
        Ok(())
    }

    /// Checks an entry page; returns the next.
    fn entry_page<S: Space>(
        &mut self,
        bytes: &[u8],
        block: u32,
        space: S,
        deep: bool,
        unpack: &mut dyn Unpack,
    ) -> u32 {
        let violations = &mut self.violations;
        let Some(page) = verify::page(bytes, PAGE_ID, true, |damage| {
            violations.push(Violation::at(block, damage.offset, damage.what));
        }) else {
            return INVALID_BLOCK;
        };
        for offset in FIRST_OFFSET..=page.max_offset() {
            let Ok(item) = page.item(offset) else { continue };
            self.entries += 1;
            match Entry::new(item, offset) {
                Ok(entry) if deep => {
                    let place = (entry.row.packed(), Tid::new(block, offset).packed());
                    self.short = self.short || is_short() || push(&mut self.census, place).is_err();
                    let good = match entry.value {
                        Packed::Compressed(value) => {
                            unpack.unpack(value, &mut self.unpacked)
                                && space.view(self.unpacked.bytes()).is_ok()
                        }
                        value => value
                            .with(|value| {
                                space.view(value).is_ok() && entry_size(value.len().max(4)) <= item.len()
                            })
                            .unwrap_or(false),
                    };
                    if !good {
                        self.violations.push(Violation::at(block, offset, BAD_VALUE));
                    }
                }
                Ok(_) => {}
                Err(damage) => self.violations.push(Violation::at(block, offset, damage.what)),
            }
        }
        page.next()
    }

    /// Checks pages that no chain leads to: such as a crash leaves, empty.
    fn strays<B: BlockStore>(&mut self, blocks: &mut B, count: u32, seen: &mut Seen) -> Result<(), B::Error> {
        for block in 0..count {
            if !seen.note(block) {
                continue;
            }
            let this = &mut *self;
            blocks.read(block, |bytes| {
                if verify::is_zero(bytes) {
                    return Ok(());
                }
                let violations = &mut this.violations;
                let page = verify::page(bytes, PAGE_ID, true, |damage| {
                    violations.push(Violation::at(block, damage.offset, damage.what));
                });
                if page.is_some_and(|page| page.max_offset() > 0) {
                    this.violations.push(Violation::at(block, 0, "page with items is in no list"));
                }
                Ok(())
            })?;
            blocks.pause()?;
        }
        Ok(())
    }
}
