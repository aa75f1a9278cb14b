//! Searches for the neighbours of an element, for inserts and repairs: each layer by estimates ([`super::search`]),
//! with exact distances of what is found.

use super::codec::PreparedQuery;
use super::id_map::{IdMap, NEW};
use super::layout::Layout;
use super::reader::{Expansion, Found, Reader};
use super::records::{climb, has_rows, look_at_ground, look_at_value, member_of};
use super::scan::Index;
use super::search::{Others, Walk as LayerWalk};
use crate::ValueError;
use crate::hnsw::graph::{GraphSearch, Member, NeighbourSearch, Walk};
use crate::hnsw::meta::META_BLOCK;
use crate::hnsw::search::{CandidateQueue, Scored};
use crate::hnsw::values::Values;
use crate::quant::space::CodedSpace;
use crate::space::ValueBuf;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, Tid};
use crate::work::memory::push;

/// A node that a search has found.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// by its record of layer 0
    member: Member,
    /// whether its value is the very one that is searched with
    equal: bool,
    /// its record in `layer`
    record: u32,
    /// the record below that
    below: u32,
    layer: u8,
}

/// What searches for neighbours have seen; reused from search to search.
#[derive(Debug, Default)]
pub struct InlineWalk {
    layer: LayerWalk,
    prepared: PreparedQuery,
    /// a [`Scored::node`] is a position here
    nodes: Vec<Node>,
    /// those positions, by the ids of records of layer 0
    handles: IdMap,
    /// nodes of the very value that is searched with
    spare: Vec<Tid>,
    /// a node that is scored alone
    alone: Expansion,
    /// a value that was cut
    value: ValueBuf,
}

/// Nodes of one value that a search keeps in mind. There is one, or a few that were inserted side by side.
const SPARE: usize = 8;

impl InlineWalk {
    /// Adds a node, or finds it.
    fn add(&mut self, id: u32, node: Node) -> Result<u32, Damage> {
        self.handles.reserve(1)?;
        let Some(handle) = self.handles.entry(id) else { return Err(Damage::OUT_OF_MEMORY) };
        if *handle != NEW
            && let Some(known) = self.nodes.get_mut(*handle as usize)
        {
            (known.record, known.below, known.layer) = (node.record, node.below, node.layer);
            return Ok(*handle);
        }
        push(&mut self.nodes, node)?;
        *handle = self.nodes.len() as u32 - 1;
        Ok(*handle)
    }
}

impl Walk for InlineWalk {
    fn clear(&mut self) {
        self.layer.clear();
        self.nodes.clear();
        self.handles.clear();
        self.spare.clear();
    }

    #[inline(always)]
    fn member(&self, node: u32) -> Option<Member> {
        self.nodes.get(node as usize).map(|node| node.member)
    }

    #[inline(always)]
    fn is_equal(&self, node: u32) -> bool {
        self.nodes.get(node as usize).is_some_and(|node| node.equal)
    }

    fn spare(&self) -> &[Tid] {
        &self.spare
    }

    // only scans give handles back, and those of this layout have no handles
    fn release(&mut self, _: u32) {}

    fn scored(&self) -> u64 {
        self.layer.scored
    }

    fn set_scored(&mut self, scored: u64) {
        self.layer.scored = scored;
    }

    fn allocated(&self) -> usize {
        self.layer.allocated()
            + self.prepared.allocated()
            + self.nodes.capacity() * size_of::<Node>()
            + self.handles.allocated()
            + self.spare.capacity() * size_of::<Tid>()
            + self.alone.allocated()
            + self.value.allocated()
    }

    fn in_use(&self) -> usize {
        self.layer.in_use() + self.nodes.len() * size_of::<Node>()
    }
}

/// A search for the neighbours of a value.
#[derive(Debug)]
pub struct InlineSearch<'a, B, S: CodedSpace> {
    blocks: &'a mut B,
    index: &'a Index<'a, S>,
    value: &'a [u8],
    query: S::View<'a>,
    /// the value's distance from itself
    alike: f32,
    /// a node that is being repaired: neither it nor nodes without rows take a place in the result
    repairing: Option<Tid>,
    walk: &'a mut InlineWalk,
    /// want of memory for the query, which the first read tells
    prepared: Result<(), Damage>,
}

