//! Editing a graph, and writing it whole.

use std::ops::Range;

use super::{GraphRead, Member, OnPage};
use crate::hnsw::build::Graph;
use crate::hnsw::meta::MetaPage;
use crate::hnsw::search::visited::TidSet;
use crate::storage::page::{Damage, Tid};
use crate::work::workers::Workers;

/// Values that are at hand, by element. A layout that writes codes of neighbours takes them from here, and reads those
/// that are missing before it begins its change.
pub trait KnownValues {
    /// The value of an element.
    fn value(&self, tid: Tid) -> Option<&[u8]>;
}

/// None at hand.
#[derive(Clone, Copy, Debug)]
pub struct NoValues;

impl KnownValues for NoValues {
    fn value(&self, _: Tid) -> Option<&[u8]> {
        None
    }
}

/// A new element.
#[derive(Clone, Copy)]
pub struct NewElement<'a> {
    /// the highest layer it is in
    pub level: u8,
    /// its value, a varlena
    pub value: &'a [u8],
    /// its row
    pub row: Tid,
    /// all slots of its lists, its anchor first in layer 0
    pub slots: &'a [Tid],
    /// values of those it leads to
    pub known: &'a dyn KnownValues,
}

/// Room to write records, kept from insert to insert.
#[derive(Debug, Default)]
pub struct Scratch {
    /// an element's record
    pub element: Vec<u8>,
    /// a list's
    pub neighbours: Vec<u8>,
}

/// Where a new element was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// its record
    pub tid: Tid,
    /// where the next insert should begin to look
    pub insert_page: u32,
}

/// The element that an edge leads to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// its record
    pub tid: Tid,
    /// its value, where it is at hand; else a layout that needs it reads it before the change
    pub value: Option<&'a [u8]>,
}

/// A list that takes an element.
#[derive(Clone, Copy, Debug)]
pub struct EdgeChange {
    /// whose list
    pub owner: Member,
    /// where it stands ([`GraphRead::list_at`])
    pub at: Tid,
    /// of which layer
    pub layer: u8,
    /// the edge that gives way, as long as it is there; else a free slot is taken
    pub replaced: Option<Tid>,
    /// whether the list was seen to have the edge
    pub stands: bool,
}

/// Editing a graph. Each call is one change or none, visible and durable at once, unless it says otherwise.
pub trait GraphWrite: GraphRead {
    /// Writes a new element that nothing leads to yet, and may take several changes; looks for room from `insert_page`
    /// on.
    ///
    /// # Errors
    /// A damaged page, no room on disk.
    fn place(
        &mut self,
        new: &NewElement<'_>,
        scratch: &mut Scratch,
        insert_page: u32,
    ) -> Result<Placed, Self::Error>;

    /// Adds a row to the element at `tid` when it has that value, other rows, and room. Returns whether it did.
    ///
    /// # Errors
    /// A damaged page.
    fn add_row(&mut self, tid: Tid, value: &[u8], row: Tid) -> Result<bool, Self::Error>;

    /// Takes the only row from a new element that nothing leads to: the next vacuum frees its place.
    ///
    /// # Errors
    /// A damaged page.
    fn disown(&mut self, tid: Tid) -> Result<(), Self::Error>;

    /// Makes edges to `new`, one in each list, where that still makes sense under the list's lock
    /// ([`find_place`]). The lists lie in at most [`LISTS_AT_ONCE`] blocks and come in the order of
    /// [`GraphRead::list_at`]. Returns false, and changes nothing, when the layer 0 list of `anchor` has no
    /// place for it any more.
    ///
    /// # Errors
    /// A damaged list.
    fn add_edges(
        &mut self,
        edges: &[EdgeChange],
        new: Target<'_>,
        anchor: Option<Tid>,
    ) -> Result<bool, Self::Error>;

    /// Makes `anchor` the first edge of an element in layer 0: by exchange when the list has it, else in place of the
    /// first. Nobody shares the update lock, or the element is not yet to be found.
    ///
    /// # Errors
    /// A damaged list.
    fn set_anchor(
        &mut self,
        member: &Member,
        anchor: Tid,
        known: &dyn KnownValues,
    ) -> Result<(), Self::Error>;

    /// Rewrites all lists of an element, one change for each block they lie in: `merge` is given a layer, the range
    /// of its slots among all, the slots as they are under the lock, and free ones to fill. What it fills in is of the
    /// slots there are or of `added`. Nothing happens when the lists are not the element's any more.
    ///
    /// # Errors
    /// A damaged list, want of memory.
    fn rewrite_lists(
        &mut self,
        member: &Member,
        added: &[(u8, u64)],
        known: &dyn KnownValues,
        room: &mut Vec<Tid>,
        merge: impl FnMut(u8, Range<usize>, &[Tid], &mut [Tid]),
    ) -> Result<(), Self::Error>;

