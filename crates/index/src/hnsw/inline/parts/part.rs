//! One part: its rows into a graph in memory, the graph's lists into a file, with the codes of their edges.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use zerocopy::IntoBytes;

use super::lists::{FileEdge, ListHead};
use super::rows::{Row, RowSet};
use super::{BROKEN, Parting, level};
use crate::hnsw::build::{Builder, Element, Graph, ListedEdge, Params, Pushed, Role, value_hash};
use crate::hnsw::inline::layout::RecordLayout;
use crate::hnsw::inline::rotated::{rotate_all, rotated};
use crate::hnsw::inline::scan::Index;
use crate::quant::space::{BIT_PAYLOAD, CodedSpace, Estimate};
use crate::storage::page::{Damage, Tid};
use crate::work::memory::{OutOfMemory, append, collected, filled, push, resize, with_room};
use crate::work::runs::Files;
use crate::work::workers::Workers;

/// Pieces of lists that a thread makes at a time.
const PIECES: usize = 4;

/// Bytes of a piece.
fn piece(params: &Params) -> usize {
    (params.budget / 256 / params.threads.max(1)).clamp(4 << 10, 64 << 10)
}

/// Bytes of memory that lists take until they are in files.
pub(super) fn piece_bytes(params: &Params) -> usize {
    // vectors grow by doubling
    2 * params.threads.max(1) * PIECES * piece(params)
}

/// Which of the layers of a graph are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layers {
    /// its lowest
    Lowest,
    /// the one above that
    Second,
    /// those above
    Above,
    /// all
    All,
}

impl Layers {
    fn of(self, level: u8) -> core::ops::RangeInclusive<u8> {
        match self {
            Layers::Lowest => 0..=0,
            Layers::Second => 1..=level.min(1),
            Layers::Above => 1..=level,
            Layers::All => 0..=level,
        }
    }
}

/// A part that was built.
struct Built<'a, S> {
    graph: Graph<S>,
    index: &'a Index<'a, S>,
    /// the layer of the table's graph that is the lowest of this
    base: u8,
    /// of each node its row
    rows: Vec<u32>,
    /// nodes that an earlier part has, too
    shared: RowSet,
    rotated: Vec<f32>,
    /// an edge from the entry point to what is not in the part
    bridge: Option<u32>,
}

/// What edges to and from an element are coded of.
#[derive(Debug)]
pub(super) enum Place {
    /// its value, rotated
    Rotated(Vec<f32>),
    /// its bits
    Bits(Vec<u8>),
}

/// Memory of one thread.
#[derive(Default)]
struct Scratch {
    edges: Vec<ListedEdge>,
    listed: Vec<FileEdge>,
    codes: Vec<u8>,
    widened: Vec<f32>,
    centre: Vec<f32>,
    value: Vec<f32>,
    tids: Vec<Tid>,
}

