#![cfg(test)]

use std::collections::{BTreeSet, HashSet};
use std::sync::OnceLock;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use zerocopy::FromBytes;

use super::*;
use crate::hnsw::anchor_table_tests::picture;
use crate::hnsw::format::Layout;
use crate::hnsw::inline::layout::{PageKind, RecordHeader, page_kind};
use crate::hnsw::inline::meta::{InlineMeta, update_meta as update_inline_meta};
use crate::hnsw::meta::{HEAD_BLOCK, META_BLOCK, PAGE_ID, update_meta};
use crate::hnsw::v1::layout::{element_header_mut, is_element, neighbour_slots_mut};
use crate::space::{Space, ValueBuf};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{FIRST_OFFSET, PageMut};
use crate::testing::MemBlocks;
use crate::testing::hnsw::{
    DIMS, LAYOUTS, build_in, graph, insert_all, opened, random_vectors, row, scan, used_in,
};

const ROWS: usize = 600;

fn built(layout: Layout) -> (MemBlocks, Vec<ValueBuf>) {
    static MADE: [OnceLock<MemBlocks>; 2] = [const { OnceLock::new() }; 2];
    let graph = graph();
    let values = random_vectors(5, DIMS, ROWS);
    let made = &MADE[usize::from(layout == Layout::Inline)];
    let made = made.get_or_init(|| build_in(layout, graph.space, DIMS as u32, &graph, &values));
    (made.copy(), values)
}

fn settings(ef_search: usize, iterative: IterativeScan) -> ScanSettings {
    ScanSettings { ef_search, iterative, max_tuples: u64::MAX, max_memory: usize::MAX }
}

/// The rows of a whole scan; none comes twice.
fn rows(blocks: &mut MemBlocks, query: Option<&[u8]>, settings: &ScanSettings) -> BTreeSet<u64> {
    let (mut scan, mut found) = (scan(blocks), BTreeSet::new());
    while let Some(row) = scan.next(blocks, graph().space, query, settings).unwrap() {
        assert!(found.insert(row.packed()), "{row} comes twice");
    }
    assert_eq!(scan.next(blocks, graph().space, query, settings).unwrap(), None);
    found
}

fn all() -> BTreeSet<u64> {
    (0..ROWS).map(|n| row(n).packed()).collect()
}

/// Shows each item of the element pages of pgvector's layout to `edit`.
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

/// Shows the header of each record on inline pages of this kind to `edit`.
fn edit_records(blocks: &mut MemBlocks, of: PageKind, mut edit: impl FnMut(Tid, &mut RecordHeader)) {
    let layout = blocks.read(META_BLOCK, InlineMeta::read).unwrap().layout(blocks.page_size()).unwrap();
    let slots = layout.records(u8::from(of == PageKind::Upper)).slots;
    for block in HEAD_BLOCK..blocks.count().unwrap() {
        blocks.edit(block, |bytes| {
            if page_kind(bytes).unwrap() != Some(of) {
                return;
            }
            for slot in 0..slots.per_page {
                if !slots.is_used(bytes, slot) {
                    continue;
                }
                let (header, _) =
                    RecordHeader::mut_from_prefix(slots.get_mut(bytes, of, slot).unwrap()).unwrap();
                edit(Tid::new(block, slot as u16 + 1), header);
            }
        });
    }
}

/// Takes the edges of some elements out of the index.
fn cut_edges_of(blocks: &mut MemBlocks, mut which: impl FnMut(Tid) -> bool) {
    if opened(blocks).layout() == Layout::V1 {
        edit_items(blocks, |tid, item| {
            if !is_element(item) && which(tid) {
                neighbour_slots_mut(item, tid.offset()).unwrap().fill(Tid::INVALID);
            }
        });
        return;
    }
    for kind in [PageKind::Ground, PageKind::Upper] {
        edit_records(blocks, kind, |tid, header| {
            if which(tid) {
                header.neighbours = 0;
            }
        });
    }
}

/// Takes all edges out of the index.
fn cut_edges(blocks: &mut MemBlocks) {
    cut_edges_of(blocks, |_| true);
}

/// Takes all rows out of the index.
fn take_rows(blocks: &mut MemBlocks) {
    if opened(blocks).layout() == Layout::V1 {
        edit_items(blocks, |tid, item| {
            if is_element(item) {
                element_header_mut(item, tid.offset()).unwrap().0.heap_tids.fill(Tid::INVALID);
            }
        });
        return;
    }
    edit_records(blocks, PageKind::Ground, |_, header| {
        (header.heap_tid, header.chain) = (Tid::INVALID, Tid::INVALID)
    });
}

fn clear_entry_point(blocks: &mut MemBlocks) {
    let done = match opened(blocks).layout() {
        Layout::V1 => update_meta(blocks, |meta| {
            meta.set_entry_point(None);
            true
        }),
        Layout::Inline => update_inline_meta(blocks, |meta| {
            meta.set_entry(None);
            true
        }),
    };
    done.unwrap();
}

