//! Removing rows: their TIDs go, the graph is repaired around elements without rows, and only then are those marked as
//! deleted, so that inserts may reuse them. src/hnsw/README.md has the argument why nothing dangles.

use super::connect;
use super::insert::{
    Graph, Workspace, fill_slots, find_neighbours, raise_entry_point, raises_entry, update_meta,
};
use super::layout::{
    Element, EntryPoint, HEAD_BLOCK, MAX_TUPLE_VERSION, META_BLOCK, Neighbours, PAGE_ID, clear_neighbours,
    element_header_mut, is_element, layer_range, neighbour_slots_mut, write_neighbours,
};
use super::pages::{TidSet, read_meta};
use crate::blocks::{Blocks, Change, Gate, Hold, Slot};
use crate::page::{Damage, FIRST_OFFSET, INVALID_BLOCK, Page, PageMut, Tid};
use crate::space::{Space, ValueBuf};

/// What a vacuum counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// rows that went
    pub removed: u64,
    /// rows that stay
    pub kept: u64,
}

/// An element whose list may need repair.
#[derive(Clone, Copy, Debug)]
struct Live {
    tid: Tid,
    neighbour_tid: Tid,
    level: u8,
    version: u8,
}

impl Live {
    fn new(tid: Tid, element: &Element<'_>) -> Self {
        let header = element.header;
        let (neighbour_tid, level, version) = (header.neighbour_tid, header.level, header.version);
        Live { tid, neighbour_tid, level, version }
    }
}

/// The state of one vacuum. Everything in it that needs dropping stays in it while blocks are read.
#[derive(Debug, Default)]
pub struct Vacuum {
    /// elements that will be marked
    dying: TidSet,
    /// the two live elements of the highest levels
    highest: Option<Live>,
    second: Option<Live>,
    /// live elements of a page whose lists must be looked at
    broken: Vec<Live>,
    /// the value of the one being repaired
    value: ValueBuf,
    workspace: Workspace,
    counted: Vacuumed,
}

impl Vacuum {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes the rows that `is_dead` names. May be interrupted anywhere: a later run finds what is left to do.
    ///
    /// # Errors
    /// A damaged index.
    pub fn run<B: Blocks, S: Space>(
        &mut self,
        blocks: &mut B,
        graph: &Graph<S>,
        is_dead: &mut impl FnMut(Tid) -> bool,
    ) -> Result<Vacuumed, B::Error> {
        self.dying.clear();
        self.counted = Vacuumed::default();
        (self.highest, self.second) = (None, None);
        self.remove_rows(blocks, is_dead)?;
        if !self.dying.is_empty() {
            self.repair(blocks, graph)?;
            self.mark(blocks)?;
        }
        Ok(self.counted)
    }

    // --- first pass: rows ---------------------------------------------------------------------------------------

    fn remove_rows<B: Blocks>(
        &mut self,
        blocks: &mut B,
        is_dead: &mut impl FnMut(Tid) -> bool,
    ) -> Result<(), B::Error> {
        let mut pages = Pages::new();
        while let Some(block) = pages.next(blocks)? {
            blocks.pause()?;
            // most pages have nothing to remove and need no change
            let any = blocks.read_in_passing(block, |bytes| {
                let any = any_dead(bytes, is_dead)?;
                if !any {
                    self.note_elements(bytes, block)?;
                }
                Ok(any)
            })?;
            if any {
                let mut change = blocks.change()?;
                let slot = change.open(block)?;
                let removed =
                    remove_dead(change.bytes_mut(slot)?, is_dead).map_err(|damage| damage.on(block))?;
                self.counted.removed += removed;
                self.note_elements(change.bytes(slot), block).map_err(|damage| damage.on(block))?;
                change.commit()?;
            }
        }
        Ok(())
    }

