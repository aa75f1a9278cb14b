#![cfg(test)]

use rand::SeedableRng;
use rand::rngs::SmallRng;
use zerocopy::IntoBytes;

use super::values::{NOT_FINITE, NOT_UNIT, value_fault};
use super::*;
use crate::hnsw::format::Vacuum;
use crate::hnsw::meta::{HEAD_BLOCK, PAGE_ID};
use crate::hnsw::params::layer_range;
use crate::hnsw::v1::census::PageCensus;
use crate::hnsw::v1::layout::{ElementHeader, element_header_mut, is_element, neighbour_slots_mut};
use crate::space::{AnySpace, Metric, ValueBuf, ValueKind, normalize};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{INVALID_BLOCK, PageMut};
use crate::testing::MemBlocks;
use crate::testing::hnsw::{DIMS, build, exercise, graph, insert_all, random_vectors, row, used, vector};

fn built(values: &[ValueBuf]) -> MemBlocks {
    let graph = graph();
    build(graph.space, DIMS as u32, &graph, values)
}

fn run(blocks: &mut MemBlocks, unit: bool, deep: bool) -> (Tally, Vec<String>) {
    let subject = Subject { space: AnySpace::Vector(graph().space), unit };
    let mut found = Vec::new();
    let mut report = |violation: Violation| found.push(violation.to_string());
    let census = check(&mut PageCensus::new(blocks), &subject, deep, &mut report).unwrap();
    (census, found)
}

/// What a deep check says of an index all of whose rows were committed.
fn run_committed(blocks: &mut MemBlocks) -> Vec<String> {
    let (census, mut found) = run(blocks, false, true);
    let (mut out, mut report) =
        (OutOfReach::default(), |violation: Violation| found.push(violation.to_string()));
    for (row, element) in census.rows_from(0) {
        if census.find(row).is_some_and(|found| !found.reached) {
            out.note(row, element, &mut report);
        }
    }
    out.end(&mut report);
    found
}

#[track_caller]
fn healthy(blocks: &mut MemBlocks) -> Tally {
    let (census, found) = run(blocks, false, true);
    assert_eq!(found, Vec::<String>::new());
    census
}

#[test]
fn a_built_index_is_healthy() {
    let values = random_vectors(1, DIMS, 700);
    let mut blocks = built(&values);
    let census = healthy(&mut blocks);
    assert_eq!((census.live, census.dying, census.deleted, census.unreached()), (700, 0, 0, 0));
    assert_eq!((census.rows(), census.entry_level), (700, census.top_level));
    assert!(census.find(row(699)).is_some_and(|found| found.reached));
    assert_eq!(census.find(row(700)), None);
    // an index of nothing, and of one
    for count in [0, 1, 2] {
        assert_eq!(healthy(&mut built(&values[..count])).live, count as u64);
    }
}

/// Changes the element tuple of the `n`-th element.
fn edit_element(blocks: &mut MemBlocks, tid: Tid, edit: impl FnOnce(&mut ElementHeader, &mut [u8])) {
    blocks.edit(tid.block(), |bytes| {
        let mut page = PageMut::new(bytes, PAGE_ID).unwrap();
        let item = page.item_mut(tid.offset()).unwrap();
        let (header, value) = element_header_mut(item, tid.offset()).unwrap();
        edit(header, value);
    });
}

fn edit_list(blocks: &mut MemBlocks, tid: Tid, edit: impl FnOnce(&mut [Tid])) {
    blocks.edit(tid.block(), |bytes| {
        let mut page = PageMut::new(bytes, PAGE_ID).unwrap();
        edit(neighbour_slots_mut(page.item_mut(tid.offset()).unwrap(), tid.offset()).unwrap());
    });
}

