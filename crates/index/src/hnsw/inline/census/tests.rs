#![cfg(test)]

use zerocopy::{FromBytes, IntoBytes};

use super::super::info;
use super::super::layout::{
    Layout, NO_NODE, PAGE_ID, PageKind, RECORD_HEADER, Record, RecordHeader, SegmentHeader, page_kind, state,
};
use super::super::meta::{FROM_COPIES, InlineMeta};
use super::super::tests::{clustered, index, l2, shape, value};
use super::InlineCensus;
use crate::hnsw::census::Tally;
use crate::hnsw::check::{Subject, check};
use crate::quant::space::Cosine;
use crate::space::{AnySpace, Metric, ValueBuf, ValueKind};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{INVALID_BLOCK, PageMut, Tid};
use crate::storage::verify::Violation;
use crate::testing::MemBlocks;
use crate::testing::hnsw::random_vectors;

fn run(blocks: &mut MemBlocks, space: AnySpace, deep: bool) -> (Tally, Vec<String>) {
    let (subject, mut found) = (Subject { space, unit: false }, Vec::new());
    let mut report = |violation: Violation| found.push(violation.to_string());
    let tally = check(&mut InlineCensus::new(blocks, space), &subject, deep, &mut report).unwrap();
    (tally, found)
}

#[track_caller]
fn healthy(blocks: &mut MemBlocks, space: AnySpace) -> Tally {
    let (tally, found) = run(blocks, space, true);
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(tally.unreached(), 0);
    tally
}

/// Every type and metric, records of every shape, rows in segments of both sizes.
#[test]
fn a_built_index_is_healthy() {
    use ValueKind::{Bit, Halfvec, Vector};
    for (kind, metric, dims, count) in [
        (Vector, Metric::L2, 5, 700),
        (Vector, Metric::InnerProduct, 100, 300),
        (Halfvec, Metric::L2, 384, 200),
        (Halfvec, Metric::InnerProduct, 70, 200),
        (Bit, Metric::Hamming, 333, 300),
        (Bit, Metric::Jaccard, 64_000, 20),
        (Vector, Metric::L2, 1536, 60),
        (Vector, Metric::L2, 2000, 60),
        (Vector, Metric::InnerProduct, 16_000, 20),
        (Halfvec, Metric::L2, 16_000, 20),
    ] {
        let values: Vec<ValueBuf> = clustered(1, dims, count, 7).iter().map(|x| value(kind, x)).collect();
        let space = AnySpace::new(kind, metric, dims as i32);
        let mut blocks = crate::with_space!(space, space => index(space, &shape(kind, dims), &values).0);
        let tally = healthy(&mut blocks, space);
        assert_eq!((tally.live, tally.rows()), (count as u64, count), "{kind:?} {dims}");
        assert_eq!(tally.entry_level, tally.top_level);
        agree(&mut blocks, &tally);
    }
    let values = random_vectors(3, 40, 500);
    let cosine = Cosine::<f32>::new(40);
    let mut blocks = index(cosine, &shape(Vector, 40), &values).0;
    assert_eq!(healthy(&mut blocks, AnySpace::VectorAngle(cosine)).live, 500);
    for count in [0, 1, 2] {
        let mut blocks = index(l2(40), &shape(Vector, 40), &values[..count]).0;
        assert_eq!(healthy(&mut blocks, AnySpace::Vector(l2(40))).live, count as u64);
    }
    // 3 rows of a value, 20, 6,000
    let rows: Vec<ValueBuf> = (0..6_500)
        .map(|n| {
            values[if n < 90 {
                n % 30
            } else if n < 500 {
                30 + n % 20
            } else {
                60
            }]
            .clone()
        })
        .collect();
    let mut blocks = index(l2(40), &shape(Vector, 40), &rows).0;
    let tally = healthy(&mut blocks, AnySpace::Vector(l2(40)));
    assert_eq!((tally.live, tally.rows()), (51, 6_500));
    assert!(blocks.count().unwrap() > 10);
    agree(&mut blocks, &tally);
}

