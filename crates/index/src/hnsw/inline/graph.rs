//! The graph on inline pages: reading it.

use std::ops::Range;

use super::edit::Edits;
use super::layout::{Layout, PageKind, Record, offset, page_kind};
use super::list_estimates::ListEstimates;
use super::meta::{META_BLOCK, read_meta};
use super::neighbour_search::{InlineSearch, InlineWalk};
use super::records::{
    climb, look_at_ground, look_at_segment, look_at_upper, look_at_value, member_of, slot_of,
};
use super::scan::Index;
use crate::ValueError;
use crate::hnsw::graph::{EdgeEstimate, Graph, GraphRead, Hangs, ListsRef, Member, OnPage, Places};
use crate::hnsw::meta::MetaPage;
use crate::hnsw::params::{layer_range, layer_slots, max_level};
use crate::quant::space::CodedSpace;
use crate::space::ValueBuf;
use crate::storage::blocks::{BlockStore, LockMode, OperationLock};
use crate::storage::page::{Corruption, Damage, Tid};
use crate::work::memory::{append, resize};

/// Dimensions from which on lists are judged by codes: the error falls with their root, and shorter values are read for
/// little more.
const LEAST_DIMS: usize = 64;

/// Memory of reads and changes, kept from one to the next: nothing that needs dropping may stand on a frame that reads.
#[derive(Debug, Default)]
pub struct Room {
    /// slots of an element's lists
    pub(super) slots: Vec<Tid>,
    /// a value that was cut
    pub(super) value: ValueBuf,
    /// what changes need
    pub(super) edits: Edits,
    /// distances in a list
    pub(super) estimates: ListEstimates,
}

impl Room {
    /// Nothing allocated.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        self.slots.capacity() * size_of::<Tid>()
            + self.value.allocated()
            + self.edits.allocated()
            + self.estimates.allocated()
    }
}

/// A graph in the blocks of an index.
#[derive(Debug)]
pub struct InlineGraph<'b, B, S> {
    /// the blocks
    pub blocks: &'b mut B,
    /// what it is
    pub index: &'b Index<'b, S>,
    /// queue length of inserts
    pub ef_construction: usize,
    /// room
    pub(super) room: &'b mut Room,
}

impl<'b, B, S> InlineGraph<'b, B, S> {
    /// The graph in `blocks`.
    pub fn new(
        blocks: &'b mut B,
        index: &'b Index<'b, S>,
        ef_construction: usize,
        room: &'b mut Room,
    ) -> Self {
        // others may have changed what was read for another operation
        room.edits.begin();
        InlineGraph { blocks, index, ef_construction, room }
    }
}

/// Looks at the value of an element; of one that is deleted it is empty. `buffer` is room for it.
///
/// # Errors
/// When there is no element at `tid`, and what `look` answers.
pub fn read_value<B: BlockStore, R>(
    blocks: &mut B,
    layout: &Layout,
    buffer: &mut ValueBuf,
    tid: Tid,
    look: impl FnOnce(&[u8]) -> Result<R, Damage>,
) -> Result<R, B::Error> {
    look_at_value(blocks, layout, buffer, tid, |_, value| look(value))
}

/// The error for a chain that leads to what is none of its segments.
#[cold]
pub(super) fn strange_segment<E: From<Corruption>>(at: Tid) -> E {
    Damage::at(at.offset(), "segment of other rows").on(at.block()).into()
}

/// Whether a record of layer 0 is still that of a node that was read before.
fn is_own(record: &Record<'_>, member: &Member) -> bool {
    record.is_live() && record.header.version == member.version
}

