//! A graph without pages: elements in a vector, their lists beside them. Values lie on a grid, so that neighbours and
//! answers are known. The generic insert, vacuum and scan run on it as they do on pages, which shows that they know no
//! bytes; and it keeps watch over the operation locks.
#![cfg(test)]
#![allow(clippy::panic)]

use std::ops::Range;

use super::grid_search::{GridSearch, GridWalk};
use crate::ValueError;
use crate::hnsw::build;
use crate::hnsw::graph::{
    EdgeChange, Graph, GraphBulk, GraphRead, GraphScan, GraphWrite, KnownValues, ListsRef, Member,
    NewElement, OnPage, Place, Placed, Scratch, Target, find_place,
};
use crate::hnsw::meta::{EntryPoint, MetaPage};
use crate::hnsw::params::{layer_range, layer_slots};
use crate::hnsw::search::visited::TidSet;
use crate::space::{Dense, Space};
use crate::storage::blocks::{LockMode, OperationLock};
use crate::storage::page::{Corruption, Damage, Tid};
use crate::work::workers::Workers;

/// Elements that count as one page, for passes.
pub(super) const ON_PAGE: u32 = 4;
/// The highest level.
pub(super) const MAX_LEVEL: u8 = 3;

/// An element.
#[derive(Clone, Debug)]
pub struct GridElement {
    /// its value, a varlena
    pub value: Vec<u64>,
    /// its rows
    pub rows: Vec<Tid>,
    /// those that stand elsewhere, part by part; parts may be empty
    pub others: Vec<Vec<Tid>>,
    /// its highest layer
    pub level: u8,
    /// raised when it is deleted
    pub version: u8,
    /// whether its place is free
    pub deleted: bool,
    /// all slots
    pub slots: Vec<Tid>,
}

/// The graph.
#[derive(Debug)]
pub struct Grid {
    /// what it is made of
    pub shape: Graph<Dense<f32>>,
    /// all elements
    pub elements: Vec<GridElement>,
    /// the meta page
    pub meta: MetaPage,
    held: Vec<(OperationLock, LockMode)>,
}

/// Why an operation fails.
#[derive(Debug)]
pub struct GridError(#[allow(dead_code, reason = "shown by unwrap")] pub Corruption);

impl From<Corruption> for GridError {
    fn from(corruption: Corruption) -> Self {
        GridError(corruption)
    }
}

/// Values are kept in words, so that they are aligned.
fn words(value: &[u8]) -> Vec<u64> {
    let mut words = vec![0u64; value.len().div_ceil(8)];
    zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice())[..value.len()].copy_from_slice(value);
    words
}

/// The TID of element `n`.
pub fn tid_of(n: usize) -> Tid {
    Tid::new(1 + n as u32 / ON_PAGE, 1 + (n as u32 % ON_PAGE) as u16)
}

/// The element of a TID.
pub fn number_of(tid: Tid) -> usize {
    ((tid.block() - 1) * ON_PAGE + u32::from(tid.offset()) - 1) as usize
}

impl GridElement {
    /// Whether it has rows, or parts for them.
    pub fn is_live(&self) -> bool {
        !self.rows.is_empty() || !self.others.is_empty()
    }

    /// All its rows.
    pub fn all_rows(&self) -> impl Iterator<Item = Tid> + '_ {
        self.rows.iter().chain(self.others.iter().flatten()).copied()
    }

    /// Adds a row: the first stands with it, the others elsewhere, two by two.
    fn add(&mut self, row: Tid) {
        match self.others.last_mut() {
            _ if self.rows.is_empty() => self.rows.push(row),
            Some(part) if part.len() < 2 => part.push(row),
            _ => self.others.push(vec![row]),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        let bytes: &[u8] = zerocopy::IntoBytes::as_bytes(self.value.as_slice());
        let size = bytes.first_chunk::<4>().map_or(0, |head| u32::from_ne_bytes(*head) >> 2);
        &bytes[..size as usize]
    }
}