    /// Notes which elements are dying, and the highest of the others.
    fn note_elements(&mut self, bytes: &[u8], block: u32) -> Result<(), Damage> {
        let mut room = Ok(());
        for_each_element(bytes, |offset, element| {
            let tid = Tid::new(block, offset);
            if element.header.deleted != 0 {
                // of an earlier vacuum: nothing leads there, and an insert may take its place at any time
                return;
            }
            self.counted.kept += element.header.live_heap_tids().len() as u64;
            let live = Live::new(tid, &element);
            if !element.header.is_live() {
                room = room.and_then(|()| self.dying.reserve(1));
                if room.is_ok() {
                    self.dying.insert(tid);
                }
            } else if self.highest.is_none_or(|highest| live.level > highest.level) {
                self.second = self.highest.replace(live);
            } else if self.second.is_none_or(|second| live.level > second.level) {
                self.second = Some(live);
            }
        })?;
        room
    }

    // --- second pass: the graph ---------------------------------------------------------------------------------

    fn repair<B: Blocks, S: Space>(&mut self, blocks: &mut B, graph: &Graph<S>) -> Result<(), B::Error> {
        // Inserts that began before may still link to dying elements; those that begin now see them without rows.
        drain(blocks, Gate::Update)?;
        self.repair_entry_point(blocks, graph)?;
        let mut pages = Pages::new();
        while let Some(block) = pages.next(blocks)? {
            blocks.pause()?;
            self.find_broken(blocks, graph.m, block)?;
            for at in 0..self.broken.len() {
                let Some(&live) = self.broken.get(at) else { break };
                // repairs of others may have mended it
                if self.needs_repair(blocks, graph.m, &live)? {
                    self.repair_one(blocks, graph, live)?;
                }
            }
        }
        Ok(())
    }

    /// Finds the live elements of a page whose lists need repair, or stand on another page.
    fn find_broken<B: Blocks>(&mut self, blocks: &mut B, m: usize, block: u32) -> Result<(), B::Error> {
        let (broken, dying) = (&mut self.broken, &self.dying);
        broken.clear();
        blocks.read_in_passing(block, |bytes| {
            let mut damage = Ok(());
            for_each_element(bytes, |offset, element| {
                if element.header.deleted != 0 || !element.header.is_live() {
                    return;
                }
                let live = Live::new(Tid::new(block, offset), &element);
                let at = live.neighbour_tid;
                let needed = if at.block() == block {
                    let item = Page::new(bytes, PAGE_ID).and_then(|page| page.item(at.offset()));
                    item.and_then(|item| list_needs_repair(item, m, &live, dying))
                } else {
                    Ok(true)
                };
                match needed {
                    Ok(true) => broken.push(live),
                    Ok(false) => {}
                    Err(found) => damage = damage.and(Err(found)),
                }
            })?;
            damage
        })
    }

    fn needs_repair<B: Blocks>(&self, blocks: &mut B, m: usize, live: &Live) -> Result<bool, B::Error> {
        let (at, dying) = (live.neighbour_tid, &self.dying);
        blocks.read(at.block(), |bytes| {
            list_needs_repair(Page::new(bytes, PAGE_ID)?.item(at.offset())?, m, live, dying)
        })
    }

    fn repair_one<B: Blocks, S: Space>(
        &mut self,
        blocks: &mut B,
        graph: &Graph<S>,
        live: Live,
    ) -> Result<(), B::Error> {
        let mut hold = Hold::Shared;
        blocks.lock(Gate::Update, hold)?;
        // the entry point of this moment, each time: inserts and this vacuum itself replace it
        let mut meta = read_meta(blocks)?;
        if raises_entry(&meta, live.level) {
            blocks.unlock(Gate::Update, hold);
            hold = Hold::Exclusive;
            blocks.lock(Gate::Update, hold)?;
            meta = read_meta(blocks)?;
        }
        let entry = meta.entry_point().map_err(|damage| damage.on(META_BLOCK))?;
        self.relink(blocks, graph, live, entry)?;
        if raises_entry(&meta, live.level) {
            raise_entry_point(blocks, EntryPoint { tid: live.tid, level: live.level })?;
        }
        blocks.unlock(Gate::Update, hold);
        Ok(())
    }