impl<S: CodedSpace> Parting<'_, S> {
    /// Builds the graph of the rows in `file`, of which there are `count` at most: of their layer `base`, or, `whole`,
    /// of all from that on. Adds its lists to the files of lists.
    ///
    /// # Errors
    /// A damaged file, no memory.
    pub(super) fn build_part(
        &mut self,
        files: &mut dyn Files,
        (file, base, whole): (usize, u8, bool),
        count: usize,
        progress: &AtomicU64,
        workers: &mut Workers<'_>,
    ) -> Result<(), Damage> {
        let (graph, rows, shared, fresh) = self.read_part(files, (file, base, whole), count, workers)?;
        if rows.is_empty() {
            return Ok(());
        }
        let any_shared = fresh < rows.len();
        let graph = graph.build_part(&AtomicU64::new(0), workers, &|node| shared.has(node))?;
        let rotated = match &self.centre {
            Some(_) => Vec::new(),
            None => {
                let budget = self.part_budget.saturating_sub(rows.len() * self.element_bytes(base));
                rotate_all(&graph, self.index, budget, workers)?
            }
        };
        let mut built = Built { graph, index: self.index, base, rows, shared, rotated, bridge: None };
        if base == 0 && !any_shared {
            self.add_bridge(&mut built)?;
        }
        if base == 0 {
            let lists = files.create();
            push(&mut self.ground, lists)?;
            self.list(files, &built, Layers::Lowest, 0, lists, workers)?;
            progress.fetch_add(fresh as u64, Ordering::Relaxed);
            self.count_chains(&built)?;
        }
        if base > 0 || whole {
            let lists = files.create();
            push(&mut self.upper, lists)?;
            let layers = match (base, whole) {
                (0, _) => Layers::Above,
                (_, true) => Layers::All,
                _ => Layers::Lowest,
            };
            self.list(files, &built, layers, 1, lists, workers)?;
        }
        if base == 1 || base == 0 && whole {
            let lists = files.create();
            push(&mut self.first_above, lists)?;
            let layers = if base == 0 { Layers::Second } else { Layers::Lowest };
            self.list(files, &built, layers, 0, lists, workers)?;
        }
        if base == 0 {
            self.remember(&built)?;
        }
        Ok(())
    }

    /// Reads the rows of a part into a builder. Returns it with the row of each node, the nodes that an earlier part
    /// has, and how many it has not.
    #[allow(clippy::type_complexity)]
    fn read_part(
        &mut self,
        files: &mut dyn Files,
        (file, base, whole): (usize, u8, bool),
        count: usize,
        workers: &mut Workers<'_>,
    ) -> Result<(Builder<S>, Vec<u32>, RowSet, usize), Damage> {
        let params = Params { budget: self.part_budget, ..self.params };
        let mut builder = Builder::from_layer(self.index.space, params, base);
        builder.share_elements(0);
        if let Some(centre) = &self.centre {
            builder.keep_codes(collected(centre.iter().copied())?, self.index.space.metric())?;
        }
        let (mut copy, mut widened) = (Vec::new(), with_room(self.index.codec.padded())?);
        resize(&mut copy, self.index.codec.padded(), 0.0f32)?;
        let (coded, seed) = (self.centre.is_some(), self.params.seed);
        let (mut rows, mut shared) = (Vec::new(), RowSet::new(count)?);
        let (mut row, mut fresh) = (Row::default(), 0);
        files.rewind(file);
        while row.read(files, file, self.value_size)? {
            workers.poll_when_due();
            if row.row >= self.rows {
                return Err(BROKEN);
            }
            let level = whole.then(|| level(&self.params, row.row).saturating_sub(base));
            let hash = if coded { value_hash(row.value(), seed) } else { 0 };
            let mut push_at = |builder: &mut Builder<S>, tid, apart| {
                if !coded {
                    return builder.push_at(tid, row.value(), level, apart).map_err(|_| BROKEN);
                }
                let view = self.index.space.view(row.value()).map_err(|_| BROKEN)?;
                self.index.codec.rotate(&self.index.space, view, &mut widened, &mut copy);
                Ok(builder.push_copy(tid, hash, &mut copy, level, apart))
            };
            let known = self.nodes.has(row.row);
            if base > 0 {
                // rows that equal others are no nodes
                if known && level_reaches(&self.params, row.row, base) {
                    if push_at(&mut builder, Tid::INVALID, true)? != Pushed::New {
                        return Err(Damage::OUT_OF_MEMORY);
                    }
                    push(&mut rows, row.row)?;
                }
                continue;
            }
            // Equal rows are in the same parts, unless one of these was full. What an earlier part has as a node is no
            // other's row here, and what it has tells its rows there: others of the same value are another node.
            let equal = if coded { builder.element_of_copy(hash) } else { builder.element_of(row.value()) };
            if self.equals.has(row.row) || known && equal.is_some() {
                continue;
            }
            let (first, others) = row.tids.split_first().ok_or(BROKEN)?;
            let apart = equal.is_some_and(|node| shared.has(node));
            match push_at(&mut builder, *first, apart)? {
                Pushed::Full => return Err(Damage::OUT_OF_MEMORY),
                Pushed::New => {
                    if known {
                        shared.add(rows.len() as u32);
                    } else {
                        fresh += 1;
                    }
                    self.nodes.add(row.row);
                    push(&mut rows, row.row)?;
                }
                Pushed::Duplicate => self.equals.add(row.row),
            }
            for tid in others.iter().filter(|_| !known) {
                if push_at(&mut builder, *tid, false)? == Pushed::Full {
                    return Err(Damage::OUT_OF_MEMORY);
                }
            }
        }
        Ok((builder, rows, shared, fresh))
    }

    /// Joins a part that shares no element with an earlier one to the last.
    fn add_bridge(&mut self, built: &mut Built<'_, S>) -> Result<(), Damage> {
        let (Some(entry), Some((row, other))) = (built.graph.entry(), &self.last) else { return Ok(()) };
        let (own_row, own) = (built.rows.get(entry as usize).copied().ok_or(BROKEN)?, built.place(entry)?);
        let RecordLayout { bits, code_size, .. } = self.index.layout.ground;
        let estimate = self.index.space.estimate();
        for (owner, to, from, value, role) in
            [(own_row, *row, &own, other, Role::Anchor), (*row, own_row, other, &own, Role::Child)]
        {
            let head = ListHead { row: owner, edges: 1, ..ListHead::default() };
            // longer than any other, as it well may be
            let mut edge = FileEdge { row: to, distance: f32::MAX, role: role as u8, ..FileEdge::default() };
            let mut code = filled(0, code_size)?;
            match (from, value) {
                (Place::Rotated(from), Place::Rotated(value)) => {
                    let factors = self.index.codec.encode(bits, estimate, value, from, &mut code);
                    (edge.add, edge.scale) = (factors.add, factors.scale);
                }
                (_, Place::Bits(bits)) if bits.len() == code_size => code.copy_from_slice(bits),
                _ => return Err(BROKEN),
            }
            let mut bytes = with_room(size_of::<ListHead>() + size_of::<FileEdge>() + code_size)?;
            for part in [head.as_bytes(), edge.as_bytes(), &code] {
                append(&mut bytes, part)?;
            }
            push(&mut self.bridges, (owner, bytes))?;
        }
        built.bridge = Some(entry);
        Ok(())
    }

    /// Keeps a node of the part, for the next one that shares none.
    fn remember(&mut self, built: &Built<'_, S>) -> Result<(), Damage> {
        let Some(entry) = built.graph.entry() else { return Ok(()) };
        let row = built.rows.get(entry as usize).copied().ok_or(BROKEN)?;
        self.last = Some((row, built.place(entry)?));
        Ok(())
    }

    /// Writes lists to a file, made on the threads, with codes as those of `layer`.
    fn list(
        &self,
        files: &mut dyn Files,
        built: &Built<'_, S>,
        layers: Layers,
        layer: u8,
        file: usize,
        workers: &mut Workers<'_>,
    ) -> Result<(), Damage> {
        let records = self.index.layout.records(layer);
        let list = size_of::<ListHead>() + records.neighbours * (size_of::<FileEdge>() + records.code_size);
        let chunk = (piece(&self.params) / list).max(1);
        let mut pieces: Vec<Vec<u8>> = with_room(workers.threads() * PIECES)?;
        pieces.resize_with(workers.threads() * PIECES, Vec::new);
        let nodes = built.graph.len();
        let failed = AtomicBool::new(false);
        for first in (0..nodes).step_by(chunk * pieces.len()) {
            workers.each(
                pieces.iter_mut().enumerate(),
                || Ok(Scratch::default()),
                |scratch, (at, piece), goes_on| {
                    piece.clear();
                    let start = first + at * chunk;
                    for node in start..(start + chunk).min(nodes) {
                        let listed = built.graph.element(node as u32);
                        let listed =
                            listed.map_or(Ok(()), |e| built.list(&e, layers, records, scratch, piece));
                        if listed.is_err() {
                            failed.store(true, Ordering::Relaxed);
                        }
                        if !goes_on() {
                            return;
                        }
                    }
                },
            )?;
            if failed.load(Ordering::Relaxed) {
                return Err(Damage::OUT_OF_MEMORY);
            }
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                files.append(file, piece);
            }
        }
        Ok(())
    }

    /// Counts the segments that heap TIDs beyond the first will take.
    fn count_chains(&mut self, built: &Built<'_, S>) -> Result<(), Damage> {
        let layout = &self.index.layout;
        let (short, long) = (layout.segment(&layout.chain), layout.segment(&layout.long_chain).max(1));
        for element in built.graph.elements() {
            match element.other_heap_tids().count() {
                0 => {}
                n if n <= short => self.shorts += 1,
                n => self.longs += n.div_ceil(long),
            }
        }
        Ok(())
    }
}

