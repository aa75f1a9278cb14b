//! Writing a graph that was built in memory to pages, each page once: where every tuple will stand is known beforehand.

use zerocopy::IntoBytes;

use super::super::build::{Element, Graph};
use super::super::graph::GraphBulk;
use super::super::meta::{EntryPoint, HEAD_BLOCK, META_BLOCK, MetaPage, PAGE_ID};
use super::super::params::layer_range;
use super::graph::PageGraph;
use super::layout::{ElementHeader, element_size, neighbours_size, write_element, write_neighbours};
use crate::space::Space;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, PageMut, Tid, max_align, max_item_size};
use crate::work::workers::Workers;

const LINE_POINTER: usize = 4;

/// Where the tuples of all elements go.
#[derive(Debug)]
struct PagePlan {
    /// element tuples, packed
    elements: Vec<u64>,
    /// whether the neighbour tuple is the first item of the page after its element's
    apart: Vec<bool>,
    page_size: usize,
    m: usize,
    /// the last page
    last: u32,
}

/// Bytes that [`PagePlan`] needs per element.
pub const PLACES_BYTES: usize = size_of::<u64>() + size_of::<bool>();

impl PagePlan {
    /// Computes all places.
    ///
    /// # Errors
    /// [`Damage::OUT_OF_MEMORY`].
    fn new<S: Space>(graph: &Graph<S>, m: usize, page_size: usize) -> Result<Self, Damage> {
        let most = max_item_size(page_size);
        // what an empty page offers to items and their line pointers
        let empty = most + LINE_POINTER;
        let (mut elements, mut apart) = (Vec::new(), Vec::new());
        let room = elements.try_reserve_exact(graph.len()).and(apart.try_reserve_exact(graph.len()));
        room.map_err(|_| Damage::OUT_OF_MEMORY)?;
        let (mut block, mut free, mut items) = (HEAD_BLOCK, empty & !7, 0u16);
        for node in graph.elements() {
            let (element, neighbours) = (element_size(node.value().len()), neighbours_size(node.level(), m));
            let together = element + neighbours + LINE_POINTER <= most;
            let needed =
                if together { element + neighbours + 2 * LINE_POINTER } else { element + LINE_POINTER };
            if free < needed {
                (block, free, items) = (block + 1, empty & !7, 0);
            }
            elements.push(Tid::new(block, items + 1).packed());
            apart.push(!together);
            if together {
                (free, items) = (free - needed, items + 2);
            } else {
                (block, items) = (block + 1, 1);
                free = (empty & !7) - neighbours - LINE_POINTER;
            }
        }
        Ok(PagePlan { elements, apart, page_size, m, last: block })
    }

    /// The element tuple of a node.
    fn element(&self, node: u32) -> Tid {
        self.elements.get(node as usize).map_or(Tid::INVALID, |&packed| Tid::from_packed(packed))
    }

    fn neighbours(&self, node: u32) -> Tid {
        let tid = self.element(node);
        match self.apart.get(node as usize) {
            Some(true) => Tid::new(tid.block() + 1, 1),
            _ => Tid::new(tid.block(), tid.offset() + 1),
        }
    }

    /// The last element page, where inserts go on.
    fn last(&self) -> u32 {
        self.last
    }

    /// Writes the pages in order: `page` is given a block's number and a function that fills its bytes.
    ///
    /// # Errors
    /// What `page` answers.
    fn write<S: Space, E>(
        &self,
        graph: &Graph<S>,
        mut page: impl FnMut(u32, &mut dyn FnMut(&mut [u8])) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut slots, mut tuple) = (Vec::new(), Vec::new());
        let mut nodes = graph.elements().peekable();
        // the element whose neighbour tuple begins the next page
        let mut pending = None;
        for block in HEAD_BLOCK..=self.last {
            page(block, &mut |bytes| {
                debug_assert_eq!(bytes.len(), self.page_size);
                let mut target = PageMut::init(bytes, PAGE_ID);
                target.set_next(if block < self.last { block + 1 } else { INVALID_BLOCK });
                if let Some(node) = pending.take() {
                    self.write_neighbours(&node, &mut slots, &mut tuple, &mut target);
                }
                while let Some(node) = nodes.next_if(|node| self.element(node.node()).block() == block) {
                    let place = node.node();
                    let neighbours = self.neighbours(place);
                    let header = ElementHeader::new(node.level(), 1, &node.heap_tids(), neighbours);
                    write_element(&header, node.value(), &mut tuple);
                    let offset = target.append(&tuple);
                    debug_assert_eq!(offset, Some(self.element(place).offset()));
                    if neighbours.block() == block {
                        self.write_neighbours(&node, &mut slots, &mut tuple, &mut target);
                    } else {
                        pending = Some(node);
                    }
                }
            })?;
        }
        Ok(())
    }

    fn write_neighbours<S: Space>(
        &self,
        node: &Element<'_, S>,
        slots: &mut Vec<Tid>,
        tuple: &mut Vec<u8>,
        target: &mut PageMut<'_>,
    ) {
        let level = node.level();
        slots.clear();
        slots.resize((usize::from(level) + 2) * self.m, Tid::INVALID);
        for layer in 0..=level {
            let Some(list) = slots.get_mut(layer_range(level, layer, self.m)) else { continue };
            // the anchor takes the first slot of layer 0
            for (slot, neighbour) in list.iter_mut().zip(node.neighbours(layer)) {
                *slot = self.element(neighbour);
            }
        }
        write_neighbours(1, slots, tuple);
        let offset = target.append(tuple);
        debug_assert_eq!(offset, Some(self.neighbours(node.node()).offset()));
        debug_assert_eq!(tuple.len(), max_align(tuple.len()));
    }
}

impl<B: BlockStore, S: Space> GraphBulk for PageGraph<'_, B, S> {
    fn write_index(
        &mut self,
        mut meta: MetaPage,
        graph: Option<&Graph<S>>,
        _: &mut Workers<'_>,
        _: usize,
    ) -> Result<(), B::Error> {
        let (m, page_size) = (usize::from(meta.m), self.blocks.page_size());
        let plan = match graph {
            Some(graph) => Some(PagePlan::new(graph, m, page_size).map_err(|damage| damage.on(META_BLOCK))?),
            None => None,
        };
        if let (Some(graph), Some(plan)) = (graph, &plan) {
            meta.insert_page = plan.last();
            let entry = graph.entry().and_then(|node| graph.element(node));
            meta.set_entry_point(
                entry.map(|node| EntryPoint { tid: plan.element(node.node()), level: node.level() }),
            );
        }
        self.add_page(META_BLOCK, &mut |bytes| {
            PageMut::init(bytes, PAGE_ID).set_contents(meta.as_bytes());
        })?;
        match (graph, &plan) {
            (Some(graph), Some(plan)) => plan.write(graph, |block, fill| {
                self.blocks.pause()?;
                self.add_page(block, fill)
            }),
            _ => self.add_page(HEAD_BLOCK, &mut |bytes| {
                PageMut::init(bytes, PAGE_ID);
            }),
        }
    }
}

impl<B: BlockStore, S: Space> PageGraph<'_, B, S> {
    /// Adds the page of block `block`, the next one.
    fn add_page(&mut self, block: u32, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), B::Error> {
        let mut change = self.blocks.update()?;
        let slot = change.extend()?;
        if change.block(slot) != block {
            return Err(Damage::at(0, "block where the build expects none").on(block).into());
        }
        fill(change.bytes_mut(slot)?);
        change.commit()
    }
}