    /// Makes sure that the entry point lives and is well connected before everything else is repaired from it.
    fn repair_entry_point<B: Blocks, S: Space>(
        &mut self,
        blocks: &mut B,
        graph: &Graph<S>,
    ) -> Result<(), B::Error> {
        let candidates = [self.highest, self.second];
        let replacement = |entry: Option<EntryPoint>| {
            candidates.into_iter().flatten().find(|live| entry.is_none_or(|entry| entry.tid != live.tid))
        };

        // the highest other element first, from the present entry point
        blocks.lock(Gate::Update, Hold::Shared)?;
        let entry = entry_point(blocks)?;
        if let (Some(entry), Some(other)) = (entry, replacement(entry))
            && self.needs_repair(blocks, graph.m, &other)?
        {
            self.relink(blocks, graph, other, Some(entry))?;
        }
        blocks.unlock(Gate::Update, Hold::Shared);

        // then the entry point itself, from that one; alone, since it may be replaced
        blocks.lock(Gate::Update, Hold::Exclusive)?;
        let entry = entry_point(blocks)?;
        if let Some(entry) = entry {
            let other = replacement(Some(entry));
            if self.dying.contains(entry.tid) {
                // should an insert have taken the highest level since, it is the entry point already
                update_meta(blocks, |meta| {
                    meta.set_entry_point(other.map(|live| EntryPoint { tid: live.tid, level: live.level }));
                    true
                })?;
            } else {
                let live = blocks.read(entry.tid.block(), |bytes| {
                    let offset = entry.tid.offset();
                    let element = Element::new(Page::new(bytes, PAGE_ID)?.item(offset)?, offset)?;
                    Ok(Live::new(entry.tid, &element))
                })?;
                if self.needs_repair(blocks, graph.m, &live)? {
                    let from = other.map(|live| EntryPoint { tid: live.tid, level: live.level });
                    self.relink(blocks, graph, live, from)?;
                }
            }
        }
        blocks.unlock(Gate::Update, Hold::Exclusive);
        Ok(())
    }

    /// Copies the element's value and links it anew.
    fn relink<B: Blocks, S: Space>(
        &mut self,
        blocks: &mut B,
        graph: &Graph<S>,
        live: Live,
        entry: Option<EntryPoint>,
    ) -> Result<(), B::Error> {
        let Vacuum { workspace, value, dying, .. } = self;
        let same = blocks.read(live.tid.block(), |bytes| {
            let offset = live.tid.offset();
            let element = Element::new(Page::new(bytes, PAGE_ID)?.item(offset)?, offset)?;
            value.copy_from(element.value);
            Ok(element.header.deleted == 0 && element.header.version == live.version)
        })?;
        if !same {
            return Ok(());
        }
        relink(blocks, graph, workspace, dying, value.bytes(), live, entry)
    }

    // --- third pass: marks --------------------------------------------------------------------------------------

    fn mark<B: Blocks>(&mut self, blocks: &mut B) -> Result<(), B::Error> {
        // Inserts that began before the repair ended may have read edges to dying elements.
        drain(blocks, Gate::Update)?;
        self.confirm_repaired(blocks)?;
        // Scans too; from here on none can come near.
        drain(blocks, Gate::Scan)?;
        let mut first_free = None;
        let mut pages = Pages::new();
        while let Some(block) = pages.next(blocks)? {
            blocks.pause()?;
            let (any, free) = blocks.read_in_passing(block, |bytes| {
                let (mut any, mut free) = (false, false);
                for_each_element(bytes, |offset, element| {
                    let dying = self.dying.contains(Tid::new(block, offset));
                    any |= dying && element.header.deleted == 0;
                    free |= dying || element.header.deleted != 0;
                })?;
                Ok((any, free))
            })?;
            if any {
                self.mark_page(blocks, block)?;
            }
            if free && first_free.is_none() {
                first_free = Some(block);
            }
        }
        // last, when all that it promises is there
        if let Some(block) = first_free {
            update_meta(blocks, |meta| {
                let changed = meta.insert_page != block;
                meta.insert_page = block;
                changed
            })?;
        }
        Ok(())
    }

