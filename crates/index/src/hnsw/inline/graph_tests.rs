//! What reads say of an index that a build has written is what the build says.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{InlineGraph, Room, read_value};
use super::layout::{PageKind, page_kind};
use super::neighbour_search::InlineWalk;
use super::scan::Index;
use super::tests::{EF_CONSTRUCTION, M, clustered, graph, l2, number, shape, value, write};
use crate::hnsw::build::Graph;
use crate::hnsw::graph::{GraphRead, GraphSearch, Member, NeighbourSearch, Walk};
use crate::hnsw::insert::{Workspace, find_neighbours};
use crate::hnsw::params::{layer_range, layer_slots};
use crate::hnsw::search::{CandidateQueue, Scored};
use crate::hnsw::values::Values;
use crate::quant::space::{CodedSpace, Cosine};
use crate::space::{AnySpace, Metric, ValueBuf, ValueKind};
use crate::storage::blocks::BlockStore;
use crate::storage::page::Tid;
use crate::testing::MemBlocks;
use crate::testing::hnsw::{random_vectors, row};
use crate::with_space;

/// The elements of an index, by the number of their first row.
fn members<B: BlockStore, S: CodedSpace>(index: &mut InlineGraph<'_, B, S>) -> BTreeMap<usize, Member>
where
    B::Error: std::fmt::Debug,
{
    let mut members = BTreeMap::new();
    for page in index.pages().unwrap() {
        index
            .visit_page(page, true, |element| {
                assert!(!element.deleted && element.member.live);
                assert_eq!(element.lists.is_some(), element.member.level == 0);
                members.insert(number(element.rows[0]), element.member);
                Ok(())
            })
            .unwrap();
    }
    members
}

/// Reads every element of an index of distinct values in every way.
fn compare<S: CodedSpace>(space: S, kind: ValueKind, dims: usize, values: &[ValueBuf]) {
    let built: Graph<S> = graph(space, values);
    let (mut blocks, index) = write(space, &shape(kind, dims), &built, usize::MAX, 0);
    let mut other = blocks.share();
    let (mut room, mut buffer) = (Room::new(), ValueBuf::new());
    let mut index = InlineGraph::new(&mut blocks, &index, EF_CONSTRUCTION, &mut room);
    let members = members(&mut index);
    assert_eq!(members.len(), built.len());
    let tid = |node: u32| members[&number(built.element(node).unwrap().first_heap_tid())].tid;
    let mut list = Vec::new();
    for element in built.elements() {
        let member = members[&number(element.first_heap_tid())];
        assert_eq!(index.member(member.tid).unwrap(), Some(member));
        assert_eq!(member.level, element.level());
        let same = |found: &Member, bytes: &[u8]| Ok((*found == member, bytes == element.value()));
        assert_eq!(index.element(member.tid, same).unwrap(), (true, true));
        let bytes = element.value();
        let layout = &index.index.layout;
        assert!(read_value(&mut other, layout, &mut buffer, member.tid, |found| Ok(found == bytes)).unwrap());
        let mut all = vec![Tid::INVALID; (usize::from(member.level) + 2) * M];
        for layer in 0..=member.level {
            let edges: Vec<Tid> = element.neighbours(layer).map(tid).collect();
            assert!(index.list(&member, layer, &mut list).unwrap());
            assert_eq!(list, edges);
            let range = layer_range(member.level, layer, M);
            all[range][..edges.len()].copy_from_slice(&edges);
            let at = index.list_at(&member, layer).unwrap();
            assert_eq!(at == member.tid, layer == 0);
        }
        let ground = all[layer_range(member.level, 0, M)].to_vec();
        let lists = |lists: crate::hnsw::graph::ListsRef<'_>| {
            Ok(lists.all == all && lists.base_layer == Some(ground.as_slice()))
        };
        assert!(index.lists(&member, lists).unwrap());
        assert_eq!(index.anchor(&member).unwrap(), element.anchor().map(tid));
        assert!(ground.iter().filter(|tid| tid.is_valid()).all(|&t| index.has_edge(&member, t).unwrap()));
        assert!(!index.has_edge(&member, member.tid).unwrap());
        // another that has its place now has its lists
        let later = Member { version: member.version + 1, ..member };
        for layer in 0..=member.level {
            assert!(!index.list(&later, layer, &mut list).unwrap() && list.is_empty());
        }
        assert!(index.lists(&later, |lists| Ok(lists.base_layer.is_none())).unwrap());
        assert_eq!(index.anchor(&later).unwrap(), None);
        let mut part = None;
        assert!(!index.next_rows(&member, &mut part, &mut list).unwrap());
    }
    assert!(index.member(Tid::new(1, 1000)).is_err() && index.member(Tid::new(100_000, 1)).is_err());
    assert!(index.member(Tid::new(0, 1)).is_err());
}