/// What is counted for `vector_index_info` is what a check finds.
#[track_caller]
fn agree(blocks: &mut MemBlocks, tally: &Tally) {
    let info = info::gather(blocks).unwrap();
    assert_eq!(
        (info.elements, info.dying, info.deleted, info.rows),
        (tally.live, tally.dying, tally.deleted, tally.rows() as u64)
    );
    assert_eq!(info.layers.iter().map(|layer| layer.edges).sum::<u64>(), tally.edges);
    assert_eq!(info.entry_point.map(|entry| entry.level), tally.entry_level);
    assert_eq!(info.levels.iter().sum::<u64>(), info.elements);
    let pages = info.pages;
    let parts = [pages.upper, pages.rests, pages.rows].map(|pages| pages.unwrap());
    let all = pages.meta + pages.elements + parts.iter().sum::<u32>() + pages.empty + pages.unused;
    assert_eq!(all, blocks.count().unwrap());
    for layer in &info.layers {
        assert_eq!(layer.elements, info.levels.iter().skip(layer.layer).sum::<u64>());
        assert_eq!(layer.degree.histogram.iter().sum::<u64>(), layer.elements);
    }
    assert!(info.deleted <= info.free_slots.unwrap());
    let upper = info::read_upper(blocks).unwrap();
    let entry = info.entry_point.is_some_and(|entry| entry.level > 0);
    assert_eq!(upper.len() as u32, if entry { pages.upper.unwrap() } else { 0 });
}

/// Dimensions, and how many elements there are: pages hold several records; rests share pages; rests take several.
const INDEXES: [(usize, usize); 3] = [(20, 150), (1536, 40), (6000, 30)];

/// An index that the mutations change, its layout, and some of what stands in it.
struct Sound {
    blocks: MemBlocks,
    layout: Layout,
    space: AnySpace,
    /// elements of layer 0 alone
    ground: [u32; 2],
    /// one of more layers, and its record of layer 1
    high: (u32, u32),
    /// an element with rows in a short segment, one with several long ones, and their first segments
    few: (u32, Tid),
    many: (u32, Tid),
}

impl Sound {
    /// `count` elements, two of which have more than a row.
    fn new(dims: usize, count: usize) -> Self {
        let distinct = random_vectors(3, dims, count);
        let own = |n: usize| {
            if n < count {
                n
            } else if n < count + 10 {
                3
            } else {
                4
            }
        };
        let rows: Vec<ValueBuf> = (0..count + 3000).map(|n| distinct[own(n)].clone()).collect();
        let (mut blocks, index) = index(l2(dims), &shape(ValueKind::Vector, dims), &rows);
        let space = AnySpace::Vector(l2(dims));
        let (subject, layout) = (Subject { space, unit: false }, index.layout);
        let mut census = InlineCensus::new(&mut blocks, space);
        check(&mut census, &subject, true, &mut |violation| panic!("{violation}")).unwrap();
        let entry = census.met.entry.0.map_or(0, |entry| layout.ground_id(entry.tid).unwrap());
        let link = *census.met.links.iter().find(|link| link.ground != entry).unwrap();
        let first = layout.ground.slots.id(1, 0).unwrap();
        let mut plain = (0..count as u32).map(|n| first + n).filter(|id| {
            census.met.links.iter().all(|link| link.ground != *id) && ![3, 4].contains(&(id - first))
        });
        let ground = [plain.next().unwrap(), plain.next().unwrap()];
        let mut sound = Sound {
            blocks,
            layout,
            space,
            ground,
            high: (link.ground, link.above),
            few: (first + 3, Tid::INVALID),
            many: (first + 4, Tid::INVALID),
        };
        sound.few.1 = sound.header(0, sound.few.0).chain;
        sound.many.1 = sound.header(0, sound.many.0).chain;
        sound
    }

    fn copy(&self) -> Sound {
        Sound { blocks: self.blocks.copy(), ..*self }
    }

    fn header(&mut self, layer: u8, id: u32) -> RecordHeader {
        let records = self.layout.records(layer);
        let (block, slot) = records.slots.place(id);
        let look = |bytes: &[u8]| {
            let bytes = records.slots.get(bytes, PageKind::of_layer(layer), slot)?;
            Ok(*Record::new(records, bytes, slot)?.header)
        };
        self.blocks.read(block, look).unwrap()
    }

