//! Rows of a node in segments, read while others change them; elements that go while they are read.
#![allow(clippy::single_range_in_vec_init, reason = "lists of ranges, some of one")]

use super::graph::{InlineGraph, Room};
use super::layout::{PageKind, SegmentHeader, offset, put_segment, segment};
use super::scan::{Index, Scan};
use super::tests::{EF_CONSTRUCTION, graph, l2, number, settings, shape, write};
use crate::hnsw::graph::GraphRead;
use crate::hnsw::scan::IterativeScan;
use crate::space::{ValueBuf, ValueKind};
use crate::storage::blocks::{BlockStore, LockMode, OperationLock};
use crate::storage::page::{Damage, Tid};
use crate::testing::hnsw::{random_vectors, row};
use crate::testing::{MemBlocks, MemChange, MemError};
use std::collections::BTreeSet;

/// A chain of short segments below a node, newest first, whose rows count down from `rows`.
struct Chain {
    blocks: MemBlocks,
    index: Index<'static, crate::space::Dense<f32>>,
    owner: Tid,
}

impl Chain {
    /// One node with 120 rows.
    fn new() -> Self {
        let dims = 8;
        let values: Vec<ValueBuf> = (0..120).map(|_| random_vectors(8, dims, 1)[0].clone()).collect();
        let built = graph(l2(dims), &values);
        let (mut blocks, index) = write(l2(dims), &shape(ValueKind::Vector, dims), &built, usize::MAX, 0);
        let owner = index.layout.tid(index.layout.ground.slots.id(1, 0).unwrap());
        // the build's own chain, of whatever segments, gives way to one of short ones
        let at = blocks.count().unwrap();
        blocks.add_zero_block();
        blocks.edit(at, |bytes| index.layout.chain.init(bytes, PageKind::Chain));
        let mut chain = Chain { blocks, index, owner };
        chain.set_first(Tid::INVALID);
        for number in 0..7 {
            let rows: Vec<Tid> = (0..16).map(|n| row(1 + number as usize * 16 + n)).collect();
            chain.put(number as usize, number, &rows);
        }
        chain
    }

    fn edit_record(&mut self, edit: impl FnOnce(&mut [u8])) {
        let start = self.index.layout.ground.slots.range(usize::from(self.owner.offset()) - 1).start;
        self.blocks.edit(self.owner.block(), |bytes| edit(&mut bytes[start..]));
    }

    fn set_first(&mut self, first: Tid) {
        self.edit_record(|bytes| bytes[14..20].copy_from_slice(zerocopy::IntoBytes::as_bytes(&first)));
    }

    fn first(&mut self) -> Tid {
        let mut first = Tid::INVALID;
        self.edit_record(|bytes| first = zerocopy::FromBytes::read_from_bytes(&bytes[14..20]).unwrap());
        first
    }

    fn block(&mut self) -> u32 {
        self.blocks.count().unwrap() - 1
    }

    /// Puts a segment in front.
    fn put(&mut self, slot: usize, number: u32, rows: &[Tid]) {
        let (first, block, slots) = (self.first(), self.block(), self.index.layout.chain);
        let owner = self.index.layout.ground_id(self.owner).unwrap();
        self.blocks.edit(block, |bytes| {
            let header = SegmentHeader::new(owner, number, first, rows.len() as u16, 1);
            slots.set_used(bytes, slot, true);
            put_segment(slots.get_mut(bytes, PageKind::Chain, slot).unwrap(), header, rows);
        });
        self.set_first(Tid::new(block, offset(slot)));
    }

    /// Takes a segment out of the chain and gives its place back.
    fn take(&mut self, slot: usize) {
        let (mut at, block, slots) = (self.first(), self.block(), self.index.layout.chain);
        let gone = Tid::new(block, offset(slot));
        let mut next = Tid::INVALID;
        self.blocks.edit(block, |bytes| {
            next = segment(slots.get(bytes, PageKind::Chain, slot).unwrap(), slot).unwrap().0.next;
            slots.set_used(bytes, slot, false);
        });
        if at == gone {
            return self.set_first(next);
        }
        loop {
            let slot = usize::from(at.offset()) - 1;
            let mut after = Tid::INVALID;
            self.blocks.edit(block, |bytes| {
                let start = slots.range(slot).start + 8;
                after = zerocopy::FromBytes::read_from_bytes(&bytes[start..start + 6]).unwrap();
                if after == gone {
                    bytes[start..start + 6].copy_from_slice(zerocopy::IntoBytes::as_bytes(&next));
                }
            });
            if after == gone {
                return;
            }
            at = after;
        }
    }

    fn scan(&self) -> Scanning {
        Scanning { scan: Scan::new(), blocks: self.blocks.share(), found: Vec::new() }
    }
}

