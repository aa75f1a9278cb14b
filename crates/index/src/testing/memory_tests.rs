#![cfg(test)]

use super::*;
use crate::storage::page::{Cause, PageMut};

const ID: u16 = 0xff90;

/// Adds a block with one item of `byte`s.
fn add_page(blocks: &mut MemBlocks, byte: u8) -> u32 {
    let mut change = blocks.update().unwrap();
    let slot = change.extend().unwrap();
    let block = change.block(slot);
    let mut page = PageMut::init(change.bytes_mut(slot).unwrap(), ID);
    page.append(&[byte; 16]);
    change.commit().unwrap();
    block
}

/// A meta page and two pages of items.
fn three_blocks() -> MemBlocks {
    let mut blocks = MemBlocks::new(ID);
    for byte in 0..3 {
        add_page(&mut blocks, byte);
    }
    blocks
}

/// The first byte of the only item.
fn byte_of(blocks: &mut MemBlocks, block: u32) -> u8 {
    blocks.read(block, |bytes| Ok(bytes[8184 - 16])).unwrap()
}

#[test]
fn changes_are_seen_when_committed_and_undone_when_dropped() {
    let mut blocks = three_blocks();
    let mut change = blocks.update().unwrap();
    let slot = change.open(1).unwrap();
    change.bytes_mut(slot).unwrap()[8184 - 16] = 9;
    drop(change);
    assert_eq!(byte_of(&mut blocks, 1), 1);
    let mut change = blocks.update().unwrap();
    let slots = [change.open(1).unwrap(), change.open(2).unwrap()];
    for slot in slots {
        change.bytes_mut(slot).unwrap()[8184 - 16] = 9;
    }
    change.commit().unwrap();
    assert_eq!((byte_of(&mut blocks, 1), byte_of(&mut blocks, 2)), (9, 9));
    let counts = blocks.counts();
    assert_eq!((counts.changes, counts.dropped, counts.pages, counts.extended), (4, 1, 5, 3));
}

#[test]
fn an_extension_outlives_its_change() {
    let mut blocks = three_blocks();
    let mut change = blocks.update().unwrap();
    change.extend().unwrap();
    drop(change);
    assert_eq!(blocks.count(), Ok(4));
    assert!(blocks.read(3, |bytes| Ok(verify::is_zero(bytes))).unwrap());
}

#[test]
fn recovery_finds_what_was_committed_up_to_any_point() {
    let mut blocks = three_blocks();
    blocks.record();
    for byte in 10..13 {
        let mut change = blocks.update().unwrap();
        let slot = change.open(1).unwrap();
        change.bytes_mut(slot).unwrap()[8184 - 16] = byte;
        change.commit().unwrap();
    }
    add_page(&mut blocks, 7);
    assert_eq!(blocks.recorded(), 4);
    for (changes, expected) in [(0, (1, 3)), (1, (10, 3)), (3, (12, 3)), (4, (12, 4))] {
        let mut then = blocks.after(changes);
        assert_eq!((byte_of(&mut then, 1), then.count().unwrap()), expected);
    }
}

#[test]
fn failures_come_when_asked_for() {
    let mut blocks = three_blocks();
    blocks.fail_at(2);
    assert_eq!(blocks.count(), Ok(3));
    assert_eq!(blocks.count(), Err(MemError::Injected));
    assert_eq!(blocks.count(), Ok(3));
    let mut other = blocks.share();
    blocks.crash_at(2);
    assert_eq!((other.count(), blocks.count()), (Ok(3), Err(MemError::Injected)));
    assert_eq!(other.count(), Err(MemError::Injected));
    assert_eq!(other.copy().count(), Ok(3));
}

#[test]
fn gates_are_released_at_the_end_of_a_transaction() {
    let blocks = three_blocks();
    let mut other = blocks.share();
    other.lock(OperationLock::Update, LockMode::Exclusive).unwrap();
    assert!(other.holds(OperationLock::Update, LockMode::Exclusive));
    drop(other);
    let mut again = blocks.share();
    again.lock(OperationLock::Update, LockMode::Exclusive).unwrap();
    again.unlock(OperationLock::Update, LockMode::Exclusive);
}

#[test]
fn changes_of_two_threads_do_not_mix() {
    let blocks = three_blocks();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let mut mine = blocks.share();
            scope.spawn(move || {
                for _ in 0..100 {
                    let mut change = mine.update().unwrap();
                    let slot = change.open(1).unwrap();
                    change.bytes_mut(slot).unwrap()[8184 - 16] += 1;
                    change.commit().unwrap();
                }
            });
        }
    });
    assert_eq!(byte_of(&mut blocks.share(), 1), 201);
}

#[test]
#[should_panic(expected = "which it holds")]
fn a_block_is_not_opened_twice() {
    let mut blocks = three_blocks();
    let mut change = blocks.update().unwrap();
    change.open(1).unwrap();
    let _ = change.open(1);
}

#[test]
fn a_change_has_four_blocks() {
    let mut blocks = three_blocks();
    for byte in 3..5 {
        add_page(&mut blocks, byte);
    }
    let mut change = blocks.update().unwrap();
    let slots: Vec<_> = (0..4).map(|block| change.open(block).unwrap()).collect();
    for fifth in [change.open(4), change.extend()] {
        let Err(MemError::Corrupt(error)) = fifth else { panic!("{fifth:?}") };
        assert_eq!(error.cause(), Cause::Internal);
        assert_eq!(error.to_string(), "a change opens a fifth block (block 4294967295)");
    }
    // those that it holds are as they were
    assert_eq!(slots.iter().map(|&slot| change.block(slot)).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
#[should_panic(expected = "after a change")]
fn a_sound_page_stays_sound() {
    let mut blocks = three_blocks();
    let mut change = blocks.update().unwrap();
    let slot = change.open(1).unwrap();
    change.bytes_mut(slot).unwrap()[13] = 0xff;
    let _ = change.commit();
}

#[test]
#[should_panic(expected = "was added and left as it was")]
fn an_added_block_is_initialised() {
    let mut blocks = three_blocks();
    let mut change = blocks.update().unwrap();
    change.extend().unwrap();
    let _ = change.commit();
}

#[test]
#[should_panic(expected = "not held so")]
fn an_operation_lock_is_released_as_it_was_taken() {
    let mut blocks = three_blocks();
    blocks.lock(OperationLock::Scan, LockMode::Shared).unwrap();
    blocks.unlock(OperationLock::Scan, LockMode::Exclusive);
}

#[test]
#[should_panic(expected = "taken Exclusive by a thread that holds it Shared")]
fn no_change_waits_for_its_own_reader() {
    let blocks = three_blocks();
    let mut other = blocks.share();
    let _ = blocks.share().read(1, |_| {
        let _ = other.update().and_then(|mut change| change.open(1));
        Ok(())
    });
}