    /// Removes rows, named with the offsets of their elements and in their order, from a page, and shows its
    /// elements as they are then. Returns how many rows went.
    ///
    /// # Errors
    /// A damaged page, and what `each` answers: then nothing is changed.
    fn remove_rows(
        &mut self,
        page: u32,
        dead: &[(u16, Tid)],
        each: impl FnMut(&OnPage<'_>) -> Result<(), Damage>,
    ) -> Result<u64, Self::Error>;

    /// Removes rows of an element from the part that [`GraphRead::next_rows`] named. Returns how many went.
    ///
    /// # Errors
    /// A damaged page.
    fn remove_other_rows(&mut self, member: &Member, part: Tid, dead: &[Tid]) -> Result<u64, Self::Error>;

    /// Gives back the parts in which an element has no rows any more. Returns whether it lives: from here on one that
    /// does not gets no row.
    ///
    /// # Errors
    /// A damaged page.
    fn settle_rows(&mut self, member: &Member) -> Result<bool, Self::Error>;

    /// Makes whole, before anything leads to it, an element that an interrupted insert may have left without what it
    /// writes behind the record. The update lock is held alone.
    ///
    /// # Errors
    /// A damaged page, or one that cannot be had.
    fn complete(&mut self, tid: Tid) -> Result<(), Self::Error> {
        let _ = tid;
        Ok(())
    }

    /// Frees the places of the elements of a page that are in `dying`, in as many changes as it takes. Their values are
    /// zeroed, their lists emptied, their versions raised: who remembers one sees that it is gone.
    ///
    /// # Errors
    /// A damaged page.
    fn mark_deleted(&mut self, page: u32, dying: &TidSet) -> Result<(), Self::Error>;

    /// Copies the places on a page that inserts have reserved, and not written yet, behind what is in `out`.
    ///
    /// # Errors
    /// A damaged page, want of memory.
    fn reserved(&mut self, page: u32, out: &mut Vec<Tid>) -> Result<(), Self::Error> {
        let _ = (page, out);
        Ok(())
    }

    /// Frees a place that was reserved by an insert that was interrupted; nothing happens when it is no longer
    /// reserved.
    ///
    /// # Errors
    /// A damaged page.
    fn free_reserved(&mut self, at: Tid) -> Result<(), Self::Error> {
        let _ = at;
        Ok(())
    }

    /// Notes that there is room on a page, where inserts find room by what was noted.
    ///
    /// # Errors
    /// A damaged page.
    fn note_room(&mut self, page: u32) -> Result<(), Self::Error> {
        let _ = page;
        Ok(())
    }

    /// Makes all that was noted easy to find.
    ///
    /// # Errors
    /// When that fails.
    fn publish_room(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Changes the meta page, when `update` returns true; it may be asked more than once.
    ///
    /// # Errors
    /// A damaged meta page.
    fn update_meta(&mut self, update: impl FnMut(&mut MetaPage) -> bool) -> Result<(), Self::Error>;
}

/// Writing a graph that was built in memory into an index that has no block yet, each block once.
pub trait GraphBulk: GraphRead {
    /// Writes the index, its meta page first; `None` writes an empty one. `meta` has everything but the entry point and
    /// the insert page. Pages may be composed by `workers`, in up to `budget` bytes of memory.
    ///
    /// # Errors
    /// Want of memory, no room on disk.
    fn write_index(
        &mut self,
        meta: MetaPage,
        graph: Option<&Graph<Self::Space>>,
        workers: &mut Workers<'_>,
        budget: usize,
    ) -> Result<(), Self::Error>;
}

/// Blocks whose lists one change can take.
pub const LISTS_AT_ONCE: usize = 4;

/// Where an edge goes in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// into this slot
    At(usize),
    /// it is there already: of an index that another library damaged, before the element itself
    Stands,
    /// nowhere: what was to be replaced is gone, and nothing is free
    None,
}

/// The slot to take, of edges that a list names twice the last. The anchor's slot is nobody's.
pub fn find_place(slots: &[Tid], layer: u8, new: Tid, replaced: Option<Tid>) -> Place {
    if slots.contains(&new) {
        return Place::Stands;
    }
    let replaced = replaced.and_then(|old| slots.iter().rposition(|&slot| slot == old));
    let replaced = replaced.filter(|&place| layer > 0 || place > 0);
    let place = replaced.or_else(|| slots.iter().position(|slot| !slot.is_valid()));
    place.map_or(Place::None, Place::At)
}