/// Whole records, values apart, records over several pages; several layers.
#[test]
fn reads_say_what_was_built() {
    for (kind, dims, count) in [
        (ValueKind::Vector, 12, 400),
        (ValueKind::Halfvec, 40, 200),
        (ValueKind::Vector, 800, 90),
        (ValueKind::Vector, 1100, 90),
        (ValueKind::Vector, 2000, 60),
        (ValueKind::Vector, 16_000, 20),
        (ValueKind::Bit, 1024, 100),
        (ValueKind::Bit, 64_000, 20),
    ] {
        let values: Vec<ValueBuf> =
            clustered(1, dims, count, 0).iter().map(|elements| value(kind, elements)).collect();
        let metric = if kind == ValueKind::Bit { Metric::Hamming } else { Metric::L2 };
        with_space!(AnySpace::new(kind, metric, dims as i32), space => compare(space, kind, dims, &values));
    }
}

/// Rows beyond the first come part by part, each once.
#[test]
fn other_rows_come_part_by_part() {
    let dims = 8;
    let distinct = random_vectors(8, dims, 5);
    let values: Vec<ValueBuf> = (0..10_000).map(|n| distinct[n % 5].clone()).collect();
    let built = graph(l2(dims), &values);
    let (mut blocks, index) = write(l2(dims), &shape(ValueKind::Vector, dims), &built, usize::MAX, 0);
    let mut room = Room::new();
    let mut index = InlineGraph::new(&mut blocks, &index, EF_CONSTRUCTION, &mut room);
    let mut seen = BTreeSet::new();
    for (first, member) in members(&mut index) {
        assert!(seen.insert(first));
        let (mut part, mut rows, mut parts) = (None, Vec::new(), 0);
        while index.next_rows(&member, &mut part, &mut rows).unwrap() {
            parts += 1;
        }
        assert!(parts > 1);
        rows.iter().for_each(|row| assert!(seen.insert(number(*row))));
        let later = Member { version: member.version + 1, ..member };
        assert!(!index.next_rows(&later, &mut None, &mut rows).unwrap());
    }
    assert_eq!(seen.len(), values.len());
}

/// Neighbours chosen for a value, by the numbers of their rows, with the share of the nearest 2m among the candidates.
fn neighbours_of<S: CodedSpace>(
    index: &mut InlineGraph<'_, MemBlocks, S>,
    workspace: &mut Workspace<InlineWalk>,
    value: &[u8],
    repairing: Option<Tid>,
) -> Vec<(Tid, f32)> {
    let entry = index.meta().unwrap().entry_point().unwrap();
    find_neighbours(index, workspace, value, 3, entry, repairing, row(0)).unwrap();
    let walk = &workspace.walk;
    let ground = workspace.selected.iter().filter(|(layer, _)| *layer == 0);
    ground.map(|(_, scored)| (walk.member(scored.node).unwrap().tid, scored.distance)).collect()
}

fn searches<S: CodedSpace>(
    space: S,
    kind: ValueKind,
    dims: usize,
    values: &[ValueBuf],
    queries: &[ValueBuf],
) {
    let built = graph(space, values);
    let (mut blocks, index) = write(space, &shape(kind, dims), &built, usize::MAX, 0);
    let mut room = Room::new();
    let mut index = InlineGraph::new(&mut blocks, &index, EF_CONSTRUCTION, &mut room);
    let members = members(&mut index);
    let rows: BTreeMap<u64, usize> = members.iter().map(|(&n, member)| (member.tid.packed(), n)).collect();
    let mut workspace = Workspace::new();
    let (mut right, mut all) = (0, 0);
    for query in queries {
        let view = space.view(query.bytes()).unwrap();
        let distance = |n: usize| space.distance(view, space.view(values[n].bytes()).unwrap());
        let nearest = (0..values.len()).map(distance).fold(f32::INFINITY, f32::min);
        let found = neighbours_of(&mut index, &mut workspace, query.bytes(), None);
        assert!(workspace.walk.spare().is_empty());
        assert!(found.len() <= layer_slots(M, 0) && found.len() >= M.min(values.len()));
        for &(tid, near) in &found {
            let exact = distance(rows[&tid.packed()]);
            assert!((near - exact).abs() <= exact.abs() * 2.0 * f32::EPSILON, "{near} and {exact}");
        }
        right += usize::from(found[0].1 <= nearest + nearest.abs() * 1e-6);
        all += 1;
    }
    assert!(right * 10 >= all * 8, "{kind:?} {dims}: {right} of {all}");
    // an equal value is known as such, and can take the row
    for (&n, member) in members.iter().take(25) {
        let found = neighbours_of(&mut index, &mut workspace, values[n].bytes(), None);
        assert_eq!(workspace.walk.spare(), [member.tid]);
        assert!(found.iter().any(|(tid, _)| *tid == member.tid));
        let equal = workspace.selected.iter().filter(|(_, scored)| workspace.walk.is_equal(scored.node));
        assert!(equal.count() >= 1);
        let found = neighbours_of(&mut index, &mut workspace, values[n].bytes(), Some(member.tid));
        assert!(!found.is_empty() && found.iter().all(|(tid, _)| *tid != member.tid));
    }
}

