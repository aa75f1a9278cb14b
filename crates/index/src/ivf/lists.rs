//! What scans, inserts, vacuums, builds and checks ask of an index of lists. They know lists, centres and rows, and no
//! byte of a page: a layout ([`v1`](super::v1), lists in memory in the tests) implements these traits, and
//! [`format`](super::format) chooses it.
//!
//! A server error inside a read leaves by a jump over the frames that called it. So whatever needs dropping is
//! handed in, in structures that outlive the call ([`Workspace`], [`Collector`], [`Tally`]), and stands in no
//! frame.

use std::borrow::Cow;

use super::candidates::Candidates;
use super::centre_cache::Centres;
use super::packed;
use super::packed::prices::Prices;
use super::packed::probes::Total;
use super::tally::Tally;
use crate::filter::Program;
use crate::quant::space::CodedSpace;
use crate::runs::Tree;
use crate::space::ValueBuf;
use crate::storage::page::{Corruption, Damage, Tid};
use crate::work::memory::OutOfMemory;
use crate::work::runs::Runs;

/// Where a list stands. It never changes after a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListPlace {
    /// the block that describes it
    pub block: u32,
    /// its item there
    pub offset: u16,
    /// the first page of its entries
    pub start_page: u32,
}

/// A list, as a pass over all of them meets it.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// where it stands
    pub place: ListPlace,
    /// where inserts begin to look for room
    pub tail: u32,
    /// its centre, a whole varlena that nobody has looked at yet
    pub centre: &'a [u8],
}

/// Undoes the server's compression of a value in place.
pub trait Unpack {
    /// Makes `out` the whole value; false when that cannot be done.
    fn unpack(&mut self, compressed: &[u8], out: &mut ValueBuf) -> bool;
}

/// The values of an index's rows where the index has none: those of the table.
pub trait TableValues {
    /// Says that the value of `row` will be asked for soon. A hint.
    fn prefetch(&mut self, row: Tid) {
        let _ = row;
    }

    /// Makes `out` the indexed value of `row`, a whole varlena; false when nobody is to see such a row, or when it has
    /// no value.
    ///
    /// # Errors
    /// No memory.
    fn value(&mut self, row: Tid, out: &mut ValueBuf) -> Result<bool, OutOfMemory>;

    /// Lets go of what is held from one value to the next.
    fn pause(&mut self) {}
}

/// Of an index that has its values.
#[derive(Clone, Copy, Debug)]
pub struct NoTable;

impl TableValues for NoTable {
    fn value(&mut self, _: Tid, _: &mut ValueBuf) -> Result<bool, OutOfMemory> {
        Ok(false)
    }
}

/// What the server does for a scan.
pub struct Services<'a> {
    /// keeps what does not fit in memory
    pub runs: &'a mut dyn Runs,
    /// decompresses values
    pub unpack: &'a mut dyn Unpack,
    /// has the values that the index has not
    pub table: &'a mut dyn TableValues,
}

/// Where a scan's candidates go.
pub struct Collector<'a, 's> {
    /// the candidates, by their distances
    pub candidates: &'a mut Candidates,
    /// the same where distances have bounds
    pub packed: &'a mut packed::found::Found,
    /// bytes of memory that they may take
    pub memory: usize,
    /// room for a value
    pub unpacked: &'a mut ValueBuf,
    /// what the server does
    pub services: &'a mut Services<'s>,
    /// bytes of an entry, once one was seen
    pub entry_size: usize,
}

/// A run that a scan may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunChoice {
    /// in the order of whose keys it is
    pub tree: Tree,
    /// entries of the run, about
    pub entries: f64,
    /// rows of the index, about
    pub rows: f64,
    /// lists of the index
    pub lists: usize,
    /// what it costs, and what lists cost
    pub prices: Prices,
}

/// Memory that writers use again.
#[derive(Debug, Default)]
pub struct Workspace {
    /// an entry as it will stand
    pub entry: Vec<u8>,
    /// places on a page
    pub offsets: Vec<u16>,
    /// the filter keys of the row that is added, of an index that has any
    pub keys: Vec<u8>,
    /// what its code is made against, if that is known ([`WriteLists::code_centre`])
    pub centre: Vec<f32>,
}

/// Reading lists.
pub trait ReadLists {
    /// Why that fails.
    type Error: From<Corruption>;