impl Grid {
    /// A graph without elements.
    pub fn new(shape: Graph<Dense<f32>>, dims: u32) -> Self {
        let meta = MetaPage::new(dims, shape.m as u16, shape.ef_construction as u16);
        Grid { shape, elements: Vec::new(), meta, held: Vec::new() }
    }

    /// Adds an element of level 0 with these edges, its anchor first.
    pub fn add(&mut self, value: &[u8], row: Tid, edges: &[Tid]) {
        let mut slots = vec![Tid::INVALID; 2 * self.shape.m];
        slots[..edges.len()].copy_from_slice(edges);
        let (value, rows, others) = (words(value), vec![row], Vec::new());
        self.elements.push(GridElement { value, rows, others, level: 0, version: 1, deleted: false, slots });
    }

    /// The edges of an element in layer 0.
    pub fn edges(&self, n: usize) -> Vec<Tid> {
        let range = layer_range(self.elements[n].level, 0, self.shape.m);
        self.elements[n].slots[range].iter().copied().filter(|tid| tid.is_valid()).collect()
    }

    pub(super) fn get(&self, tid: Tid) -> Result<&GridElement, Damage> {
        self.elements.get(number_of(tid)).ok_or(Damage::at(tid.offset(), "no element"))
    }

    pub(super) fn member_of(&self, tid: Tid) -> Result<Member, Damage> {
        let element = self.get(tid)?;
        let live = !element.deleted && element.is_live();
        Ok(Member { tid, list: tid, level: element.level, version: element.version, live })
    }

    /// The slots of a layer, when they are the member's still.
    pub(super) fn layer(&self, member: &Member, layer: u8) -> Option<&[Tid]> {
        let element = self.elements.get(number_of(member.list))?;
        let range = layer_range(element.level, layer, self.shape.m);
        (element.version == member.version).then(|| &element.slots[range])
    }

    fn layer_mut(&mut self, member: &Member, layer: u8) -> Option<&mut [Tid]> {
        self.layer(member, layer)?;
        let element = self.elements.get_mut(number_of(member.list))?;
        Some(&mut element.slots[layer_range(member.level, layer, self.shape.m)])
    }

    fn holds(&self, lock: OperationLock) -> bool {
        self.held.iter().any(|held| held.0 == lock)
    }
}

impl GraphRead for Grid {
    type Space = Dense<f32>;
    type Error = GridError;
    type Walk = GridWalk;
    type NeighbourSearch<'a> = GridSearch<'a>;

    fn shape(&self) -> Graph<Dense<f32>> {
        self.shape
    }

    fn meta(&mut self) -> Result<MetaPage, GridError> {
        Ok(self.meta)
    }

    fn max_level(&self) -> u8 {
        MAX_LEVEL
    }

    fn lock(&mut self, lock: OperationLock, mode: LockMode) -> Result<(), GridError> {
        assert!(!self.holds(lock), "{lock:?} is taken twice");
        self.held.push((lock, mode));
        Ok(())
    }

    fn unlock(&mut self, lock: OperationLock, mode: LockMode) {
        let before = self.held.len();
        self.held.retain(|&held| held != (lock, mode));
        assert_eq!(
            self.held.len() + 1,
            before,
            "{lock:?} is released as {mode:?}, which is not how it is held"
        );
    }

    fn pause(&mut self) -> Result<(), GridError> {
        Ok(())
    }

    fn fault_point(&mut self, _: &'static str) -> Result<(), GridError> {
        Ok(())
    }

    fn member(&mut self, tid: Tid) -> Result<Option<Member>, GridError> {
        let member = self.member_of(tid).map_err(|damage| damage.on(tid.block()))?;
        Ok((!self.elements[number_of(tid)].deleted).then_some(member))
    }