/// Changes the slots of each neighbour tuple.
fn edit_lists(blocks: &mut MemBlocks, edit: impl Fn(&mut [Tid])) {
    for block in HEAD_BLOCK..blocks.count().unwrap() {
        blocks.edit(block, |bytes| {
            let mut page = PageMut::new(bytes, PAGE_ID).unwrap();
            for offset in 1..=page.as_page().max_offset() {
                let item = page.item_mut(offset).unwrap();
                if !is_element(item) {
                    edit(neighbour_slots_mut(item, offset).unwrap());
                }
            }
        });
    }
}

/// Takes edges to some elements out of a neighbour tuple of level 0 or 1.
fn drop_edges(slots: &mut [Tid], targets: &[Tid]) {
    let upper = slots.len() - 8;
    let (above, ground) = slots.split_at_mut(upper);
    for list in above.chunks_mut(4).chain([ground]) {
        let kept: Vec<Tid> = list.iter().copied().filter(|tid| !targets.contains(tid)).collect();
        list.fill(Tid::INVALID);
        list[..kept.len()].copy_from_slice(&kept);
    }
}

fn edit_meta(blocks: &mut MemBlocks, edit: impl FnOnce(&mut MetaPage)) {
    let mut meta = blocks.read(META_BLOCK, MetaPage::read).unwrap();
    edit(&mut meta);
    let contents = |bytes: &mut [u8]| PageMut::new(bytes, PAGE_ID).unwrap().set_contents(meta.as_bytes());
    blocks.edit(META_BLOCK, contents);
}

/// Some elements of the index that the mutations change.
struct Places {
    /// a live element of level 0
    ground: Node,
    /// another
    other: Node,
    /// a live element of a higher level, not the entry point
    upper: Node,
    /// a deleted element
    deleted: Node,
    entry: Tid,
    last: u32,
}

fn places(census: &Tally, blocks: &mut MemBlocks) -> Places {
    let meta = blocks.read(META_BLOCK, MetaPage::read).unwrap();
    let entry = meta.entry_point().unwrap().unwrap().tid;
    let nodes = &census.nodes;
    let mut ground = nodes.iter().filter(|n| n.state == State::Live && n.level == 0 && n.tid != entry);
    let mut upper = nodes.iter().filter(|n| n.state == State::Live && n.level > 0 && n.tid != entry);
    Places {
        ground: *ground.next().unwrap(),
        other: *ground.next().unwrap(),
        upper: *upper.next().unwrap(),
        deleted: *nodes.iter().find(|n| n.state == State::Deleted).unwrap(),
        entry,
        last: census.nodes.last().unwrap().tid.block(),
    }
}