struct Scanning {
    scan: Scan,
    blocks: MemBlocks,
    found: Vec<usize>,
}

impl Scanning {
    /// Takes so many rows more, fewer when it ends.
    fn step(
        &mut self,
        index: &Index<'static, crate::space::Dense<f32>>,
        count: usize,
    ) -> Result<(), crate::hnsw::scan::ScanError<MemError>> {
        let query = random_vectors(8, 8, 1);
        for _ in 0..count {
            // as many rows as the chain has, and more
            let settings = settings(100, IterativeScan::Off);
            let next = self.scan.next(&mut self.blocks, index, Some(query[0].bytes()), &settings)?;
            let Some((row, _)) = next else { break };
            self.found.push(number(row));
        }
        Ok(())
    }
}

/// Segments that are given back and used again under a scan, by the same node or another: rows that were there all the
/// time come, and none twice.
#[test]
fn segments_are_given_back_under_a_scan() {
    let stays: BTreeSet<usize> = (0..113).collect();
    let check = |mut scanning: Scanning, chain: &Chain, gone: &[std::ops::Range<usize>], twice: bool| {
        scanning.step(&chain.index, 1000).unwrap();
        let found: BTreeSet<usize> = scanning.found.iter().copied().collect();
        assert!(twice || found.len() == scanning.found.len(), "{:?}", scanning.found);
        let mut missing = stays.difference(&found).filter(|n| !gone.iter().any(|gone| gone.contains(n)));
        assert_eq!(missing.next(), None);
    };
    // nothing happens
    check(Chain::new().scan(), &Chain::new(), &[], false);
    // the next segment is given back: 6 and 5 have been read (97..113 and 81..97)
    let begun = |chain: &Chain| {
        let mut scanning = chain.scan();
        scanning.step(&chain.index, 1 + 32).unwrap();
        assert_eq!(scanning.found[1], 97);
        scanning
    };
    let fresh = |n: usize| (0..4).map(|at| row(1000 + n * 10 + at)).collect::<Vec<_>>();
    let mut chain = Chain::new();
    let scanning = begun(&chain);
    chain.take(4);
    check(scanning, &chain, &[65..81], false);
    // ... and is the first of the same node now
    let mut chain = Chain::new();
    let scanning = begun(&chain);
    chain.take(4);
    chain.put(4, 7, &fresh(1));
    check(scanning, &chain, &[65..81], false);
    // ... all that was read has gone, too, and numbers begin again from what is left
    let mut chain = Chain::new();
    let scanning = begun(&chain);
    [4, 6, 5].into_iter().for_each(|slot| chain.take(slot));
    [(6, 4), (5, 5), (4, 6)].into_iter().for_each(|(slot, number)| chain.put(slot, number, &fresh(slot)));
    check(scanning, &chain, &[65..81, 81..113], false);
    // the last ones have gone, and their places have others, in front
    let mut chain = Chain::new();
    let scanning = begun(&chain);
    [0, 1, 4].into_iter().for_each(|slot| chain.take(slot));
    [(1, 7), (4, 8), (0, 9)].into_iter().for_each(|(slot, number)| chain.put(slot, number, &fresh(slot)));
    check(scanning, &chain, &[1..33, 65..81], false);
    // another node has the place
    let mut chain = Chain::new();
    let scanning = begun(&chain);
    chain.take(4);
    let block = chain.block();
    chain.blocks.edit(block, |bytes| {
        let slots = Chain::new().index.layout.chain;
        let header = SegmentHeader::new(77, 9, Tid::INVALID, 4, 1);
        slots.set_used(bytes, 4, true);
        put_segment(slots.get_mut(bytes, PageKind::Chain, 4).unwrap(), header, &fresh(3));
    });
    check(scanning, &chain, &[65..81], false);
    // the node itself has gone, and its place has another
    let mut chain = Chain::new();
    let scanning = begun(&chain);
    (0..7).for_each(|slot| chain.take(slot));
    chain.edit_record(|bytes| bytes[2] += 1);
    let mut scanning = scanning;
    scanning.step(&chain.index, 1000).unwrap();
    assert_eq!(scanning.found.len(), 33);
}