impl<'a, B: BlockStore, S: CodedSpace> InlineSearch<'a, B, S> {
    /// A search with `value`, a whole varlena.
    ///
    /// # Errors
    /// A value of other dimensions.
    pub(super) fn new(
        blocks: &'a mut B,
        index: &'a Index<'a, S>,
        value: &'a [u8],
        repairing: Option<Tid>,
        walk: &'a mut InlineWalk,
    ) -> Result<Self, ValueError> {
        let query = index.space.view(value)?;
        let prepared = walk.prepared.set(&index.codec, &index.space, query);
        let alike = index.space.distance(query, query);
        Ok(InlineSearch { blocks, index, value, query, alike, repairing, walk, prepared })
    }

    /// Whether a node of this distance, at `tid`, has the very value that is searched with.
    fn has_value(&mut self, distance: f32, tid: Tid) -> Result<bool, B::Error> {
        // a distance that is made from a wider one may be off in the last bit
        let near = (distance - self.alike).abs() <= self.alike.abs() * (2.0 * f32::EPSILON);
        if !near {
            return Ok(false);
        }
        let value = self.value;
        look_at_value(self.blocks, &self.index.layout, &mut self.walk.value, tid, |_, other| {
            Ok(other == value)
        })
    }

    /// Gives a handle to what a search of `layer` has found; `None` when it is a node no more.
    fn take(&mut self, found: &Found, layer: u8) -> Result<Option<Scored>, B::Error> {
        let layout = &self.index.layout;
        let distance = self.index.space.narrow(found.distance);
        let tid = if layer == 0 { layout.tid(found.id) } else { found.heap_tid };
        let on_page = |damage: Damage| B::Error::from(damage.on(tid.block()));
        let id = ground_id(layout, tid).map_err(on_page)?;
        let mut node = Node {
            member: Member {
                tid,
                list: tid,
                level: found.level,
                version: found.version,
                live: found.has_rows(),
            },
            equal: false,
            record: found.id,
            below: found.below,
            layer,
        };
        if !self.walk.handles.contains(id) {
            if layer > 0 {
                let ground = look_at_ground(self.blocks, layout, tid, |record| {
                    Ok(record.is_live().then(|| member_of(tid, record)))
                })?;
                let Some(ground) = ground else { return Ok(None) };
                node.member = ground;
            }
            node.equal = self.has_value(distance, tid)?;
            self.note_spare(&node).map_err(on_page)?;
        }
        let handle = self.walk.add(id, node).map_err(on_page)?;
        Ok(Some(Scored { distance, node: handle }))
    }

    /// Remembers a node that can take the row.
    fn note_spare(&mut self, node: &Node) -> Result<(), Damage> {
        let Member { tid, live, .. } = node.member;
        let spare = &mut self.walk.spare;
        if node.equal && live && spare.len() < SPARE && !spare.contains(&tid) {
            push(spare, tid)?;
        }
        Ok(())
    }

    fn on_meta(damage: Damage) -> B::Error {
        damage.on(META_BLOCK).into()
    }
}

fn ground_id(layout: &Layout, tid: Tid) -> Result<u32, Damage> {
    layout.ground_id(tid).ok_or(Damage::at(tid.offset(), "slot does not exist"))
}

fn reader<'s, 'q, B: BlockStore, S: CodedSpace>(
    blocks: &'s mut B,
    index: &'s Index<'_, S>,
    query: S::View<'q>,
    prepared: &'s PreparedQuery,
) -> Reader<'s, 'q, B, S> {
    let Index { space, .. } = *index;
    Reader::new(blocks, &index.layout, &index.codec, space, Some(query), prepared, index.caution())
}