type Mutation = (&'static str, fn(&mut MemBlocks, &Places));

/// What is done to a healthy index, and what its check says first.
const MUTATIONS: &[Mutation] = &[
    ("block 0: invalid meta page", |blocks, _| edit_meta(blocks, |meta| meta.version = 2)),
    ("block 0: invalid meta page", |blocks, _| edit_meta(blocks, |meta| meta.m = 1)),
    ("block 0: dimensions are 0", |blocks, _| edit_meta(blocks, |meta| meta.dimensions = 0)),
    ("block 0: ef_construction is 3, with an m of 4", |blocks, _| {
        edit_meta(blocks, |meta| meta.ef_construction = 3);
    }),
    ("block 0: the meta page is followed by block 1", |blocks, _| {
        blocks.edit(0, |bytes| PageMut::new(bytes, PAGE_ID).unwrap().set_next(1));
    }),
    ("block 0: inserts begin at block 7000, which is not in the chain", |blocks, _| {
        edit_meta(blocks, |meta| meta.insert_page = 7000);
    }),
    ("block 0: no entry point", |blocks, _| edit_meta(blocks, |meta| meta.set_entry_point(None))),
    ("block 0: an entry point without a block", |blocks, _| {
        edit_meta(blocks, |meta| meta.entry_block = INVALID_BLOCK);
    }),
    ("block 0: invalid entry point", |blocks, _| edit_meta(blocks, |meta| meta.entry_level = -1)),
    ("block 0: entry point (1,9999), where there is no element", |blocks, _| {
        edit_meta(blocks, |meta| (meta.entry_block, meta.entry_offset) = (1, 9999));
    }),
    ("a deleted element", |blocks, places| {
        let deleted = places.deleted;
        edit_meta(blocks, |meta| {
            (meta.entry_block, meta.entry_offset) = (deleted.tid.block(), deleted.tid.offset());
        });
    }),
    ("of level 60, which has level", |blocks, _| edit_meta(blocks, |meta| meta.entry_level = 60)),
    ("block 2: page is not in the chain", |blocks, _| {
        blocks.edit(1, |bytes| PageMut::new(bytes, PAGE_ID).unwrap().set_next(3));
    }),
    ("block 4: page is not in the chain", |blocks, _| {
        blocks.edit(3, |bytes| PageMut::new(bytes, PAGE_ID).unwrap().set_next(INVALID_BLOCK));
    }),
    ("block 3: the page chain goes on at block 2", |blocks, _| {
        blocks.edit(3, |bytes| PageMut::new(bytes, PAGE_ID).unwrap().set_next(2));
    }),
    ("block 3: the page chain leads to a page that does not continue it", |blocks, _| {
        blocks.edit(3, |bytes| PageMut::new(bytes, PAGE_ID).unwrap().set_next(3));
    }),
    ("the page chain goes on at block 4000000000", |blocks, places| {
        blocks.edit(places.last, |bytes| PageMut::new(bytes, PAGE_ID).unwrap().set_next(4_000_000_000));
    }),
    ("block 2: invalid page", |blocks, _| blocks.edit(2, |bytes| bytes[8190] = 0x84)),
    ("block 2: unknown page flags", |blocks, _| blocks.edit(2, |bytes| bytes[10] |= 64)),
    ("invalid element tuple", |blocks, places| {
        edit_element(blocks, places.ground.tid, |header, _| header.level = 64);
    }),
    ("invalid tuple", |blocks, places| {
        edit_element(blocks, places.ground.tid, |header, _| header.kind = 3);
    }),
    ("invalid element tuple", |blocks, places| {
        edit_element(blocks, places.ground.tid, |_, value| value[0] = 1);
    }),
    ("element tuple of another length than its value asks for", |blocks, places| {
        edit_element(blocks, places.ground.tid, |_, value| value[..4].copy_from_slice(&[16 << 2, 0, 0, 0]));
    }),
    ("different vector dimensions 5 and 3", |blocks, places| {
        // as short a value, whole
        edit_element(blocks, places.ground.tid, |_, value| {
            value[..8].copy_from_slice(&[20 << 2, 0, 0, 0, 3, 0, 0, 0]);
        });
    }),
    ("value with an element that is not finite", |blocks, places| {
        edit_element(blocks, places.ground.tid, |_, value| {
            value[8..12].copy_from_slice(&f32::NAN.to_ne_bytes());
        });
    }),
    ("deleted is 2", |blocks, places| {
        edit_element(blocks, places.deleted.tid, |header, _| header.deleted = 2);
    }),
    ("version is 16", |blocks, places| {
        edit_element(blocks, places.ground.tid, |header, _| header.version = 16);
    }),
    ("version is 1, and 7 in the element at", |blocks, places| {
        edit_element(blocks, places.ground.tid, |header, _| header.version = 7);
    }),
    ("slots for level 1, which has", |blocks, places| {
        edit_element(blocks, places.ground.tid, |header, _| header.level = 1);
    }),
    ("edge in layer 1 to", |blocks, places| {
        let (upper, ground) = (places.upper, places.ground.tid);
        edit_list(blocks, upper.list, |slots| slots[layer_range(upper.level, 1, 4)][0] = ground);
    }),
    ("heap TIDs after a free place for one", |blocks, places| {
        edit_element(blocks, places.ground.tid, |header, _| header.heap_tids[3] = Tid::new(1, 1));
    }),
    ("of the table is in the element at", |blocks, places| {
        let other = places.other.tid;
        let mut row = Tid::INVALID;
        edit_element(blocks, other, |header, _| row = header.heap_tids[0]);
        edit_element(blocks, places.ground.tid, |header, _| header.heap_tids[1] = row);
    }),
    ("deleted element with rows", |blocks, places| {
        edit_element(blocks, places.deleted.tid, |header, _| header.heap_tids[0] = Tid::new(9, 9));
    }),
    ("deleted element with a value", |blocks, places| {
        edit_element(blocks, places.deleted.tid, |_, value| value[9] = 1);
    }),
    ("edges of a deleted element", |blocks, places| {
        let ground = places.ground.tid;
        edit_list(blocks, places.deleted.list, |slots| slots[1] = ground);
    }),
    ("no neighbour tuple at (1,500)", |blocks, places| {
        edit_element(blocks, places.ground.tid, |header, _| header.neighbour_tid = Tid::new(1, 500));
    }),
    ("neighbour tuple of no element", |blocks, places| {
        let other = places.other.list;
        edit_element(blocks, places.ground.tid, |header, _| header.neighbour_tid = other);
    }),
    ("neighbour tuple of more than one element", |blocks, places| {
        let other = places.other.list;
        edit_element(blocks, places.ground.tid, |header, _| header.neighbour_tid = other);
    }),
    ("neighbour tuple of a length that no level has", |blocks, places| {
        blocks.edit(places.ground.list.block(), |bytes| {
            let mut page = PageMut::new(bytes, PAGE_ID).unwrap();
            page.item_mut(places.ground.list.offset()).unwrap()[2] = 7;
        });
    }),
    ("edges after a free slot in layer 0", |blocks, places| {
        edit_list(blocks, places.ground.list, |slots| slots[0] = Tid::INVALID);
    }),
    ("twice in layer 0", |blocks, places| {
        edit_list(blocks, places.ground.list, |slots| slots[1] = slots[0]);
    }),
    ("edge to the element itself in layer 0", |blocks, places| {
        let ground = places.ground.tid;
        edit_list(blocks, places.ground.list, |slots| slots[1] = ground);
    }),
    ("where there is no element", |blocks, places| {
        let list = places.other.list;
        edit_list(blocks, places.ground.list, |slots| slots[1] = list);
    }),
    ("where there is no element", |blocks, places| {
        edit_list(blocks, places.ground.list, |slots| slots[1] = Tid::new(u32::MAX - 1, 3));
    }),
    ("a deleted element", |blocks, places| {
        let deleted = places.deleted.tid;
        edit_list(blocks, places.ground.list, |slots| slots[1] = deleted);
    }),
    ("no edges lead here from the entry point", |blocks, places| {
        let mut list = Tid::INVALID;
        edit_element(blocks, places.entry, |header, _| list = header.neighbour_tid);
        edit_list(blocks, list, |slots| slots.fill(Tid::INVALID));
    }),
    (" rows of the table are out of reach of searches; REINDEX", |blocks, places| {
        edit_list(blocks, places.ground.list, |slots| slots.fill(Tid::INVALID));
        edit_lists(blocks, |slots| drop_edges(slots, &[places.ground.tid]));
    }),
    ("1 elements in which a descent can end do not lead to the entry point; REINDEX", |blocks, places| {
        edit_list(blocks, places.upper.list, |slots| {
            slots[layer_range(places.upper.level, 0, 4)].fill(Tid::INVALID)
        });
    }),
];

#[test]
fn each_mutation_is_told() {
    let mut sound = used();
    let census = healthy(&mut sound);
    let places = places(&census, &mut sound);
    assert!(places.last > 3);
    for (n, (expected, mutate)) in MUTATIONS.iter().enumerate() {
        let mut blocks = sound.copy();
        mutate(&mut blocks, &places);
        let found = run_committed(&mut blocks);
        let some = &found[..found.len().min(20)];
        assert!(found.iter().any(|what| what.contains(expected)), "{n}: {expected} not in {some:?}");
        // one fault is not told from everywhere
        assert!(found.len() < 20, "{n}: {some:?}");
    }
    let mut blocks = sound.copy();
    blocks.cut(0);
    assert_eq!(run(&mut blocks, false, true).1, ["the index has 0 blocks, and at least 2 are needed"]);
}

#[test]
fn one_way_rings_lead_back() {
    let mut blocks = used();
    let census = healthy(&mut blocks);
    let live: Vec<Node> = census.nodes.iter().filter(|node| node.state == State::Live).copied().collect();
    let lay = |blocks: &mut MemBlocks, at: usize, next: Tid| {
        let node = live[at];
        edit_list(blocks, node.list, |slots| {
            let ground = &mut slots[layer_range(node.level, 0, 4)];
            ground.fill(Tid::INVALID);
            ground[0] = next;
        });
    };
    let entry = blocks.read(META_BLOCK, MetaPage::read).unwrap().entry_point().unwrap().unwrap().tid;
    let start = live.iter().position(|node| node.tid == entry).unwrap();
    // either way round, so that no order of looking at them is the lucky one
    for step in [1, live.len() - 1] {
        for at in 0..live.len() {
            lay(&mut blocks, at, live[(at + step) % live.len()].tid);
        }
        assert_eq!(run_committed(&mut blocks), Vec::<String>::new());
    }
    // all lead to the entry point, which now leads to the two behind it alone, and those to each other
    let behind = (start + live.len() - 1) % live.len();
    let beyond = (behind + live.len() - 1) % live.len();
    lay(&mut blocks, beyond, live[behind].tid);
    let (census, found) = run(&mut blocks, false, true);
    assert_eq!(census.unreached(), live.len() - 3);
    let stray = [behind, beyond].iter().filter(|&&at| live[at].level > 0).count();
    assert_eq!(found.len(), if stray > 0 { stray + 1 } else { 0 }, "{found:?}");
}

#[test]
fn what_interruptions_leave_is_no_violation() {
    let mut blocks = used();
    // a block added and never linked
    blocks.add_zero_block();
    let census = healthy(&mut blocks);
    assert_eq!(census.unused_blocks, 1);
    // a vacuum that stopped after its first pass
    for node in census.nodes.iter().filter(|node| node.state == State::Live).step_by(3) {
        edit_element(&mut blocks, node.tid, |header, _| header.heap_tids.fill(Tid::INVALID));
    }
    let census = healthy(&mut blocks);
    assert!(census.dying > 50);
    // inserts use what is there, and a vacuum ends what was begun
    insert_all(&mut blocks, &graph(), 700, &random_vectors(9, DIMS, 5), &mut SmallRng::seed_from_u64(1));
    healthy(&mut blocks);
    Vacuum::new().run(&mut blocks, &graph(), &mut |_| false).unwrap();
    assert_eq!(healthy(&mut blocks).dying, 0);
}

#[test]
fn edges_of_dying_elements_count_where_something_leads_to_them() {
    let mut blocks = used();
    let census = healthy(&mut blocks);
    let places = places(&census, &mut blocks);
    edit_element(&mut blocks, places.ground.tid, |header, _| header.heap_tids.fill(Tid::INVALID));
    let deleted = places.deleted.tid;
    edit_list(&mut blocks, places.ground.list, |slots| slots[0] = deleted);
    let (_, found) = run(&mut blocks, false, true);
    assert!(found.len() == 1 && found[0].contains("a deleted element"), "{found:?}");
    assert_eq!(run(&mut blocks, false, false).1, Vec::<String>::new());
}

#[test]
fn cosine_indexes_keep_unit_length() {
    let unit = |elements: &[f32]| {
        let mut out = ValueBuf::new();
        assert!(normalize(ValueKind::Vector, vector(elements).bytes(), &mut out).unwrap());
        out
    };
    let values = [unit(&[1.0, 2.0, 0.0, 0.0, 3.0]), unit(&[0.0, -1e-20, 0.0, 0.0, 1e-20])];
    let mut blocks = built(&values);
    assert_eq!(run(&mut blocks, true, true).1, Vec::<String>::new());
    let mut blocks = built(&[vector(&[1.0, 1.0, 0.0, 0.0, 0.0]), vector(&[0.0; 5])]);
    let (_, found) = run(&mut blocks, true, true);
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|what| what.contains("not of unit length")));
}