impl<B: BlockStore, S: CodedSpace> InlineGraph<'_, B, S> {
    /// Copies the lists of all layers into `room.slots`; false when they are not the element's any more.
    fn gather(&mut self, member: &Member) -> Result<bool, B::Error> {
        let InlineGraph { blocks, index, room, .. } = self;
        let (layout, slots) = (&index.layout, &mut room.slots);
        slots.clear();
        let Member { tid, level, .. } = *member;
        let m = layout.shape.m;
        let put = |slots: &mut Vec<Tid>, layer: u8, ids: &[u32]| {
            let places = slots.get_mut(layer_range(level, layer, m)).unwrap_or_default();
            places.iter_mut().zip(ids).for_each(|(place, &id)| *place = layout.tid(id));
        };
        let mut above = look_at_ground(*blocks, layout, tid, |record| {
            if !is_own(record, member) || record.header.level < level {
                return Ok(None);
            }
            resize(slots, (usize::from(level) + 2) * m, Tid::INVALID)?;
            put(slots, 0, record.ids());
            Ok(Some(record.header.above))
        })?;
        for layer in 1..=level {
            let Some(id) = above else { return Ok(false) };
            above = look_at_upper(*blocks, layout, id, layer, tid, |record| {
                put(slots, layer, record.places());
                Ok(Some(record.header.above))
            })?;
        }
        Ok(above.is_some())
    }

    /// Looks at the ids of the edges in a layer, as records of layer 0; at none when they are not the element's any
    /// more.
    #[inline(always)]
    fn edges<R>(
        &mut self,
        member: &Member,
        layer: u8,
        look: impl FnOnce(Option<&[u32]>) -> Result<R, Damage>,
    ) -> Result<R, B::Error> {
        let layout = &self.index.layout;
        if layer == 0 {
            return look_at_ground(self.blocks, layout, member.tid, |record| {
                look(is_own(record, member).then(|| record.ids()))
            });
        }
        let upper = climb(self.blocks, layout, member, layer)?;
        match upper {
            Some(id) => look_at_upper(self.blocks, layout, id, layer, member.tid, |record| {
                look(Some(record.places()))
            }),
            None => look(None).map_err(|damage| damage.on(member.tid.block()).into()),
        }
    }
}