    /// Looks at every edge of every live element: none leads to a dying one.
    fn confirm_repaired<B: Blocks>(&mut self, blocks: &mut B) -> Result<(), B::Error> {
        let mut pages = Pages::new();
        while let Some(block) = pages.next(blocks)? {
            blocks.pause()?;
            let (elsewhere, dying) = (&mut self.broken, &self.dying);
            elsewhere.clear();
            // edges on the same page at once, others one by one
            blocks.read_in_passing(block, |bytes| {
                let mut damage = Ok(());
                for_each_element(bytes, |offset, element| {
                    if element.header.deleted != 0 || !element.header.is_live() {
                        return;
                    }
                    let at = element.header.neighbour_tid;
                    if at.block() != block {
                        elsewhere.push(Live::new(Tid::new(block, offset), &element));
                        return;
                    }
                    let item = Page::new(bytes, PAGE_ID).and_then(|page| page.item(at.offset()));
                    let checked = item.and_then(|item| no_edge_to(item, at.offset(), dying));
                    damage = damage.and(checked);
                })?;
                damage
            })?;
            for at in 0..self.broken.len() {
                let Some(&live) = self.broken.get(at) else { break };
                let at = live.neighbour_tid;
                let dying = &self.dying;
                blocks.read(at.block(), |bytes| {
                    no_edge_to(Page::new(bytes, PAGE_ID)?.item(at.offset())?, at.offset(), dying)
                })?;
            }
        }
        Ok(())
    }

    /// Marks the dying elements of a page, as many to a change as its blocks allow.
    fn mark_page<B: Blocks>(&self, blocks: &mut B, block: u32) -> Result<(), B::Error> {
        /// the page and three pages of neighbour tuples
        const OTHERS: usize = 3;
        let damage = |damage: Damage| damage.on(block);
        let mut from = FIRST_OFFSET;
        loop {
            let mut change = blocks.change()?;
            let slot = change.open(block)?;
            let mut others: [Option<(u32, Slot)>; OTHERS] = [None; OTHERS];
            let last = Page::new(change.bytes(slot), PAGE_ID).map_err(damage)?.max_offset();
            let mut offset = from;
            while offset <= last {
                if self.dying.contains(Tid::new(block, offset)) {
                    let at = {
                        let item = Page::new(change.bytes(slot), PAGE_ID).and_then(|page| page.item(offset));
                        let element = item.and_then(|item| Element::new(item, offset)).map_err(damage)?;
                        (element.header.deleted == 0).then_some(element.header.neighbour_tid)
                    };
                    if let Some(at) = at {
                        let Some(other) = other_slot(&mut change, &mut others, (block, slot), at.block())?
                        else {
                            break;
                        };
                        mark_pair(&mut change, (block, slot), offset, other, at)?;
                    }
                }
                offset += 1;
            }
            change.commit()?;
            if offset > last {
                return Ok(());
            }
            from = offset;
        }
    }
}

/// The slot of a block in a change, opened when it is not yet; `None` when the change is full.
fn other_slot<C: Change>(
    change: &mut C,
    others: &mut [Option<(u32, Slot)>],
    own: (u32, Slot),
    block: u32,
) -> Result<Option<Slot>, C::Error> {
    if block == own.0 {
        return Ok(Some(own.1));
    }
    // Blocks are locked in ascending order, as inserts do, so that neither waits for the other.
    if block < own.0 {
        return Err(Damage::at(0, "neighbour tuple before its element").on(own.0).into());
    }
    if others.iter().flatten().any(|&(open, _)| block < open) {
        return Ok(others.iter().flatten().find(|other| other.0 == block).map(|other| other.1));
    }
    for other in others {
        match other {
            Some((open, slot)) if *open == block => return Ok(Some(*slot)),
            Some(_) => {}
            None => {
                let slot = change.open(block)?;
                *other = Some((block, slot));
                return Ok(Some(slot));
            }
        }
    }
    Ok(None)
}

