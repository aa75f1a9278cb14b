//! What the algorithms ask of a graph, whatever its bytes: reading, editing, writing it whole.
//!
//! Elements are named by the TID of their record in layer 0, in every list and every set; a layout whose upper layers
//! have records of their own translates. Lists come as slices of such TIDs. All slots of an element in one slice stand
//! top layer first, `layer_slots` of each ([`super::params::layer_range`]), free ones invalid and behind the others.
//!
//! Implementations: [`super::v1`] on pages, and a grid with known answers in memory (`testing/grid.rs`). Dispatch is
//! static: `dyn` stands where something happens once per insert at most.

mod write;

use std::ops::Range;

use super::meta::MetaPage;
use super::params::{MAX_M, layer_slots};
use super::search::{CandidateQueue, Discarded, Scored};
use super::values::Values;
use crate::ValueError;
use crate::space::Space;
use crate::storage::blocks::{LockMode, OperationLock};
use crate::storage::page::{Corruption, Damage, Tid};

pub use self::write::{
    EdgeChange, GraphBulk, GraphWrite, KnownValues, LISTS_AT_ONCE, NewElement, NoValues, Place, Placed,
    Scratch, Target, find_place,
};

/// What an index is made of, for inserts and repairs.
#[derive(Clone, Copy, Debug)]
pub struct Graph<S> {
    /// how values compare
    pub space: S,
    /// connections per layer
    pub m: usize,
    /// queue length of inserts
    pub ef_construction: usize,
}

/// An element as a read described it: where its list is, and what tells that it still is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// its record
    pub tid: Tid,
    /// its list of neighbours; where the list is part of the record, the record
    pub list: Tid,
    /// the highest layer it is in
    pub level: u8,
    /// changes when the place is freed
    pub version: u8,
    /// whether it has rows and is not deleted
    pub live: bool,
}

impl Member {
    /// A new element, which has no list that anybody could read.
    pub const fn unplaced(tid: Tid) -> Self {
        Member { tid, list: Tid::INVALID, level: 0, version: 0, live: true }
    }
}

/// How an element stands in layer 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hangs {
    /// whether it has rows
    pub live: bool,
    /// its anchor, when it has one
    pub anchor: Option<Tid>,
}

/// An edge of a list, with what is estimated of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EdgeEstimate {
    /// the element that it leads to
    pub tid: Tid,
    /// that element's distance from the list's owner
    pub own: f32,
    /// that from the element that is offered to the list, less likely below it than above: see
    /// [`GraphRead::estimated_nearer`]
    pub new: f32,
}

/// Some of the places of a list, and the one behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places([u64; Places::WORDS]);

impl Places {
    const WORDS: usize = layer_slots(MAX_M as usize, 0) / 64 + 1;

    /// Adds a place.
    #[inline(always)]
    pub fn add(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    /// Makes the 64 places from 64 `word` on those that bits say.
    #[inline(always)]
    pub fn set(&mut self, word: usize, bits: u64) {
        if let Some(word) = self.0.get_mut(word) {
            *word = bits;
        }
    }

    /// Takes a place out.
    #[inline(always)]
    pub fn remove(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word &= !(1 << (at % 64));
        }
    }

    /// Whether a place is one of them.
    #[inline(always)]
    pub fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }
}

/// An element's lists, looked at in place.
#[derive(Clone, Copy, Debug)]
pub struct ListsRef<'a> {
    /// the slots of layer 0; `None` when the lists are not the element's any more
    pub base_layer: Option<&'a [Tid]>,
    /// the slots of all layers
    pub all: &'a [Tid],
}

/// An element that a pass over a page met.
#[derive(Clone, Copy, Debug)]
pub struct OnPage<'a> {
    /// the element
    pub member: Member,
    /// whether its place is free
    pub deleted: bool,
    /// its rows, or those of them that stand with it
    pub rows: &'a [Tid],
    /// whether it may have others elsewhere ([`GraphRead::next_rows`])
    pub elsewhere: bool,
    /// of a live element, its lists, when they were asked for and are at hand; else they take [`GraphRead::lists`]
    pub lists: Option<ListsRef<'a>>,
}

