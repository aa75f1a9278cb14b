#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic)]
//! From every element every other is reached, and lists have room for others than equal values.

use std::collections::{HashMap, HashSet};

use super::tests::{Random, built, check, params, space};
use super::*;
use crate::hnsw::format::Graph as Inserting;
use crate::hnsw::meta::{META_BLOCK, MetaPage, PAGE_ID};
use crate::hnsw::search::{CandidateQueue, Scored};
use crate::hnsw::v1::layout::{self, Neighbours, is_element};
use crate::space::{AnySpace, Dense, ValueBuf, ValueKind};
use crate::storage::blocks::BlockStore;
use crate::storage::page::Page;
use crate::testing::hnsw::vector;

/// Checks that everything in layer 0 leads to everything else, and that anchors are why.
pub(super) fn held_together<S: Space>(graph: &Graph<S>, m: usize) {
    let lists: Vec<Vec<u32>> = graph.elements().map(|e| e.neighbours(0).collect()).collect();
    strongly_connected(&lists, graph.entry());
    let anchors: Vec<Option<u32>> = graph.elements().map(|e| e.anchor()).collect();
    anchored(&lists, &anchors);
    // no list is full of edges that must stay
    let mut below = vec![0; lists.len()];
    for (node, anchor) in (0..).zip(&anchors).filter(|&(node, _)| Some(node) != graph.entry()) {
        below[anchor.unwrap() as usize] += 1;
        assert!(below[anchor.unwrap() as usize] <= (m / 2).max(3), "element {node}");
    }
}

/// Forwards and backwards, walks from the first element reach all.
fn strongly_connected(lists: &[Vec<u32>], entry: Option<u32>) {
    let mut back = vec![Vec::new(); lists.len()];
    for (node, list) in (0..).zip(lists) {
        list.iter().for_each(|&other| back[other as usize].push(node));
    }
    for (edges, what) in [(lists, "reached"), (&back, "left")] {
        let mut walk: Vec<u32> = entry.into_iter().collect();
        let mut seen: HashSet<u32> = walk.iter().copied().collect();
        while let Some(node) = walk.pop() {
            walk.extend(edges[node as usize].iter().filter(|n| seen.insert(**n)));
        }
        assert_eq!(seen.len(), lists.len(), "some elements cannot be {what}");
    }
}

/// Anchors come first in the lists, lead back, and lead all to the same pair.
fn anchored(lists: &[Vec<u32>], anchors: &[Option<u32>]) {
    if lists.len() < 2 {
        assert!(lists.iter().all(Vec::is_empty) && anchors.iter().all(Option::is_none));
        return;
    }
    let anchors: Vec<u32> = anchors.iter().map(|anchor| anchor.unwrap()).collect();
    for (node, &anchor) in (0..).zip(&anchors) {
        assert_eq!(lists[node as usize].first(), Some(&anchor), "the anchor of {node} does not come first");
        assert!(lists[anchor as usize].contains(&node), "no edge back from the anchor of {node}");
    }
    let mut pairs = HashSet::new();
    for mut node in 0..lists.len() as u32 {
        let mut steps = 0;
        while anchors[anchors[node as usize] as usize] != node {
            node = anchors[node as usize];
            steps += 1;
            assert!(steps <= lists.len(), "anchors go round in circles");
        }
        pairs.insert(node.min(anchors[node as usize]));
    }
    assert_eq!(pairs.len(), 1, "anchors lead to several places");
}

type Rows = Vec<Vec<f32>>;

/// Twenty clusters so far apart that no list of one names another, once they have grown.
fn far_clusters(random: &mut Random, n: usize) -> Rows {
    let row = |at: usize| {
        let (x, y) = ((at % 20 * 100) as f32, (at % 20 * 37 % 11 * 100) as f32);
        [x, y, 0.0, 0.0, 0.0, 0.0].map(|c| c + random.unit()).to_vec()
    };
    (0..n).map(row).collect()
}

/// By inner product, few of them are near all others.
fn long_and_short(random: &mut Random, n: usize) -> Rows {
    (0..n).map(|_| [0; 3].map(|_| random.unit().abs() * random.unit().abs()).to_vec()).collect()
}