    fn element<R>(
        &mut self,
        tid: Tid,
        look: impl FnOnce(&Member, &[u8]) -> Result<R, Damage>,
    ) -> Result<R, GridError> {
        let found = self.member_of(tid).and_then(|member| look(&member, self.get(tid)?.bytes()));
        Ok(found.map_err(|damage| damage.on(tid.block()))?)
    }

    fn list(&mut self, member: &Member, layer: u8, out: &mut Vec<Tid>) -> Result<bool, GridError> {
        out.clear();
        let list = self.layer(member, layer);
        out.extend(list.unwrap_or_default().iter().filter(|tid| tid.is_valid()));
        Ok(list.is_some())
    }

    fn lists<R>(
        &mut self,
        member: &Member,
        look: impl FnOnce(ListsRef<'_>) -> Result<R, Damage>,
    ) -> Result<R, GridError> {
        let all = self.elements[number_of(member.list)].slots.as_slice();
        let found = look(ListsRef { base_layer: self.layer(member, 0), all });
        Ok(found.map_err(|damage| damage.on(member.list.block()))?)
    }

    fn anchor(&mut self, member: &Member) -> Result<Option<Tid>, GridError> {
        let first = self.layer(member, 0).and_then(|slots| slots.first().copied());
        Ok(first.filter(|tid| tid.is_valid()))
    }

    fn has_edge(&mut self, member: &Member, edge: Tid) -> Result<bool, GridError> {
        Ok(self.layer(member, 0).is_some_and(|slots| slots.contains(&edge)))
    }

    fn list_at(&mut self, member: &Member, _: u8) -> Result<Tid, GridError> {
        Ok(member.list)
    }

    fn next_rows(
        &mut self,
        member: &Member,
        part: &mut Option<Tid>,
        out: &mut Vec<Tid>,
    ) -> Result<bool, GridError> {
        let next = part.map_or(0, |part| part.block() + 1);
        *part = Some(Tid::new(next, 1));
        let rows = self.elements[number_of(member.tid)].others.get(next as usize);
        out.extend(rows.into_iter().flatten());
        Ok(rows.is_some())
    }

    fn prefetch_elements(&mut self, _: &[Tid]) {}

    fn prefetch_element(&mut self, _: Tid, _: usize) {}

    fn search_neighbours<'a>(
        &'a mut self,
        value: &'a [u8],
        repairing: Option<Tid>,
        walk: &'a mut GridWalk,
    ) -> Result<GridSearch<'a>, ValueError> {
        assert!(self.holds(OperationLock::Update), "a search for edges to write, without the update lock");
        self.shape.space.view(value)?;
        Ok(GridSearch { grid: self, query: Some(value), walk, repairing, left: Some(0) })
    }

    fn pages(&mut self) -> Result<Range<u32>, GridError> {
        Ok(1..1 + (self.elements.len() as u32).div_ceil(ON_PAGE))
    }

    fn visit_page(
        &mut self,
        page: u32,
        lists: bool,
        mut each: impl FnMut(&OnPage<'_>) -> Result<(), Damage>,
    ) -> Result<(), GridError> {
        for offset in 1..=ON_PAGE as u16 {
            let tid = Tid::new(page, offset);
            let Ok(member) = self.member_of(tid) else { break };
            let element = &self.elements[number_of(tid)];
            // every other list counts as one that stands elsewhere
            let at_hand = lists && member.live && offset % 2 == 1;
            let all = element.slots.as_slice();
            let lists = at_hand.then(|| ListsRef { base_layer: self.layer(&member, 0), all });
            let elsewhere = !element.others.is_empty();
            each(&OnPage { member, deleted: element.deleted, rows: &element.rows, elsewhere, lists })
                .map_err(|damage| damage.on(page))?;
        }
        Ok(())
    }
}

impl GraphScan for Grid {
    type Search<'a> = GridSearch<'a>;

    fn set_m(&mut self, m: usize) {
        assert_eq!(m, self.shape.m);
    }