/// What a search has seen, kept from search to search. A [`Scored::node`] is a handle to an element seen.
pub trait Walk: Default + std::fmt::Debug {
    /// Forgets everything.
    fn clear(&mut self);
    /// The element of a handle.
    fn member(&self, node: u32) -> Option<Member>;
    /// Whether the element's value is the very one that an insert searches with.
    fn is_equal(&self, node: u32) -> bool;
    /// Elements of the very value that an insert searches with, with room for another row. (Not all: a few.)
    fn spare(&self) -> &[Tid];
    /// Gives a handle back. The element still counts as visited.
    fn release(&mut self, node: u32);
    /// Elements scored since the count was set.
    fn scored(&self) -> u64;
    /// Sets the count of elements scored.
    fn set_scored(&mut self, scored: u64);
    /// Bytes of memory that it holds.
    fn allocated(&self) -> usize;
    /// Bytes of memory that this search fills.
    fn in_use(&self) -> usize;
}

/// A search at work, with its query and its [`Walk`].
pub trait GraphSearch {
    /// why something cannot be read
    type Error;
    /// what was seen
    type Walk: Walk;

    /// What was seen.
    fn walk(&mut self) -> &mut Self::Walk;

    /// Scores the element at `tid`, which gets a handle; `None` when it is deleted.
    ///
    /// # Errors
    /// When there is no element.
    fn enter(&mut self, tid: Tid) -> Result<Option<Scored>, Self::Error>;

    /// Begins a layer with what is in `pool`: that counts as visited, and nothing else. A layout whose layers have
    /// records of their own goes down from the records of the layer above here; handles stay.
    ///
    /// # Errors
    /// A record that cannot be read.
    fn begin_layer(&mut self, layer: u8, pool: &CandidateQueue) -> Result<(), Self::Error>;

    /// Whether a node fills a place in the result. Those that do not still lead to others.
    fn accepts(&self, node: u32) -> bool;

    /// Searches a layer from what is in `pool` (paper, algorithm 2), which afterwards has the nearest `ef` that were
    /// found, with exact distances, and what does not fill a place. `out` is room.
    ///
    /// # Errors
    /// A record that cannot be read, want of memory.
    fn search_layer(
        &mut self,
        pool: &mut CandidateQueue,
        out: &mut Vec<Scored>,
        ef: usize,
        layer: u8,
    ) -> Result<(), Self::Error>;
}

/// A search for a query, which may go on later.
pub trait ScanSearch: GraphSearch {
    /// As [`GraphSearch::search_layer`]. With `discarded`, everything that is scored ends in the queue or there.
    ///
    /// # Errors
    /// As there.
    fn search_keeping(
        &mut self,
        pool: &mut CandidateQueue,
        out: &mut Vec<Scored>,
        ef: usize,
        layer: u8,
        discarded: Option<&mut Discarded>,
    ) -> Result<(), Self::Error>;

    /// Scores the elements of a page that have rows and were not visited, for a pass over all pages; they get handles
    /// and do not count as visited: a pass comes to each page once.
    ///
    /// # Errors
    /// A damaged page, want of memory.
    fn pass(&mut self, page: u32, out: &mut Vec<Scored>) -> Result<(), Self::Error>;
}

/// A search for the neighbours of an element.
pub trait NeighbourSearch: GraphSearch {
    /// Begins a layer: at most so many elements of the very value searched with take a place.
    fn limit_equals(&mut self, left: usize);

    /// Copies the values of nodes that are not loaded yet, by handle.
    ///
    /// # Errors
    /// A damaged page, want of memory.
    fn load_values(&mut self, values: &mut Values, nodes: &[Scored]) -> Result<(), Self::Error>;
}

/// Reading a graph. Reads take no lock that outlives them; who must not be disturbed holds an operation lock.
pub trait GraphRead {
    /// How values compare.
    type Space: Space;
    /// Why something cannot be read.
    type Error: From<Corruption>;
    /// What a search has seen.
    type Walk: Walk;
    /// A search for the neighbours of an element.
    type NeighbourSearch<'a>: NeighbourSearch<Error = Self::Error, Walk = Self::Walk>
    where
        Self: 'a;

