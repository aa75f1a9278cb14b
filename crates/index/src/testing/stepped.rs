//! Blocks in memory whose users take turns: before each call, somebody else may go first.
//!
//! A change is one step. Its blocks are locked exclusively from when they are opened until it ends, and it reads no
//! others, so whatever else happens meanwhile happens as well before or after it.
#![cfg(any(test, feature = "testing"))]

use std::sync::Arc;

use super::memory::{MemBlocks, MemChange, MemError};
use super::turns::{Over, Turns};
use crate::hnsw::meta::{META_BLOCK, MetaPage, PAGE_ID};
use crate::hnsw::v1::layout::{Element, is_element};
use crate::storage::blocks::{BlockStore, LockMode, OperationLock, PageRef, PageUpdate};
use crate::storage::page::{Damage, FIRST_OFFSET, Page, Tid};

impl From<Over> for MemError {
    fn from(_: Over) -> Self {
        MemError::Injected
    }
}

/// How an operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// by itself
    Runs,
    /// by an error of its n-th call
    Fails(u64),
    /// by a cancel at the n-th place where that may happen
    Cancelled(u64),
}

/// A handle on blocks, for one thread that takes turns with others.
#[derive(Debug)]
pub struct Stepped {
    inner: MemBlocks,
    turns: Arc<Turns>,
    me: usize,
    /// places to be cancelled at before it happens
    cancel: Option<u64>,
}

impl Stepped {
    /// The handle of thread `me`.
    pub fn new(inner: MemBlocks, turns: Arc<Turns>, me: usize) -> Self {
        Stepped { inner, turns, me, cancel: None }
    }

    /// Blocks of their own with the bytes of this moment.
    pub fn copy(&self) -> MemBlocks {
        self.inner.copy()
    }

    /// Begins an operation that ends so.
    pub fn begin(&mut self, fate: Fate) {
        self.inner.fail_never();
        self.cancel = None;
        match fate {
            Fate::Runs => {}
            Fate::Fails(n) => self.inner.fail_at(n.max(1)),
            Fate::Cancelled(n) => self.cancel = Some(n),
        }
    }

    /// Releases everything, as the end of a transaction does.
    pub fn end_transaction(&mut self) {
        self.inner.end_transaction();
        self.turns.unlock_all(self.me);
    }

    fn step(&mut self) -> Result<(), MemError> {
        Ok(self.turns.step(self.me)?)
    }

    fn may_cancel(&mut self) -> Result<(), MemError> {
        self.step()?;
        match &mut self.cancel {
            Some(0) => Err(MemError::Injected),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl BlockStore for Stepped {
    type Error = MemError;
    type Update<'a> = SteppedChange<'a>;

    fn page_size(&self) -> usize {
        self.inner.page_size()
    }

    fn count(&mut self) -> Result<u32, MemError> {
        self.step()?;
        self.inner.count()
    }

    fn read<R>(&mut self, block: u32, look: impl FnOnce(&[u8]) -> Result<R, Damage>) -> Result<R, MemError> {
        self.step()?;
        let (turns, me) = (&self.turns, self.me);
        self.inner.read(block, |bytes| {
            if block == META_BLOCK
                && let Ok(Some(entry)) = MetaPage::read(bytes).and_then(|meta| meta.entry_point())
            {
                turns.told(me, core::iter::once(entry.tid));
            }
            look(bytes)
        })
    }

    fn prefetch_blocks(&mut self, tids: &[Tid]) {
        self.turns.told(self.me, tids.iter().copied());
    }

    fn prefetch_item(&mut self, tid: Tid, size: usize) {
        self.inner.prefetch_item(tid, size);
    }

    fn update(&mut self) -> Result<SteppedChange<'_>, MemError> {
        self.step()?;
        let (turns, me) = (&self.turns, self.me);
        Ok(SteppedChange { inner: self.inner.update()?, turns, me, before: Vec::new() })
    }

    fn lock(&mut self, lock: OperationLock, mode: LockMode) -> Result<(), MemError> {
        self.turns.lock(self.me, lock, mode)?;
        // granted there, so granted here
        let taken = self.inner.lock(lock, mode);
        if taken.is_err() {
            self.turns.unlock(self.me, lock, mode);
        }
        taken
    }

    fn unlock(&mut self, lock: OperationLock, mode: LockMode) {
        self.inner.unlock(lock, mode);
        self.turns.unlock(self.me, lock, mode);
    }

    fn pause(&mut self) -> Result<(), MemError> {
        self.may_cancel()?;
        self.inner.pause()
    }

    fn fault_point(&mut self, name: &'static str) -> Result<(), MemError> {
        self.turns.note(self.me, name.into());
        self.may_cancel()
    }
}

/// A change that takes one step.
#[derive(Debug)]
pub struct SteppedChange<'a> {
    inner: MemChange<'a>,
    turns: &'a Turns,
    me: usize,
    /// elements of its blocks that were not deleted before it
    before: Vec<(PageRef, Vec<u16>)>,
}

/// The elements of a page that are not deleted, by offset; none of a page without elements.
fn present(bytes: &[u8]) -> Vec<u16> {
    let Ok(page) = Page::new(bytes, PAGE_ID) else { return Vec::new() };
    let is_present = |&offset: &u16| {
        page.item(offset)
            .ok()
            .filter(|item| is_element(item))
            .is_some_and(|item| Element::new(item, offset).is_ok_and(|element| element.header.deleted == 0))
    };
    (FIRST_OFFSET..=page.max_offset()).filter(is_present).collect()
}

impl PageUpdate for SteppedChange<'_> {
    type Error = MemError;

    fn open(&mut self, block: u32) -> Result<PageRef, MemError> {
        let slot = self.inner.open(block)?;
        if block != META_BLOCK {
            self.before.push((slot, present(self.inner.bytes(slot))));
        }
        Ok(slot)
    }

    fn extend(&mut self) -> Result<PageRef, MemError> {
        self.inner.extend()
    }

    fn block(&self, slot: PageRef) -> u32 {
        self.inner.block(slot)
    }

    fn bytes(&self, slot: PageRef) -> &[u8] {
        self.inner.bytes(slot)
    }

    fn bytes_mut(&mut self, slot: PageRef) -> Result<&mut [u8], MemError> {
        self.inner.bytes_mut(slot)
    }

    fn patch(&mut self, slot: PageRef, at: usize, bytes: &[u8]) -> Result<(), MemError> {
        self.inner.patch(slot, at, bytes)
    }

    fn commit(self) -> Result<(), MemError> {
        let mut marked = Vec::new();
        for (slot, before) in &self.before {
            let (block, after) = (self.inner.block(*slot), present(self.inner.bytes(*slot)));
            let gone = before.iter().filter(|offset| !after.contains(offset));
            marked.extend(gone.map(|&offset| Tid::new(block, offset)));
        }
        self.inner.commit()?;
        for tid in marked {
            self.turns.note(self.me, format!("marks {tid}"));
            self.turns.marked(self.me, tid);
        }
        Ok(())
    }
}