/// Marks an element as deleted, zeroes its value, empties its list, and gives both a new version: a scan that goes on
/// later and remembers the element sees that the list is not its own any more.
fn mark_pair<C: Change>(
    change: &mut C,
    (block, slot): (u32, Slot),
    offset: u16,
    other: Slot,
    at: Tid,
) -> Result<(), C::Error> {
    let damage = |damage: Damage| damage.on(block);
    let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(damage)?;
    let item = page.item_mut(offset).map_err(damage)?;
    let length = Element::new(item, offset).map_err(damage)?.value.len();
    let (header, value) = element_header_mut(item, offset).map_err(damage)?;
    header.deleted = 1;
    header.version = if header.version >= MAX_TUPLE_VERSION { 1 } else { header.version + 1 };
    let version = header.version;
    value.get_mut(..length).unwrap_or_default().fill(0);
    let damage = |damage: Damage| damage.on(at.block());
    let mut page = PageMut::new(change.bytes_mut(other)?, PAGE_ID).map_err(damage)?;
    let item = page.item_mut(at.offset()).map_err(damage)?;
    clear_neighbours(item, at.offset(), version).map_err(damage)?;
    Ok(())
}

/// Waits until nobody holds the gate.
fn drain<B: Blocks>(blocks: &mut B, gate: Gate) -> Result<(), B::Error> {
    blocks.lock(gate, Hold::Exclusive)?;
    blocks.unlock(gate, Hold::Exclusive);
    Ok(())
}

fn entry_point<B: Blocks>(blocks: &mut B) -> Result<Option<EntryPoint>, B::Error> {
    Ok(read_meta(blocks)?.entry_point().map_err(|damage| damage.on(META_BLOCK))?)
}

fn no_edge_to(item: &[u8], offset: u16, dying: &TidSet) -> Result<(), Damage> {
    let list = Neighbours::new(item, offset)?;
    if list.slots.iter().any(|&tid| tid.is_valid() && dying.contains(tid)) {
        return Err(Damage::at(offset, "graph not repaired"));
    }
    Ok(())
}

/// Finds new neighbours for an element and writes its whole list, then offers it to them. The caller holds the update
/// gate.
fn relink<B: Blocks, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    workspace: &mut Workspace,
    dying: &TidSet,
    value: &[u8],
    live: Live,
    entry: Option<EntryPoint>,
) -> Result<(), B::Error> {
    // the entry point is repaired from another, by `repair_entry_point`
    let Some(entry) = entry.filter(|entry| entry.tid != live.tid) else {
        return strip(blocks, graph.m, live, dying);
    };
    let entry = Some(entry);
    find_neighbours(blocks, graph, workspace, value, live.level, entry, Some(live.tid))?;
    fill_slots(workspace, live.level, graph.m);

    let at = live.neighbour_tid;
    let damage = |damage: Damage| damage.on(at.block());
    let Workspace { slots, neighbours, .. } = workspace;
    write_neighbours(live.version, slots, neighbours);
    let mut change = blocks.change()?;
    let slot = change.open(at.block())?;
    let same = {
        let item =
            Page::new(change.bytes(slot), PAGE_ID).and_then(|page| page.item(at.offset())).map_err(damage)?;
        let list = Neighbours::new(item, at.offset()).map_err(damage)?;
        list.layer(live.level, live.version, 0, graph.m).is_some()
    };
    if !same {
        return Ok(());
    }
    // upper layers above the entry point's level keep nothing; layers are written together
    let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(damage)?;
    let item = page.item_mut(at.offset()).map_err(damage)?;
    match item.get_mut(..neighbours.len()) {
        Some(place) => place.copy_from_slice(neighbours),
        None => return Err(damage(Damage::at(at.offset(), "invalid neighbour tuple")).into()),
    }
    change.commit()?;
    connect::connect(blocks, graph, workspace, value, live.tid)
}

