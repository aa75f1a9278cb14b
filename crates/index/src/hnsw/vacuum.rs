//! Removing rows: their TIDs go, the graph is repaired around elements without rows, and only then are those marked as
//! deleted, so that inserts may reuse them. src/hnsw/README.md has the argument why nothing dangles and nothing is lost.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::anchor::{Hanging, Member, hanging, read_member};
use super::backlinks::TidHasher;
use super::insert::{Graph, Workspace, raise_entry_point, raises_entry, update_meta};
use super::orphans::Above;
use super::repair::{Lists, relink};
use super::v1::layout::{
    Element, EntryPoint, HEAD_BLOCK, MAX_TUPLE_VERSION, META_BLOCK, MetaPage, Neighbours, PAGE_ID,
    clear_neighbours, element_header_mut, is_element,
};
use super::v1::reader::{TidSet, read_meta};
use crate::space::{Space, ValueBuf};
use crate::storage::blocks::{BlockStore, LockMode, OperationLock, PageRef, PageUpdate};
use crate::storage::page::{Damage, FIRST_OFFSET, INVALID_BLOCK, Page, PageMut, Tid};

/// What a vacuum counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// rows that went
    pub removed: u64,
    /// rows that stay
    pub kept: u64,
}

/// The state of one vacuum. Everything in it that needs dropping stays in it while blocks are read.
#[derive(Debug, Default)]
pub struct Vacuum {
    /// elements that will be marked
    pub(super) dying: TidSet,
    /// the two live elements of the highest levels
    pub(super) highest: Option<Member>,
    pub(super) second: Option<Member>,
    /// rows of a page, with the offsets of their elements; of these, in the end, the dead ones
    pub(super) rows: Vec<(u16, Tid)>,
    /// elements of a page, with the numbers of their rows
    pub(super) seen: Vec<(Member, u64)>,
    /// live elements of a page whose lists must be looked at
    pub(super) broken: Vec<Member>,
    /// where anchors lead from dying elements: to a living one, or nowhere
    pub(super) above: HashMap<u64, Above, BuildHasherDefault<TidHasher>>,
    /// the way up at hand
    pub(super) path: Vec<Tid>,
    /// the first orphan above which nothing lives
    pub(super) root: Option<Member>,
    /// the value of the one being repaired
    pub(super) value: ValueBuf,
    pub(super) workspace: Workspace,
    pub(super) lists: Lists,
    pub(super) counted: Vacuumed,
}

impl Vacuum {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes the rows that `is_dead` names. May be interrupted anywhere: a later run finds what is left to do.
    ///
    /// `is_dead` is asked while no lock on a block is held and no change is begun, and no frame here holds anything that
    /// needs dropping: it may call the server, whose errors jump.
    ///
    /// # Errors
    /// A damaged index.
    pub fn run<B: BlockStore, S: Space>(
        &mut self,
        blocks: &mut B,
        graph: &Graph<S>,
        is_dead: &mut impl FnMut(Tid) -> bool,
    ) -> Result<Vacuumed, B::Error> {
        self.dying.clear();
        self.above.clear();
        self.counted = Vacuumed::default();
        (self.highest, self.second, self.root) = (None, None, None);
        self.remove_rows(blocks, is_dead)?;
        blocks.fault_point("hnsw.vacuum.rows")?;
        if !self.dying.is_empty() {
            self.repair(blocks, graph)?;
            blocks.fault_point("hnsw.vacuum.repaired")?;
            self.mark(blocks)?;
        }
        Ok(self.counted)
    }

    // --- first pass: rows ---------------------------------------------------------------------------------------