/// Every type and every metric: candidates are the nearest, with the distances of the space.
#[test]
fn neighbours_are_found_with_the_distances_of_the_space() {
    for (dims, count) in [(24, 300), (800, 100)] {
        let values = |kind: ValueKind, seed, count| -> Vec<ValueBuf> {
            clustered(seed, dims, count, 0).iter().map(|x| value(kind, x)).collect()
        };
        for kind in [ValueKind::Vector, ValueKind::Halfvec, ValueKind::Bit] {
            let (stored, queries) = (values(kind, 2, count), values(kind, 3, 10));
            let metrics = match kind {
                ValueKind::Bit => [Metric::Hamming, Metric::Jaccard],
                _ => [Metric::L2, Metric::InnerProduct],
            };
            for metric in metrics {
                with_space!(AnySpace::new(kind, metric, dims as i32), space => {
                    searches(space, kind, dims, &stored, &queries)
                });
            }
        }
        let (stored, queries) = (values(ValueKind::Vector, 2, count), values(ValueKind::Vector, 3, 10));
        searches(Cosine::<f32>::new(dims as i32), ValueKind::Vector, dims, &stored, &queries);
        let (stored, queries) = (values(ValueKind::Halfvec, 2, count), values(ValueKind::Halfvec, 3, 10));
        searches(Cosine::<half::f16>::new(dims as i32), ValueKind::Halfvec, dims, &stored, &queries);
    }
}

/// Takes the rows of some elements away.
fn empty(blocks: &mut MemBlocks, index: &Index<'_, impl CodedSpace>, dies: impl Fn(usize) -> bool) {
    let slots = index.layout.ground.slots;
    for block in 1..blocks.count().unwrap() {
        blocks.edit(block, |bytes| {
            if page_kind(bytes).unwrap() != Some(PageKind::Ground) {
                return;
            }
            for slot in 0..slots.per_page {
                let place = slots.range(slot).start + 8;
                let used = slots.is_used(bytes, slot);
                if used
                    && dies(number(zerocopy::FromBytes::read_from_bytes(&bytes[place..place + 6]).unwrap()))
                {
                    bytes[place..place + 6].copy_from_slice(zerocopy::IntoBytes::as_bytes(&Tid::INVALID));
                }
            }
        });
    }
}

fn finds_the_living<S: CodedSpace>(space: S, kind: ValueKind, dims: usize, values: &[ValueBuf]) {
    let built = graph(space, values);
    let (mut blocks, index) = write(space, &shape(kind, dims), &built, usize::MAX, 0);
    // nine of ten go
    let lives = |n: usize| n.is_multiple_of(10);
    empty(&mut blocks, &index, |n| !lives(n));
    let mut room = Room::new();
    let mut index = InlineGraph::new(&mut blocks, &index, EF_CONSTRUCTION, &mut room);
    let entry = index.meta().unwrap().entry_point().unwrap().unwrap();
    let mut walk = InlineWalk::default();
    let (mut pool, mut out) = (CandidateQueue::new(), Vec::new());
    let (mut right, mut all) = (0, 0);
    for n in (0..values.len()).step_by(60) {
        walk.clear();
        pool.clear();
        let value = values[n].bytes();
        let mut search = index.search_neighbours(value, Some(Tid::INVALID), &mut walk).unwrap();
        let scored = search.enter(entry.tid).unwrap().unwrap();
        pool.offer(scored, search.accepts(scored.node), 1);
        for layer in (0..=entry.level).rev() {
            search.begin_layer(layer, &pool).unwrap();
            search.limit_equals(1);
            let ef = if layer == 0 { 20 } else { 1 };
            search.search_layer(&mut pool, &mut out, ef, layer).unwrap();
            pool.restart();
        }
        let accepted: Vec<Scored> = pool.iter().filter(|s| search.accepts(s.node)).collect();
        assert_eq!(accepted.len(), 20);
        let mut loaded = Values::default();
        search.load_values(&mut loaded, &accepted).unwrap();
        let view = space.view(value).unwrap();
        let distance = |other: &[u8]| space.distance(view, space.view(other).unwrap());
        let living = (0..values.len()).filter(|&n| lives(n));
        let mut exact: Vec<f32> = living.map(|n| distance(values[n].bytes())).collect();
        exact.sort_unstable_by(f32::total_cmp);
        for scored in &accepted {
            assert!(search.walk().member(scored.node).unwrap().live);
            assert_eq!(distance(loaded.get(scored.node)), scored.distance);
            right += usize::from(scored.distance <= exact[19]);
            all += 1;
        }
    }
    assert!(right * 10 >= all * 9, "{kind:?}: {right} of {all}");
}

/// A repair's search goes on through elements without rows until it has as many with rows as it was asked for.
#[test]
fn repairs_find_the_living_among_the_dying() {
    for (kind, metric, dims) in [(ValueKind::Vector, Metric::L2, 12), (ValueKind::Bit, Metric::Hamming, 64)] {
        let values: Vec<ValueBuf> = clustered(1, dims, 600, 0).iter().map(|x| value(kind, x)).collect();
        with_space!(AnySpace::new(kind, metric, dims as i32), space => {
            finds_the_living(space, kind, dims, &values)
        });
    }
}