    /// Shows all lists, in the order of their numbers, until `look` returns false.
    ///
    /// # Errors
    /// A block that cannot be had, or what `look` says of one.
    fn each_list(
        &mut self,
        look: &mut impl FnMut(Listed<'_>) -> Result<bool, Damage>,
    ) -> Result<(), Self::Error>;

    /// Returns where inserts into `list` begin to look for room; none when there is another list now where it stood.
    ///
    /// # Errors
    /// A damaged block.
    fn tail(&mut self, list: ListPlace) -> Result<Option<u32>, Self::Error>;

    /// Returns how many of `all` lists a search should look at for the nearest `rows` rows, where `probes` are enough
    /// for the first.
    fn enough_lists(&self, probes: usize, rows: f64, all: Total) -> usize {
        let _ = (rows, all);
        probes
    }

    /// Whether lists are found by [`Self::nearest_lists`].
    fn finds_lists(&self) -> bool {
        false
    }

    /// Adds lists whose centres are nearest to `value` to `found`, at least `count` of them where there are as many, in
    /// any order: the key of the distance above the place in `places`, to which their places are added. `centres` are
    /// those kept in memory, or none. Returns false where all centres must be looked at.
    ///
    /// # Errors
    /// A damaged block, or no memory.
    fn nearest_lists<S: CodedSpace>(
        &mut self,
        space: S,
        value: S::View<'_>,
        count: usize,
        centres: &Centres,
        to: (&mut Vec<u64>, &mut Vec<ListPlace>),
    ) -> Result<bool, Self::Error> {
        let _ = (space, value, count, centres, to);
        Ok(false)
    }

    /// Says that a list will be scored soon. A hint.
    fn prefetch_list(&mut self, list: ListPlace) {
        let _ = list;
    }

    /// Adds the rows of `list`, whose centre has this distance from `query`, to the candidates; without a query all
    /// rows are equally far. Returns false when a vacuum has moved rows of the list meanwhile: what was found since
    /// the candidates were empty is to be forgotten, and found again.
    ///
    /// # Errors
    /// A damaged block, or no memory.
    fn score_list<S: CodedSpace>(
        &mut self,
        list: ListPlace,
        distance: f32,
        space: S,
        query: Option<S::View<'_>>,
        found: &mut Collector<'_, '_>,
    ) -> Result<bool, Self::Error>;

    /// Returns the run of entries in the order of a filter key that conditions leave, of several the shortest; none
    /// where there are no such entries, or conditions say nothing of their columns.
    ///
    /// # Errors
    /// A damaged block.
    fn choose_run(&mut self, filter: &Program) -> Result<Option<RunChoice>, Self::Error> {
        let _ = filter;
        Ok(None)
    }

    /// Adds all rows of a run that meet the conditions to the candidates, of which there were none.
    ///
    /// # Errors
    /// A damaged block, or no memory.
    fn score_run<S: CodedSpace>(
        &mut self,
        tree: Tree,
        space: S,
        query: Option<S::View<'_>>,
        found: &mut Collector<'_, '_>,
    ) -> Result<(), Self::Error> {
        let _ = (tree, space, query, found);
        Ok(())
    }

    /// Returns the nearest of the candidates that were not returned yet; none when all were.
    ///
    /// # Errors
    /// A damaged block, or no memory.
    fn next_row<S: CodedSpace>(
        &mut self,
        space: S,
        query: Option<S::View<'_>>,
        found: &mut Collector<'_, '_>,
    ) -> Result<Option<Tid>, Self::Error> {
        let _ = (space, query);
        Ok(found.candidates.pop(found.services.runs))
    }

    /// Shows the whole value of the entry at `entry`, with its filter keys behind it; returns none when there is no
    /// such value.
    ///
    /// # Errors
    /// A damaged block.
    fn value_at<R>(
        &mut self,
        entry: Tid,
        unpack: &mut dyn Unpack,
        unpacked: &mut ValueBuf,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, Self::Error>;
}

/// Entries that a vacuum met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// entries that are gone
    pub removed: u64,
    /// entries that stay
    pub kept: u64,
}

/// Adding and removing entries.
pub trait WriteLists: ReadLists {
    /// Makes `out` what codes of a list's rows are made against, by its centre; nothing where there are no codes.
    ///
    /// # Errors
    /// No memory.
    fn code_centre<S: CodedSpace>(
        &mut self,
        space: S,
        centre: S::View<'_>,
        out: &mut Vec<f32>,
    ) -> Result<(), Damage> {
        let _ = (space, centre);
        out.clear();
        Ok(())
    }

    /// Adds a row to `list`. `tail` is what a read of the list has said, `value` a whole varlena; the row's filter keys
    /// stand in the workspace.
    ///
    /// # Errors
    /// A damaged block, or one that cannot be had.
    fn append<S: CodedSpace>(
        &mut self,
        list: ListPlace,
        tail: u32,
        space: S,
        row: Tid,
        value: &[u8],
        workspace: &mut Workspace,
    ) -> Result<(), Self::Error>;

