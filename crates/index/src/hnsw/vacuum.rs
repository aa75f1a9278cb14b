//! Removing rows: their TIDs go, the graph is repaired around elements without rows, and only then are those
//! marked as deleted, so that inserts may reuse them. src/hnsw/README.md has the argument why nothing dangles
//! and nothing is lost.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::anchor::{Hanging, hanging};
use super::graph::{GraphRead, GraphWrite, ListsRef, Member, OnPage, Walk};
use super::insert::{Workspace, raise_entry_point, raises_entry};
use super::mend::{Nearby, mend};
use super::meta::{EntryPoint, META_BLOCK, MetaPage};
use super::neighbour_cache::TidHasher;
use super::orphans::Above;
use super::repair::{Lists, relink};
use super::search::visited::TidSet;
use crate::space::ValueBuf;
use crate::storage::blocks::{LockMode, OperationLock};
use crate::storage::page::{Damage, INVALID_BLOCK, Tid};

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
pub struct Vacuum<W> {
    /// elements that will be marked
    pub(super) dying: TidSet,
    /// the two live elements of the highest levels
    pub(super) highest: Option<Member>,
    pub(super) second: Option<Member>,
    /// rows of a page, with the offsets of their elements; of these, in the end, the dead ones
    pub(super) rows: Vec<(u16, Tid)>,
    /// elements of a page that are noted when their rows have been looked at
    pub(super) seen: Vec<Seen>,
    /// some of the rows of one
    pub(super) part: Vec<Tid>,
    /// live elements of a page whose lists must be looked at
    pub(super) broken: Vec<Member>,
    /// places that inserts had reserved when the vacuum came by
    pub(super) reserved: Vec<Tid>,
    /// where anchors lead from dying elements: to a living one, or nowhere
    pub(super) above: HashMap<u64, Above, BuildHasherDefault<TidHasher>>,
    /// the way up at hand
    pub(super) path: Vec<Tid>,
    /// the first orphan above which nothing lives
    pub(super) root: Option<Member>,
    /// the value of the one being repaired
    pub(super) value: ValueBuf,
    pub(super) workspace: Workspace<W>,
    pub(super) lists: Lists,
    pub(super) nearby: Nearby,
    pub(super) counted: Vacuumed,
}

impl<W: Walk> Vacuum<W> {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes the rows that `is_dead` names. May be interrupted anywhere: a later run finds what is left to do.
    ///
    /// `is_dead` is asked while no lock on a block is held and no change is begun, and no frame here holds
    /// anything that needs dropping: it may call the server, whose errors jump.
    ///
    /// # Errors
    /// A damaged index.
    pub fn run<G: GraphWrite<Walk = W>>(
        &mut self,
        graph: &mut G,
        is_dead: &mut impl FnMut(Tid) -> bool,
    ) -> Result<Vacuumed, G::Error> {
        self.dying.clear();
        self.above.clear();
        self.reserved.clear();
        self.counted = Vacuumed::default();
        (self.highest, self.second, self.root) = (None, None, None);
        self.remove_rows(graph, is_dead)?;
        graph.fault_point("hnsw.vacuum.rows")?;
        if !self.dying.is_empty() {
            self.repair(graph)?;
            graph.fault_point("hnsw.vacuum.repaired")?;
            self.mark(graph)?;
        }
        self.free_reserved(graph)?;
        // rows alone leave room, too, where they have pages of their own
        if self.counted.removed > 0 && self.dying.is_empty() {
            graph.publish_room()?;
        }
        Ok(self.counted)
    }

    // --- first pass: rows ---------------------------------------------------------------------------------------