    // --- the graph as a whole -----------------------------------------------------------------------------------

    /// What the index is made of.
    fn shape(&self) -> Graph<Self::Space>;

    /// The meta page.
    ///
    /// # Errors
    /// When there is none.
    fn meta(&mut self) -> Result<MetaPage, Self::Error>;

    /// The highest level that an element may have.
    fn max_level(&self) -> u8;

    /// Takes an operation lock. Errors and the end of the transaction release it too. A layout may keep scans and
    /// vacuums apart in another way, as long as [`OperationLock::Scan`] taken exclusively waits for all scans.
    ///
    /// # Errors
    /// A cancelled wait.
    fn lock(&mut self, lock: OperationLock, mode: LockMode) -> Result<(), Self::Error>;

    /// Releases an operation lock.
    fn unlock(&mut self, lock: OperationLock, mode: LockMode);

    /// A place where a long operation may be cancelled or paused.
    ///
    /// # Errors
    /// When it was cancelled.
    fn pause(&mut self) -> Result<(), Self::Error>;

    /// A step between two changes that has a name ([`crate::storage::blocks::BlockStore::fault_point`]).
    ///
    /// # Errors
    /// What a test wants.
    fn fault_point(&mut self, name: &'static str) -> Result<(), Self::Error>;

    // --- elements and their lists -------------------------------------------------------------------------------

    /// Reads an element; `None` when it is deleted.
    ///
    /// # Errors
    /// When there is none, and never was.
    fn member(&mut self, tid: Tid) -> Result<Option<Member>, Self::Error>;

    /// Reads an element, deleted or not, and its value, which is empty when it is deleted.
    ///
    /// # Errors
    /// When there is none, and what `look` answers.
    fn element<R>(
        &mut self,
        tid: Tid,
        look: impl FnOnce(&Member, &[u8]) -> Result<R, Damage>,
    ) -> Result<R, Self::Error>;

    /// Copies the edges of a layer, without free slots. False, and none, when the list is not the element's any more.
    ///
    /// # Errors
    /// A damaged list, want of memory.
    fn list(&mut self, member: &Member, layer: u8, out: &mut Vec<Tid>) -> Result<bool, Self::Error>;

    /// Looks at all lists of an element.
    ///
    /// # Errors
    /// A damaged list, and what `look` answers.
    fn lists<R>(
        &mut self,
        member: &Member,
        look: impl FnOnce(ListsRef<'_>) -> Result<R, Damage>,
    ) -> Result<R, Self::Error>;

    /// The anchor of an element: the first edge of its list in layer 0. `None` when it has no edge, or is gone.
    ///
    /// # Errors
    /// A damaged list.
    fn anchor(&mut self, member: &Member) -> Result<Option<Tid>, Self::Error>;

    /// Whether the element's list in layer 0 has an edge to `edge`.
    ///
    /// # Errors
    /// A damaged list.
    fn has_edge(&mut self, member: &Member, edge: Tid) -> Result<bool, Self::Error>;

    /// Reads how an element stands in layer 0; `None` when it is deleted.
    ///
    /// # Errors
    /// When there is none, and never was; a damaged list.
    fn hangs(&mut self, tid: Tid) -> Result<Option<Hangs>, Self::Error> {
        let Some(member) = self.member(tid)? else { return Ok(None) };
        Ok(Some(Hangs { live: member.live, anchor: self.anchor(&member)? }))
    }

    // --- distances without values ---------------------------------------------------------------------------------

    /// Whether lists of layer 0 tell their elements' distances without these being read.
    fn has_estimates(&self) -> bool {
        false
    }

    /// Begins estimates for an element of this value, which is offered to lists. False when there are none.
    ///
    /// # Errors
    /// Want of memory.
    fn begin_estimates(&mut self, value: &[u8]) -> Result<bool, Self::Error> {
        let _ = value;
        Ok(false)
    }

    /// Reads a list of layer 0 into `slots`, and estimates for each of its edges into `out`: the element that is
    /// offered is at `distance` from the owner. False when something has no estimate, or the list is not the element's
    /// any more.
    ///
    /// # Errors
    /// A damaged list, want of memory.
    fn estimate_list(
        &mut self,
        owner: &Member,
        distance: f32,
        slots: &mut Vec<Tid>,
        out: &mut Vec<EdgeEstimate>,
    ) -> Result<bool, Self::Error> {
        let _ = (owner, distance, slots, out);
        Ok(false)
    }

    /// The places of the edges, in the list that was estimated last, whose elements are nearer to that of place `at`
    /// than the list's owner is. With some margin: estimates err to both sides, and of a list's many elements one seems
    /// near enough when none is.
    fn estimated_nearer(&mut self, at: usize) -> Places {
        let _ = at;
        Places::default()
    }

    /// Copies rows of an element that stand elsewhere, part by part, behind what is in `out`: `part` is `None` before
    /// the first, and names the one that was copied afterwards. False when there are no more.
    ///
    /// # Errors
    /// Rows that cannot be read, want of memory.
    fn next_rows(
        &mut self,
        member: &Member,
        part: &mut Option<Tid>,
        out: &mut Vec<Tid>,
    ) -> Result<bool, Self::Error>;

    /// Where the list of a layer stands: edges are changed in this order, those of one block together.
    ///
    /// # Errors
    /// A record that cannot be read.
    fn list_at(&mut self, member: &Member, layer: u8) -> Result<Tid, Self::Error>;

    /// Says that these elements will be read soon, one after the other. A hint.
    fn prefetch_elements(&mut self, tids: &[Tid]);

    /// Says that this element, with a value of so many bytes, will be read next. A hint.
    fn prefetch_element(&mut self, tid: Tid, value_size: usize);

    // --- searches -----------------------------------------------------------------------------------------------

    /// A search for neighbours of `value`. With `repairing`, only elements with rows take a place in the
    /// result, and not the one of that TID.
    ///
    /// # Errors
    /// A value of other dimensions.
    fn search_neighbours<'a>(
        &'a mut self,
        value: &'a [u8],
        repairing: Option<Tid>,
        walk: &'a mut Self::Walk,
    ) -> Result<Self::NeighbourSearch<'a>, ValueError>;

    // --- passes -------------------------------------------------------------------------------------------------

    /// The pages that may have elements at this moment.
    ///
    /// # Errors
    /// When their number cannot be had.
    fn pages(&mut self) -> Result<Range<u32>, Self::Error>;

    /// Shows every element of a page, deleted ones too, with the lists of live ones when `lists`. `each` runs under the
    /// page's lock.
    ///
    /// # Errors
    /// A damaged page, and what `each` answers.
    fn visit_page(
        &mut self,
        page: u32,
        lists: bool,
        each: impl FnMut(&OnPage<'_>) -> Result<(), Damage>,
    ) -> Result<(), Self::Error>;
}

/// A graph that whole scans walk ([`super::scan`]). A layout may have scans of its own instead.
pub trait GraphScan: GraphRead {
    /// A search for a query.
    type Search<'a>: ScanSearch<Error = Self::Error, Walk = Self::Walk>
    where
        Self: 'a;

    /// Sets the number of connections, which a scan takes from the meta page.
    fn set_m(&mut self, m: usize);

    /// A search for `query`, a whole varlena; `None` is NULL, to which everything is equally near.
    ///
    /// # Errors
    /// A query of other dimensions.
    fn search<'a>(
        &'a mut self,
        query: Option<&'a [u8]>,
        walk: &'a mut Self::Walk,
    ) -> Result<Self::Search<'a>, ValueError>;

    /// The next row of an element that a search found, in the order in which scans return them; `cursor` is `None`
    /// before the first, and the layout's own afterwards.
    ///
    /// # Errors
    /// Rows that cannot be read.
    fn next_row(
        &mut self,
        walk: &Self::Walk,
        node: u32,
        cursor: &mut Option<u64>,
    ) -> Result<Option<Tid>, Self::Error>;
}
