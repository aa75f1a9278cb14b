//! Values of the rows that a scan has returned.

use super::*;
use crate::hnsw::scan::ScanSettings;

const SETTINGS: ScanSettings = ScanSettings {
    ef_search: 40,
    iterative: IterativeScan::Relaxed,
    max_tuples: u64::MAX,
    max_memory: usize::MAX,
};

/// Every row comes with its own value, from records of every shape, be it the first of its node or one of a segment;
/// the place that a scan is told is the page that a vacuum then changes.
#[test]
fn rows_have_their_values() {
    for (kind, metric, dims, count) in SHAPES {
        let space = AnySpace::new(kind, metric, dims as i32);
        with_space!(space, own => {
            let (mut blocks, index) = index(own, &shape(kind, dims), &[]);
            let different = values_of(kind, 1, dims, count);
            // the first value has forty rows more: one in the record, others in two kinds of segments
            let equal = std::iter::repeat_n(different[0].clone(), 40);
            let values: Vec<ValueBuf> = different.iter().cloned().chain(equal).collect();
            insert_rows(&mut blocks, &index, 0, &values).unwrap();
            let (mut scan, mut value, mut seen, mut places) = (Scan::new(), ValueBuf::new(), 0, Vec::new());
            assert_eq!(scan.place_of_returned(&index.layout), None);
            assert!(!scan.read_returned(&mut blocks, &index.layout, &mut value).unwrap());
            while let Some((tid, _)) = scan.next(&mut blocks, &index, Some(values[0].bytes()), &SETTINGS).unwrap() {
                let number = super::super::tests::number(tid);
                assert!(scan.read_returned(&mut blocks, &index.layout, &mut value).unwrap(), "{kind:?} {dims}");
                assert_eq!(value.bytes(), values[number].bytes(), "{kind:?} {dims}: row {number}");
                let block = scan.place_of_returned(&index.layout).unwrap();
                places.push(blocks.read(block, page_kind).unwrap());
                seen += 1;
            }
            assert_eq!(seen, values.len(), "{kind:?} {dims}");
            for kind in [PageKind::Ground, PageKind::Chain, PageKind::LongChain] {
                assert!(places.contains(&Some(kind)), "{dims}: {kind:?}");
            }
        });
    }
}

/// A row that a vacuum removes after the scan has read its place is not there any more, whether another has come to its
/// node or not.
#[test]
fn removed_rows_are_not_returned() {
    let dims = 5;
    let (mut blocks, index) = index(l2(dims), &shape(ValueKind::Vector, dims), &[]);
    let values: Vec<ValueBuf> = std::iter::repeat_n(random_vectors(3, dims, 1)[0].clone(), 40).collect();
    insert_rows(&mut blocks, &index, 0, &values).unwrap();
    let (mut scan, mut value) = (Scan::new(), ValueBuf::new());
    let mut removed = Vec::new();
    while let Some((tid, _)) = scan.next(&mut blocks, &index, Some(values[0].bytes()), &SETTINGS).unwrap() {
        let number = super::super::tests::number(tid);
        assert!(scan.read_returned(&mut blocks, &index.layout, &mut value).unwrap(), "{number}");
        if number.is_multiple_of(4) {
            vacuum(&mut blocks, &index, |row| row == tid).unwrap();
            assert!(!scan.read_returned(&mut blocks, &index.layout, &mut value).unwrap(), "{number}");
            insert_rows(&mut blocks, &index, 1000 + number, &values[..1]).unwrap();
            assert!(!scan.read_returned(&mut blocks, &index.layout, &mut value).unwrap(), "{number}");
            removed.push(number);
        }
    }
    assert_eq!(removed.len(), 10, "{removed:?}");
}
