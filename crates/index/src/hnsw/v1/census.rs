//! Auditing pgvector's pages: every page, tuple and chain link, and which neighbour tuple is whose.

use super::super::census::{Auditor, Census, CheckError, Node, State, reserve};
use super::super::meta::{HEAD_BLOCK, META_BLOCK, MetaPage, PAGE_ID};
use super::super::params::{HEAP_TIDS, max_level};
use super::layout::{
    ELEMENT_HEADER, Element, MAX_TUPLE_VERSION, Neighbours, element_size, is_element, neighbours_item_size,
};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{FIRST_OFFSET, INVALID_BLOCK, Page, Tid};
use crate::storage::verify::{self, Violation};

/// In place of the next block: the page is damaged, and that has been told. What it holds is not known.
const DAMAGED: u32 = INVALID_BLOCK - 1;

/// A neighbour tuple.
#[derive(Clone, Copy, Debug)]
struct List {
    tid: u64,
    sound: bool,
    owners: u8,
}

/// What an audit has met on the pages, elements aside.
#[derive(Debug, Default)]
struct Met {
    /// connections per layer
    m: usize,
    /// by block: the next one, itself when it is unused, [`DAMAGED`]
    next: Vec<u32>,
    /// in ascending order of their TIDs
    lists: Vec<List>,
}

/// An audit of the blocks of an index.
#[derive(Debug)]
pub struct PageCensus<'b, B> {
    blocks: &'b mut B,
    count: u32,
    met: Met,
}

impl<'b, B: BlockStore> PageCensus<'b, B> {
    /// An audit of `blocks` that has not begun.
    pub fn new(blocks: &'b mut B) -> Self {
        PageCensus { blocks, count: 0, met: Met::default() }
    }
}

impl<B: BlockStore> Census for PageCensus<'_, B> {
    type Error = B::Error;

    fn begin(&mut self, audit: &mut Auditor<'_>) -> Result<Option<MetaPage>, CheckError<B::Error>> {
        self.count = self.blocks.count()?;
        if self.count <= HEAD_BLOCK {
            let what = format!("the index has {} blocks, and at least 2 are needed", self.count);
            audit.report(Violation::of_index(what));
            if self.count == 0 {
                return Ok(None);
            }
        }
        let mut tell = |what: String| audit.report(Violation::at(META_BLOCK, 0, what));
        let (meta, next) = self.blocks.read(META_BLOCK, |bytes| {
            let page = verify::page(bytes, PAGE_ID, false, |fault| tell(fault.what.into()));
            Ok((MetaPage::read(bytes), page.map_or(INVALID_BLOCK, |page| page.next())))
        })?;
        let meta = match meta {
            Ok(meta) => meta,
            Err(damage) => {
                tell(damage.what.into());
                return Ok(None);
            }
        };
        if next != INVALID_BLOCK {
            tell(format!("the meta page is followed by block {next}"));
        }
        self.met.m = usize::from(meta.m);
        Ok(Some(meta))
    }

    fn max_level(&self) -> u8 {
        max_level(self.blocks.page_size(), self.met.m)
    }

    fn elements(&mut self, meta: &MetaPage, audit: &mut Auditor<'_>) -> Result<(), CheckError<B::Error>> {
        let Self { blocks, count, met } = self;
        reserve(&mut met.next, *count as usize)?;
        met.next.push(META_BLOCK);
        // line pointers have 4 bytes
        let most = blocks.page_size() / 4;
        for block in HEAD_BLOCK..*count {
            blocks.pause()?;
            audit.begin_page(block, most, most * HEAP_TIDS)?;
            reserve(&mut met.lists, most)?;
            let next = blocks.read(block, |bytes| Ok(met.page(bytes, block, audit)))?;
            met.next.push(next);
        }
        met.chain(meta, audit)
    }

    fn parts(&mut self, audit: &mut Auditor<'_>) {
        self.met.pairs(audit);
    }

    fn slots(&mut self, node: &Node, out: &mut Vec<Tid>) -> Result<Option<u8>, CheckError<B::Error>> {
        out.clear();
        let at = self.met.lists.binary_search_by_key(&node.list.packed(), |list| list.tid).ok();
        if !at.and_then(|at| self.met.lists.get(at)).is_some_and(|list| list.sound) {
            return Ok(None);
        }
        let offset = node.list.offset();
        // as many as a page holds, so that the copy under its lock needs no memory
        reserve(out, self.blocks.page_size() / size_of::<Tid>())?;
        Ok(self.blocks.read(node.list.block(), |bytes| {
            // it was one a moment ago
            let item = Page::new(bytes, PAGE_ID).and_then(|page| page.item(offset)).unwrap_or_default();
            Ok(Neighbours::new(item, offset).ok().map(|list| {
                out.extend_from_slice(list.slots);
                list.version
            }))
        })?)
    }

    fn pause(&mut self) -> Result<(), B::Error> {
        self.blocks.pause()
    }
}

