#![cfg(test)]

use std::collections::{BTreeSet, HashSet};
use std::sync::OnceLock;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;
use crate::hnsw::format::Scan;
use crate::hnsw::meta::{HEAD_BLOCK, PAGE_ID, update_meta};
use crate::hnsw::v1::layout::{Element, element_header_mut, is_element, neighbour_slots_mut};
use crate::space::{Space, ValueBuf};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{FIRST_OFFSET, Page, PageMut};
use crate::testing::MemBlocks;
use crate::testing::hnsw::{DIMS, build, graph, insert_all, random_vectors, row, used};

const ROWS: usize = 600;

fn built() -> (MemBlocks, Vec<ValueBuf>) {
    static MADE: OnceLock<MemBlocks> = OnceLock::new();
    let graph = graph();
    let values = random_vectors(5, DIMS, ROWS);
    let made = MADE.get_or_init(|| build(graph.space, DIMS as u32, &graph, &values));
    (made.copy(), values)
}

fn settings(ef_search: usize, iterative: IterativeScan) -> ScanSettings {
    ScanSettings { ef_search, iterative, max_tuples: u64::MAX, max_memory: usize::MAX }
}

/// The rows of a whole scan; none comes twice.
fn rows(blocks: &mut MemBlocks, query: Option<&[u8]>, settings: &ScanSettings) -> BTreeSet<u64> {
    let (mut scan, mut found) = (Scan::new(), BTreeSet::new());
    while let Some(row) = scan.next(blocks, graph().space, query, settings).unwrap() {
        assert!(found.insert(row.packed()), "{row} comes twice");
    }
    assert_eq!(scan.next(blocks, graph().space, query, settings).unwrap(), None);
    found
}

fn all() -> BTreeSet<u64> {
    (0..ROWS).map(|n| row(n).packed()).collect()
}

/// Shows each item of the element pages to `edit`.
fn edit_items(blocks: &mut MemBlocks, mut edit: impl FnMut(Tid, &mut [u8])) {
    for block in HEAD_BLOCK..blocks.count().unwrap() {
        blocks.edit(block, |bytes| {
            let mut page = PageMut::new(bytes, PAGE_ID).unwrap();
            for offset in FIRST_OFFSET..=page.as_page().max_offset() {
                edit(Tid::new(block, offset), page.item_mut(offset).unwrap());
            }
        });
    }
}

/// Takes all edges out of the index.
fn cut_edges(blocks: &mut MemBlocks) {
    edit_items(blocks, |tid, item| {
        if !is_element(item) {
            neighbour_slots_mut(item, tid.offset()).unwrap().fill(Tid::INVALID);
        }
    });
}

fn clear_entry_point(blocks: &mut MemBlocks) {
    update_meta(blocks, |meta| {
        meta.set_entry_point(None);
        true
    })
    .unwrap();
}

#[test]
fn a_scan_over_everything_keeps_only_what_is_to_come() {
    let (mut blocks, values) = built();
    for ef_search in [1, 40] {
        let settings = settings(ef_search, IterativeScan::Relaxed);
        let (mut scan, mut rows, mut most) = (Scan::new(), HashSet::new(), 0);
        let query = Some(values[3].bytes());
        while let Some(row) = scan.next(&mut blocks, graph().space, query, &settings).unwrap() {
            assert!(rows.insert(row));
            most = most.max(scan.in_use());
        }
        assert_eq!(rows.len(), values.len());
        let left = scan.in_use();
        assert!(left < most / 3 * 2, "{left} bytes of {most} in use after the last row");
    }
}

#[test]
fn what_no_edge_leads_to_is_found_on_the_pages() {
    let (mut blocks, values) = built();
    let query = Some(values[3].bytes());
    for ef_search in [1, 7, 1000] {
        let relaxed = settings(ef_search, IterativeScan::Relaxed);
        // a third of the lists are empty: some of the graph is left
        let mut torn = blocks.copy();
        edit_items(&mut torn, |tid, item| {
            if !is_element(item) && tid.block().wrapping_mul(31).wrapping_add(tid.offset().into()) % 3 == 0 {
                neighbour_slots_mut(item, tid.offset()).unwrap().fill(Tid::INVALID);
            }
        });
        assert_eq!(rows(&mut torn, query, &relaxed), all());
        cut_edges(&mut torn);
        assert_eq!(rows(&mut torn, query, &relaxed), all());
        assert_eq!(rows(&mut torn, None, &relaxed), all());
        // in strict order what is nearer than a result before is left out, but nothing is equally near
        assert_eq!(rows(&mut torn, None, &settings(ef_search, IterativeScan::Strict)), all());
        // a scan that does not go on finds what it always did
        assert_eq!(rows(&mut torn, query, &settings(ef_search, IterativeScan::Off)).len(), 1);
        clear_entry_point(&mut torn);
        assert_eq!(rows(&mut torn, query, &relaxed), all());
        assert_eq!(rows(&mut torn, query, &settings(ef_search, IterativeScan::Off)).len(), 0);
    }
    // and the entry point of a whole graph gone
    clear_entry_point(&mut blocks);
    assert_eq!(rows(&mut blocks, query, &settings(40, IterativeScan::Relaxed)), all());
}

