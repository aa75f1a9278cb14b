//! Scans with conditions that take runs of entries.

use super::*;

/// With runs of the second column, too, a scan takes those of the column whose conditions leave less; whichever it is,
/// the same rows come.
#[test]
fn runs_of_the_column_that_leaves_the_fewest() {
    let (dims, count) = (8, 3000);
    let values = clustered(5, dims, count, 5);
    let keys = |n: usize| [of_integer(n as i64), of_hash(n as u64 / 20)];
    let mut reads = Vec::new();
    for runs in [1, 2] {
        let packings = packings().with_runs(runs);
        let item = |n: usize| {
            let mut item = ValueBuf::new();
            packings.put_item(value(ValueKind::Vector, &values[n]).bytes(), &keys(n), &mut item).unwrap();
            item
        };
        let items: Vec<ValueBuf> = (0..count).map(item).collect();
        let shape = Shape { filters: packings, ..shape(ValueKind::Vector, dims) };
        let (mut blocks, index) = index(l2_of_items(dims), &shape, &items);
        let meta = read_meta(&mut blocks).unwrap();
        assert_eq!(meta.roots.iter().filter(|&&root| root != INVALID_BLOCK).count(), runs);
        let leaves = |blocks: &mut MemBlocks, second: (u64, u64)| {
            let mut scan = Scan::new();
            scan.filter().add(0, Kind::Exact, Operator::Greater, Some(of_integer(5))).unwrap();
            scan.filter().add(1, Kind::Exact, Operator::GreaterEqual, Some(second.0)).unwrap();
            scan.filter().add(1, Kind::Exact, Operator::LessEqual, Some(second.1)).unwrap();
            let before = blocks.counts().reads;
            let mut found = BTreeSet::new();
            let query = query(ValueKind::Vector, &values[0]);
            let settings = settings(10, IterativeScan::Off);
            while let Some((row, _)) = scan.next(blocks, &index, Some(query.bytes()), &settings).unwrap() {
                assert!(found.insert(number(row)));
            }
            let matches =
                |n: &usize| keys(*n)[0] > of_integer(5) && (second.0..=second.1).contains(&keys(*n)[1]);
            assert_eq!(found, (0..count).filter(matches).collect());
            blocks.counts().reads - before
        };
        // twenty rows of the second column; all of them
        let (few, all) = (leaves(&mut blocks, (70, 70)), leaves(&mut blocks, (0, LAST)));
        assert!(few < all);
        reads.push(few);
    }
    // a leaf instead of all those of the first column
    assert!(reads[1] + 5 < reads[0], "{reads:?}");
}

/// Some keys at once, of which some are not there, and none twice.
#[test]
fn runs_of_several_keys() {
    let lines = lines(ValueKind::Vector, 4, 1000);
    let (mut blocks, index) = indexed(l2_of_items(4), ValueKind::Vector, 4, &lines);
    let query = query(ValueKind::Vector, &[0.1; 4]);
    let settings = settings(10, IterativeScan::Off);
    let asked = [7, 8, 9, 30, -30, 400, 401, 999, 5000];
    let mut scan = Scan::new();
    let mut keys = asked.map(of_integer);
    scan.filter().add_any(0, Kind::Exact, Operator::Equal, &mut keys).unwrap();
    scan.filter().add(0, Kind::Exact, Operator::Less, Some(of_integer(401))).unwrap();
    let mut found = BTreeSet::new();
    while let Some((row, _)) = scan.next(&mut blocks, &index, Some(query.bytes()), &settings).unwrap() {
        assert!(found.insert(number(row)));
    }
    let matches = |n: &usize| asked.iter().any(|&key| key < 401 && of_integer(key) == lines[*n].keys[0]);
    assert_eq!(found, (0..1000).filter(matches).collect());
    assert_eq!(found.len(), 5);
}

/// Elements of one vector with other keys do not fill the lists of all that they are near to.
#[test]
fn equal_vectors_with_other_keys_leave_room_for_others() {
    let (dims, count, k) = (32, 3000, 10);
    let values = clustered(7, dims, count, 20);
    let own = |n: usize| if n % 10 < 3 { &values[n % 3] } else { &values[n] };
    let item = |n: usize| {
        let (mut item, keys) = (ValueBuf::new(), [of_integer(n as i64), NULL]);
        packings().put_item(value(ValueKind::Vector, own(n)).bytes(), &keys, &mut item).unwrap();
        item
    };
    let items: Vec<ValueBuf> = (0..count).map(item).collect();
    let space = l2_of_items(dims);
    let shape = Shape { filters: packings(), ..shape(ValueKind::Vector, dims) };
    let (mut blocks, index) = index(space, &shape, &items);
    let mut found = 0;
    let asked: Vec<usize> = (0..count).filter(|n| n % 10 == 5).step_by(7).collect();
    for &n in &asked {
        let query = query(ValueKind::Vector, own(n));
        let view = space.view(query.bytes()).unwrap();
        let mut exact: Vec<f64> =
            items.iter().map(|item| space.exact(view, space.view(item.bytes()).unwrap())).collect();
        exact.sort_by(f64::total_cmp);
        let settings = settings(40, IterativeScan::Off);
        let rows = search(&mut blocks, &index, Some(query.bytes()), &settings);
        found += rows.iter().take(k).filter(|(_, distance)| *distance <= exact[k - 1]).count();
    }
    let recall = found as f64 / (k * asked.len()) as f64;
    assert!(recall > 0.9, "{recall}");
}
