//! Which blocks a build writes: those of a kind follow each other.

use std::ops::Range;

use super::layout::{PageKind, RecordLayout, Slots, offset};
use super::meta::META_BLOCK;
use crate::storage::page::{Damage, INVALID_BLOCK, Tid};
use crate::work::memory::push;

/// Blocks of one kind.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub kind: PageKind,
    pub blocks: Range<u32>,
}

/// All blocks but that of the meta page.
#[derive(Clone, Debug, Default)]
pub(super) struct Sections(Vec<Section>);

impl Sections {
    /// The block after the last.
    pub fn end(&self) -> u32 {
        self.0.last().map_or(META_BLOCK + 1, |section| section.blocks.end)
    }

    /// Adds the blocks that `count` of `slots` take.
    ///
    /// # Errors
    /// More than there are.
    pub fn add(&mut self, kind: PageKind, count: usize, slots: &Slots) -> Result<(), Damage> {
        let pages = count.div_ceil(slots.per_page.max(1));
        let end = u32::try_from(pages).ok().and_then(|pages| self.end().checked_add(pages));
        let end = end.filter(|&end| end < INVALID_BLOCK).ok_or(Damage::internal("more pages than blocks"))?;
        let blocks = self.end()..end;
        push(&mut self.0, Section { kind, blocks })?;
        Ok(())
    }

    /// Adds so many blocks.
    ///
    /// # Errors
    /// More than there are.
    pub fn add_pages(&mut self, kind: PageKind, pages: u32) -> Result<(), Damage> {
        let end = self.end().checked_add(pages);
        let end = end.filter(|&end| end < INVALID_BLOCK).ok_or(Damage::internal("more pages than blocks"))?;
        let blocks = self.end()..end;
        push(&mut self.0, Section { kind, blocks })?;
        Ok(())
    }

    /// Adds the blocks that the rests of `count` records take.
    ///
    /// # Errors
    /// More than there are.
    pub fn add_rests(&mut self, kind: PageKind, count: usize, records: &RecordLayout) -> Result<(), Damage> {
        match (records.rest, records.rest_pages) {
            (0, _) => Ok(()),
            (_, 0) => self.add(kind, count, &records.rest_slots),
            (_, pages) => self.add(kind, count * pages, &records.rest_slots),
        }
    }

    /// The blocks of a kind.
    pub fn blocks(&self, kind: PageKind) -> Range<u32> {
        let section = self.0.iter().find(|section| section.kind == kind);
        section.map_or(0..0, |section| section.blocks.clone())
    }

    /// The section of a block.
    pub fn of(&self, block: u32) -> Option<&Section> {
        self.0.iter().find(|section| section.blocks.contains(&block))
    }

    /// Where the rest of record `number` of its kind is.
    pub fn rest(&self, records: &RecordLayout, layer: u8, number: usize) -> Tid {
        let kind = if layer == 0 { PageKind::GroundRest } else { PageKind::UpperRest };
        let start = self.blocks(kind).start;
        match (records.rest, records.rest_pages) {
            (0, _) => Tid::INVALID,
            (_, 0) => {
                let per_page = records.rest_slots.per_page.max(1);
                Tid::new(start + (number / per_page) as u32, offset(number % per_page))
            }
            (_, pages) => Tid::new(start + (number * pages) as u32, offset(0)),
        }
    }
}