#[test]
fn values_of_other_kinds_are_looked_into() {
    use crate::space::varlena_header;
    use crate::value::{sparsevec_parts_mut, sparsevec_size};
    let sparse = |indices: &[i32], values: &[f32]| {
        let mut buf = ValueBuf::new();
        let size = sparsevec_size(indices.len());
        let bytes = buf.reset(size);
        bytes[..4].copy_from_slice(&varlena_header(size));
        let (i, v) = sparsevec_parts_mut(bytes, 9).unwrap();
        i.copy_from_slice(indices);
        v.copy_from_slice(values);
        buf
    };
    let fault = |kind, dims, unit, value: &ValueBuf| {
        let subject = Subject { space: AnySpace::new(kind, Metric::L2, dims), unit };
        value_fault(&subject, true, value.bytes())
    };
    let of_sparse = |unit, indices: &[i32], values: &[f32]| {
        fault(ValueKind::Sparsevec, 9, unit, &sparse(indices, values)).unwrap_or_default()
    };
    assert_eq!(of_sparse(true, &[0, 8], &[0.6, 0.8]), "");
    assert_eq!(of_sparse(true, &[0, 8], &[0.6, 0.9]), NOT_UNIT);
    assert_eq!(of_sparse(false, &[0, 8], &[0.6, f32::INFINITY]), NOT_FINITE);
    assert!(of_sparse(false, &[8, 0], &[0.6, 0.9]).contains("do not ascend"));
    assert!(of_sparse(false, &[0, 9], &[0.6, 0.9]).contains("do not ascend"));
    assert!(of_sparse(false, &[0, 8], &[0.6, -0.0]).contains("stores a zero"));
    let bits = |bytes: [u8; 2]| {
        let mut buf = ValueBuf::new();
        let value = buf.reset(10);
        value[..4].copy_from_slice(&varlena_header(10));
        value[4..8].copy_from_slice(&11u32.to_ne_bytes());
        value[8..].copy_from_slice(&bytes);
        fault(ValueKind::Bit, 11, false, &buf).unwrap_or_default()
    };
    assert_eq!(bits([0xff, 0xe0]), "");
    assert_eq!(bits([0, 0x10]), "bits behind the last one");
}

mod fuzzed {
    use super::*;
    use crate::hnsw::format::Layout;
    use crate::testing::hnsw::used_in;
    use proptest::prelude::*;

    /// Puts bytes at places of the first blocks, and takes the blocks from `cut` on away.
    fn survive(layout: Layout, edits: Vec<(u32, usize, u8)>, cut: u32) {
        let mut blocks = used_in(layout);
        for (block, at, byte) in edits {
            blocks.edit(block, |bytes| bytes[at] = byte);
        }
        if cut > 0 {
            blocks.cut(cut);
        }
        exercise(layout, &mut blocks);
    }

    fn edits() -> impl Strategy<Value = Vec<(u32, usize, u8)>> {
        prop::collection::vec((0u32..12, 0usize..8192, any::<u8>()), 1..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Whatever the bytes: the check ends, and what reads or changes the index ends or says that it is damaged.
        #[test]
        fn any_bytes_are_survived(edits in edits(), cut in 0u32..12) {
            survive(Layout::V1, edits, cut);
        }

        #[test]
        fn any_bytes_are_survived_inline(edits in edits(), cut in 0u32..14) {
            survive(Layout::Inline, edits, cut);
        }
    }
}