    /// Changes the bytes of a record in its slot.
    fn bytes(&mut self, layer: u8, id: u32, edit: impl FnOnce(&mut [u8])) {
        let slots = self.layout.records(layer).slots;
        let (block, slot) = slots.place(id);
        self.blocks.edit(block, |bytes| edit(&mut bytes[slots.range(slot)]));
    }

    /// Changes the header of a record.
    fn edit(&mut self, layer: u8, id: u32, edit: impl FnOnce(&mut RecordHeader)) {
        self.bytes(layer, id, |bytes| edit(RecordHeader::mut_from_prefix(bytes).unwrap().0));
    }

    fn use_slot(&mut self, layer: u8, id: u32, used: bool) {
        let slots = self.layout.records(layer).slots;
        let (block, slot) = slots.place(id);
        self.blocks.edit(block, |bytes| slots.set_used(bytes, slot, used));
    }

    /// Changes a segment of rows.
    fn segment(&mut self, tid: Tid, edit: impl FnOnce(&mut SegmentHeader, &mut [u8])) {
        let (short, long) = (self.layout.chain, self.layout.long_chain);
        self.blocks.edit(tid.block(), |bytes| {
            let slots = if page_kind(bytes) == Ok(Some(PageKind::Chain)) { short } else { long };
            let bytes = &mut bytes[slots.range(usize::from(tid.offset()) - 1)];
            let (header, rows) = SegmentHeader::mut_from_prefix(bytes).unwrap();
            edit(header, rows);
        });
    }

    fn meta(&mut self, edit: impl FnOnce(&mut InlineMeta)) {
        let mut meta = super::super::meta::read_meta(&mut self.blocks).unwrap();
        edit(&mut meta);
        self.blocks.edit(0, |bytes| PageMut::new(bytes, PAGE_ID).unwrap().set_contents(meta.as_bytes()));
    }

    /// Ids of a record's neighbours.
    fn ids(&mut self, layer: u8, id: u32, edit: impl FnOnce(&mut [u32])) {
        let count = usize::from(self.header(layer, id).neighbours);
        self.bytes(layer, id, |bytes| {
            let end = RECORD_HEADER + 4 * count;
            edit(<[u32]>::mut_from_bytes(&mut bytes[RECORD_HEADER..end]).unwrap());
        });
    }

    fn free(&mut self, id: u32) {
        self.use_slot(0, id, false);
        self.bytes(0, id, |bytes| bytes[RECORD_HEADER..].fill(0));
        self.edit(0, id, |header| {
            *header = RecordHeader { state: state::FREE, version: 2, ..RecordHeader::new(0, 0) };
        });
    }
}

impl Sound {
    /// Frees an element, and lets its rest go.
    fn free_without_rest(&mut self, id: u32) {
        self.free(id);
        self.edit(0, id, |header| header.rest = Tid::INVALID);
    }

    fn rest(&mut self, rest: Tid, edit: impl FnOnce(&mut [u8])) {
        let slots = self.layout.ground.rest_slots;
        let range = slots.range(usize::from(rest.offset()) - 1);
        self.blocks.edit(rest.block(), |bytes| edit(&mut bytes[range]));
    }

    fn use_rest(&mut self, id: u32, used: bool) {
        let (slots, rest) = (self.layout.ground.rest_slots, self.header(0, id).rest);
        self.blocks.edit(rest.block(), |bytes| slots.set_used(bytes, usize::from(rest.offset()) - 1, used));
    }

    /// Sets what follows the first page of a rest.
    fn follow(&mut self, id: u32, next: u32) {
        let block = self.header(0, id).rest.block();
        self.blocks.edit(block, |bytes| PageMut::new(bytes, PAGE_ID).unwrap().set_next(next));
    }
}