#[test]
fn elements_without_rows_are_no_end_of_a_scan() {
    let (mut blocks, values) = built();
    let query = Some(values[3].bytes());
    // as a vacuum leaves it that was cancelled after its first pass; then somebody inserts
    edit_items(&mut blocks, |tid, item| {
        if is_element(item) {
            element_header_mut(item, tid.offset()).unwrap().0.heap_tids.fill(Tid::INVALID);
        }
    });
    let relaxed = settings(40, IterativeScan::Relaxed);
    assert_eq!(rows(&mut blocks, query, &relaxed).len(), 0);
    insert_all(&mut blocks, &graph(), ROWS, &values[..50], &mut SmallRng::seed_from_u64(1));
    cut_edges(&mut blocks);
    let expected = (ROWS..ROWS + 50).map(|n| row(n).packed()).collect();
    assert_eq!(rows(&mut blocks, query, &relaxed), expected);
}

#[test]
fn deleted_elements_and_pages_never_used_are_passed_over() {
    let mut blocks = used();
    let mut expected = BTreeSet::new();
    for block in HEAD_BLOCK..blocks.count().unwrap() {
        blocks
            .read(block, |bytes| {
                let page = Page::new(bytes, PAGE_ID)?;
                for offset in FIRST_OFFSET..=page.max_offset() {
                    if is_element(page.item(offset)?) {
                        let element = Element::new(page.item(offset)?, offset)?;
                        expected.extend(element.header.live_heap_tids().iter().map(|row| row.packed()));
                    }
                }
                Ok(())
            })
            .unwrap();
    }
    cut_edges(&mut blocks);
    blocks.add_zero_block();
    assert_eq!(rows(&mut blocks, None, &settings(3, IterativeScan::Relaxed)), expected);
}

#[test]
fn limits_end_the_pass_and_what_was_scored_still_comes() {
    let (mut blocks, values) = built();
    let query = Some(values[3].bytes());
    cut_edges(&mut blocks);
    let relaxed = settings(10, IterativeScan::Relaxed);
    // pages are scored as a whole
    let per_page = 100;
    for max_tuples in [1, 2, 300] {
        let limited = ScanSettings { max_tuples, ..relaxed };
        let found = rows(&mut blocks, query, &limited).len() as u64;
        assert!((max_tuples..max_tuples + per_page).contains(&found), "{found} of {max_tuples}");
    }
    // the pass itself takes no more memory than a batch, whatever the size of the index
    let limited = ScanSettings { max_memory: 20 << 10, ..relaxed };
    assert_eq!(rows(&mut blocks, query, &limited), all());
    let mut scan = Scan::new();
    while scan.next(&mut blocks, graph().space, query, &relaxed).unwrap().is_some() {
        assert!(scan.in_use() < 20 << 10);
    }
    let limited = ScanSettings { max_memory: 0, ..relaxed };
    assert_eq!(rows(&mut blocks, query, &limited).len(), 1);
}

#[test]
fn chunks_of_the_pass_are_in_order_and_strict_results_all_are() {
    let (mut blocks, values) = built();
    cut_edges(&mut blocks);
    let query = values[3].bytes();
    let distance = |row: Tid| {
        let n = row.block() as usize * 50 + usize::from(row.offset()) - 1;
        let space = graph().space;
        space.distance(space.view(query).unwrap(), space.view(values[n].bytes()).unwrap())
    };
    for (iterative, ef_search) in [(IterativeScan::Relaxed, 40), (IterativeScan::Strict, 200)] {
        let settings = settings(ef_search, iterative);
        let (mut scan, mut distances) = (Scan::new(), Vec::new());
        while let Some(row) = scan.next(&mut blocks, graph().space, Some(query), &settings).unwrap() {
            distances.push(distance(row));
        }
        let descents = distances.windows(2).filter(|pair| pair[0] > pair[1]).count();
        match iterative {
            // one where each chunk begins, at most
            IterativeScan::Relaxed => assert!(descents <= ROWS / ef_search && distances.len() == ROWS),
            _ => assert!(descents == 0 && distances.len() > 1, "{descents} of {}", distances.len()),
        }
    }
}

#[test]
fn a_pass_sees_what_was_there_when_the_scan_began() {
    let (mut blocks, values) = built();
    cut_edges(&mut blocks);
    let relaxed = settings(5, IterativeScan::Relaxed);
    let (mut scan, mut found, mut more) = (Scan::new(), BTreeSet::new(), 0);
    let mut rng = SmallRng::seed_from_u64(2);
    while let Some(row) = scan.next(&mut blocks, graph().space, Some(values[3].bytes()), &relaxed).unwrap() {
        assert!(found.insert(row.packed()));
        // an index that grows does not keep a scan from its end
        insert_all(&mut blocks, &graph(), ROWS + more, &random_vectors(more as u64, DIMS, 2), &mut rng);
        more += 2;
    }
    assert!(found.is_superset(&all()) && found.len() < ROWS + 100);
}