impl<B: BlockStore, S: CodedSpace> GraphSearch for InlineSearch<'_, B, S> {
    type Error = B::Error;
    type Walk = InlineWalk;

    fn walk(&mut self) -> &mut InlineWalk {
        self.walk
    }

    fn enter(&mut self, tid: Tid) -> Result<Option<Scored>, B::Error> {
        self.prepared.map_err(Self::on_meta)?;
        let layout = &self.index.layout;
        let id = ground_id(layout, tid).map_err(|damage| damage.on(tid.block()))?;
        let InlineWalk { prepared, alone, .. } = &mut *self.walk;
        let found = reader(self.blocks, self.index, self.query, prepared).score(id, alone)?;
        self.walk.layer.scored += 1;
        match found {
            Some(found) => self.take(&found, 0),
            None => Ok(None),
        }
    }

    fn begin_layer(&mut self, layer: u8, pool: &CandidateQueue) -> Result<(), B::Error> {
        self.walk.layer.begin_layer();
        let layout = &self.index.layout;
        for scored in pool.iter() {
            let Some(node) = self.walk.nodes.get(scored.node as usize).copied() else { continue };
            let record = if node.layer == layer {
                Some(node.record)
            } else if layer == 0 {
                layout.ground_id(node.member.tid)
            } else if node.layer == layer + 1 {
                Some(node.below)
            } else {
                // the first layer, from the record that the meta page names
                climb(self.blocks, layout, &node.member, layer)?
            };
            // one that is not so high stays where it is, and leads on in a layer below
            if let Some(record) = record {
                self.walk.layer.enter(record).map_err(Self::on_meta)?;
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn accepts(&self, node: u32) -> bool {
        match (self.repairing, self.walk.nodes.get(node as usize)) {
            (Some(repairing), Some(node)) => node.member.live && node.member.tid != repairing,
            _ => true,
        }
    }

    fn search_layer(
        &mut self,
        pool: &mut CandidateQueue,
        _: &mut Vec<Scored>,
        ef: usize,
        layer: u8,
    ) -> Result<(), B::Error> {
        let InlineWalk { layer: walk, prepared, .. } = &mut *self.walk;
        let mut reader = reader(self.blocks, self.index, self.query, prepared).repairing(self.repairing);
        walk.search_layer(&mut reader, ef, layer, Others::Forget)?;
        let (results, others) = (walk.len(), walk.passed_over().len());
        if results + others == 0 {
            // nothing of the pool is in this layer
            return Ok(());
        }
        pool.clear();
        if !pool.reserve(results + others) {
            return Err(Self::on_meta(Damage::OUT_OF_MEMORY));
        }
        for at in 0..results + others {
            let walk = &self.walk.layer;
            let found = if at < results { walk.result(at) } else { walk.passed_over().get(at - results) };
            let Some(found) = found.copied() else { break };
            if let Some(scored) = self.take(&found, layer)? {
                let accepted = self.accepts(scored.node);
                pool.offer(scored, accepted, ef);
            }
        }
        Ok(())
    }
}

impl<B: BlockStore, S: CodedSpace> NeighbourSearch for InlineSearch<'_, B, S> {
    /// Rows of one value share a node, so a search meets one of the value it searches with, or the few that were
    /// inserted side by side: they leave room for others. (A value that is not among the nearest to itself, by inner
    /// product, may have more nodes, but then they are not among the nearest either.)
    fn limit_equals(&mut self, _: usize) {}

    fn load_values(&mut self, values: &mut Values, nodes: &[Scored]) -> Result<(), B::Error> {
        for scored in nodes {
            let node = scored.node;
            if values.has(node) {
                continue;
            }
            let Some(tid) = self.walk.nodes.get(node as usize).map(|node| node.member.tid) else { continue };
            look_at_value(self.blocks, &self.index.layout, &mut self.walk.value, tid, |_, value| {
                values.set(node, value)
            })?;
        }
        Ok(())
    }
}

/// Whether a node that a search of `layer` has found fills a place in the result of a repair of the node at
/// `repairing`.
pub(super) fn fills_a_place<B: BlockStore>(
    blocks: &mut B,
    layout: &Layout,
    found: &Found,
    layer: u8,
    repairing: Tid,
) -> Result<bool, B::Error> {
    if layer == 0 {
        return Ok(found.has_rows() && layout.tid(found.id) != repairing);
    }
    // rows stand with the record of layer 0
    let tid = found.heap_tid;
    let live = look_at_ground(blocks, layout, tid, |record| Ok(record.is_live() && has_rows(record.header)))?;
    Ok(live && tid != repairing)
}