    /// `is_dead` may call the server, which may raise: it is asked while no lock is held and no change is begun.
    fn remove_rows<B: BlockStore>(
        &mut self,
        blocks: &mut B,
        is_dead: &mut impl FnMut(Tid) -> bool,
    ) -> Result<(), B::Error> {
        let mut pages = Pages::new();
        while let Some(block) = pages.next(blocks)? {
            blocks.pause()?;
            let (rows, seen) = (&mut self.rows, &mut self.seen);
            blocks.read_in_passing(block, |bytes| list_rows(bytes, block, rows, seen))?;
            // by hand: nothing may wait to be dropped on a frame that an error of the server jumps over
            let mut dead = 0;
            for at in 0..self.rows.len() {
                let Some(&row) = self.rows.get(at) else { break };
                if is_dead(row.1) {
                    self.rows.swap(dead, at);
                    dead += 1;
                }
            }
            self.rows.truncate(dead);
            // most pages have nothing to remove and need no change
            if self.rows.is_empty() {
                for at in 0..self.seen.len() {
                    let Some(&(member, rows)) = self.seen.get(at) else { break };
                    self.note(member, rows).map_err(|damage| damage.on(block))?;
                }
                continue;
            }
            let mut change = blocks.update()?;
            let slot = change.open(block)?;
            let damage = |damage: Damage| damage.on(block);
            self.counted.removed += remove_dead(change.bytes_mut(slot)?, &self.rows).map_err(damage)?;
            self.note_elements(change.bytes(slot), block).map_err(damage)?;
            change.commit()?;
        }
        Ok(())
    }

    fn note_elements(&mut self, bytes: &[u8], block: u32) -> Result<(), Damage> {
        let mut room = Ok(());
        for_each_element(bytes, |offset, element| {
            // deleted ones are of an earlier vacuum: nothing leads there, and an insert may take its place at any time
            if element.header.deleted == 0 && room.is_ok() {
                let rows = element.header.live_heap_tids().len() as u64;
                room = self.note(Member::new(Tid::new(block, offset), &element), rows);
            }
        })?;
        room
    }

    /// Notes which elements are dying, and the highest of the others.
    fn note(&mut self, member: Member, rows: u64) -> Result<(), Damage> {
        self.counted.kept += rows;
        if !member.live {
            self.dying.reserve(1)?;
            self.dying.insert(member.tid);
        } else {
            rank(&mut self.highest, &mut self.second, member);
        }
        Ok(())
    }

    // --- second pass: the graph ---------------------------------------------------------------------------------

    fn repair<B: BlockStore, S: Space>(&mut self, blocks: &mut B, graph: &Graph<S>) -> Result<(), B::Error> {
        // Inserts that began before may still link to dying elements; those that begin now see them without rows.
        drain(blocks, OperationLock::Update)?;
        self.adopt_orphans(blocks, graph)?;
        // Scans that began before may have passed where the orphans hang now: until here they find them where they were.
        drain(blocks, OperationLock::Scan)?;
        self.repair_entry_point(blocks, graph)?;
        blocks.fault_point("hnsw.vacuum.entry")?;
        let mut pages = Pages::new();
        while let Some(block) = pages.next(blocks)? {
            blocks.pause()?;
            self.find_broken(blocks, graph.m, block)?;
            let mut any = false;
            for at in 0..self.broken.len() {
                let Some(&live) = self.broken.get(at) else { break };
                // repairs of others may have mended it
                if self.needs_repair(blocks, graph.m, &live)? {
                    self.repair_one(blocks, graph, live)?;
                    any = true;
                }
            }
            if any {
                blocks.fault_point("hnsw.vacuum.repair")?;
            }
        }
        Ok(())
    }

    /// Whether an element hangs on a living anchor, or on nothing because it is alone.
    fn hangs<B: BlockStore>(&self, blocks: &mut B, m: usize, live: &Member) -> Result<bool, B::Error> {
        Ok(matches!(hanging(blocks, m, live)?, Hanging::Fast))
    }

