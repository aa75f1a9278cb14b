//! Scans under conditions that are asked for more rows than their first search found, where many rows match.

use super::*;

/// The rows behind those of the first search come of a search for more, not of the run; they are the nearest but few,
/// and none comes twice. All the others come at last.
#[test]
fn more_rows_come_of_a_wider_search() {
    let (dims, count, asked) = (8, 20_000, 60);
    let lines = lines(ValueKind::Vector, dims, count);
    let space = l2_of_items(dims);
    let (mut blocks, index) = indexed(space, ValueKind::Vector, dims, &lines);
    let matching: BTreeSet<usize> = (0..count).filter(|&n| lines[n].keys[0] < of_integer(500)).collect();
    for iterative in [IterativeScan::Off, IterativeScan::Relaxed] {
        let (settings, mut right) = (settings(10, iterative), 0);
        for elements in clustered(3, dims, 10, 5) {
            let query = query(ValueKind::Vector, &elements);
            let mut scan = Scan::new();
            below(&mut scan, 500);
            let mut found = BTreeSet::new();
            let mut next = |scan: &mut Scan| {
                let row = scan.next(&mut blocks, &index, Some(query.bytes()), &settings).unwrap();
                assert!(row.is_none_or(|(row, _)| found.insert(number(row))), "a row twice");
                row
            };
            let mut distances: Vec<f64> = (0..asked).map(|_| next(&mut scan).unwrap().1).collect();
            assert!(scan.passed.is_none(), "by the run");
            while next(&mut scan).is_some() {}
            assert!(scan.passed.is_some());
            assert_eq!(found, matching);
            let view = space.view(query.bytes()).unwrap();
            let exact = |row: &usize| space.exact(view, space.view(lines[*row].item.bytes()).unwrap());
            let mut all: Vec<f64> = matching.iter().map(exact).collect();
            all.sort_by(f64::total_cmp);
            distances.sort_by(f64::total_cmp);
            right += distances.iter().filter(|&&distance| distance <= all[asked - 1]).count();
        }
        assert!(right > asked * 9, "{right}");
    }
}

/// Where a run is short, rows come of it as before; and where the query is NULL, of which no search is nearer to
/// anything.
#[test]
fn no_wider_search_where_a_run_is_shorter() {
    let lines = lines(ValueKind::Vector, 8, 3000);
    let (mut blocks, index) = indexed(l2_of_items(8), ValueKind::Vector, 8, &lines);
    let query = query(ValueKind::Vector, &[0.1; 8]);
    let settings = settings(40, IterativeScan::Off);
    for (query, most) in [(Some(query.bytes()), 30), (None, 500)] {
        let mut scan = Scan::new();
        below(&mut scan, most);
        let mut rows = 0;
        while scan.next(&mut blocks, &index, query, &settings).unwrap().is_some() {
            rows += 1;
        }
        assert!(scan.passed.is_some() && scan.walk.given.is_empty(), "{most}");
        assert_eq!(rows, 3 * most as usize);
    }
}
