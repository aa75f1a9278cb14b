#![cfg(test)]

use super::super::tests::{clustered, index, l2, shape, value};
use super::InlineCensus;
use crate::hnsw::census::Tally;
use crate::hnsw::check::{Subject, check};
use crate::quant::space::Cosine;
use crate::space::{AnySpace, Metric, ValueBuf, ValueKind};
use crate::storage::blocks::BlockStore;
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
        .map(|n| values[if n < 90 { n % 30 } else if n < 500 { 30 + n % 20 } else { 60 }].clone())
        .collect();
    let mut blocks = index(l2(40), &shape(Vector, 40), &rows).0;
    let tally = healthy(&mut blocks, AnySpace::Vector(l2(40)));
    assert_eq!((tally.live, tally.rows()), (51, 6_500));
    assert!(blocks.count().unwrap() > 10);
}