    /// Finds the live elements of a page whose lists need repair, or stand on another page.
    fn find_broken<B: BlockStore>(&mut self, blocks: &mut B, m: usize, block: u32) -> Result<(), B::Error> {
        let (broken, dying) = (&mut self.broken, &self.dying);
        broken.clear();
        blocks.read_in_passing(block, |bytes| {
            let mut damage = Ok(());
            for_each_element(bytes, |offset, element| {
                if element.header.deleted != 0 || !element.header.is_live() {
                    return;
                }
                let live = Member::new(Tid::new(block, offset), &element);
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

    fn needs_repair<B: BlockStore>(&self, blocks: &mut B, m: usize, live: &Member) -> Result<bool, B::Error> {
        let (at, dying) = (live.neighbour_tid, &self.dying);
        blocks.read(at.block(), |bytes| {
            list_needs_repair(Page::new(bytes, PAGE_ID)?.item(at.offset())?, m, live, dying)
        })
    }

    /// Takes the update lock: alone when an anchor or the entry point may change. The meta page is that of this moment:
    /// inserts and this vacuum itself replace the entry point.
    fn lock_to_repair<B: BlockStore>(
        &self,
        blocks: &mut B,
        m: usize,
        live: &Member,
    ) -> Result<(LockMode, MetaPage), B::Error> {
        let mut mode = LockMode::Shared;
        blocks.lock(OperationLock::Update, mode)?;
        let mut meta = read_meta(blocks)?;
        if !self.hangs(blocks, m, live)? || raises_entry(&meta, live.level) {
            blocks.unlock(OperationLock::Update, mode);
            mode = LockMode::Exclusive;
            blocks.lock(OperationLock::Update, mode)?;
            meta = read_meta(blocks)?;
        }
        Ok((mode, meta))
    }

    fn repair_one<B: BlockStore, S: Space>(
        &mut self,
        blocks: &mut B,
        graph: &Graph<S>,
        live: Member,
    ) -> Result<(), B::Error> {
        let (mode, meta) = self.lock_to_repair(blocks, graph.m, &live)?;
        let entry = meta.entry_point().map_err(|damage| damage.on(META_BLOCK))?;
        self.relink(blocks, graph, live, entry, mode)?;
        if mode == LockMode::Exclusive && raises_entry(&meta, live.level) {
            raise_entry_point(blocks, EntryPoint { tid: live.tid, level: live.level })?;
        }
        blocks.unlock(OperationLock::Update, mode);
        Ok(())
    }

    /// Makes sure that the entry point lives and is well connected before everything else is repaired from it.
    fn repair_entry_point<B: BlockStore, S: Space>(
        &mut self,
        blocks: &mut B,
        graph: &Graph<S>,
    ) -> Result<(), B::Error> {
        if self.highest.is_none() {
            // All that lived at first is dying, and inserts have gone on since. Those that come during this pass find
            // what it finds, or become the entry point themselves.
            self.find_highest(blocks)?;
        }
        let candidates = [self.highest, self.second];
        let replacement = |entry: Option<EntryPoint>| {
            candidates.iter().flatten().find(|live| entry.is_none_or(|entry| entry.tid != live.tid))
        };

        // the highest other element first, from the present entry point
        if let Some(&other) = replacement(entry_point(blocks)?) {
            let (mode, meta) = self.lock_to_repair(blocks, graph.m, &other)?;
            let entry = meta.entry_point().map_err(|damage| damage.on(META_BLOCK))?;
            if entry.is_some()
                && (mode == LockMode::Exclusive || self.needs_repair(blocks, graph.m, &other)?)
            {
                self.relink(blocks, graph, other, entry, mode)?;
            }
            blocks.unlock(OperationLock::Update, mode);
        }

        // then the entry point itself, from that one; alone, since it may be replaced
        blocks.lock(OperationLock::Update, LockMode::Exclusive)?;
        let entry = entry_point(blocks)?;
        let other = replacement(entry).map(|live| EntryPoint { tid: live.tid, level: live.level });
        match entry {
            Some(entry) if !self.dying.contains(entry.tid) => {
                let live = read_member(blocks, entry.tid)?;
                if let Some(live) = live
                    && self.needs_repair(blocks, graph.m, &live)?
                {
                    self.relink(blocks, graph, live, other, LockMode::Exclusive)?;
                }
            }
            // should an insert have taken the highest level since, it is the entry point already
            Some(_) => update_meta(blocks, |meta| {
                meta.set_entry_point(other);
                true
            })?,
            None if other.is_some() => update_meta(blocks, |meta| {
                meta.set_entry_point(other);
                true
            })?,
            None => {}
        }
        blocks.unlock(OperationLock::Update, LockMode::Exclusive);
        Ok(())
    }

    /// Notes the living elements of the highest levels that are there now.
    fn find_highest<B: BlockStore>(&mut self, blocks: &mut B) -> Result<(), B::Error> {
        let mut pages = Pages::new();
        while let Some(block) = pages.next(blocks)? {
            blocks.pause()?;
            let (highest, second) = (&mut self.highest, &mut self.second);
            blocks.read_in_passing(block, |bytes| {
                for_each_element(bytes, |offset, element| {
                    let member = Member::new(Tid::new(block, offset), &element);
                    if member.live {
                        rank(highest, second, member);
                    }
                })
            })?;
        }
        Ok(())
    }

    /// Copies an element's value; false when another has its place.
    pub(super) fn copy_value<B: BlockStore>(
        &mut self,
        blocks: &mut B,
        live: &Member,
    ) -> Result<bool, B::Error> {
        let value = &mut self.value;
        blocks.read(live.tid.block(), |bytes| {
            let offset = live.tid.offset();
            let element = Element::new(Page::new(bytes, PAGE_ID)?.item(offset)?, offset)?;
            value.copy_from(element.value);
            Ok(element.header.deleted == 0 && element.header.version == live.version)
        })
    }

    /// Links an element anew, under the update lock held in `mode`.
    fn relink<B: BlockStore, S: Space>(
        &mut self,
        blocks: &mut B,
        graph: &Graph<S>,
        live: Member,
        entry: Option<EntryPoint>,
        mode: LockMode,
    ) -> Result<(), B::Error> {
        if !self.copy_value(blocks, &live)? {
            return Ok(());
        }
        let Vacuum { workspace, value, dying, lists, .. } = self;
        let alone = mode == LockMode::Exclusive;
        relink(blocks, graph, workspace, lists, dying, value.bytes(), live, entry, alone)
    }

    // --- third pass: marks --------------------------------------------------------------------------------------

    fn mark<B: BlockStore>(&mut self, blocks: &mut B) -> Result<(), B::Error> {
        // Inserts that began before the repair ended may have read edges to dying elements.
        drain(blocks, OperationLock::Update)?;
        self.confirm_repaired(blocks)?;
        blocks.fault_point("hnsw.vacuum.confirmed")?;
        // Scans too; from here on none can come near.
        drain(blocks, OperationLock::Scan)?;
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
                blocks.fault_point("hnsw.vacuum.mark")?;
            }
            if free && first_free.is_none() {
                first_free = Some(block);
            }
        }
        blocks.fault_point("hnsw.vacuum.marked")?;
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
    fn confirm_repaired<B: BlockStore>(&mut self, blocks: &mut B) -> Result<(), B::Error> {
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
                        elsewhere.push(Member::new(Tid::new(block, offset), &element));
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
    fn mark_page<B: BlockStore>(&self, blocks: &mut B, block: u32) -> Result<(), B::Error> {
        /// the page and three pages of neighbour tuples
        const OTHERS: usize = 3;
        let damage = |damage: Damage| damage.on(block);
        let mut from = FIRST_OFFSET;
        loop {
            let mut change = blocks.update()?;
            let slot = change.open(block)?;
            let mut others: [Option<(u32, PageRef)>; OTHERS] = [None; OTHERS];
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
fn other_slot<C: PageUpdate>(
    change: &mut C,
    others: &mut [Option<(u32, PageRef)>],
    own: (u32, PageRef),
    block: u32,
) -> Result<Option<PageRef>, C::Error> {
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
fn mark_pair<C: PageUpdate>(
    change: &mut C,
    (block, slot): (u32, PageRef),
    offset: u16,
    other: PageRef,
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

/// Keeps the two of the highest levels, of equals the first.
fn rank(highest: &mut Option<Member>, second: &mut Option<Member>, member: Member) {
    if highest.is_none_or(|highest| member.level > highest.level) {
        *second = highest.replace(member);
    } else if second.is_none_or(|second| member.level > second.level) {
        *second = Some(member);
    }
}

/// Waits until nobody holds the operation lock.
fn drain<B: BlockStore>(blocks: &mut B, lock: OperationLock) -> Result<(), B::Error> {
    blocks.lock(lock, LockMode::Exclusive)?;
    blocks.unlock(lock, LockMode::Exclusive);
    Ok(())
}

fn entry_point<B: BlockStore>(blocks: &mut B) -> Result<Option<EntryPoint>, B::Error> {
    Ok(read_meta(blocks)?.entry_point().map_err(|damage| damage.on(META_BLOCK))?)
}

fn no_edge_to(item: &[u8], offset: u16, dying: &TidSet) -> Result<(), Damage> {
    let list = Neighbours::new(item, offset)?;
    if list.slots.iter().any(|&tid| tid.is_valid() && dying.contains(tid)) {
        return Err(Damage::at(offset, "graph not repaired"));
    }
    Ok(())
}

/// Every element tuple of a page.
pub(super) fn for_each_element<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(u16, Element<'a>),
) -> Result<(), Damage> {
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
fn list_needs_repair(item: &[u8], m: usize, live: &Member, dying: &TidSet) -> Result<bool, Damage> {
    let list = Neighbours::new(item, live.neighbour_tid.offset())?;
    let Some(base_layer) = list.layer(live.level, live.version, 0, m) else {
        // replaced since its element was read: new, and linked to living elements
        return Ok(false);
    };
    let few = base_layer.iter().filter(|tid| tid.is_valid()).count() < m;
    Ok(few || list.slots.iter().any(|&tid| tid.is_valid() && dying.contains(tid)))
}

/// Copies the rows of a page, each with its element's offset, and its elements that are not deleted.
fn list_rows(
    bytes: &[u8],
    block: u32,
    rows: &mut Vec<(u16, Tid)>,
    seen: &mut Vec<(Member, u64)>,
) -> Result<(), Damage> {
    rows.clear();
    seen.clear();
    let mut room = Ok(());
    for_each_element(bytes, |offset, element| {
        let header = element.header;
        if header.deleted != 0 || room.is_err() {
            return;
        }
        let live = header.live_heap_tids();
        room = rows.try_reserve(live.len()).and_then(|()| seen.try_reserve(1));
        if room.is_ok() {
            rows.extend(live.iter().map(|&row| (offset, row)));
            seen.push((Member::new(Tid::new(block, offset), &element), live.len() as u64));
        }
    })?;
    room.map_err(|_| Damage::OUT_OF_MEMORY)
}

/// Removes rows, which come in the order of their elements, from a page and moves the others to the front; returns how
/// many went.
fn remove_dead(bytes: &mut [u8], mut dead: &[(u16, Tid)]) -> Result<u64, Damage> {
    let mut page = PageMut::new(bytes, PAGE_ID)?;
    let mut removed = 0;
    while let Some(&(offset, _)) = dead.first() {
        let count = dead.iter().take_while(|row| row.0 == offset).count();
        let (own, others) = dead.split_at(count);
        dead = others;
        let (header, _) = element_header_mut(page.item_mut(offset)?, offset)?;
        if header.deleted != 0 {
            continue;
        }
        let mut kept = 0;
        for at in 0..header.live_heap_tids().len() {
            let row = header.heap_tids[at];
            if own.iter().any(|dead| dead.1 == row) {
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
pub(super) struct Pages {
    next: u32,
    count: u32,
}

impl Pages {
    pub(super) fn new() -> Self {
        Pages { next: HEAD_BLOCK, count: 0 }
    }

    pub(super) fn next<B: BlockStore>(&mut self, blocks: &mut B) -> Result<Option<u32>, B::Error> {
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
