//! Where something new goes: a free slot of the page at hand, or of one that was noted to have some; else a new page.

use super::edit::Pages;
use super::graph::InlineGraph;
use super::layout::{Layout, PageKind, RecordHeader, Slots, offset, page_kind, state};
use super::meta::META_BLOCK;
use crate::quant::space::CodedSpace;
use crate::storage::blocks::{BlockStore, PageRef, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, Tid};
use zerocopy::FromBytes;

impl PageKind {
    /// What a page with a free slot is noted with. Who looks for room is told of pages with that class or a higher one,
    /// so what is rarer has the higher.
    pub(super) const fn class(self) -> u8 {
        match self {
            PageKind::Ground => 40,
            PageKind::Upper => 80,
            PageKind::Chain => 120,
            PageKind::LongChain => 160,
            PageKind::GroundRest => 200,
            PageKind::UpperRest => 240,
            // places on these are not noted
            PageKind::Keys
            | PageKind::Directory
            | PageKind::Centre
            | PageKind::Included
            | PageKind::IncludedDirectory => 0,
        }
    }

    /// Whether its slots have records.
    const fn has_records(self) -> bool {
        matches!(self, PageKind::Ground | PageKind::Upper)
    }
}

impl Layout {
    /// The slots of pages of a kind.
    pub(super) const fn slots(&self, kind: PageKind) -> &Slots {
        match kind {
            PageKind::Ground => &self.ground.slots,
            PageKind::Upper => &self.upper.slots,
            PageKind::GroundRest => &self.ground.rest_slots,
            PageKind::UpperRest => &self.upper.rest_slots,
            PageKind::Chain => &self.chain,
            PageKind::LongChain => &self.long_chain,
            PageKind::Keys
            | PageKind::Directory
            | PageKind::Centre
            | PageKind::Included
            | PageKind::IncludedDirectory => &self.no_slots,
        }
    }
}

/// A free slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Home {
    /// its page; [`INVALID_BLOCK`] for one that is to be added
    pub(super) block: u32,
    pub(super) slot: usize,
    /// of a record's slot: the rest that it has already
    pub(super) rest: Tid,
    /// the version that what was there had in the end; 0 when nothing was
    pub(super) version: u8,
    /// free slots of the page, this one among them
    pub(super) free: usize,
}

impl Home {
    const fn new_page(slots: &Slots) -> Self {
        Home { block: INVALID_BLOCK, slot: 0, rest: Tid::INVALID, version: 0, free: slots.per_page }
    }

    const fn is_new(&self) -> bool {
        self.block == INVALID_BLOCK
    }
}

/// Pages that are looked at before one is added.
const TRIES: usize = 8;

/// The first free slot of a page; `None` when all are in use.
///
/// # Errors
/// A page of another kind, or a slot that is free and has a node.
fn free_slot(slots: &Slots, kind: PageKind, bytes: &[u8], block: u32) -> Result<Option<Home>, Damage> {
    let mut found = None;
    for slot in 0..slots.per_page {
        let bytes_of = slots.get(bytes, kind, slot)?;
        if slots.is_used(bytes, slot) {
            continue;
        }
        let home = found.get_or_insert(Home { block, slot, rest: Tid::INVALID, version: 0, free: 0 });
        home.free += 1;
        if home.free == 1 && kind.has_records() {
            let invalid = Damage::at(offset(slot), "invalid record");
            let (header, _) = RecordHeader::ref_from_prefix(bytes_of).map_err(|_| invalid)?;
            if header.state == state::LIVE {
                return Err(Damage::at(offset(slot), "free slot with an element"));
            }
            (home.rest, home.version) = (header.rest, header.version);
        }
    }
    Ok(found)
}

impl<B: BlockStore, S: CodedSpace> InlineGraph<'_, B, S> {
    /// Looks for a free slot; with `fresh`, on a page that is to be added.
    pub(super) fn find_home(&mut self, kind: PageKind, fresh: bool) -> Result<Home, B::Error> {
        let slots = self.index.layout.slots(kind);
        if fresh {
            return Ok(Home::new_page(slots));
        }
        let count = self.blocks.count()?;
        let mut block = self.room.edits.last.get(kind as usize - 1).copied().unwrap_or(0);
        for step in 0..=TRIES {
            if step > 0 {
                match self.blocks.find_room(kind.class())? {
                    Some(found) => block = found,
                    None => break,
                }
            }
            if block == META_BLOCK || block >= count {
                continue;
            }
            // a page of another kind has its room for others
            let seen = self.blocks.read(block, |bytes| {
                if page_kind(bytes)? != Some(kind) {
                    return Ok(None);
                }
                free_slot(slots, kind, bytes, block).map(Some)
            })?;
            match seen {
                Some(Some(home)) => return Ok(home),
                Some(None) if step > 0 => self.blocks.note_room(block, 0)?,
                _ => {}
            }
        }
        Ok(Home::new_page(slots))
    }

    /// Notes what is left on a page of which a slot was taken.
    pub(super) fn note_taken(&mut self, kind: PageKind, block: u32, home: &Home) -> Result<(), B::Error> {
        let left = home.free.saturating_sub(1);
        if let Some(last) = self.room.edits.last.get_mut(kind as usize - 1) {
            *last = if left > 0 { block } else { META_BLOCK };
        }
        match left {
            0 if home.is_new() => Ok(()),
            0 => self.blocks.note_room(block, 0),
            _ if home.is_new() => self.blocks.note_room(block, kind.class()),
            _ => Ok(()),
        }
    }
}

/// A slot that a change takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct TakenSlot {
    pub(super) block: u32,
    pub(super) slot: usize,
    pub(super) page: PageRef,
}

/// Opens the page of a free slot, which `pages` has when it exists, and says that the slot is in use; `None` when
/// others took it meanwhile.
pub(super) fn take_slot<C: PageUpdate>(
    change: &mut C,
    pages: &mut Pages,
    slots: &Slots,
    kind: PageKind,
    home: &Home,
) -> Result<Option<TakenSlot>, C::Error> {
    let (block, page) = if home.is_new() {
        let page = change.extend()?;
        let block = change.block(page);
        slots.init(change.bytes_mut(page)?, kind);
        pages.add(block, page);
        (block, page)
    } else {
        let page = pages.get(home.block).map_err(|damage| damage.on(home.block))?;
        let found = free_slot(slots, kind, change.bytes(page), home.block);
        let found = found.map_err(|damage| damage.on(home.block))?;
        let same = |found: &Home| (found.slot, found.rest) == (home.slot, home.rest);
        if !found.is_some_and(|found| same(&found)) {
            return Ok(None);
        }
        (home.block, page)
    };
    slots.set_used(change.bytes_mut(page)?, home.slot, true);
    Ok(Some(TakenSlot { block, slot: home.slot, page }))
}

/// Makes a slot free again.
pub(super) fn free<C: PageUpdate>(
    change: &mut C,
    page: PageRef,
    slots: &Slots,
    slot: usize,
) -> Result<(), C::Error> {
    slots.set_used(change.bytes_mut(page)?, slot, false);
    Ok(())
}