impl Met {
    /// Notes the tuples of a page. Returns what [`Self::next`] holds.
    fn page(&mut self, bytes: &[u8], block: u32, audit: &mut Auditor<'_>) -> u32 {
        if verify::is_zero(bytes) {
            audit.unused_page();
            return block;
        }
        let page = verify::page(bytes, PAGE_ID, true, |fault| {
            audit.report(Violation::at(block, fault.offset, fault.what));
        });
        let Some(page) = page else {
            audit.damaged_page(block);
            return DAMAGED;
        };
        for offset in FIRST_OFFSET..=page.max_offset() {
            let (tid, Ok(item)) = (Tid::new(block, offset), page.item(offset)) else { continue };
            if is_element(item) {
                element(tid, item, audit);
            } else if let Ok(list) = Neighbours::new(item, offset) {
                // its level is known where its element is
                let sound = list.slots.len().is_multiple_of(self.m)
                    && item.len() == neighbours_item_size(list.slots.len());
                if !sound {
                    audit.tell(tid, "neighbour tuple of a length that no level has");
                }
                self.lists.push(List { tid: tid.packed(), sound, owners: 0 });
            } else {
                audit.tell(tid, "invalid tuple");
                // its element, should it have one, need not be told again
                self.lists.push(List { tid: tid.packed(), sound: false, owners: 0 });
            }
        }
        if page.next() == DAMAGED { block } else { page.next() }
    }

    /// Follows the chain.
    fn chain<E>(&self, meta: &MetaPage, audit: &mut Auditor<'_>) -> Result<(), CheckError<E>> {
        let mut chained = Vec::new();
        reserve(&mut chained, self.next.len())?;
        chained.resize(self.next.len(), false);
        let mut block = HEAD_BLOCK;
        while let Some((&next, seen)) = self.next.get(block as usize).zip(chained.get_mut(block as usize)) {
            *seen = true;
            if next == INVALID_BLOCK {
                break;
            }
            if next == DAMAGED {
                // what follows is not known
                chained.fill(true);
                break;
            }
            if next == block {
                audit.tell(Tid::new(block, 0), "the page chain leads to a page that does not continue it");
                break;
            }
            if next < block || next as usize >= self.next.len() {
                audit.tell(Tid::new(block, 0), format!("the page chain goes on at block {next}"));
                break;
            }
            block = next;
        }
        for (block, (&seen, &next)) in (0u32..).zip(chained.iter().zip(&self.next)) {
            if !seen && next != block && next != DAMAGED {
                audit.tell(Tid::new(block, 0), "page is not in the chain");
            }
        }
        if chained.get(meta.insert_page as usize) != Some(&true) {
            let what = format!("inserts begin at block {}, which is not in the chain", meta.insert_page);
            audit.tell(Tid::new(META_BLOCK, 0), what);
        }
        Ok(())
    }

    /// Looks whether every list has one element and every element a list.
    fn pairs(&mut self, audit: &mut Auditor<'_>) {
        for at in 0..audit.nodes().len() {
            let Some(&node) = audit.nodes().get(at).filter(|node| node.state != State::Broken) else {
                continue;
            };
            match self.lists.binary_search_by_key(&node.list.packed(), |list| list.tid) {
                Ok(at) => {
                    if let Some(list) = self.lists.get_mut(at) {
                        list.owners = list.owners.saturating_add(1);
                    }
                }
                Err(_) if audit.is_damaged(node.list.block()) => {}
                Err(_) => audit.tell(node.tid, format!("no neighbour tuple at {}", node.list)),
            }
        }
        let complete = audit.is_complete();
        for list in &self.lists {
            let tid = Tid::from_packed(list.tid);
            match list.owners {
                1 => {}
                // what a damaged element owns is not known
                0 if !complete || !list.sound => {}
                0 => audit.tell(tid, "neighbour tuple of no element"),
                _ => audit.tell(tid, "neighbour tuple of more than one element"),
            }
        }
    }
}

/// Looks at an element tuple.
fn element(tid: Tid, item: &[u8], audit: &mut Auditor<'_>) {
    let element = match Element::new(item, tid.offset()) {
        Ok(element) => element,
        Err(damage) => {
            audit.tell(tid, damage.what);
            audit.element(Node::broken(tid), &[], &[]);
            return;
        }
    };
    let header = element.header;
    let state = match (header.deleted, header.is_live()) {
        (0, true) => State::Live,
        (0, false) => State::Dying,
        _ => State::Deleted,
    };
    if header.deleted > 1 {
        audit.tell(tid, format!("deleted is {}", header.deleted));
    }
    if header.version > MAX_TUPLE_VERSION {
        audit.tell(tid, format!("version is {}", header.version));
    }
    let rows = header.live_heap_tids();
    if header.heap_tids.iter().skip(rows.len()).any(|row| row.is_valid()) {
        audit.tell(tid, "heap TIDs after a free place for one");
    }
    if state != State::Deleted && element_size(element.value.len()) != item.len() {
        audit.tell(tid, "element tuple of another length than its value asks for");
    }
    let (list, level, version) = (header.neighbour_tid, header.level, header.version);
    audit.element(Node { tid, list, level, version, state }, rows, element.value);
    if state == State::Deleted && item.iter().skip(ELEMENT_HEADER).any(|&byte| byte != 0) {
        audit.tell(tid, "deleted element with a value");
    }
}
