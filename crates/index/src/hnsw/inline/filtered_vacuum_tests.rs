//! Scans with conditions beside vacuums and inserts that did not come to their end.

use super::*;

/// Those nearest to the query lose their rows, and the vacuum that found them ends before their entries go: scans pass
/// over them, however many they are.
#[test]
fn scans_pass_over_what_a_vacuum_has_not_taken_away_yet() {
    let count = 1000;
    let lines = lines(ValueKind::Vector, 12, count);
    let space = l2_of_items(12);
    let query = query(ValueKind::Vector, &clustered(3, 12, 1, 5)[0]);
    let graph = crate::hnsw::format::Graph { space, m: M, ef_construction: EF_CONSTRUCTION };
    for condition in [|scan: &mut Scan| below(scan, 900), |scan: &mut Scan| below(scan, 400)] {
        let (mut blocks, index) = indexed(space, ValueKind::Vector, 12, &lines);
        let settings = settings(40, IterativeScan::Off);
        let rows = drain(&mut blocks, &index, Some(query.bytes()), &settings, condition);
        let gone: BTreeSet<usize> =
            rows.iter().take(rows.len() * 3 / 5).map(|(row, _)| number(*row)).collect();
        // the rows are gone, nothing else is
        blocks.stop_at(1);
        let stopped = vacuum(&mut blocks).run(&mut blocks, &graph, &mut |row| gone.contains(&number(row)));
        assert!(stopped.is_err());
        blocks.fail_never();
        blocks.end_transaction();
        let left = drain(&mut blocks, &index, Some(query.bytes()), &settings, condition);
        let numbers: BTreeSet<usize> = left.iter().map(|(row, _)| number(*row)).collect();
        let expected: BTreeSet<usize> = rows.iter().map(|(row, _)| number(*row)).collect();
        assert!(numbers.len() == left.len() && !gone.is_empty());
        assert_eq!(numbers, expected.difference(&gone).copied().collect());
    }
}

/// An insert that ends between record and entry leaves an element that nothing leads to. A vacuum that fastens it
/// writes its entry, once.
#[test]
fn a_vacuum_makes_whole_what_an_insert_has_left() {
    let lines = lines(ValueKind::Vector, 12, 200);
    let space = l2_of_items(12);
    let graph = crate::hnsw::format::Graph { space, m: M, ef_construction: EF_CONSTRUCTION };
    let any = AnySpace::new(ValueKind::Vector, Metric::L2, 12).of_items(SIZE);
    let query = query(ValueKind::Vector, &[0.1; 12]);
    // (steps of the insert that are done before it ends; the second time the entry is there)
    for steps in 1..12 {
        let (mut blocks, index) = indexed(space, ValueKind::Vector, 12, &lines[..150]);
        let mut rng = SmallRng::seed_from_u64(5);
        let item = lines[150].item.bytes();
        blocks.stop_at(steps);
        let mut room = workspace(&mut blocks);
        let inserted = crate::hnsw::format::insert(&mut blocks, &graph, &mut room, item, row(150), &mut rng);
        blocks.fail_never();
        blocks.end_transaction();
        if inserted.is_ok() {
            break;
        }
        // the row is none of its dead ones; repairs meet the element
        let mut clean = vacuum(&mut blocks);
        clean.run(&mut blocks, &graph, &mut |row| number(row) < 60).unwrap();
        healthy(&mut blocks, any);
        // the row comes again, into the same element where there is one
        let mut room = workspace(&mut blocks);
        crate::hnsw::format::insert(&mut blocks, &graph, &mut room, item, row(151), &mut rng).unwrap();
        healthy(&mut blocks, any);
        let found =
            drain(&mut blocks, &index, Some(query.bytes()), &settings(40, IterativeScan::Off), |scan| {
                below(scan, 1000)
            });
        let numbers: Vec<usize> = found.iter().map(|(row, _)| number(*row)).collect();
        assert_eq!(numbers.iter().filter(|&&n| n == 151).count(), 1, "{steps}");
        assert!((60..150).all(|n| numbers.contains(&n)), "{steps}");
    }
}
