//! Orphans of a vacuum: living elements whose anchors are dying get living ones, before any list is repaired.

use super::anchor::{Hanging, Joined, hanging, reanchor};
use super::graph::{GraphRead, GraphWrite, Member, NoValues, Walk};
use super::repair::strip;
use super::vacuum::{Pages, Vacuum};
use crate::storage::blocks::{LockMode, OperationLock};
use crate::storage::page::{Damage, Tid};

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

impl<W: Walk> Vacuum<W> {
    /// Gives every living element whose anchor is dying a living one: the first above it. From then on living elements
    /// hang together without the dying ones.
    pub(super) fn adopt_orphans<G: GraphWrite<Walk = W>>(&mut self, graph: &mut G) -> Result<(), G::Error> {
        let mut pages = Pages::new();
        while let Some(block) = pages.next(graph)? {
            graph.pause()?;
            self.find_orphans(graph, block)?;
            if self.broken.is_empty() {
                continue;
            }
            graph.lock(OperationLock::Update, LockMode::Exclusive)?;
            for at in 0..self.broken.len() {
                let Some(&live) = self.broken.get(at) else { break };
                self.adopt(graph, live)?;
            }
            graph.unlock(OperationLock::Update, LockMode::Exclusive);
            graph.fault_point("hnsw.vacuum.orphan")?;
        }
        self.settle_root(graph)
    }

    /// Finds the living elements of a page whose anchors are dying, or whose lists stand on another page.
    fn find_orphans<G: GraphRead>(&mut self, graph: &mut G, page: u32) -> Result<(), G::Error> {
        let (orphans, dying) = (&mut self.broken, &self.dying);
        orphans.clear();
        graph.visit_page(page, true, |element| {
            let anchor = |slots: &[Tid]| slots.first().is_some_and(|&anchor| dying.contains(anchor));
            let orphaned = element.lists.is_none_or(|lists| lists.base_layer.is_some_and(anchor));
            if !element.member.live || !orphaned {
                return Ok(());
            }
            orphans.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
            orphans.push(element.member);
            Ok(())
        })
    }

    /// Gives an orphan another anchor. The update lock is held alone.
    fn adopt<G: GraphWrite<Walk = W>>(&mut self, graph: &mut G, live: Member) -> Result<(), G::Error> {
        let anchor = graph.anchor(&live)?;
        let Some(anchor) = anchor.filter(|&anchor| self.dying.contains(anchor)) else { return Ok(()) };
        if !matches!(hanging(graph, &live)?, Hanging::Fast) {
            // left by an insert that was interrupted: nothing leads to it, or is anchored at it; it is fastened later
            return Ok(());
        }
        let above = match self.climb(graph, anchor)? {
            Above::Lives(tid) if tid != live.tid => graph.member(tid)?.filter(|above| above.live),
            _ => None,
        };
        // Where nothing lives above, all that lives hangs below such orphans: they gather below the first of them,
        // which keeps its anchor until all the others are there.
        let Some(above) = above.or(self.root).filter(|above| above.tid != live.tid) else {
            self.root = Some(live);
            return Ok(());
        };
        if self.copy_value(graph, &live)? {
            let links = &mut self.workspace.links;
            reanchor(graph, links, (&live, Joined::Yes), self.value.bytes(), above)?;
        }
        Ok(())
    }

    /// Follows anchors from a dying element up to the first that lives. Every step is taken once in a vacuum:
    /// anchors of dying elements change only to others below the same living one.
    fn climb<G: GraphRead>(&mut self, graph: &mut G, from: Tid) -> Result<Above, G::Error> {
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
            let member = graph.member(at)?;
            let Some(member) = member else { break Above::Nothing };
            match graph.anchor(&member)? {
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

    /// Anchors the first orphan at an element below it, now that all that lives is below it; when nothing is,
    /// it is alone and has no edges.
    fn settle_root<G: GraphWrite<Walk = W>>(&mut self, graph: &mut G) -> Result<(), G::Error> {
        let Some(root) = self.root else { return Ok(()) };
        graph.lock(OperationLock::Update, LockMode::Exclusive)?;
        let anchor = graph.anchor(&root)?;
        if anchor.is_some_and(|anchor| self.dying.contains(anchor)) {
            let mut below = None;
            graph.list(&root, 0, self.workspace.links.slots_mut())?;
            for at in 1..self.workspace.links.slots_mut().len() {
                let Some(&tid) = self.workspace.links.slots_mut().get(at) else { break };
                if self.dying.contains(tid) {
                    continue;
                }
                let Some(member) = graph.member(tid)? else { continue };
                let child = graph.anchor(&member)? == Some(root.tid);
                if child || below.is_none() {
                    below = Some(tid);
                }
                if child {
                    break;
                }
            }
            match below {
                Some(tid) => graph.set_anchor(&root, tid, &NoValues)?,
                None => {
                    let Vacuum { lists, dying, .. } = self;
                    strip(graph, lists, dying, &root)?;
                }
            }
        }
        graph.unlock(OperationLock::Update, LockMode::Exclusive);
        graph.fault_point("hnsw.vacuum.orphan")
    }
}
