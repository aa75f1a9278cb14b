//! The graph on pgvector's pages: reading it.

use std::ops::Range;

use super::super::graph::{Graph, GraphRead, GraphScan, ListsRef, Member, OnPage};
use super::super::meta::{self, HEAD_BLOCK, MetaPage, PAGE_ID};
use super::super::params::{layer_slots, max_level};
use super::layout::{Element, ElementHeader, Neighbours, is_element};
use super::reader::{PageStore, Traversal};
use crate::ValueError;
use crate::space::Space;
use crate::storage::blocks::{BlockStore, LockMode, OperationLock};
use crate::storage::page::{Damage, FIRST_OFFSET, Page, Tid};

/// A graph in the blocks of an index.
#[derive(Debug)]
pub struct PageGraph<'b, B, S> {
    pub(super) blocks: &'b mut B,
    pub(super) shape: Graph<S>,
}

impl<'b, B: BlockStore, S: Space> PageGraph<'b, B, S> {
    /// The graph in `blocks`.
    pub fn new(blocks: &'b mut B, shape: Graph<S>) -> Self {
        PageGraph { blocks, shape }
    }
}

impl Member {
    #[inline]
    pub(super) fn of_element(tid: Tid, element: &Element<'_>) -> Self {
        let header = element.header;
        let live = header.deleted == 0 && header.is_live();
        Member { tid, list: header.neighbour_tid, level: header.level, version: header.version, live }
    }
}

/// Looks at the value of an element, in place.
///
/// # Errors
/// When there is no element at `tid`, and what `look` answers.
pub fn read_value<B: BlockStore, R>(
    blocks: &mut B,
    tid: Tid,
    look: impl FnOnce(&[u8]) -> Result<R, Damage>,
) -> Result<R, B::Error> {
    blocks.read(tid.block(), |bytes| {
        look(Element::new(Page::new(bytes, PAGE_ID)?.item(tid.offset())?, tid.offset())?.value)
    })
}

/// The lists of an element in its neighbour tuple.
pub(super) fn lists_of<'a>(member: &Member, item: &'a [u8], m: usize) -> Result<ListsRef<'a>, Damage> {
    let list = Neighbours::new(item, member.list.offset())?;
    let base_layer = list.layer(member.level, member.version, 0, m);
    Ok(ListsRef { base_layer, all: list.slots })
}

/// Shows every element of a page, with the lists of live ones that stand beside them when `m` says how to read them.
pub(super) fn visit<'a>(
    bytes: &'a [u8],
    block: u32,
    m: Option<usize>,
    mut each: impl FnMut(&OnPage<'a>) -> Result<(), Damage>,
) -> Result<(), Damage> {
    // a block that a crash left without ever linking it
    if Page::is_new(bytes) {
        return Ok(());
    }
    let page = Page::new(bytes, PAGE_ID)?;
    for offset in FIRST_OFFSET..=page.max_offset() {
        let item = page.item(offset)?;
        if !is_element(item) {
            continue;
        }
        let element = Element::new(item, offset)?;
        let member = Member::of_element(Tid::new(block, offset), &element);
        let lists = match m {
            Some(m) if member.live && member.list.block() == block => {
                Some(lists_of(&member, page.item(member.list.offset())?, m)?)
            }
            _ => None,
        };
        let (deleted, rows) = (element.header.deleted != 0, element.header.live_heap_tids());
        each(&OnPage { member, deleted, rows, elsewhere: false, lists })?;
    }
    Ok(())
}

impl<B: BlockStore, S: Space> PageGraph<'_, B, S> {
    /// Reads the slots of a layer, none when the list is not the element's any more.
    #[inline(always)]
    fn read_layer<R>(
        &mut self,
        member: &Member,
        layer: u8,
        look: impl FnOnce(Option<&[Tid]>) -> Result<R, Damage>,
    ) -> Result<R, B::Error> {
        let (at, m) = (member.list, self.shape.m);
        self.blocks.read(at.block(), |bytes| {
            let item = Page::unidentified(bytes)?.item(at.offset())?;
            look(Neighbours::new(item, at.offset())?.layer(member.level, member.version, layer, m))
        })
    }
}

