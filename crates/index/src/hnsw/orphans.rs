//! Orphans of a vacuum: living elements whose anchors are dying get living ones, before any list is repaired.

use super::anchor::{
    Hanging, Joined, Member, anchor_of, copy_list, hanging, read_member, reanchor, set_anchor,
};
use super::insert::Graph;
use super::repair::strip;
use super::v1::layout::{Neighbours, PAGE_ID};
use super::vacuum::{Pages, Vacuum, for_each_element};
use crate::space::Space;
use crate::storage::blocks::{BlockStore, LockMode, OperationLock};
use crate::storage::page::{Damage, Page, Tid};

/// Where the anchors of a dying element lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Above {
    /// to this one, the first that lives
    Lives(Tid),
    /// to dying ones only
    Nothing,
    /// still on the way
    OnTheWay,
}

impl Vacuum {
    /// Gives every living element whose anchor is dying a living one: the first above it. From then on living elements
    /// hang together without the dying ones.
    pub(super) fn adopt_orphans<B: BlockStore, S: Space>(
        &mut self,
        blocks: &mut B,
        graph: &Graph<S>,
    ) -> Result<(), B::Error> {
        let mut pages = Pages::new();
        while let Some(block) = pages.next(blocks)? {
            blocks.pause()?;
            self.find_orphans(blocks, graph.m, block)?;
            if self.broken.is_empty() {
                continue;
            }
            blocks.lock(OperationLock::Update, LockMode::Exclusive)?;
            for at in 0..self.broken.len() {
                let Some(&live) = self.broken.get(at) else { break };
                self.adopt(blocks, graph, live)?;
            }
            blocks.unlock(OperationLock::Update, LockMode::Exclusive);
            blocks.fault_point("hnsw.vacuum.orphan")?;
        }
        self.settle_root(blocks, graph)
    }

    /// Finds the living elements of a page whose anchors are dying, or whose lists stand on another page.
    fn find_orphans<B: BlockStore>(&mut self, blocks: &mut B, m: usize, block: u32) -> Result<(), B::Error> {
        let (orphans, dying) = (&mut self.broken, &self.dying);
        orphans.clear();
        blocks.read_in_passing(block, |bytes| {
            let mut damage = Ok(());
            for_each_element(bytes, |offset, element| {
                if element.header.deleted != 0 || !element.header.is_live() {
                    return;
                }
                let live = Member::new(Tid::new(block, offset), &element);
                let at = live.neighbour_tid;
                if at.block() == block {
                    let item = Page::new(bytes, PAGE_ID).and_then(|page| page.item(at.offset()));
                    match item.and_then(|item| Neighbours::new(item, at.offset())) {
                        Ok(list) if list.anchor(m).is_some_and(|anchor| dying.contains(anchor)) => {}
                        Ok(_) => return,
                        Err(found) => damage = damage.and(Err(found)),
                    }
                }
                match orphans.try_reserve(1) {
                    Ok(()) => orphans.push(live),
                    Err(_) => damage = Err(Damage::OUT_OF_MEMORY),
                }
            })?;
            damage
        })
    }

    /// Anchors an orphan anew. The update lock is held alone.
    fn adopt<B: BlockStore, S: Space>(
        &mut self,
        blocks: &mut B,
        graph: &Graph<S>,
        live: Member,
    ) -> Result<(), B::Error> {
        let anchor = anchor_of(blocks, graph.m, &live)?;
        let Some(anchor) = anchor.filter(|&anchor| self.dying.contains(anchor)) else { return Ok(()) };
        if !matches!(hanging(blocks, graph.m, &live)?, Hanging::Fast) {
            // left by an insert that was interrupted: nothing leads to it, or is anchored at it; it is fastened later
            return Ok(());
        }
        let above = match self.climb(blocks, graph.m, anchor)? {
            Above::Lives(tid) if tid != live.tid => read_member(blocks, tid)?.filter(|above| above.live),
            _ => None,
        };
        // Where nothing lives above, all that lives hangs below such orphans: they gather below the first of them,
        // which keeps its anchor until all the others are there.
        let Some(above) = above.or(self.root).filter(|above| above.tid != live.tid) else {
            self.root = Some(live);
            return Ok(());
        };
        if self.copy_value(blocks, &live)? {
            let links = &mut self.workspace.links;
            reanchor(blocks, graph, links, (&live, Joined::Yes), self.value.bytes(), above)?;
        }
        Ok(())
    }

    /// Follows anchors from a dying element up to the first that lives. Every step is taken once in a vacuum: anchors of
    /// dying elements change only to others below the same living one.
    fn climb<B: BlockStore>(&mut self, blocks: &mut B, m: usize, from: Tid) -> Result<Above, B::Error> {
        self.path.clear();
        let mut at = from;
        let above = loop {
            if !self.dying.contains(at) {
                break Above::Lives(at);
            }
            match self.above.get(&at.packed()) {
                Some(Above::OnTheWay) => break Above::Nothing,
                Some(&known) => break known,
                None => {}
            }
            let room = self.above.try_reserve(1).is_ok() && self.path.try_reserve(1).is_ok();
            if !room {
                return Err(Damage::OUT_OF_MEMORY.on(at.block()).into());
            }
            self.above.insert(at.packed(), Above::OnTheWay);
            self.path.push(at);
            let member = read_member(blocks, at)?;
            let Some(member) = member else { break Above::Nothing };
            match anchor_of(blocks, m, &member)? {
                Some(anchor) => at = anchor,
                None => break Above::Nothing,
            }
        };
        for tid in &self.path {
            // they are in it: no room is needed
            self.above.insert(tid.packed(), above);
        }
        Ok(above)
    }

    /// Anchors the first orphan at an element below it, now that all that lives is below it; when nothing is, it is alone
    /// and has no edges.
    fn settle_root<B: BlockStore, S: Space>(
        &mut self,
        blocks: &mut B,
        graph: &Graph<S>,
    ) -> Result<(), B::Error> {
        let Some(root) = self.root else { return Ok(()) };
        blocks.lock(OperationLock::Update, LockMode::Exclusive)?;
        let anchor = anchor_of(blocks, graph.m, &root)?;
        if anchor.is_some_and(|anchor| self.dying.contains(anchor)) {
            let mut below = None;
            copy_list(blocks, graph.m, &root, 0, self.workspace.links.slots_mut())?;
            for at in 1..self.workspace.links.slots_mut().len() {
                let Some(&tid) = self.workspace.links.slots_mut().get(at) else { break };
                if self.dying.contains(tid) {
                    continue;
                }
                let Some(member) = read_member(blocks, tid)? else { continue };
                let child = anchor_of(blocks, graph.m, &member)? == Some(root.tid);
                if child || below.is_none() {
                    below = Some(tid);
                }
                if child {
                    break;
                }
            }
            match below {
                Some(tid) => set_anchor(blocks, graph.m, &root, tid)?,
                None => {
                    let Vacuum { lists, dying, .. } = self;
                    strip(blocks, graph.m, lists, dying, &root)?;
                }
            }
        }
        blocks.unlock(OperationLock::Update, LockMode::Exclusive);
        blocks.fault_point("hnsw.vacuum.orphan")
    }
}