impl<B: BlockStore, S: CodedSpace> GraphRead for InlineGraph<'_, B, S> {
    type Space = S;
    type Error = B::Error;
    type Walk = InlineWalk;
    type NeighbourSearch<'a>
        = InlineSearch<'a, B, S>
    where
        Self: 'a;

    #[inline(always)]
    fn shape(&self) -> Graph<S> {
        let (space, m) = (self.index.space, self.index.layout.shape.m);
        Graph { space, m, ef_construction: self.ef_construction }
    }

    fn meta(&mut self) -> Result<MetaPage, B::Error> {
        Ok(read_meta(self.blocks)?.common)
    }

    fn max_level(&self) -> u8 {
        max_level(self.blocks.page_size(), self.index.layout.shape.m)
    }

    fn lock(&mut self, lock: OperationLock, mode: LockMode) -> Result<(), B::Error> {
        self.blocks.lock(lock, mode)
    }

    fn unlock(&mut self, lock: OperationLock, mode: LockMode) {
        self.blocks.unlock(lock, mode);
    }

    fn pause(&mut self) -> Result<(), B::Error> {
        self.blocks.pause()
    }

    #[inline(always)]
    fn fault_point(&mut self, name: &'static str) -> Result<(), B::Error> {
        self.blocks.fault_point(name)
    }

    fn member(&mut self, tid: Tid) -> Result<Option<Member>, B::Error> {
        look_at_ground(self.blocks, &self.index.layout, tid, |record| {
            Ok(record.is_live().then(|| member_of(tid, record)))
        })
    }

    #[inline]
    fn element<R>(
        &mut self,
        tid: Tid,
        look: impl FnOnce(&Member, &[u8]) -> Result<R, Damage>,
    ) -> Result<R, B::Error> {
        look_at_value(self.blocks, &self.index.layout, &mut self.room.value, tid, look)
    }

    #[inline]
    fn list(&mut self, member: &Member, layer: u8, out: &mut Vec<Tid>) -> Result<bool, B::Error> {
        out.clear();
        let layout = &self.index.layout;
        self.edges(member, layer, |ids| {
            let own = ids.is_some();
            let ids = ids.unwrap_or_default();
            out.try_reserve(ids.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
            out.extend(ids.iter().map(|&id| layout.tid(id)));
            Ok(own)
        })
    }

    fn lists<R>(
        &mut self,
        member: &Member,
        look: impl FnOnce(ListsRef<'_>) -> Result<R, Damage>,
    ) -> Result<R, B::Error> {
        let own = self.gather(member)?;
        let all = self.room.slots.as_slice();
        let all = if own { all } else { &[] };
        let base_layer = own.then(|| all.get(layer_range(member.level, 0, self.index.layout.shape.m)));
        let looked = look(ListsRef { base_layer: base_layer.flatten(), all });
        looked.map_err(|damage| damage.on(member.tid.block()).into())
    }

    #[inline]
    fn anchor(&mut self, member: &Member) -> Result<Option<Tid>, B::Error> {
        let layout = &self.index.layout;
        self.edges(member, 0, |ids| Ok(ids.and_then(|ids| ids.first()).map(|&id| layout.tid(id))))
    }

    fn has_edge(&mut self, member: &Member, edge: Tid) -> Result<bool, B::Error> {
        let edge = self.index.layout.ground_id(edge);
        self.edges(member, 0, |ids| Ok(edge.is_some_and(|edge| ids.is_some_and(|ids| ids.contains(&edge)))))
    }

    fn hangs(&mut self, tid: Tid) -> Result<Option<Hangs>, B::Error> {
        let layout = &self.index.layout;
        look_at_ground(self.blocks, layout, tid, |record| {
            let live = member_of(tid, record).live;
            let anchor = record.ids().first().map(|&id| layout.tid(id));
            Ok(record.is_live().then_some(Hangs { live, anchor }))
        })
    }

    fn has_estimates(&self) -> bool {
        let layout = &self.index.layout;
        let records = &layout.ground;
        records.factors && records.has_codes() && layout.shape.dims >= LEAST_DIMS
    }

    fn begin_estimates(&mut self, value: &[u8]) -> Result<bool, B::Error> {
        self.prepare_offered(value).map_err(|damage| damage.on(META_BLOCK).into())
    }

    fn estimate_list(
        &mut self,
        owner: &Member,
        distance: f32,
        slots: &mut Vec<Tid>,
        out: &mut Vec<EdgeEstimate>,
    ) -> Result<bool, B::Error> {
        self.read_estimates(owner, distance, slots, out)
    }

    fn estimated_nearer(&mut self, at: usize) -> Places {
        self.near_of(at)
    }

    fn next_rows(
        &mut self,
        member: &Member,
        part: &mut Option<Tid>,
        out: &mut Vec<Tid>,
    ) -> Result<bool, B::Error> {
        let layout = &self.index.layout;
        let owner = layout.ground_id(member.tid);
        let mut below = None;
        let at = match *part {
            None => look_at_ground(self.blocks, layout, member.tid, |record| {
                Ok(if is_own(record, member) { record.header.chain } else { Tid::INVALID })
            })?,
            Some(part) => {
                let last =
                    look_at_segment(self.blocks, layout, part, |header, _| Ok((header.number, header.next)))?;
                let Some((number, next)) = last else { return Err(strange_segment(part)) };
                below = Some(number);
                next
            }
        };
        if !at.is_valid() {
            return Ok(false);
        }
        // whoever asks is the only one that gives segments back
        let found = look_at_segment(self.blocks, layout, at, |header, rows| {
            let own = Some(header.owner) == owner && header.version == member.version;
            let falls = below.is_none_or(|below| header.number < below);
            if own && falls {
                append(out, rows)?;
            }
            Ok(own && falls)
        })?;
        if found != Some(true) {
            return Err(strange_segment(at));
        }
        *part = Some(at);
        Ok(true)
    }

    fn list_at(&mut self, member: &Member, layer: u8) -> Result<Tid, B::Error> {
        if layer == 0 {
            return Ok(member.tid);
        }
        let layout = &self.index.layout;
        let id = climb(self.blocks, layout, member, layer)?;
        // without one the list is not the element's any more, and whoever edits it will see that
        Ok(id.map_or(member.tid, |id| {
            let (block, slot) = layout.upper.slots.place(id);
            Tid::new(block, offset(slot))
        }))
    }

    fn prefetch_elements(&mut self, tids: &[Tid]) {
        self.blocks.prefetch_blocks(tids);
    }

    #[inline(always)]
    fn prefetch_element(&mut self, tid: Tid, value_size: usize) {
        let records = &self.index.layout.ground;
        if let Ok(slot) = slot_of(tid, records.slots.per_page) {
            // the header comes with the line before; of a value that is elsewhere only the header is here
            let start = records.slots.range(slot).start;
            let at = if records.is_whole() { records.value_at } else { 0 };
            self.blocks.prefetch_bytes(tid.block(), start + at, value_size.min(records.head() - at));
        }
    }

    fn search_neighbours<'a>(
        &'a mut self,
        value: &'a [u8],
        repairing: Option<Tid>,
        walk: &'a mut InlineWalk,
    ) -> Result<Self::NeighbourSearch<'a>, ValueError> {
        // the update lock may have been let go since something was read
        self.room.edits.begin();
        InlineSearch::new(self.blocks, self.index, value, repairing, walk)
    }

    fn pages(&mut self) -> Result<Range<u32>, B::Error> {
        Ok(META_BLOCK + 1..self.blocks.count()?)
    }

    fn visit_page(
        &mut self,
        page: u32,
        lists: bool,
        mut each: impl FnMut(&OnPage<'_>) -> Result<(), Damage>,
    ) -> Result<(), B::Error> {
        let InlineGraph { blocks, index, room, .. } = self;
        let (layout, slots) = (&index.layout, &mut room.slots);
        blocks.read_in_passing(page, |bytes| visit(bytes, page, layout, lists.then_some(slots), &mut each))
    }
}