fn level_reaches(params: &Params, row: u32, base: u8) -> bool {
    level(params, row) >= base
}

impl<S: CodedSpace> Built<'_, S> {
    /// A node's value, rotated: one that is kept, or `out`.
    fn rotated<'a>(&'a self, node: u32, widened: &mut Vec<f32>, out: &'a mut [f32]) -> &'a [f32] {
        if self.graph.decode(node, out) {
            return out;
        }
        rotated(&self.graph, self.index, &self.rotated, node, widened, out)
    }

    fn place(&self, node: u32) -> Result<Place, Damage> {
        if self.index.space.estimate() == Estimate::Exact {
            let bits = self.graph.element(node).and_then(|element| element.value().get(BIT_PAYLOAD..));
            return Ok(Place::Bits(collected(bits.ok_or(BROKEN)?.iter().copied())?));
        }
        let padded = self.index.codec.padded();
        let (mut widened, mut out) = (with_room(padded)?, filled(0.0, padded)?);
        let rotated = self.rotated(node, &mut widened, &mut out);
        Ok(Place::Rotated(collected(rotated.iter().copied())?))
    }

    /// Adds the lists of an element to `out`, with codes as `records` have them.
    fn list(
        &self,
        element: &Element<'_, S>,
        layers: Layers,
        records: &RecordLayout,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), OutOfMemory> {
        let node = element.node();
        let row = self.rows.get(node as usize).copied().unwrap_or_default();
        let shared = self.shared.has(node);
        for layer in layers.of(element.level()) {
            element.edges(layer, &mut scratch.edges)?;
            let real = self.base + layer;
            scratch.tids.clear();
            if real == 0 {
                let first = (!shared).then(|| element.first_heap_tid());
                for tid in first.into_iter().chain(element.other_heap_tids()) {
                    push(&mut scratch.tids, tid)?;
                }
            }
            let head = ListHead {
                row,
                tids: scratch.tids.len() as u32,
                layer: real,
                edges: scratch.edges.len() as u8,
                unused: [0; 2],
            };
            self.encode(node, real, records, scratch)?;
            append(out, head.as_bytes())?;
            append(out, scratch.tids.as_bytes())?;
            append(out, scratch.listed.as_bytes())?;
            append(out, &scratch.codes)?;
        }
        Ok(())
    }

    /// Makes what files have of the edges of `node`: rows, factors, codes.
    fn encode(
        &self,
        node: u32,
        layer: u8,
        records: &RecordLayout,
        scratch: &mut Scratch,
    ) -> Result<(), OutOfMemory> {
        let (codec, estimate) = (&self.index.codec, self.index.space.estimate());
        let code_size = records.code_size;
        let Scratch { edges, listed, codes, widened, centre, value, .. } = scratch;
        listed.clear();
        listed.try_reserve(edges.len())?;
        codes.clear();
        resize(codes, edges.len() * code_size, 0)?;
        resize(centre, codec.padded(), 0.0)?;
        resize(value, codec.padded(), 0.0)?;
        widened.try_reserve(codec.padded())?;
        let centre = self.rotated(node, widened, centre);
        for (edge, code) in edges.iter().zip(codes.chunks_exact_mut(code_size.max(1))) {
            let role = match edge.role {
                // of upper layers no tree is kept
                Role::Anchor | Role::Child if layer > 0 => Role::Chosen,
                // the bridge takes its place
                Role::Anchor if self.bridge == Some(node) => Role::Child,
                role => role,
            };
            let row = self.rows.get(edge.node as usize).copied().unwrap_or_default();
            let mut file_edge =
                FileEdge { row, distance: edge.distance, role: role as u8, ..FileEdge::default() };
            if estimate == Estimate::Exact {
                let bits = self.graph.element(edge.node).and_then(|n| n.value().get(BIT_PAYLOAD..));
                if let Some(bits) = bits.filter(|bits| bits.len() == code.len()) {
                    code.copy_from_slice(bits);
                }
            } else {
                let value = self.rotated(edge.node, widened, value);
                let factors = codec.encode(records.bits, estimate, value, centre, code);
                (file_edge.add, file_edge.scale) = (factors.add, factors.scale);
            }
            listed.push(file_edge);
        }
        Ok(())
    }
}