    /// `is_dead` may call the server, which may raise: it is asked while no lock is held and no change is begun.
    fn remove_rows<G: GraphWrite<Walk = W>>(
        &mut self,
        graph: &mut G,
        is_dead: &mut impl FnMut(Tid) -> bool,
    ) -> Result<(), G::Error> {
        let mut pages = Pages::new();
        while let Some(page) = pages.next(graph)? {
            graph.pause()?;
            graph.reserved(page, &mut self.reserved)?;
            let (rows, seen) = (&mut self.rows, &mut self.seen);
            rows.clear();
            seen.clear();
            graph.visit_page(page, false, |element| list_rows(element, rows, seen))?;
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
                self.note_seen(graph, page, is_dead)?;
                continue;
            }
            self.seen.clear();
            let rows = core::mem::take(&mut self.rows);
            let removed = graph.remove_rows(page, &rows, |element| {
                // deleted ones are of an earlier vacuum: nothing leads there, and an insert may take its place
                // at any time
                if element.deleted { Ok(()) } else { see(element, &mut self.seen) }
            });
            self.rows = rows;
            self.counted.removed += removed?;
            self.note_seen(graph, page, is_dead)?;
        }
        Ok(())
    }

    /// Notes the elements of a page that were seen, once the rows that they have elsewhere have been looked at, too.
    fn note_seen<G: GraphWrite<Walk = W>>(
        &mut self,
        graph: &mut G,
        page: u32,
        is_dead: &mut impl FnMut(Tid) -> bool,
    ) -> Result<(), G::Error> {
        for at in 0..self.seen.len() {
            let Some(&Seen { mut member, rows, elsewhere }) = self.seen.get(at) else { break };
            if elsewhere {
                self.remove_other_rows(graph, &member, is_dead)?;
                member.live = graph.settle_rows(&member)?;
            }
            self.note(member, rows).map_err(|damage| damage.on(page))?;
        }
        Ok(())
    }

    /// Removes the dead of the rows that an element has elsewhere.
    fn remove_other_rows<G: GraphWrite<Walk = W>>(
        &mut self,
        graph: &mut G,
        member: &Member,
        is_dead: &mut impl FnMut(Tid) -> bool,
    ) -> Result<(), G::Error> {
        let mut place = None;
        loop {
            graph.pause()?;
            self.part.clear();
            if !graph.next_rows(member, &mut place, &mut self.part)? {
                return Ok(());
            }
            self.counted.kept += self.part.len() as u64;
            let mut dead = 0;
            for at in 0..self.part.len() {
                let Some(&row) = self.part.get(at) else { break };
                if is_dead(row) {
                    self.part.swap(dead, at);
                    dead += 1;
                }
            }
            let Some(part) = place.filter(|_| dead > 0) else { continue };
            let removed = graph.remove_other_rows(member, part, self.part.get(..dead).unwrap_or_default())?;
            self.counted.removed += removed;
            self.counted.kept -= removed.min(self.counted.kept);
        }
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

    fn repair<G: GraphWrite<Walk = W>>(&mut self, graph: &mut G) -> Result<(), G::Error> {
        // Inserts that began before may still link to dying elements; those that begin now see them without rows.
        drain(graph, OperationLock::Update)?;
        self.adopt_orphans(graph)?;
        // Scans that began before may have passed where the orphans hang now: until here they find them where
        // they were.
        drain(graph, OperationLock::Scan)?;
        self.repair_entry_point(graph)?;
        graph.fault_point("hnsw.vacuum.entry")?;
        let mut pages = Pages::new();
        while let Some(page) = pages.next(graph)? {
            graph.pause()?;
            self.find_broken(graph, page)?;
            let mut any = false;
            for at in 0..self.broken.len() {
                let Some(&live) = self.broken.get(at) else { break };
                // repairs of others may have mended it
                if self.needs_repair(graph, &live)? {
                    self.repair_one(graph, live)?;
                    any = true;
                }
            }
            if any {
                graph.fault_point("hnsw.vacuum.repair")?;
            }
        }
        Ok(())
    }

    /// Whether an element hangs on a living anchor, or on nothing because it is alone.
    fn hangs<G: GraphRead>(&self, graph: &mut G, live: &Member) -> Result<bool, G::Error> {
        Ok(matches!(hanging(graph, live)?, Hanging::Fast))
    }

    /// Finds the live elements of a page whose lists need repair, or stand on another page.
    fn find_broken<G: GraphRead>(&mut self, graph: &mut G, page: u32) -> Result<(), G::Error> {
        let (broken, dying, m) = (&mut self.broken, &self.dying, graph.shape().m);
        broken.clear();
        graph.visit_page(page, true, |element| {
            let needed = element.lists.is_none_or(|lists| list_needs_repair(&lists, m, dying));
            if element.member.live && needed {
                broken.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
                broken.push(element.member);
            }
            Ok(())
        })
    }

    fn needs_repair<G: GraphRead>(&self, graph: &mut G, live: &Member) -> Result<bool, G::Error> {
        let (m, dying) = (graph.shape().m, &self.dying);
        graph.lists(live, |lists| Ok(list_needs_repair(&lists, m, dying)))
    }

    /// Takes the update lock: alone when an anchor or the entry point may change. The meta page is that of this moment:
    /// inserts and this vacuum itself replace the entry point.
    fn lock_to_repair<G: GraphRead>(
        &self,
        graph: &mut G,
        live: &Member,
    ) -> Result<(LockMode, MetaPage), G::Error> {
        let mut mode = LockMode::Shared;
        graph.lock(OperationLock::Update, mode)?;
        let mut meta = graph.meta()?;
        if !self.hangs(graph, live)? || raises_entry(&meta, live.level) {
            graph.unlock(OperationLock::Update, mode);
            mode = LockMode::Exclusive;
            graph.lock(OperationLock::Update, mode)?;
            meta = graph.meta()?;
        }
        Ok((mode, meta))
    }

    fn repair_one<G: GraphWrite<Walk = W>>(&mut self, graph: &mut G, live: Member) -> Result<(), G::Error> {
        let (mode, meta) = self.lock_to_repair(graph, &live)?;
        let entry = meta.entry_point().map_err(|damage| damage.on(META_BLOCK))?;
        let live = if mode == LockMode::Exclusive { now(graph, &live)? } else { live };
        if mode == LockMode::Exclusive || !self.mend(graph, &live)? {
            self.relink(graph, live, entry, mode)?;
        }
        if mode == LockMode::Exclusive && raises_entry(&meta, live.level) {
            graph.complete(live.tid)?;
            raise_entry_point(graph, EntryPoint { tid: live.tid, level: live.level })?;
        }
        graph.unlock(OperationLock::Update, mode);
        Ok(())
    }

    /// Repairs an element's list from its neighbours' lists; false when that takes a search.
    fn mend<G: GraphWrite<Walk = W>>(&mut self, graph: &mut G, live: &Member) -> Result<bool, G::Error> {
        if !self.copy_value(graph, live)? {
            return Ok(true);
        }
        let Vacuum { workspace, value, dying, lists, nearby, .. } = self;
        mend(graph, &mut workspace.links, (lists, nearby), dying, value.bytes(), live)
    }

    /// Makes sure that the entry point lives and is well connected before everything else is repaired from it.
    fn repair_entry_point<G: GraphWrite<Walk = W>>(&mut self, graph: &mut G) -> Result<(), G::Error> {
        if self.highest.is_none() {
            // All that lived at first is dying, and inserts have gone on since. Those that come during this pass find
            // what it finds, or become the entry point themselves.
            self.find_highest(graph)?;
        }
        let candidates = [self.highest, self.second];
        let replacement = |entry: Option<EntryPoint>| {
            candidates.iter().flatten().find(|live| entry.is_none_or(|entry| entry.tid != live.tid))
        };

        // the highest other element first, from the present entry point
        if let Some(&other) = replacement(entry_point(graph)?) {
            let (mode, meta) = self.lock_to_repair(graph, &other)?;
            let entry = meta.entry_point().map_err(|damage| damage.on(META_BLOCK))?;
            if entry.is_some() && (mode == LockMode::Exclusive || self.needs_repair(graph, &other)?) {
                self.relink(graph, other, entry, mode)?;
            }
            graph.unlock(OperationLock::Update, mode);
        }

        // then the entry point itself, from that one; alone, since it may be replaced
        graph.lock(OperationLock::Update, LockMode::Exclusive)?;
        let entry = entry_point(graph)?;
        let other = match replacement(entry) {
            Some(live) => Some(now(graph, live)?),
            None => None,
        };
        let other = other.map(|live| EntryPoint { tid: live.tid, level: live.level });
        match entry {
            Some(entry) if !self.dying.contains(entry.tid) => {
                let live = graph.member(entry.tid)?;
                if let Some(live) = live
                    && self.needs_repair(graph, &live)?
                {
                    self.relink(graph, live, other, LockMode::Exclusive)?;
                }
            }
            // should an insert have taken the highest level since, it is the entry point already
            Some(_) => graph.update_meta(|meta| {
                meta.set_entry_point(other);
                true
            })?,
            None if other.is_some() => graph.update_meta(|meta| {
                meta.set_entry_point(other);
                true
            })?,
            None => {}
        }
        graph.unlock(OperationLock::Update, LockMode::Exclusive);
        Ok(())
    }

    /// Notes the living elements of the highest levels that are there now.
    fn find_highest<G: GraphRead>(&mut self, graph: &mut G) -> Result<(), G::Error> {
        let mut pages = Pages::new();
        while let Some(block) = pages.next(graph)? {
            graph.pause()?;
            let (highest, second) = (&mut self.highest, &mut self.second);
            graph.visit_page(block, false, |element| {
                if element.member.live {
                    rank(highest, second, element.member);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Copies an element's value; false when another has its place.
    pub(super) fn copy_value<G: GraphRead>(
        &mut self,
        graph: &mut G,
        live: &Member,
    ) -> Result<bool, G::Error> {
        let buffer = &mut self.value;
        graph.element(live.tid, |member, value| {
            buffer.copy_from(value);
            // a deleted element has no value
            Ok(!value.is_empty() && member.version == live.version)
        })
    }

    /// Links an element again, under the update lock held in `mode`.
    fn relink<G: GraphWrite<Walk = W>>(
        &mut self,
        graph: &mut G,
        live: Member,
        entry: Option<EntryPoint>,
        mode: LockMode,
    ) -> Result<(), G::Error> {
        if !self.copy_value(graph, &live)? {
            return Ok(());
        }
        let Vacuum { workspace, value, dying, lists, .. } = self;
        let alone = mode == LockMode::Exclusive;
        relink(graph, workspace, lists, dying, value.bytes(), live, entry, alone)
    }

    // --- third pass: marks --------------------------------------------------------------------------------------

    fn mark<G: GraphWrite<Walk = W>>(&mut self, graph: &mut G) -> Result<(), G::Error> {
        // Inserts that began before the repair ended may have read edges to dying elements.
        drain(graph, OperationLock::Update)?;
        self.confirm_repaired(graph)?;
        graph.fault_point("hnsw.vacuum.confirmed")?;
        // Scans too; from here on none can come near.
        drain(graph, OperationLock::Scan)?;
        let mut first_free = None;
        let mut pages = Pages::new();
        while let Some(page) = pages.next(graph)? {
            graph.pause()?;
            let (mut any, mut free) = (false, false);
            graph.visit_page(page, false, |element| {
                let dying = self.dying.contains(element.member.tid);
                any |= dying && !element.deleted;
                free |= dying || element.deleted;
                Ok(())
            })?;
            if any {
                graph.mark_deleted(page, &self.dying)?;
                graph.fault_point("hnsw.vacuum.mark")?;
            }
            if free && first_free.is_none() {
                first_free = Some(page);
            }
            graph.note_room(page)?;
        }
        graph.publish_room()?;
        graph.fault_point("hnsw.vacuum.marked")?;
        // last, when all that it promises is there
        if let Some(page) = first_free {
            graph.update_meta(|meta| {
                let changed = meta.insert_page != page;
                meta.insert_page = page;
                changed
            })?;
        }
        Ok(())
    }

    /// Frees what inserts had reserved when the rows were looked at, and that have ended since without writing it.
    fn free_reserved<G: GraphWrite<Walk = W>>(&mut self, graph: &mut G) -> Result<(), G::Error> {
        if self.reserved.is_empty() {
            return Ok(());
        }
        drain(graph, OperationLock::Update)?;
        for at in 0..self.reserved.len() {
            let Some(&at) = self.reserved.get(at) else { break };
            graph.free_reserved(at)?;
        }
        graph.publish_room()
    }

    /// Looks at every edge of every live element: none leads to a dying one.
    fn confirm_repaired<G: GraphRead>(&mut self, graph: &mut G) -> Result<(), G::Error> {
        let mut pages = Pages::new();
        while let Some(page) = pages.next(graph)? {
            graph.pause()?;
            let (elsewhere, dying) = (&mut self.broken, &self.dying);
            elsewhere.clear();
            // edges on the same page at once, others one by one
            graph.visit_page(page, true, |element| match element.lists {
                _ if !element.member.live => Ok(()),
                Some(lists) => no_edge_to(&lists, &element.member, dying),
                None => {
                    elsewhere.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
                    elsewhere.push(element.member);
                    Ok(())
                }
            })?;
            for at in 0..self.broken.len() {
                let Some(&live) = self.broken.get(at) else { break };
                let dying = &self.dying;
                graph.lists(&live, |lists| no_edge_to(&lists, &live, dying))?;
            }
        }
        Ok(())
    }
}

/// An element as it is now: it may have been seen while an insert had not yet added all its layers. The update lock is
/// held alone.
fn now<G: GraphRead>(graph: &mut G, live: &Member) -> Result<Member, G::Error> {
    Ok(graph.member(live.tid)?.filter(|member| member.version == live.version).unwrap_or(*live))
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
fn drain<G: GraphRead>(graph: &mut G, lock: OperationLock) -> Result<(), G::Error> {
    graph.lock(lock, LockMode::Exclusive)?;
    graph.unlock(lock, LockMode::Exclusive);
    Ok(())
}

fn entry_point<G: GraphRead>(graph: &mut G) -> Result<Option<EntryPoint>, G::Error> {
    Ok(graph.meta()?.entry_point().map_err(|damage| damage.on(META_BLOCK))?)
}

fn no_edge_to(lists: &ListsRef<'_>, live: &Member, dying: &TidSet) -> Result<(), Damage> {
    if lists.all.iter().any(|&tid| tid.is_valid() && dying.contains(tid)) {
        return Err(Damage::at(live.list.offset(), "graph not repaired"));
    }
    Ok(())
}

/// Whether a list has an edge to a dying element, or so few edges that an insert during this vacuum may have left its
/// element without good ones.
fn list_needs_repair(lists: &ListsRef<'_>, m: usize, dying: &TidSet) -> bool {
    // replaced since its element was read: new, and linked to living elements
    let Some(base_layer) = lists.base_layer else { return false };
    let few = base_layer.iter().filter(|tid| tid.is_valid()).count() < m;
    few || lists.all.iter().any(|&tid| tid.is_valid() && dying.contains(tid))
}

/// Copies the rows of an element that is not deleted, each with the element's offset, and the element.
fn list_rows(element: &OnPage<'_>, rows: &mut Vec<(u16, Tid)>, seen: &mut Vec<Seen>) -> Result<(), Damage> {
    if element.deleted {
        return Ok(());
    }
    rows.try_reserve(element.rows.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
    rows.extend(element.rows.iter().map(|&row| (element.member.tid.offset(), row)));
    see(element, seen)
}

/// An element of the first pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    member: Member,
    /// its rows on the page
    rows: u64,
    /// whether it may have others
    elsewhere: bool,
}

fn see(element: &OnPage<'_>, seen: &mut Vec<Seen>) -> Result<(), Damage> {
    seen.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
    let &OnPage { member, rows, elsewhere, .. } = element;
    seen.push(Seen { member, rows: rows.len() as u64, elsewhere });
    Ok(())
}

/// Goes over the pages in their order, and over those that are added meanwhile.
pub(super) struct Pages {
    next: u32,
    end: u32,
}

impl Pages {
    pub(super) fn new() -> Self {
        Pages { next: 0, end: 0 }
    }

    pub(super) fn next<G: GraphRead>(&mut self, graph: &mut G) -> Result<Option<u32>, G::Error> {
        if self.next >= self.end {
            let pages = graph.pages()?;
            (self.next, self.end) = (self.next.max(pages.start), pages.end);
            if self.next >= self.end {
                return Ok(None);
            }
        }
        let page = self.next;
        self.next = page.checked_add(1).unwrap_or(INVALID_BLOCK);
        Ok(Some(page))
    }
}