    /// Before dead rows leave their lists: takes them out of all that names their values.
    ///
    /// # Errors
    /// A damaged block, or no memory.
    fn begin_removal(&mut self, is_dead: &mut dyn FnMut(Tid) -> bool) -> Result<(), Self::Error> {
        let _ = is_dead;
        Ok(())
    }

    /// Removes the entries of dead rows from `list`. `is_dead` must neither raise nor read blocks.
    ///
    /// # Errors
    /// A damaged block.
    fn remove(
        &mut self,
        list: ListPlace,
        is_dead: &mut dyn FnMut(Tid) -> bool,
        workspace: &mut Workspace,
        met: &mut Met,
    ) -> Result<(), Self::Error>;
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

/// The form in which a build keeps a row until it is written.
#[derive(Clone, Copy, Debug)]
pub struct EntryForm {
    /// bytes of an entry
    pub size: usize,
    /// where an entry has the elements of its value
    pub elements_at: usize,
    /// where its filter keys go, if it has any
    pub keys_at: usize,
    /// makes zeros the entry of a row, by its value's four bytes before the elements, and its elements
    pub write: fn(row: Tid, header: [u8; 4], elements: &[u8], out: &mut [u8]),
}

/// Completes the entries of rows when their lists are known, on the threads.
pub trait EntryCoder: Send + Sync {
    /// Completes an entry in its form. `room` is room for two vectors.
    ///
    /// # Errors
    /// No memory.
    fn complete(&self, list: u32, entry: &mut [u8], room: &mut [Vec<f32>; 2]) -> Result<(), Damage>;
}

/// Writing a built index into an empty file.
pub trait BulkLists {
    /// Why that fails.
    type Error: From<Corruption>;
    /// A list that waits for its entries.
    type Head: Copy;

    /// Adds what comes before the entries: `counts[i]` of them will follow for list `i`. `centre` makes its
    /// argument a list's centre, a whole varlena of `shape.value_size` bytes. Returns the lists in order.
    ///
    /// # Errors
    /// A file that cannot be extended, more pages than there are block numbers.
    fn begin(
        &mut self,
        shape: Shape,
        counts: &[u32],
        centre: impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<Vec<Self::Head>, Self::Error>;

    /// Adds the next list. `next` gives its entries, one after the other, each in its form of `size` bytes.
    ///
    /// # Errors
    /// A file that cannot be extended.
    fn write_list<'e>(
        &mut self,
        list: Self::Head,
        size: usize,
        next: impl FnMut() -> Option<Cow<'e, [u8]>>,
    ) -> Result<(), Self::Error>;
}

/// Walking everything, however damaged it is, for a check. What is wrong and what is there goes to the [`Tally`].
pub trait AuditLists {
    /// Why a block cannot be had at all.
    type Error: From<Corruption>;

    /// Begins: takes memory, and reads how many lists there should be; none when there is nothing to go on with.
    ///
    /// # Errors
    /// A block that cannot be had at all, or no memory.
    fn begin(&mut self, tally: &mut Tally) -> Result<Option<u32>, Self::Error>;

    /// Walks the lists and their centres.
    ///
    /// # Errors
    /// A block that cannot be had at all.
    fn lists<S: CodedSpace>(&mut self, space: S, tally: &mut Tally) -> Result<(), Self::Error>;

    /// Walks the entries of list `at` of the tally; with `deep`, looks at their values and notes their rows.
    ///
    /// # Errors
    /// A block that cannot be had at all.
    fn entries<S: CodedSpace>(
        &mut self,
        at: usize,
        space: S,
        deep: bool,
        unpack: &mut dyn Unpack,
        tally: &mut Tally,
    ) -> Result<(), Self::Error>;

    /// Whether the entry at `entry` has the code and the filter keys of an item; none where its own value says more, or
    /// where there is no such entry.
    ///
    /// # Errors
    /// A damaged block.
    fn fits<S: CodedSpace>(
        &mut self,
        space: S,
        entry: Tid,
        item: &[u8],
    ) -> Result<Option<bool>, Self::Error> {
        let _ = (space, entry, item);
        Ok(None)
    }

    /// Looks at what no list leads to.
    ///
    /// # Errors
    /// A block that cannot be had at all.
    fn strays(&mut self, tally: &mut Tally) -> Result<(), Self::Error>;
}

/// Lists of an index, at most.
pub const MAX_LISTS: u32 = 32_768;

/// Of a centre, wherever one is looked at.
pub const BAD_CENTRE: &str = "centre does not fit the index";
/// Of a value in a list.
pub const BAD_VALUE: &str = "value does not fit the index";