    fn search<'a>(
        &'a mut self,
        query: Option<&'a [u8]>,
        walk: &'a mut GridWalk,
    ) -> Result<GridSearch<'a>, ValueError> {
        query.map(|value| self.shape.space.view(value)).transpose()?;
        Ok(GridSearch { grid: self, query, walk, repairing: None, left: None })
    }

    fn next_row(
        &mut self,
        walk: &GridWalk,
        node: u32,
        cursor: &mut Option<u64>,
    ) -> Result<Option<Tid>, GridError> {
        let at = cursor.unwrap_or(0);
        *cursor = Some(at + 1);
        let element = &self.elements[number_of(walk.nodes[node as usize].0.tid)];
        Ok(element.all_rows().nth(at as usize))
    }
}

impl GraphWrite for Grid {
    fn place(
        &mut self,
        new: &NewElement<'_>,
        _: &mut Scratch,
        insert_page: u32,
    ) -> Result<Placed, GridError> {
        assert!(self.holds(OperationLock::Update), "an insert without the update lock");
        let (value, rows, slots) = (words(new.value), vec![new.row], new.slots.to_vec());
        let (others, level) = (Vec::new(), new.level);
        let mut element = GridElement { value, rows, others, level, version: 1, deleted: false, slots };
        let free = self.elements.iter().position(|element| element.deleted);
        let at = free.unwrap_or(self.elements.len());
        match self.elements.get_mut(at) {
            Some(place) => {
                element.version = place.version;
                *place = element;
            }
            None => self.elements.push(element),
        }
        Ok(Placed { tid: tid_of(at), insert_page })
    }

    fn add_row(&mut self, tid: Tid, value: &[u8], row: Tid) -> Result<bool, GridError> {
        let element = &mut self.elements[number_of(tid)];
        let takes = !element.deleted && element.is_live() && element.bytes() == value;
        if takes {
            element.add(row);
        }
        Ok(takes)
    }

    fn disown(&mut self, tid: Tid) -> Result<(), GridError> {
        let element = &mut self.elements[number_of(tid)];
        element.rows.clear();
        element.others.clear();
        Ok(())
    }

    fn add_edges(
        &mut self,
        edges: &[EdgeChange],
        new: Target<'_>,
        anchor: Option<Tid>,
    ) -> Result<bool, GridError> {
        assert!(self.holds(OperationLock::Update), "edges change without the update lock");
        if let Some(value) = new.value {
            assert_eq!(value, self.elements[number_of(new.tid)].bytes(), "the value of another element");
        }
        let mut changes = Vec::new();
        for &EdgeChange { owner, layer, replaced, .. } in edges {
            assert!(!self.elements[number_of(owner.tid)].deleted, "an edge from a deleted element");
            match find_place(self.layer(&owner, layer).unwrap_or_default(), layer, new.tid, replaced) {
                Place::At(place) => changes.push((owner, layer, place)),
                Place::None if layer == 0 && Some(owner.tid) == anchor => return Ok(false),
                Place::None | Place::Stands => {}
            }
        }
        for (owner, layer, place) in changes {
            if let Some(slots) = self.layer_mut(&owner, layer) {
                slots[place] = new.tid;
            }
        }
        Ok(true)
    }

    fn set_anchor(&mut self, member: &Member, anchor: Tid, _: &dyn KnownValues) -> Result<(), GridError> {
        if let Some(slots) = self.layer_mut(member, 0) {
            match slots.iter().position(|&slot| slot == anchor) {
                Some(place) => slots.swap(0, place),
                None => slots[0] = anchor,
            }
        }
        Ok(())
    }

