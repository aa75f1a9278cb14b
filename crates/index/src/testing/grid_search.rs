//! Searches of a graph without pages.
#![cfg(test)]

use super::grid::{Grid, GridError, ON_PAGE};
use crate::hnsw::graph::{GraphSearch, Member, NeighbourSearch, ScanSearch, Walk};
use crate::hnsw::search::visited::TidSet;
use crate::hnsw::search::{CandidateQueue, Discarded, Scored, Store, search_layer};
use crate::hnsw::values::Values;
use crate::space::Space;
use crate::storage::page::{Damage, Tid};

/// What a search has seen.
#[derive(Debug, Default)]
pub struct GridWalk {
    pub(super) nodes: Vec<(Member, bool)>,
    visited: TidSet,
    spare: Vec<Tid>,
    scored: u64,
}

impl Walk for GridWalk {
    fn clear(&mut self) {
        self.nodes.clear();
        self.visited.clear();
        self.spare.clear();
        self.scored = 0;
    }
    fn member(&self, node: u32) -> Option<Member> {
        self.nodes.get(node as usize).map(|node| node.0)
    }
    fn is_equal(&self, node: u32) -> bool {
        self.nodes.get(node as usize).is_some_and(|node| node.1)
    }
    fn spare(&self) -> &[Tid] {
        &self.spare
    }
    fn release(&mut self, _: u32) {}
    fn scored(&self) -> u64 {
        self.scored
    }
    fn set_scored(&mut self, scored: u64) {
        self.scored = scored;
    }
    fn allocated(&self) -> usize {
        self.nodes.capacity() * size_of::<(Member, bool)>() + self.visited.allocated()
    }
    fn in_use(&self) -> usize {
        self.nodes.len() * size_of::<(Member, bool)>()
    }
}

/// A search at work.
#[derive(Debug)]
pub struct GridSearch<'a> {
    pub(super) grid: &'a mut Grid,
    pub(super) query: Option<&'a [u8]>,
    pub(super) walk: &'a mut GridWalk,
    pub(super) repairing: Option<Tid>,
    /// for an insert: how many more of the very value may take a place
    pub(super) left: Option<usize>,
}

impl GridSearch<'_> {
    /// Scores an element; `None` when it is deleted, or one equal too many.
    fn score(&mut self, tid: Tid, layer: u8) -> Result<Option<Scored>, Damage> {
        let (element, member) = (self.grid.get(tid)?, self.grid.member_of(tid)?);
        if element.deleted || element.level < layer {
            return Ok(None);
        }
        let space = self.grid.shape.space;
        let view = |bytes| space.view(bytes).map_err(|_| Damage::at(tid.offset(), "invalid value"));
        let distance = match self.query {
            Some(query) => space.distance(view(query)?, view(element.bytes())?),
            None => 0.0,
        };
        self.walk.scored += 1;
        let equal = self.left.is_some() && self.query == Some(element.bytes());
        if equal && member.live {
            if !self.walk.spare.contains(&tid) {
                self.walk.spare.push(tid);
            }
            match self.left.and_then(|left| left.checked_sub(1)) {
                Some(left) => self.left = Some(left),
                None => return Ok(None),
            }
        }
        self.walk.nodes.push((member, equal));
        Ok(Some(Scored { distance, node: self.walk.nodes.len() as u32 - 1 }))
    }
}

impl Store for GridSearch<'_> {
    type Error = GridError;

    fn expand(&mut self, node: u32, layer: u8, bound: f32, out: &mut Vec<Scored>) -> Result<(), GridError> {
        let member = self.walk.nodes[node as usize].0;
        let slots = self.grid.layer(&member, layer).unwrap_or_default().to_vec();
        for tid in slots.into_iter().filter(|tid| tid.is_valid()) {
            self.walk.visited.reserve(1).map_err(|damage| damage.on(0))?;
            if self.walk.visited.insert(tid)
                && let Some(scored) = self.score(tid, layer).map_err(|damage| damage.on(tid.block()))?
                && (scored.distance < bound || bound == f32::INFINITY)
            {
                out.push(scored);
            }
        }
        Ok(())
    }

    fn out_of_memory(&self) -> GridError {
        GridError(Damage::OUT_OF_MEMORY.on(0))
    }

    fn accepts(&self, node: u32) -> bool {
        let member = self.walk.nodes[node as usize].0;
        self.repairing.is_none_or(|repairing| member.live && member.tid != repairing)
    }
}

impl GraphSearch for GridSearch<'_> {
    type Error = GridError;
    type Walk = GridWalk;

    fn accepts(&self, node: u32) -> bool {
        Store::accepts(self, node)
    }

    fn search_layer(
        &mut self,
        pool: &mut CandidateQueue,
        out: &mut Vec<Scored>,
        ef: usize,
        layer: u8,
    ) -> Result<(), GridError> {
        search_layer(self, pool, out, ef, layer, None)
    }

    fn walk(&mut self) -> &mut GridWalk {
        self.walk
    }

    fn enter(&mut self, tid: Tid) -> Result<Option<Scored>, GridError> {
        self.left = self.left.map(|_| 1);
        Ok(self.score(tid, 0).map_err(|damage| damage.on(tid.block()))?)
    }

    fn begin_layer(&mut self, _: u8, pool: &CandidateQueue) -> Result<(), GridError> {
        self.walk.visited.clear();
        self.walk.visited.reserve(pool.len()).map_err(|damage| damage.on(0))?;
        for scored in pool.iter() {
            self.walk.visited.insert(self.walk.nodes[scored.node as usize].0.tid);
        }
        Ok(())
    }
}

impl ScanSearch for GridSearch<'_> {
    fn search_keeping(
        &mut self,
        pool: &mut CandidateQueue,
        out: &mut Vec<Scored>,
        ef: usize,
        layer: u8,
        discarded: Option<&mut Discarded>,
    ) -> Result<(), GridError> {
        search_layer(self, pool, out, ef, layer, discarded)
    }

    fn pass(&mut self, page: u32, out: &mut Vec<Scored>) -> Result<(), GridError> {
        for offset in 1..=ON_PAGE as u16 {
            let tid = Tid::new(page, offset);
            let live = self.grid.member_of(tid).is_ok_and(|member| member.live);
            if live && !self.walk.visited.contains(tid) {
                out.extend(self.score(tid, 0).map_err(|damage| damage.on(page))?);
            }
        }
        Ok(())
    }
}

impl NeighbourSearch for GridSearch<'_> {
    fn limit_equals(&mut self, left: usize) {
        self.left = Some(left);
    }

    fn load_values(&mut self, values: &mut Values, nodes: &[Scored]) -> Result<(), GridError> {
        for scored in nodes {
            let tid = self.walk.nodes[scored.node as usize].0.tid;
            let element = self.grid.get(tid).map_err(|damage| damage.on(tid.block()))?;
            values.set(scored.node, element.bytes()).map_err(|damage| damage.on(tid.block()))?;
        }
        Ok(())
    }
}