/// A chain that goes round, or leads to what is no segment, is an error and not a scan without end.
#[test]
fn chains_of_damaged_indexes_end() {
    let mut chain = Chain::new();
    let (block, slots) = (chain.block(), chain.index.layout.chain);
    // the last leads to the first
    let first = chain.first();
    chain.blocks.edit(block, |bytes| {
        let start = slots.range(0).start + 8;
        bytes[start..start + 6].copy_from_slice(zerocopy::IntoBytes::as_bytes(&first));
    });
    let mut scanning = chain.scan();
    let failed = scanning.step(&chain.index, 1000);
    assert!(matches!(failed, Err(crate::hnsw::scan::ScanError::Store(MemError::Corrupt(_)))), "{failed:?}");
    assert_eq!(scanning.found.len(), 113);
    let mut room = Room::new();
    let mut index = InlineGraph::new(&mut chain.blocks, &chain.index, EF_CONSTRUCTION, &mut room);
    let member = index.member(chain.owner).unwrap().unwrap();
    let (mut part, mut rows) = (None, Vec::new());
    let failed = loop {
        match index.next_rows(&member, &mut part, &mut rows) {
            Ok(true) => assert!(rows.len() < 1000),
            Ok(false) => panic!("no error"),
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, MemError::Corrupt(corruption) if corruption.block == block));
}

/// Blocks on which something happens before the read of some number.
struct Between<'h> {
    inner: MemBlocks,
    left: usize,
    happens: &'h mut dyn FnMut(&mut MemBlocks),
}

impl BlockStore for Between<'_> {
    type Error = MemError;
    type Update<'a>
        = MemChange<'a>
    where
        Self: 'a;

    fn page_size(&self) -> usize {
        self.inner.page_size()
    }
    fn count(&mut self) -> Result<u32, MemError> {
        self.inner.count()
    }
    fn read<R>(&mut self, block: u32, look: impl FnOnce(&[u8]) -> Result<R, Damage>) -> Result<R, MemError> {
        if self.left == 1 {
            (self.happens)(&mut self.inner);
        }
        self.left = self.left.saturating_sub(1);
        self.inner.read(block, look)
    }
    fn update(&mut self) -> Result<MemChange<'_>, MemError> {
        self.inner.update()
    }
    fn lock(&mut self, lock: OperationLock, mode: LockMode) -> Result<(), MemError> {
        self.inner.lock(lock, mode)
    }
    fn unlock(&mut self, lock: OperationLock, mode: LockMode) {
        self.inner.unlock(lock, mode);
    }
}

/// An element that goes between the reads of its record and of its value, as before a pass over the pages or a scan on
/// a standby: the others come, and it is no error. A value that is gone while the record stands is one.
#[test]
fn elements_may_go_while_they_are_read() {
    // values apart, and over two pages
    for dims in [800, 2300] {
        let values = random_vectors(4, dims, 24);
        let built = graph(l2(dims), &values);
        let (whole, index) = write(l2(dims), &shape(ValueKind::Vector, dims), &built, usize::MAX, 0);
        let records = index.layout.ground;
        assert!(records.rest > 0);
        let (block, slot) = records.slots.place(records.slots.id(1, 0).unwrap() + 5);
        let (mut failed, mut ended) = (0, 0);
        for stands in [false, true] {
            for at in 1.. {
                let (mut rest, mut gone, mut happened) = (Tid::INVALID, 0, false);
                let mut happens = |blocks: &mut MemBlocks| {
                    happened = true;
                    blocks.edit(block, |bytes| {
                        let record = &mut bytes[records.slots.range(slot)];
                        rest = zerocopy::FromBytes::read_from_bytes(&record[28..34]).unwrap();
                        gone = number(zerocopy::FromBytes::read_from_bytes(&record[8..14]).unwrap());
                        if !stands {
                            (record[0], record[2]) = (0, record[2] + 1);
                        }
                    });
                    blocks.edit(rest.block(), |bytes| {
                        bytes[records.rest_slots.range(usize::from(rest.offset()) - 1)].fill(0);
                    });
                };
                let mut blocks = Between { inner: whole.copy(), left: at, happens: &mut happens };
                let (mut scan, mut found) = (Scan::new(), BTreeSet::new());
                let settings = settings(4, IterativeScan::Relaxed);
                let error = loop {
                    match scan.next(&mut blocks, &index, Some(values[0].bytes()), &settings) {
                        Ok(Some((row, _))) => assert!(found.insert(number(row))),
                        Ok(None) => break None,
                        Err(error) => break Some(error),
                    }
                };
                blocks.inner.end_transaction();
                drop(blocks);
                if !happened {
                    break;
                }
                failed += usize::from(error.is_some());
                assert!(stands || error.is_none(), "{dims}: {error:?} at read {at}");
                found.remove(&gone);
                ended += usize::from(error.is_none());
                assert!(error.is_some() || found.len() == values.len() - 1, "{dims}: {found:?} at read {at}");
            }
        }
        // of a value in pieces the beginning, which says what it is, stands with the record
        assert_eq!(failed > 0, records.is_value_apart(), "{dims}: {failed}, {ended}");
        assert!(ended > failed);
    }
}