type Mutation = (&'static str, fn(&mut Sound));

/// What is done to a healthy index, and what its check says of it.
const MUTATIONS: &[Mutation] = &[
    ("block 0: invalid meta page", |s| s.meta(|meta| meta.common.version += 1)),
    ("block 0: invalid meta page", |s| s.meta(|meta| meta.bits = 3)),
    ("block 0: invalid meta page", |s| s.meta(|meta| meta.filters = 8)),
    ("block 0: values are of type halfvec, and those of the column of vector", |s| {
        s.meta(|meta| meta.kind = 1)
    }),
    ("block 0: the meta page is followed by block 1", |s| {
        s.blocks.edit(0, |bytes| PageMut::new(bytes, PAGE_ID).unwrap().set_next(1));
    }),
    ("block 0: invalid meta page", |s| s.meta(|meta| meta.doubled = 15)),
    ("block 0: no entry point", |s| s.meta(|meta| meta.set_entry(None))),
    ("block 0: a record of an entry point, and no entry point", |s| {
        s.meta(|meta| meta.common.set_entry_point(None));
    }),
    ("which is not that of layer", |s| s.meta(|meta| meta.top = 7)),
    ("where there is no element", |s| s.meta(|meta| meta.common.entry_offset = 9999)),
    ("block 1: invalid page", |s| s.blocks.edit(1, |bytes| bytes[8190] ^= 1)),
    ("block 1: page of another kind", |s| s.blocks.edit(1, |bytes| bytes[24] = 9)),
    ("block 1: page of another kind", |s| s.blocks.edit(1, |bytes| bytes[26] ^= 1)),
    ("block 1: page with a hole", |s| s.blocks.edit(1, |bytes| bytes[14] ^= 8)),
    ("block 1: page with a hole, or slots in use that do not exist", |s| {
        s.blocks.edit(1, |bytes| bytes[39] |= 0x80);
    }),
    ("block 1: page is followed by block 2", |s| {
        s.blocks.edit(1, |bytes| PageMut::new(bytes, PAGE_ID).unwrap().set_next(2));
    }),
    ("invalid record", |s| s.edit(0, s.ground[0], |header| header.state = 4)),
    ("invalid record", |s| s.edit(0, s.ground[0], |header| header.neighbours = 17)),
    ("invalid record", |s| s.edit(0, s.ground[0], |header| header.level = 64)),
    ("record of another layer", |s| s.edit(0, s.high.0, |header| header.layer = 1)),
    ("free slot with a node", |s| s.use_slot(0, s.ground[0], false)),
    ("slot in use without a node", |s| s.edit(0, s.ground[0], |header| header.state = state::DELETED)),
    ("unused bytes of a record", |s| s.edit(0, s.ground[0], |header| header.unused = [1, 0])),
    ("rest of a record that its slot holds", |s| {
        s.edit(0, s.ground[0], |header| header.rest = Tid::new(1, 1));
    }),
    ("norm is", |s| s.edit(0, s.ground[0], |header| header.norm *= 1.01)),
    ("norm that is no length", |s| s.edit(0, s.ground[0], |header| header.norm = f32::NAN)),
    ("record below layer 0", |s| s.edit(0, s.ground[0], |header| header.below += 1)),
    ("a record at", |s| {
        let upper = s.high.1;
        s.edit(0, s.ground[0], |header| header.above = upper);
    }),
    ("and there is no record of layer 1", |s| s.edit(0, s.high.0, |header| header.above = NO_NODE)),
    ("of layer 1 at", |s| s.edit(0, s.high.0, |header| header.above = 4_000_000_000)),
    ("that no element leads to", |s| s.edit(0, s.high.0, |header| header.above = NO_NODE)),
    ("which is not that of layer 1", |s| {
        let other = s.layout.tid(s.ground[0]);
        s.edit(1, s.high.1, |header| header.heap_tid = other);
    }),
    ("which is not that of layer 1", |s| s.edit(1, s.high.1, |header| header.below += 1)),
    ("version is 7, and 1 in the element at", |s| s.edit(1, s.high.1, |header| header.version = 7)),
    ("where none can be", |s| s.edit(1, s.high.1, |header| header.heap_tid = Tid::new(1, 500))),
    ("rows of a record of an upper layer", |s| {
        let chain = s.few.1;
        s.edit(1, s.high.1, |header| header.chain = chain);
    }),
    ("header and length do not agree", |s| {
        let at = s.layout.ground.value_at;
        s.bytes(0, s.ground[0], |bytes| bytes[at..at + 8].copy_from_slice(&[20 << 2, 0, 0, 0, 3, 0, 0, 0]));
    }),
    ("value with an element that is not finite", |s| {
        let at = s.layout.ground.value_at + 8;
        s.bytes(0, s.ground[0], |bytes| bytes[at..at + 4].copy_from_slice(&f32::NAN.to_ne_bytes()));
    }),
    ("value that is not that of the element's record of layer 0", |s| {
        let at = s.layout.upper.value_at + 10;
        s.bytes(1, s.high.1, |bytes| bytes[at] ^= 0x20);
    }),
    ("factor of an edge that is not finite", |s| {
        s.bytes(0, s.ground[0], |bytes| bytes[RECORD_HEADER + 4 * 16 + 1] = 0x7c);
    }),
    ("factors that are not those of", |s| {
        s.bytes(0, s.ground[0], |bytes| bytes[RECORD_HEADER + 4 * 16 + 1] ^= 1)
    }),
    ("factors that are not those of", |s| s.edit(0, s.ground[0], |header| header.scale_exponent += 1)),
    ("a code that is not that of", |s| {
        let at = s.layout.ground.code(0).start;
        s.bytes(0, s.ground[0], |bytes| bytes[at] ^= 0x55);
    }),
    ("a code that is not that of", |s| {
        let at = s.layout.upper.code(0).start;
        s.bytes(1, s.high.1, |bytes| bytes[at] ^= 0x55);
    }),
    ("twice in layer 0", |s| s.ids(0, s.ground[0], |ids| ids[1] = ids[0])),
    ("edge to the element itself in layer 0", |s| {
        let own = s.ground[0];
        s.ids(0, own, |ids| ids[2] = own);
    }),
    ("where there is no element", |s| s.ids(0, s.ground[0], |ids| ids[2] = 3_000_000_000)),
    ("which is not the record of layer 1 of", |s| s.ids(1, s.high.1, |ids| ids[0] = ids[1])),
    ("edge in layer 0 to", |s| s.free(s.ground[0])),
    ("deleted element with a value", |s| {
        s.free(s.ground[0]);
        s.bytes(0, s.ground[0], |bytes| bytes[200] = 1);
    }),
    ("deleted element with rows", |s| {
        s.free(s.ground[0]);
        s.edit(0, s.ground[0], |header| header.heap_tid = Tid::new(9, 9));
    }),
    ("deleted element with segments of rows", |s| {
        s.free(s.ground[0]);
        s.edit(0, s.ground[0], |header| header.chain = Tid::new(9, 9));
    }),
    ("slot without a record that is not empty", |s| {
        s.free(s.ground[0]);
        s.bytes(0, s.ground[0], |bytes| {
            bytes[..RECORD_HEADER].fill(0);
            bytes[100] = 1;
        });
    }),
    ("which belongs to another element or to none", |s| s.segment(s.few.1, |header, _| header.owner += 1)),
    ("which belongs to another element or to none", |s| s.segment(s.few.1, |header, _| header.version = 9)),
    ("invalid segment of rows", |s| s.segment(s.few.1, |header, _| header.count = 17)),
    ("unused bytes of a segment", |s| s.segment(s.few.1, |header, _| header.unused = [0, 0, 1])),
    ("whose number is not below", |s| {
        let first = s.many.1;
        let last = Tid::new(first.block() + 1, 1);
        s.segment(last, |header, _| header.number = 70);
    }),
    ("whose number is not below", |s| {
        let own = s.few.1;
        s.segment(own, |header, _| header.next = own);
    }),
    ("segment of rows with a row that is none", |s| {
        s.segment(s.few.1, |_, rows| rows[..6].copy_from_slice(Tid::INVALID.as_bytes()));
    }),
    ("of the table is in the element at", |s| {
        let row = s.header(0, s.ground[0]).heap_tid;
        s.segment(s.few.1, |_, rows| rows[..6].copy_from_slice(row.as_bytes()));
    }),
    ("segment of rows of no element", |s| s.edit(0, s.many.0, |header| header.chain = Tid::INVALID)),
    ("where there is no page", |s| s.edit(0, s.few.0, |header| header.chain = Tid::new(70_000, 1))),
    ("no segment of rows at (1,1)", |s| s.edit(0, s.few.0, |header| header.chain = Tid::new(1, 1))),
];

/// The same of records whose rests stand in slots.
const RESTS: &[Mutation] = &[
    ("record without its rest", |s| s.edit(0, s.ground[0], |header| header.rest = Tid::INVALID)),
    ("no rest of a record at (1,1)", |s| s.edit(0, s.ground[0], |header| header.rest = Tid::new(1, 1))),
    ("no rest of a record at (70000,1)", |s| {
        s.edit(0, s.ground[0], |header| header.rest = Tid::new(70_000, 1))
    }),
    ("which is another record's, too", |s| {
        let rest = s.header(0, s.ground[1]).rest;
        s.edit(0, s.ground[0], |header| header.rest = rest);
    }),
    ("rest of no record", |s| {
        let rest = s.header(0, s.ground[1]).rest;
        s.edit(0, s.ground[0], |header| header.rest = rest);
    }),
    ("rest of no record", |s| s.free_without_rest(s.ground[0])),
    ("deleted element with a value", |s| {
        let rest = s.header(0, s.ground[0]).rest;
        s.free(s.ground[0]);
        s.edit(0, s.ground[0], |header| header.rest = rest);
    }),
    ("no rest of a record at", |s| s.use_rest(s.ground[0], false)),
    ("value with an element that is not finite", |s| {
        let rest = s.header(0, s.ground[0]).rest;
        s.rest(rest, |bytes| bytes[4..8].copy_from_slice(&f32::NAN.to_ne_bytes()));
    }),
    ("a code that is not that of", |s| {
        let at = s.layout.ground.code(15).start;
        s.bytes(0, s.ground[0], |bytes| bytes[at..at + 100].fill(0));
    }),
];

/// The same of rests of several pages.
const PAGES: &[Mutation] = &[
    ("no rest of a record at (4294967295,1)", |s| s.follow(s.ground[0], INVALID_BLOCK)),
    ("no rest of a record at (1,1)", |s| s.follow(s.ground[0], 1)),
    ("which is another record's, too", |s| {
        let other = s.header(0, s.ground[1]).rest.block();
        s.follow(s.ground[0], other);
    }),
    ("rest of no record", |s| s.free_without_rest(s.ground[0])),
    ("a code that is not that of", |s| {
        let rest = s.header(0, s.ground[0]).rest;
        s.rest(rest, |bytes| bytes[..2000].fill(0));
    }),
];

#[test]
fn each_fault_is_told() {
    for ((dims, count), mutations) in INDEXES.into_iter().zip([MUTATIONS, RESTS, PAGES]) {
        let sound = Sound::new(dims, count);
        for (n, (expected, mutate)) in mutations.iter().enumerate() {
            let mut damaged = sound.copy();
            mutate(&mut damaged);
            let (_, found) = run(&mut damaged.blocks, damaged.space, true);
            let some = &found[..found.len().min(20)];
            assert!(found.iter().any(|what| what.contains(expected)), "{n}: {expected} not in {some:?}");
            // one fault is told from where edges lead to it, and not from everywhere
            assert!(found.len() < 50, "{n}: {some:?}");
        }
        let mut nothing = sound.copy();
        nothing.blocks.cut(0);
        let found = run(&mut nothing.blocks, nothing.space, true).1;
        assert_eq!(found, ["the index has no blocks, and at least 1 is needed"]);
    }
}

/// Codes that a build made of copies may differ, of one edge or of many a little; not all of them in half their bits.
#[test]
fn codes_of_copies_are_compared_as_a_whole() {
    let mut sound = Sound::new(100, 150);
    sound.meta(|meta| meta.bits |= FROM_COPIES);
    healthy(&mut sound.blocks, sound.space);
    let (first, bits) = (sound.layout.ground.slots.id(1, 0).unwrap(), [0x11, 0xff]);
    for (bits, faults) in bits.into_iter().zip([0, 1]) {
        for id in first..first + 150 {
            let edges = usize::from(sound.header(0, id).neighbours);
            let codes: Vec<_> = (0..edges).map(|edge| sound.layout.ground.code(edge)).collect();
            sound.bytes(0, id, |bytes| {
                codes.into_iter().for_each(|code| bytes[code].iter_mut().for_each(|byte| *byte ^= bits));
            });
        }
        let (_, found) = run(&mut sound.blocks, sound.space, true);
        assert_eq!(found.len(), faults, "{found:?}");
        assert!(
            found.iter().all(|what| what.contains("edges that are not those of the elements at their ends"))
        );
    }
}