    fn rewrite_lists(
        &mut self,
        member: &Member,
        added: &[(u8, u64)],
        _: &dyn KnownValues,
        room: &mut Vec<Tid>,
        mut merge: impl FnMut(u8, Range<usize>, &[Tid], &mut [Tid]),
    ) -> Result<(), GridError> {
        for layer in 0..=member.level {
            let range = layer_range(member.level, layer, self.shape.m);
            let Some(current) = self.layer(member, layer).map(<[Tid]>::to_vec) else { return Ok(()) };
            room.clear();
            room.resize(layer_slots(self.shape.m, layer), Tid::INVALID);
            merge(layer, range, &current, room);
            for tid in room.iter().filter(|tid| tid.is_valid() && !current.contains(tid)) {
                assert!(added.contains(&(layer, tid.packed())), "an edge that was not announced");
            }
            if let Some(slots) = self.layer_mut(member, layer) {
                slots.copy_from_slice(room);
            }
        }
        Ok(())
    }

    fn remove_rows(
        &mut self,
        page: u32,
        dead: &[(u16, Tid)],
        each: impl FnMut(&OnPage<'_>) -> Result<(), Damage>,
    ) -> Result<u64, GridError> {
        let mut removed = 0;
        for &(offset, row) in dead {
            let rows = &mut self.elements[number_of(Tid::new(page, offset))].rows;
            let before = rows.len();
            rows.retain(|&other| other != row);
            removed += (before - rows.len()) as u64;
        }
        self.visit_page(page, false, each)?;
        Ok(removed)
    }

    fn mark_deleted(&mut self, page: u32, dying: &TidSet) -> Result<(), GridError> {
        for offset in 1..=ON_PAGE as u16 {
            let tid = Tid::new(page, offset);
            let Some(element) = self.elements.get_mut(number_of(tid)) else { break };
            if dying.contains(tid) && !element.deleted {
                assert!(!element.is_live(), "an element with rows is deleted");
                (element.deleted, element.version) = (true, element.version + 1);
                element.value.clear();
                element.slots.fill(Tid::INVALID);
            }
        }
        Ok(())
    }

    fn remove_other_rows(&mut self, member: &Member, part: Tid, dead: &[Tid]) -> Result<u64, GridError> {
        let rows = &mut self.elements[number_of(member.tid)].others[part.block() as usize];
        let before = rows.len();
        rows.retain(|row| !dead.contains(row));
        Ok((before - rows.len()) as u64)
    }

    fn settle_rows(&mut self, member: &Member) -> Result<bool, GridError> {
        let element = &mut self.elements[number_of(member.tid)];
        element.others.retain(|part| !part.is_empty());
        Ok(element.is_live())
    }

    fn update_meta(&mut self, mut update: impl FnMut(&mut MetaPage) -> bool) -> Result<(), GridError> {
        let mut meta = self.meta;
        if update(&mut meta) {
            self.meta = meta;
        }
        Ok(())
    }
}

impl GraphBulk for Grid {
    fn write_index(
        &mut self,
        meta: MetaPage,
        graph: Option<&build::Graph<Dense<f32>>>,
        _: &mut Workers<'_>,
        _: usize,
    ) -> Result<(), GridError> {
        assert!(self.elements.is_empty());
        self.meta = meta;
        let Some(graph) = graph else { return Ok(()) };
        for node in graph.elements() {
            let level = node.level();
            let mut slots = vec![Tid::INVALID; (usize::from(level) + 2) * self.shape.m];
            for layer in 0..=level {
                let list = &mut slots[layer_range(level, layer, self.shape.m)];
                for (slot, neighbour) in list.iter_mut().zip(node.neighbours(layer)) {
                    *slot = tid_of(neighbour as usize);
                }
            }
            let (value, tids) = (words(node.value()), node.heap_tids());
            let (rows, others) = (Vec::new(), Vec::new());
            let mut element = GridElement { value, rows, others, level, version: 1, deleted: false, slots };
            tids.iter().filter(|tid| tid.is_valid()).for_each(|&tid| element.add(tid));
            self.elements.push(element);
        }
        let entry = graph.entry().and_then(|node| Some((node, graph.element(node)?.level())));
        let entry = entry.map(|(node, level)| EntryPoint { tid: tid_of(node as usize), level });
        self.meta.set_entry_point(entry);
        Ok(())
    }
}
