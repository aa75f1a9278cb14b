//! Removals wait for whoever holds on to a leaf: blocks in memory that know who does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::{HEAD, Tree, add, add_root, leaf_of, pages, read_at, remove};
use crate::ivf::packed::layout::PageKind;
use crate::space::ValueBuf;
use crate::storage::blocks::{BlockStore, LockMode, OperationLock, PageRef, PageUpdate};
use crate::storage::page::{Damage, Tid};
use crate::testing::{MemBlocks, MemError};

const TREE: Tree = PageKind::INCLUDED;

/// What is done before a block is had alone.
type Wait = Rc<RefCell<dyn FnMut(u32)>>;

/// Blocks that tell which of them are asked for alone.
struct Waiting {
    blocks: MemBlocks,
    wait: Wait,
}

struct Update<'a> {
    change: <MemBlocks as BlockStore>::Update<'a>,
    wait: Wait,
}

impl BlockStore for Waiting {
    type Error = MemError;
    type Update<'a> = Update<'a>;

    fn page_size(&self) -> usize {
        self.blocks.page_size()
    }

    fn count(&mut self) -> Result<u32, MemError> {
        self.blocks.count()
    }

    fn read<R>(&mut self, block: u32, look: impl FnOnce(&[u8]) -> Result<R, Damage>) -> Result<R, MemError> {
        self.blocks.read(block, look)
    }

    fn update(&mut self) -> Result<Update<'_>, MemError> {
        Ok(Update { change: self.blocks.update()?, wait: self.wait.clone() })
    }

    fn lock(&mut self, lock: OperationLock, mode: LockMode) -> Result<(), MemError> {
        self.blocks.lock(lock, mode)
    }

    fn unlock(&mut self, lock: OperationLock, mode: LockMode) {
        self.blocks.unlock(lock, mode);
    }
}

impl PageUpdate for Update<'_> {
    type Error = MemError;

    fn open(&mut self, block: u32) -> Result<PageRef, MemError> {
        self.change.open(block)
    }

    fn open_alone(&mut self, block: u32) -> Result<PageRef, MemError> {
        (self.wait.borrow_mut())(block);
        self.change.open(block)
    }

    fn extend(&mut self) -> Result<PageRef, MemError> {
        self.change.extend()
    }

    fn block(&self, slot: PageRef) -> u32 {
        self.change.block(slot)
    }

    fn bytes(&self, slot: PageRef) -> &[u8] {
        self.change.bytes(slot)
    }

    fn bytes_mut(&mut self, slot: PageRef) -> Result<&mut [u8], MemError> {
        self.change.bytes_mut(slot)
    }

    fn commit(self) -> Result<(), MemError> {
        self.change.commit()
    }
}

fn values(row: Tid) -> Vec<u8> {
    let mut values = vec![row.block() as u8; 64];
    values[..6].copy_from_slice(zerocopy::IntoBytes::as_bytes(&row));
    values[6..HEAD].copy_from_slice(&64u16.to_ne_bytes());
    values
}

fn tree(rows: u32) -> (MemBlocks, u32) {
    let mut blocks = MemBlocks::new(TREE.page_id);
    add_root(&mut blocks, TREE).unwrap();
    let root = add_root(&mut blocks, TREE).unwrap();
    for n in 0..rows {
        add(&mut blocks, TREE, root, &values(Tid::new(n, 1))).unwrap();
    }
    (blocks, root)
}

/// Every page on which a row may have been read is waited for, be it without a dead row.
#[test]
fn every_leaf_and_the_root_are_waited_for() {
    for (rows, held) in [(20, true), (3000, true), (3000, false)] {
        let (blocks, root) = tree(rows);
        let count = pages(&mut blocks.share(), TREE, root).unwrap();
        let met = Rc::new(RefCell::new(Vec::new()));
        let noted = met.clone();
        let wait: Wait = Rc::new(RefCell::new(move |block| noted.borrow_mut().push(block)));
        let mut waiting = Waiting { blocks, wait };
        let removed =
            remove(&mut waiting, Tree { held, ..TREE }, root, &mut Vec::new(), &mut |row| row.block() == 7);
        assert_eq!(removed.unwrap(), 1);
        let mut met = met.take();
        met.sort_unstable();
        met.dedup();
        assert_eq!(met.contains(&root), held);
        assert_eq!(met.len() as u32, if held { count } else { 0 }, "{rows}");
    }
}

/// Somebody holds on to the leaf with a row at each moment of a removal of that row, while others divide pages: the
/// removal ends when it is let go, and not before. Who looks later finds none.
#[test]
fn no_removal_passes_who_holds_on() {
    for rows in [20u32, 300] {
        for moment in 0..12 {
            let (blocks, root) = tree(rows);
            let dead = Tid::new(rows - 1, 1);
            let mut other = blocks.share();
            // the block that is held on to; whether the row was seen there; whether it is waited for
            let held = Rc::new(RefCell::new((None::<u32>, false, false)));
            let step = Rc::new(RefCell::new(0));
            let act = {
                let (held, step) = (held.clone(), step.clone());
                move || {
                    let now = step.replace_with(|step| *step + 1);
                    if now == moment {
                        let leaf = leaf_of(&mut other, TREE, root, dead).unwrap();
                        let mut out = ValueBuf::new();
                        let seen = read_at(&mut other, TREE, leaf, dead, &mut out).unwrap();
                        *held.borrow_mut() = (Some(leaf), seen == Some(true), false);
                        // rows before it take it to another page
                        for n in 2..400u16 {
                            add(&mut other, TREE, root, &values(Tid::new(dead.block() - 1, n))).unwrap();
                        }
                    }
                }
            };
            let waited = held.clone();
            let act = Rc::new(RefCell::new(act));
            let first = act.clone();
            let wait: Wait = Rc::new(RefCell::new(move |block| {
                (first.borrow_mut())();
                let mut held = waited.borrow_mut();
                if held.0 == Some(block) {
                    held.2 = true;
                }
            }));
            let mut waiting = Waiting { blocks, wait };
            let mut is_dead = |row: Tid| {
                (act.borrow_mut())();
                row == dead
            };
            remove(&mut waiting, TREE, root, &mut Vec::new(), &mut is_dead).unwrap();
            let (leaf, seen, waited) = *held.borrow();
            assert!(leaf.is_none() || !seen || waited, "{rows} rows, moment {moment}: {leaf:?}");
            assert!(leaf.is_some(), "{rows} rows, moment {moment}");
            let mut out = ValueBuf::new();
            let leaf = leaf_of(&mut waiting, TREE, root, dead).unwrap();
            assert_eq!(read_at(&mut waiting, TREE, leaf, dead, &mut out).unwrap(), Some(false));
        }
    }
}

#[test]
fn pages_are_counted() {
    let (mut blocks, root) = tree(5000);
    assert_eq!(pages(&mut blocks, TREE, root).unwrap(), blocks.count().unwrap() - 1);
    let mut seen = BTreeMap::new();
    for n in 0..5000 {
        *seen.entry(leaf_of(&mut blocks, TREE, root, Tid::new(n, 1)).unwrap()).or_insert(0) += 1;
    }
    assert!(seen.len() > 30);
    // in a circle
    let first = *seen.keys().next().unwrap();
    let size = blocks.page_size();
    blocks.edit(first, |bytes| bytes[size - 8..size - 4].copy_from_slice(&first.to_ne_bytes()));
    assert!(pages(&mut blocks, TREE, root).is_err());
}
