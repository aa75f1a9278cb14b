//! Writing a graph that was built in memory to pages, each page once: where every tuple will stand is known beforehand.

use super::super::build::{Element, Graph};
use super::layout::{
    ElementHeader, HEAD_BLOCK, PAGE_ID, element_size, layer_range, neighbours_size, write_element,
    write_neighbours,
};
use crate::space::Space;
use crate::storage::page::{Damage, INVALID_BLOCK, PageMut, Tid, max_align, max_item_size};

const LINE_POINTER: usize = 4;

/// Where the tuples of all elements go.
#[derive(Debug)]
pub struct PagePlan {
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
    pub fn new<S: Space>(graph: &Graph<S>, m: usize, page_size: usize) -> Result<Self, Damage> {
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
    pub fn element(&self, node: u32) -> Tid {
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
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Writes the pages in order: `page` is given a block's number and a function that fills its bytes.
    ///
    /// # Errors
    /// What `page` answers.
    pub fn write<S: Space, E>(
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