/// Removes the edges to dying elements from a list and keeps the others: there is nowhere to search for more.
fn strip<B: Blocks>(blocks: &mut B, m: usize, live: Live, dying: &TidSet) -> Result<(), B::Error> {
    let at = live.neighbour_tid;
    let damage = |damage: Damage| damage.on(at.block());
    let mut change = blocks.change()?;
    let slot = change.open(at.block())?;
    let strips = {
        let item =
            Page::new(change.bytes(slot), PAGE_ID).and_then(|page| page.item(at.offset())).map_err(damage)?;
        let list = Neighbours::new(item, at.offset()).map_err(damage)?;
        let own = list.layer(live.level, live.version, 0, m).is_some();
        own && list.slots.iter().any(|&tid| tid.is_valid() && dying.contains(tid))
    };
    if !strips {
        return Ok(());
    }
    let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(damage)?;
    let item = page.item_mut(at.offset()).map_err(damage)?;
    let slots = neighbour_slots_mut(item, at.offset()).map_err(damage)?;
    for layer in 0..=live.level {
        let Some(list) = slots.get_mut(layer_range(live.level, layer, m)) else { continue };
        let mut kept = 0;
        for at in 0..list.len() {
            let tid = list[at];
            if tid.is_valid() && !dying.contains(tid) {
                list[kept] = tid;
                kept += 1;
            }
        }
        list[kept..].fill(Tid::INVALID);
    }
    change.commit()
}

/// Every element tuple of a page.
fn for_each_element<'a>(bytes: &'a [u8], mut each: impl FnMut(u16, Element<'a>)) -> Result<(), Damage> {
    // a block that a crash left without ever linking it
    if Page::is_new(bytes) {
        return Ok(());
    }
    let page = Page::new(bytes, PAGE_ID)?;
    for offset in FIRST_OFFSET..=page.max_offset() {
        let item = page.item(offset)?;
        if is_element(item) {
            each(offset, Element::new(item, offset)?);
        }
    }
    Ok(())
}

/// Whether a list has an edge to a dying element, or so few edges that an insert during this vacuum may have left its
/// element without good ones.
fn list_needs_repair(item: &[u8], m: usize, live: &Live, dying: &TidSet) -> Result<bool, Damage> {
    let list = Neighbours::new(item, live.neighbour_tid.offset())?;
    let Some(ground) = list.layer(live.level, live.version, 0, m) else {
        // replaced since its element was read: new, and linked to living elements
        return Ok(false);
    };
    let few = ground.iter().filter(|tid| tid.is_valid()).count() < m;
    Ok(few || list.slots.iter().any(|&tid| tid.is_valid() && dying.contains(tid)))
}

fn any_dead(bytes: &[u8], is_dead: &mut impl FnMut(Tid) -> bool) -> Result<bool, Damage> {
    let mut any = false;
    for_each_element(bytes, |_, element| {
        let header = element.header;
        any |= header.deleted == 0 && header.live_heap_tids().iter().any(|&row| is_dead(row));
    })?;
    Ok(any)
}

/// Removes dead rows from the elements of a page and moves the others to the front; answers how many went.
fn remove_dead(bytes: &mut [u8], is_dead: &mut impl FnMut(Tid) -> bool) -> Result<u64, Damage> {
    let mut page = PageMut::new(bytes, PAGE_ID)?;
    let mut removed = 0;
    for offset in FIRST_OFFSET..=page.as_page().max_offset() {
        let item = page.item_mut(offset)?;
        if !is_element(item) {
            continue;
        }
        let (header, _) = element_header_mut(item, offset)?;
        if header.deleted != 0 {
            continue;
        }
        let mut kept = 0;
        for at in 0..header.live_heap_tids().len() {
            let row = header.heap_tids[at];
            if is_dead(row) {
                removed += 1;
            } else {
                header.heap_tids[kept] = row;
                kept += 1;
            }
        }
        header.heap_tids[kept..].fill(Tid::INVALID);
    }
    Ok(removed)
}

/// Goes over the element pages in their order, and over those that are added meanwhile.
struct Pages {
    next: u32,
    count: u32,
}

impl Pages {
    fn new() -> Self {
        Pages { next: HEAD_BLOCK, count: 0 }
    }

    fn next<B: Blocks>(&mut self, blocks: &mut B) -> Result<Option<u32>, B::Error> {
        if self.next >= self.count {
            self.count = blocks.count()?;
            if self.next >= self.count {
                return Ok(None);
            }
        }
        let block = self.next;
        self.next = block.checked_add(1).unwrap_or(INVALID_BLOCK);
        Ok(Some(block))
    }
}
