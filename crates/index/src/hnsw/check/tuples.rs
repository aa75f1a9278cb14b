//! The first pass: every page, tuple and chain link, rows, and which list is whose.

use super::values::value_fault;
use super::{Check, CheckError, DAMAGED, List, Node, Row, State, reserve};
use crate::hnsw::meta::{HEAD_BLOCK, META_BLOCK, MetaPage, PAGE_ID};
use crate::hnsw::params::HEAP_TIDS;
use crate::hnsw::v1::layout::{
    ELEMENT_HEADER, Element, MAX_TUPLE_VERSION, Neighbours, element_size, is_element,
};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{FIRST_OFFSET, INVALID_BLOCK, Tid};
use crate::storage::verify::{self, Violation};

impl Check<'_> {
    /// Reads every block once and notes its tuples.
    pub(super) fn pages<B: BlockStore>(&mut self, blocks: &mut B) -> Result<(), CheckError<B::Error>> {
        reserve(&mut self.next, self.count as usize)?;
        reserve(&mut self.first, self.count as usize)?;
        self.next.push(META_BLOCK);
        self.first.push(0);
        // line pointers have 4 bytes
        let most = blocks.page_size() / 4;
        for block in HEAD_BLOCK..self.count {
            blocks.pause()?;
            reserve(&mut self.census.nodes, most)?;
            reserve(&mut self.census.rows, most * HEAP_TIDS)?;
            reserve(&mut self.lists, most)?;
            self.first.push(self.census.nodes.len());
            let next = blocks.read(block, |bytes| Ok(self.page(bytes, block)))?;
            self.next.push(next);
        }
        Ok(())
    }

    /// Returns what [`Self::next`] holds.
    fn page(&mut self, bytes: &[u8], block: u32) -> u32 {
        if verify::is_zero(bytes) {
            self.census.unused_blocks += 1;
            return block;
        }
        let report = &mut *self.report;
        let page = verify::page(bytes, PAGE_ID, true, |fault| {
            report(Violation::at(block, fault.offset, fault.what));
        });
        let Some(page) = page else { return DAMAGED };
        for offset in FIRST_OFFSET..=page.max_offset() {
            let (tid, Ok(item)) = (Tid::new(block, offset), page.item(offset)) else { continue };
            if is_element(item) {
                self.element(tid, item);
            } else if let Ok(list) = Neighbours::new(item, offset) {
                // its level is known where its element is
                let sound = list.slots.len().is_multiple_of(self.m) && item.len() == size_of_list(&list);
                if !sound {
                    self.tell(tid, "neighbour tuple of a length that no level has");
                }
                self.lists.push(List { tid: tid.packed(), sound, owners: 0 });
            } else {
                self.tell(tid, "invalid tuple");
                // its element, should it have one, need not be told again
                self.lists.push(List { tid: tid.packed(), sound: false, owners: 0 });
            }
        }
        if page.next() == DAMAGED { block } else { page.next() }
    }

    fn element(&mut self, tid: Tid, item: &[u8]) {
        let node = |state| Node {
            block: tid.block(),
            offset: tid.offset(),
            level: 0,
            version: 0,
            list: Tid::INVALID,
            state,
        };
        let element = match Element::new(item, tid.offset()) {
            Ok(element) => element,
            Err(damage) => {
                self.tell(tid, damage.what);
                self.census.nodes.push(node(State::Broken));
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
            self.tell(tid, format!("deleted is {}", header.deleted));
        }
        if header.version > MAX_TUPLE_VERSION {
            self.tell(tid, format!("version is {}", header.version));
        }
        if header.level > self.max_level {
            self.tell(tid, format!("level is {}, and {} is the highest", header.level, self.max_level));
        }
        let rows = header.live_heap_tids();
        if header.heap_tids.iter().skip(rows.len()).any(|row| row.is_valid()) {
            self.tell(tid, "heap TIDs after a free place for one");
        }
        match state {
            State::Deleted => {
                self.census.deleted += 1;
                if !rows.is_empty() {
                    self.tell(tid, "deleted element with rows");
                }
                if item.iter().skip(ELEMENT_HEADER).any(|&byte| byte != 0) {
                    self.tell(tid, "deleted element with a value");
                }
            }
            _ => {
                if element_size(element.value.len()) != item.len() {
                    self.tell(tid, "element tuple of another length than its value asks for");
                }
                if let Some(fault) = value_fault(self.subject, self.deep, element.value) {
                    self.tell(tid, fault);
                }
                *(if state == State::Live { &mut self.census.live } else { &mut self.census.dying }) += 1;
            }
        }
        if state == State::Live {
            let index = self.census.nodes.len();
            self.census.rows.extend(rows.iter().map(|row| Row { heap_tid: row.packed(), node: index }));
            self.census.top_level = self.census.top_level.max(Some(header.level));
        }
        self.census.nodes.push(Node {
            level: header.level,
            version: header.version,
            list: header.neighbour_tid,
            ..node(state)
        });
    }

    /// Follows the chain.
    pub(super) fn chain<E>(&mut self, meta: &MetaPage) -> Result<(), CheckError<E>> {
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
                self.tell(Tid::new(block, 0), "the page chain leads to a page that does not continue it");
                break;
            }
            if next < block || next >= self.count {
                self.tell(Tid::new(block, 0), format!("the page chain goes on at block {next}"));
                break;
            }
            block = next;
        }
        for (block, (&seen, &next)) in (0u32..).zip(chained.iter().zip(&self.next)) {
            if !seen && next != block && next != DAMAGED {
                (self.report)(Violation::at(block, 0, "page is not in the chain"));
            }
        }
        if chained.get(meta.insert_page as usize) != Some(&true) {
            let what = format!("inserts begin at block {}, which is not in the chain", meta.insert_page);
            (self.report)(Violation::at(META_BLOCK, 0, what));
        }
        Ok(())
    }

    /// Looks for rows in two places.
    pub(super) fn rows(&mut self) {
        self.census.rows.sort_unstable();
        for pair in self.census.rows.windows(2) {
            let [first, second] = pair else { continue };
            if first.heap_tid != second.heap_tid {
                continue;
            }
            let place = |row: &Row| self.census.nodes.get(row.node).map_or(Tid::INVALID, Node::tid);
            let (row, other) = (Tid::from_packed(first.heap_tid), place(first));
            let tid = place(second);
            let what = format!("row {row} of the table is in the element at {other} too");
            (self.report)(Violation::at(tid.block(), tid.offset(), what));
        }
    }

    /// Looks whether every list has one element and every element a list.
    pub(super) fn pairs(&mut self) {
        for node in self.census.nodes.iter().filter(|node| node.state != State::Broken) {
            match self.lists.binary_search_by_key(&node.list.packed(), |list| list.tid) {
                Ok(at) => {
                    if let Some(list) = self.lists.get_mut(at) {
                        list.owners = list.owners.saturating_add(1);
                    }
                }
                Err(_) if self.next.get(node.list.block() as usize) == Some(&DAMAGED) => {}
                Err(_) => {
                    let what = format!("no neighbour tuple at {}", node.list);
                    (self.report)(Violation::at(node.block, node.offset, what));
                }
            }
        }
        let broken =
            self.next.contains(&DAMAGED) || self.census.nodes.iter().any(|node| node.state == State::Broken);
        for list in &self.lists {
            let tid = Tid::from_packed(list.tid);
            match list.owners {
                1 => {}
                // what a damaged element owns is not known
                0 if broken || !list.sound => {}
                0 => (self.report)(Violation::at(tid.block(), tid.offset(), "neighbour tuple of no element")),
                _ => {
                    let what = "neighbour tuple of more than one element";
                    (self.report)(Violation::at(tid.block(), tid.offset(), what));
                }
            }
        }
    }
}

/// Bytes of the item of a list, by the number of its slots.
fn size_of_list(list: &Neighbours<'_>) -> usize {
    crate::storage::page::max_align(4 + size_of_val(list.slots))
}