/// As far from each other as from the one in the middle, so that everything is a tie.
fn corners(_: &mut Random, n: usize) -> Rows {
    (0..n).map(|at| (0..n).map(|dim| if dim == at { 1.0 } else { 0.0 }).collect()).collect()
}

/// A middle one that all others are nearest to.
fn star(random: &mut Random, n: usize) -> Rows {
    let spoke = |at: usize| {
        let mut row = vec![0.0; 24];
        row[at % 24] = (1.0 + random.unit().abs()) * if at % 48 < 24 { 1.0 } else { -1.0 };
        row
    };
    let mut rows: Rows = (0..n).map(spoke).collect();
    rows[n / 2].fill(0.0);
    rows
}

fn all_equal(_: &mut Random, n: usize) -> Rows {
    vec![vec![0.5, -1.0]; n * 10]
}

/// A few values that many rows have, and others.
fn often_and_rare(random: &mut Random, n: usize) -> Rows {
    let often: Rows = (0..3).map(|_| random.floats(6)).collect();
    let rare = |random: &mut Random| random.floats(6);
    (0..n * 4).map(|at| if at % 8 == 0 { rare(random) } else { often[at % 3].clone() }).collect()
}

fn dense(metric: Metric, rows: &[Vec<f32>]) -> (Dense<f32>, Vec<ValueBuf>) {
    let AnySpace::Vector(space) = space(ValueKind::Vector, metric, rows[0].len()) else { unreachable!() };
    (space, rows.iter().map(|row| vector(row)).collect())
}