impl<B: BlockStore, S: Space> GraphRead for PageGraph<'_, B, S> {
    type Space = S;
    type Error = B::Error;
    type Walk = Traversal;
    type NeighbourSearch<'a>
        = PageStore<'a, B, S, true>
    where
        Self: 'a;

    #[inline(always)]
    fn shape(&self) -> Graph<S> {
        self.shape
    }

    fn meta(&mut self) -> Result<MetaPage, B::Error> {
        meta::read_meta(self.blocks)
    }

    fn max_level(&self) -> u8 {
        max_level(self.blocks.page_size(), self.shape.m)
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
        self.blocks.read(tid.block(), |bytes| {
            let element = Element::new(Page::new(bytes, PAGE_ID)?.item(tid.offset())?, tid.offset())?;
            Ok((element.header.deleted == 0).then(|| Member::of_element(tid, &element)))
        })
    }

    #[inline]
    fn element<R>(
        &mut self,
        tid: Tid,
        look: impl FnOnce(&Member, &[u8]) -> Result<R, Damage>,
    ) -> Result<R, B::Error> {
        self.blocks.read(tid.block(), |bytes| {
            let element = Element::new(Page::unidentified(bytes)?.item(tid.offset())?, tid.offset())?;
            look(&Member::of_element(tid, &element), element.value)
        })
    }

    #[inline]
    fn list(&mut self, member: &Member, layer: u8, out: &mut Vec<Tid>) -> Result<bool, B::Error> {
        out.clear();
        self.read_layer(member, layer, |list| {
            let slots = list.unwrap_or_default();
            out.try_reserve(slots.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
            out.extend(slots.iter().take_while(|tid| tid.is_valid()));
            Ok(list.is_some())
        })
    }

    fn lists<R>(
        &mut self,
        member: &Member,
        look: impl FnOnce(ListsRef<'_>) -> Result<R, Damage>,
    ) -> Result<R, B::Error> {
        let (at, m) = (member.list, self.shape.m);
        self.blocks.read(at.block(), |bytes| {
            look(lists_of(member, Page::new(bytes, PAGE_ID)?.item(at.offset())?, m)?)
        })
    }

    #[inline]
    fn anchor(&mut self, member: &Member) -> Result<Option<Tid>, B::Error> {
        self.read_layer(member, 0, |list| {
            Ok(list.and_then(|slots| slots.first().copied()).filter(|tid| tid.is_valid()))
        })
    }

    fn has_edge(&mut self, member: &Member, edge: Tid) -> Result<bool, B::Error> {
        self.read_layer(member, 0, |list| Ok(list.is_some_and(|slots| slots.contains(&edge))))
    }

    #[inline(always)]
    fn list_at(&mut self, member: &Member, _: u8) -> Result<Tid, B::Error> {
        Ok(member.list)
    }

    fn next_rows(&mut self, _: &Member, _: &mut Option<Tid>, _: &mut Vec<Tid>) -> Result<bool, B::Error> {
        Ok(false)
    }

    fn prefetch_elements(&mut self, tids: &[Tid]) {
        self.blocks.prefetch_blocks(tids);
    }

    #[inline(always)]
    fn prefetch_element(&mut self, tid: Tid, value_size: usize) {
        self.blocks.prefetch_item(tid, size_of::<ElementHeader>() + value_size);
    }

    fn search_neighbours<'a>(
        &'a mut self,
        value: &'a [u8],
        repairing: Option<Tid>,
        walk: &'a mut Traversal,
    ) -> Result<Self::NeighbourSearch<'a>, ValueError> {
        let store = PageStore::new(self.blocks, self.shape.space, Some(value), self.shape.m, walk)?;
        let store = store.inserting(value);
        Ok(match repairing {
            Some(tid) => store.repairing(tid),
            None => store,
        })
    }

    fn pages(&mut self) -> Result<Range<u32>, B::Error> {
        Ok(HEAD_BLOCK..self.blocks.count()?)
    }

    fn visit_page(
        &mut self,
        page: u32,
        lists: bool,
        each: impl FnMut(&OnPage<'_>) -> Result<(), Damage>,
    ) -> Result<(), B::Error> {
        let m = lists.then_some(self.shape.m);
        self.blocks.read_in_passing(page, |bytes| visit(bytes, page, m, each))
    }
}

impl<B: BlockStore, S: Space> GraphScan for PageGraph<'_, B, S> {
    type Search<'a>
        = PageStore<'a, B, S, false>
    where
        Self: 'a;

    fn set_m(&mut self, m: usize) {
        self.shape.m = m;
    }

    fn search<'a>(
        &'a mut self,
        query: Option<&'a [u8]>,
        walk: &'a mut Traversal,
    ) -> Result<Self::Search<'a>, ValueError> {
        PageStore::new(self.blocks, self.shape.space, query, self.shape.m, walk)
    }

    #[inline]
    fn next_row(
        &mut self,
        walk: &Traversal,
        node: u32,
        cursor: &mut Option<u64>,
    ) -> Result<Option<Tid>, B::Error> {
        // handles come from this walk
        let Some(node) = walk.node(node) else { return Ok(None) };
        // the last of its rows first
        let left = cursor.unwrap_or(u64::from(node.rows));
        let Some(at) = left.checked_sub(1) else { return Ok(None) };
        *cursor = Some(at);
        Ok(node.heap_tids.get(at as usize).copied())
    }
}

/// The slots of layer 0, which end all others.
pub(super) fn base_layer_mut(slots: &mut [Tid], m: usize) -> &mut [Tid] {
    let start = slots.len().saturating_sub(layer_slots(m, 0));
    slots.get_mut(start..).unwrap_or_default()
}