/// Shows the elements of a page, when it is one of layer 0. Those of layer 0 only come with their lists when `lists` is
/// there, which is room for one.
pub(super) fn visit(
    bytes: &[u8],
    block: u32,
    layout: &Layout,
    mut lists: Option<&mut Vec<Tid>>,
    each: &mut dyn FnMut(&OnPage<'_>) -> Result<(), Damage>,
) -> Result<(), Damage> {
    if page_kind(bytes)? != Some(PageKind::Ground) {
        return Ok(());
    }
    let records = &layout.ground;
    for slot in 0..records.slots.per_page {
        let place = records.slots.get(bytes, PageKind::Ground, slot)?;
        if !records.slots.is_used(bytes, slot) {
            continue;
        }
        let record = Record::new(records, place, slot)?;
        let (member, header) = (member_of(Tid::new(block, offset(slot)), &record), record.header);
        let deleted = !record.is_live();
        let row = core::slice::from_ref(&header.heap_tid);
        let rows = if deleted || !header.heap_tid.is_valid() { &[] } else { row };
        let mut on_page =
            OnPage { member, deleted, rows, elsewhere: !deleted && header.chain.is_valid(), lists: None };
        if member.live
            && member.level == 0
            && let Some(slots) = lists.as_deref_mut()
        {
            slots.clear();
            resize(slots, layer_slots(layout.shape.m, 0), Tid::INVALID)?;
            slots.iter_mut().zip(record.ids()).for_each(|(place, &id)| *place = layout.tid(id));
            on_page.lists = Some(ListsRef { base_layer: Some(slots), all: slots });
            each(&on_page)?;
            continue;
        }
        each(&on_page)?;
    }
    Ok(())
}