/// A name, so many rows, and how far they are from each other.
type Shape = (&'static str, fn(&mut Random, usize) -> Rows, Metric);

const SHAPES: [Shape; 8] = [
    ("far clusters", far_clusters, Metric::L2),
    ("far clusters", far_clusters, Metric::L1),
    ("long and short", long_and_short, Metric::InnerProduct),
    ("corners", corners, Metric::L2),
    ("star", star, Metric::L2),
    ("all equal", all_equal, Metric::L2),
    ("often and rare", often_and_rare, Metric::L2),
    ("often and rare", often_and_rare, Metric::InnerProduct),
];

#[test]
fn graphs_of_every_shape_are_held_together() {
    for (name, rows, metric) in SHAPES {
        for seed in 1..=3 {
            let (space, values) = dense(metric, &rows(&mut Random(seed), 160));
            for (m, threads) in [(2, 1), (3, 2), (8, 1), (8, 2)] {
                println!("{name}, seed {seed}, m {m}, {threads} threads");
                let params = Params { ef_construction: 3 * m, seed, ..params(m, threads) };
                check(&built(space, params, &values), m, &values);
            }
        }
    }
}

#[test]
fn large_lists_and_few_elements_are_held_together() {
    for (_, rows, metric) in SHAPES {
        for n in [1, 2, 3, 120] {
            let (space, values) = dense(metric, &rows(&mut Random(9), n));
            check(&built(space, params(100, 2), &values), 100, &values);
        }
    }
}

/// Lists as they stand on the pages, by element tuple, and the entry point.
fn read_lists(
    blocks: &mut impl BlockStore<Error: std::fmt::Debug>,
    m: usize,
) -> (Vec<Vec<u32>>, Vec<Option<u32>>, u32) {
    let entry = blocks.read(META_BLOCK, |bytes| MetaPage::read(bytes)?.entry_point()).unwrap().unwrap().tid;
    let mut tuples = Vec::new();
    for block in 1..blocks.count().unwrap() {
        blocks
            .read(block, |bytes| {
                let page = Page::new(bytes, PAGE_ID)?;
                for offset in 1..=page.max_offset() {
                    if is_element(page.item(offset)?) {
                        let header = layout::Element::new(page.item(offset)?, offset)?.header;
                        tuples.push((Tid::new(block, offset), header.level, header.neighbour_tid));
                    }
                }
                Ok(())
            })
            .unwrap();
    }
    let nodes: HashMap<Tid, u32> = tuples.iter().map(|t| t.0).zip(0..).collect();
    let (mut lists, mut anchors) = (Vec::new(), Vec::new());
    for (_, level, at) in tuples {
        blocks
            .read(at.block(), |bytes| {
                let page = Page::new(bytes, PAGE_ID)?;
                let neighbours = Neighbours::new(page.item(at.offset())?, at.offset())?;
                let base_layer = neighbours.layer(level, 1, 0, m).unwrap();
                lists.push(base_layer.iter().filter(|t| t.is_valid()).map(|t| nodes[t]).collect());
                anchors.push(neighbours.anchor(m).map(|tid| nodes[&tid]));
                Ok(())
            })
            .unwrap();
    }
    (lists, anchors, nodes[&entry])
}

#[test]
fn anchors_stand_first_on_the_pages() {
    for (_, rows, metric) in SHAPES {
        for m in [2, 4, 16] {
            let rows = rows(&mut Random(4), 200);
            let (space, values) = dense(metric, &rows);
            let graph = Inserting { space, m, ef_construction: 4 * m };
            let mut blocks = crate::testing::hnsw::build(space, rows[0].len() as u32, &graph, &values);
            let (lists, anchors, entry) = read_lists(&mut blocks, m);
            assert!(lists.len() > 100);
            strongly_connected(&lists, Some(entry));
            anchored(&lists, &anchors);
        }
    }
}

/// The share of the ten nearest elements that searches with a queue of `ef` find, for every seventeenth element
/// that `asked` holds for.
pub(super) fn recall<S: Space>(graph: &Graph<S>, ef: usize, asked: impl Fn(u32) -> bool) -> f64 {
    let (elements, nodes) = (&graph.elements, graph.len() as u32);
    let exact = Exact(elements);
    let (entry, stop) = (graph.entry().unwrap(), AtomicBool::new(false));
    let mut scratch = Scratch::new(graph.len(), 16, 2 * ef, 63).unwrap();
    let (mut found, mut wanted, mut near) = (0u32, 0u32, Vec::new());
    for node in (0..nodes).filter(|&node| asked(node)).step_by(17) {
        let mut nearest = CandidateQueue::new();
        for other in 0..nodes {
            nearest.offer(
                Scored { distance: exact.distance(exact.prepare(node), other), node: other },
                true,
                10,
            );
        }
        let bound = nearest.iter().next_back().unwrap().distance;
        let top = elements.rows.get(entry).level;
        insert::nearest(elements, exact, (node, entry), (top, ef), &mut scratch, &stop, &mut near).unwrap();
        found += near.iter().take(10).filter(|e| e.distance <= bound).count() as u32;
        wanted += 10;
    }
    f64::from(found) / f64::from(wanted)
}

#[test]
fn many_equal_rows_leave_the_others_found() {
    let mut random = Random(21);
    for (order, least) in [("mixed", 0.97), ("first", 0.97), ("last", 0.97)] {
        let mut rows: Rows = (0..700).map(|_| random.floats(6)).collect();
        rows.extend(vec![vec![0.05; 6]; 3000]);
        match order {
            "mixed" => (1..rows.len()).for_each(|at| rows.swap(at, random.bits() as usize % (at + 1))),
            "first" => rows.reverse(),
            _ => {}
        }
        let (space, values) = dense(Metric::L2, &rows);
        for threads in [1, 2] {
            let graph = built(space, params(8, threads), &values);
            check(&graph, 8, &values);
            let equal = |node: u32| graph.elements.rows.first(node) != NONE;
            for element in graph.elements().filter(|e| equal(e.node())) {
                for layer in 0..=element.level() {
                    let equals = element.neighbours(layer).filter(|&n| equal(n)).count();
                    // what the tree adds is not counted
                    assert!(
                        equals <= layer_slots(8, layer) / 2 + 4,
                        "{order}: {equals} equal ones in layer {layer}"
                    );
                }
            }
            let recall = recall(&graph, 32, |node| !equal(node));
            assert!(recall >= least, "{order}, {threads} threads: {recall}");
        }
    }
}

/// Where the order of the rows decides between equal distances, all lists keep the same elements.
#[test]
fn ties_are_broken_differently_in_every_list() {
    let (space, values) = dense(Metric::L2, &corners(&mut Random(5), 300));
    for m in [4, 8] {
        let graph = built(space, params(m, 1), &values);
        let mut named = vec![0u32; graph.len()];
        for element in graph.elements() {
            element.neighbours(0).for_each(|node| named[node as usize] += 1);
        }
        let most = named.iter().max().unwrap();
        assert!(*most < 180, "{most} lists of {} name the same element", graph.len());
    }
}
