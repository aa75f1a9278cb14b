//! Indexes with values of INCLUDE columns.

use super::*;
use crate::included;
use crate::ivf::centre_cache::Centres;
use crate::ivf::format::{begin_included, info, packed_lists, read_meta};
use crate::ivf::lists::Services;
use crate::ivf::packed::found::Candidate;
use crate::ivf::packed::returned::Look;
use crate::ivf::scan::Scan;

fn values_of(row: Tid) -> Vec<u8> {
    let size = 16 + usize::from(row.offset() % 4) * 8 + row.block() as usize % 5 * 16;
    let mut values = vec![row.block() as u8; size];
    values[..6].copy_from_slice(zerocopy::IntoBytes::as_bytes(&row));
    values[6..8].copy_from_slice(&(size as u16).to_ne_bytes());
    values
}

/// Runs `body` with the lists of an index.
fn with<R>(blocks: &mut MemBlocks, body: impl FnOnce(&mut Lists<'_, MemBlocks>) -> R) -> R {
    let mut memory = Memory::default();
    let layout = read_meta(blocks).unwrap().layout;
    body(&mut packed_lists(layout, blocks, &mut memory).unwrap())
}

fn add_values(blocks: &mut MemBlocks, row: Tid) {
    with(blocks, |lists| lists.add_included(&values_of(row))).unwrap();
}

/// Rows with their values.
fn sound(dims: usize, count: usize) -> (MemBlocks, Vec<Vec<f32>>) {
    let (middles, rows) = blobs(4, count, dims, 6);
    let mut blocks = build(l2(dims), &middles, &rows, usize::MAX, &mut Nothing);
    assert!(!read_meta(&mut blocks).unwrap().layout.has_included());
    assert!(with(&mut blocks, |lists| lists.add_included(&values_of(Tid::new(0, 1)))).is_err());
    begin_included(&mut blocks).unwrap();
    assert!(read_meta(&mut blocks).unwrap().layout.has_included());
    let faults = violations(&mut blocks, l2(dims));
    assert!(
        matches!(&faults[..], [one] if one.contains(&format!("has no included values, and so have {} others", count - 1))),
        "{faults:?}"
    );
    for n in 0..count as u32 {
        add_values(&mut blocks, Tid::new(n, 1));
    }
    assert_eq!(violations(&mut blocks, l2(dims)), Vec::<String>::new());
    (blocks, rows)
}

/// Where a scan has found each row, nearest first.
fn candidates(blocks: &mut MemBlocks, dims: usize, query: Option<&[u8]>) -> Vec<Candidate> {
    with(blocks, |lists| {
        let (mut scan, mut runs, mut unpack) = (Scan::default(), Nothing, Nothing);
        let mut services = Services { runs: &mut runs, unpack: &mut unpack, table: &mut NoTable };
        scan.begin(lists, l2(dims), query, &all(4), &mut Centres::default()).unwrap();
        assert_eq!(scan.returned(), None);
        let mut found = Vec::new();
        while let Some(row) = scan.next(lists, l2(dims), query, &all(4), &mut services).unwrap() {
            let candidate = scan.returned().unwrap();
            assert_eq!(candidate.row, row);
            found.push(candidate);
        }
        scan.reset(&mut Nothing);
        assert_eq!(scan.returned(), None);
        found
    })
}

fn look(blocks: &mut MemBlocks, dims: usize, candidate: &Candidate) -> (Look, Vec<u8>, Vec<u8>) {
    let (mut values, mut vector) = (ValueBuf::new(), ValueBuf::new());
    let look = with(blocks, |lists| {
        let leaf = lists.leaf_of(candidate.row).unwrap();
        lists.read_returned(l2(dims), candidate, None, leaf, &mut values, &mut vector).unwrap()
    });
    (look, values.bytes().to_vec(), vector.bytes().to_vec())
}

/// Every row comes with its own values, from records on one page and on several, whatever the query.
#[test]
fn rows_have_their_values() {
    for (dims, count) in [(3, 900), (100, 600), (1900, 60), (4100, 24)] {
        let (mut blocks, rows) = sound(dims, count);
        let query = value_of(&rows[7]);
        for query in [Some(query.bytes()), None] {
            let found = candidates(&mut blocks, dims, query);
            assert_eq!(found.len(), count);
            for candidate in &found {
                let (look, values, vector) = look(&mut blocks, dims, candidate);
                assert_eq!(look, Look::Here);
                assert_eq!(values, values_of(candidate.row));
                assert_eq!(vector, value_of(&rows[candidate.row.block() as usize]).bytes());
            }
        }
        let info = info(&mut blocks).unwrap();
        let pages = info.pages.included.unwrap();
        assert!(pages > if count > 500 { 3 } else { 0 }, "{pages}");
        assert_eq!(info.pages.unused, 0);
    }
}

/// A row that a vacuum removes after the scan has found it is gone, whether another has got its TID or its place since,
/// and a vacuum that ends between the two passes leaves nothing that anybody meets.
#[test]
fn removed_rows_are_not_returned() {
    for dims in [100, 4100] {
        let (mut blocks, rows) = sound(dims, 24);
        let query = value_of(&rows[0]);
        let found = candidates(&mut blocks, dims, Some(query.bytes()));
        let is_dead = |row: Tid| row.block().is_multiple_of(3);
        vacuum(&mut blocks, &mut |row| is_dead(row)).unwrap();
        // their values are there yet, and so is what their entries led to
        assert_eq!(violations(&mut blocks, l2(dims)), Vec::<String>::new());
        let removed = with(&mut blocks, |lists| {
            lists.remove_included(&mut Vec::new(), &mut |row| row.block().is_multiple_of(3)).unwrap()
        });
        assert_eq!(removed, 8);
        assert_eq!(violations(&mut blocks, l2(dims)), Vec::<String>::new());
        for candidate in &found {
            let expected = if is_dead(candidate.row) { Look::Gone } else { Look::Here };
            assert_eq!(look(&mut blocks, dims, candidate).0, expected);
        }
        // others in their places, and one of the same TID, of which the values come first
        let again = Tid::new(3, 1);
        add_values(&mut blocks, again);
        let before = found.iter().find(|candidate| candidate.row == again).unwrap();
        assert!(matches!(look(&mut blocks, dims, before).0, Look::Here | Look::Gone));
        let mut memory = Memory::default();
        for n in 0..8 {
            let row = Tid::new(1000 + n, 1);
            add_values(&mut blocks, row);
            add(&mut blocks, l2(dims), value_of(&rows[n as usize]).bytes(), row, &mut memory).unwrap();
        }
        add(&mut blocks, l2(dims), value_of(&rows[5]).bytes(), again, &mut memory).unwrap();
        assert_eq!(violations(&mut blocks, l2(dims)), Vec::<String>::new());
        for candidate in found.iter().filter(|candidate| is_dead(candidate.row) && candidate.row != again) {
            assert_eq!(look(&mut blocks, dims, candidate).0, Look::Gone);
        }
        for candidate in candidates(&mut blocks, dims, None) {
            let (look, values, _) = look(&mut blocks, dims, &candidate);
            assert_eq!((look, values), (Look::Here, values_of(candidate.row)));
        }
    }
}

/// A leaf that was divided after it was found, the only one among them, is to be found again.
#[test]
fn a_leaf_that_is_divided_is_found_again() {
    let (mut blocks, rows) = sound(3, 20);
    let query = value_of(&rows[0]);
    for more in [400u32, 3000] {
        let found = candidates(&mut blocks, 3, Some(query.bytes()));
        let last = found.iter().max_by_key(|candidate| candidate.row.packed()).unwrap();
        let leaf = with(&mut blocks, |lists| lists.leaf_of(last.row)).unwrap();
        // between those that are there, so that the last ones move
        for n in 0..more {
            add_values(&mut blocks, Tid::new(5, n as u16 + 2));
        }
        let (mut values, mut vector) = (ValueBuf::new(), ValueBuf::new());
        let look_there = with(&mut blocks, |lists| {
            lists.read_returned(l2(3), last, None, leaf, &mut values, &mut vector).unwrap()
        });
        assert_eq!(look_there, Look::Again);
        assert_eq!(look(&mut blocks, 3, last).0, Look::Here);
    }
}

/// Damage is told, by scans and by checks.
#[test]
fn rows_without_values_and_lost_pages_are_told() {
    let (blocks, rows) = sound(20, 300);
    let root = opened(&mut blocks.copy()).unwrap().included;
    let mut copy = blocks.copy();
    let gone = Tid::new(7, 1);
    let mut is_gone = |row: Tid| row == gone;
    included::remove(&mut copy, PageKind::INCLUDED, root, &mut Vec::new(), &mut is_gone).unwrap();
    let faults = violations(&mut copy, l2(20));
    let expected = format!("row {gone} of the table has no included values");
    assert!(matches!(&faults[..], [one] if one.ends_with(&expected)), "{faults:?}");
    let query = value_of(&rows[7]);
    let found = candidates(&mut copy, 20, Some(query.bytes()));
    assert_eq!(found[0].row, gone);
    assert_eq!(look(&mut copy, 20, &found[0]).0, Look::Again);
    // a place without the value
    let mut copy = blocks.copy();
    let block = found[0].place.block();
    copy.edit(block, |bytes| bytes[usize::from(found[0].place.offset()) * 8] ^= 64);
    let (mut values, mut vector) = (ValueBuf::new(), ValueBuf::new());
    let read = with(&mut copy, |lists| {
        let leaf = lists.leaf_of(gone).unwrap();
        lists.read_returned(l2(20), &found[0], None, leaf, &mut values, &mut vector)
    });
    // which it is again and again
    assert_eq!(read.unwrap(), Look::Again);
    let mut copy = blocks.copy();
    included::add_root(&mut copy, PageKind::INCLUDED).unwrap();
    let faults = violations(&mut copy, l2(20));
    assert!(
        matches!(&faults[..], [one] if one.ends_with("included values that scans do not come to")),
        "{faults:?}"
    );
    // a tree in a block of another kind
    let mut copy = blocks.copy();
    copy.edit(root, |bytes| bytes[24] = 9);
    assert!(violations(&mut copy, l2(20)).iter().any(|fault| fault.contains("page of another kind")));
    assert!(info(&mut copy).is_err());
    // a tree beside values that the table has
    let mut copy = blocks.copy();
    copy.edit(0, |bytes| bytes[24 + 18] = 1);
    assert!(read_meta(&mut copy).is_err());
}

/// Each operation on blocks of an insert fails once: what is there is sound, and the row comes with its values or not
/// at all.
#[test]
fn interrupted_inserts_leave_rows_with_their_values() {
    let (mut blocks, rows) = sound(100, 40);
    let mut memory = Memory::default();
    for n in 0..30u32 {
        let row = Tid::new(500 + n, 2);
        let mut step = 1;
        loop {
            let layout = read_meta(&mut blocks).unwrap().layout;
            blocks.fail_at(step);
            let mut lists = packed_lists(layout, &mut blocks, &mut memory).unwrap();
            let added = lists.add_included(&values_of(row)).is_ok();
            let value = value_of(&rows[n as usize]);
            let done = added && add(&mut blocks, l2(100), value.bytes(), row, &mut memory).is_ok();
            blocks.fail_never();
            if n % 10 == 0 {
                assert_eq!(violations(&mut blocks, l2(100)), Vec::<String>::new());
            }
            if done {
                break;
            }
            // its transaction is rolled back, and a vacuum comes by
            let mut is_dead = |dead: Tid| dead == row;
            vacuum(&mut blocks, &mut is_dead).unwrap();
            with(&mut blocks, |lists| lists.remove_included(&mut Vec::new(), &mut is_dead)).unwrap();
            step += 1;
        }
        assert!(step > 3);
    }
    assert_eq!(violations(&mut blocks, l2(100)), Vec::<String>::new());
}

/// Flipped bits of values, of their tree and of the meta page are damage, or another value, and never a panic.
#[test]
fn damage_is_survived() {
    let (mut blocks, rows) = sound(20, 300);
    let query = value_of(&rows[0]);
    let found = candidates(&mut blocks, 20, Some(query.bytes()));
    let root = opened(&mut blocks).unwrap().included;
    let count = blocks.count().unwrap();
    let mut rng = SmallRng::seed_from_u64(8);
    let mut told = 0;
    for n in 0..300 {
        let mut copy = blocks.copy();
        let block = if n % 10 == 0 { 0 } else { rng.random_range(root..count) };
        let at = rng.random_range(0..PAGE_SIZE);
        // most of what decides is in front
        let at = if n % 3 > 0 { at % 120 } else { at };
        copy.edit(block, |bytes| bytes[at] ^= 1 << rng.random_range(0..8));
        let Ok(meta) = read_meta(&mut copy) else { continue };
        let mut memory = Memory::default();
        let Some(mut lists) = packed_lists(meta.layout, &mut copy, &mut memory) else { continue };
        let (mut values, mut vector) = (ValueBuf::new(), ValueBuf::new());
        for candidate in found.iter().step_by(17) {
            let leaf = lists.leaf_of(candidate.row);
            let read = leaf.and_then(|leaf| {
                lists.read_returned(l2(20), candidate, None, leaf, &mut values, &mut vector)
            });
            told += u32::from(!matches!(read, Ok(Look::Here)));
        }
        let _ = lists.add_included(&values_of(Tid::new(77, 9)));
        let _ = lists.remove_included(&mut Vec::new(), &mut |row| row.block().is_multiple_of(3));
        let _ = info(&mut copy);
        let mut tally = crate::ivf::tally::Tally::default();
        if let Some(mut lists) = packed_lists(meta.layout, &mut copy, &mut memory) {
            let _ = crate::ivf::check::check(&mut lists, l2(20), true, &mut Nothing, &mut tally);
        }
    }
    assert!(told > 100, "{told}");
}