#[test]
fn a_scan_over_everything_keeps_only_what_is_to_come() {
    for layout in LAYOUTS {
        let (mut blocks, values) = built(layout);
        for ef_search in [1, 40] {
            let settings = settings(ef_search, IterativeScan::Relaxed);
            let (mut scan, mut rows, mut most) = (scan(&mut blocks), HashSet::new(), 0);
            let query = Some(values[3].bytes());
            while let Some(row) = scan.next(&mut blocks, graph().space, query, &settings).unwrap() {
                assert!(rows.insert(row));
                most = most.max(scan.in_use());
            }
            assert_eq!(rows.len(), values.len());
            let left = scan.in_use();
            // inline, what has been seen takes most of the memory from the beginning: 24 bytes an element
            let kept = if layout == Layout::V1 { most / 3 * 2 } else { ROWS * 24 + 1 };
            assert!(left < kept, "{layout:?}: {left} bytes of {most} in use after the last row");
        }
    }
}

#[test]
fn what_no_edge_leads_to_is_found_on_the_pages() {
    for layout in LAYOUTS {
        let (mut blocks, values) = built(layout);
        let query = Some(values[3].bytes());
        for ef_search in [1, 7, 1000] {
            let relaxed = settings(ef_search, IterativeScan::Relaxed);
            // a third of the lists are empty: some of the graph is left
            let mut torn = blocks.copy();
            cut_edges_of(&mut torn, |tid| {
                tid.block().wrapping_mul(31).wrapping_add(tid.offset().into()).is_multiple_of(3)
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
}

#[test]
fn elements_without_rows_are_no_end_of_a_scan() {
    for layout in LAYOUTS {
        let (mut blocks, values) = built(layout);
        let query = Some(values[3].bytes());
        // as a vacuum leaves it that was cancelled after its first pass; then somebody inserts
        take_rows(&mut blocks);
        let relaxed = settings(40, IterativeScan::Relaxed);
        assert_eq!(rows(&mut blocks, query, &relaxed).len(), 0);
        insert_all(&mut blocks, &graph(), ROWS, &values[..50], &mut SmallRng::seed_from_u64(1));
        cut_edges(&mut blocks);
        let expected = (ROWS..ROWS + 50).map(|n| row(n).packed()).collect();
        assert_eq!(rows(&mut blocks, query, &relaxed), expected);
    }
}

#[test]
fn deleted_elements_and_pages_never_used_are_passed_over() {
    for layout in LAYOUTS {
        let mut blocks = used_in(layout);
        let graph = picture(&mut blocks, graph().m);
        let expected =
            graph.values().flat_map(|element| element.rows.iter().map(|row| row.packed())).collect();
        cut_edges(&mut blocks);
        blocks.add_zero_block();
        assert_eq!(rows(&mut blocks, None, &settings(3, IterativeScan::Relaxed)), expected);
    }
}

#[test]
fn limits_end_the_pass_and_what_was_scored_still_comes() {
    for layout in LAYOUTS {
        let (mut blocks, values) = built(layout);
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
        let mut scan = scan(&mut blocks);
        while scan.next(&mut blocks, graph().space, query, &relaxed).unwrap().is_some() {
            assert!(scan.in_use() < 20 << 10);
        }
        let limited = ScanSettings { max_memory: 0, ..relaxed };
        assert_eq!(rows(&mut blocks, query, &limited).len(), 1);
    }
}

#[test]
fn chunks_of_the_pass_are_in_order_and_strict_results_all_are() {
    for layout in LAYOUTS {
        let (mut blocks, values) = built(layout);
        cut_edges(&mut blocks);
        let query = values[3].bytes();
        let distance = |row: Tid| {
            let n = row.block() as usize * 50 + usize::from(row.offset()) - 1;
            let space = graph().space;
            space.distance(space.view(query).unwrap(), space.view(values[n].bytes()).unwrap())
        };
        for (iterative, ef_search) in [(IterativeScan::Relaxed, 40), (IterativeScan::Strict, 200)] {
            let settings = settings(ef_search, iterative);
            let (mut scan, mut distances) = (scan(&mut blocks), Vec::new());
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
}

#[test]
fn a_pass_sees_what_was_there_when_the_scan_began() {
    for layout in LAYOUTS {
        let (mut blocks, values) = built(layout);
        cut_edges(&mut blocks);
        let relaxed = settings(5, IterativeScan::Relaxed);
        let (mut scan, mut found, mut more) = (scan(&mut blocks), BTreeSet::new(), 0);
        let mut rng = SmallRng::seed_from_u64(2);
        while let Some(row) =
            scan.next(&mut blocks, graph().space, Some(values[3].bytes()), &relaxed).unwrap()
        {
            assert!(found.insert(row.packed()));
            // an index that grows does not keep a scan from its end
            insert_all(&mut blocks, &graph(), ROWS + more, &random_vectors(more as u64, DIMS, 2), &mut rng);
            more += 2;
        }
        assert!(found.is_superset(&all()) && found.len() < ROWS + 100);
    }
}
