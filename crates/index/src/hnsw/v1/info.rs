//! What an hnsw index consists of, counted: elements by state and level, edges by layer, pages by kind. One pass over
//! the blocks in a constant amount of memory. Others may change the index meanwhile; the counts are then of no single
//! moment, each page's of its own.

use serde::Serialize;

use super::layout::{Element, Neighbours, is_element};
use crate::hnsw::meta::{HEAD_BLOCK, META_BLOCK, MetaPage, PAGE_ID};
use crate::hnsw::params::layer_slots;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, FIRST_OFFSET, Page, Tid};
use crate::storage::verify;

/// Layers that are told apart; what is above counts with the highest. An index of 2^64 rows has fewer.
const LAYERS: usize = 64;

/// Degrees that are told apart: two times the largest `m`, and none.
const DEGREES: usize = 201;

/// How many edges the elements of a layer have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Degrees {
    /// fewest
    pub min: usize,
    /// mean
    pub avg: f64,
    /// most
    pub max: usize,
    /// elements by number of edges, from none to as many as there are slots
    pub histogram: Vec<u64>,
}

/// One layer of the graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// its number; 0 has every element
    pub layer: usize,
    /// live elements
    pub elements: u64,
    /// edges from live elements
    pub edges: u64,
    /// edges of an element
    pub degree: Degrees,
}

/// Where searches begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// block of its element tuple
    pub block: u32,
    /// its offset there
    pub offset: u16,
    /// its level
    pub level: u8,
}

/// Blocks by what is on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pages {
    /// the meta page
    pub meta: u32,
    /// pages with elements, or with places of former ones
    pub elements: u32,
    /// pages without an item
    pub empty: u32,
    /// blocks that were added and never used
    pub unused: u32,
}

/// What an index consists of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info {
    /// version of the page format
    pub version: u32,
    /// dimensions of every value
    pub dimensions: u32,
    /// `m` that it was built with
    pub m: u16,
    /// `ef_construction` that it was built with
    pub ef_construction: u16,
    /// rows of the table that it holds, dead ones included
    pub rows: u64,
    /// live elements: one for each distinct value, or for each ten rows of one
    pub elements: u64,
    /// elements without rows that vacuum has not yet taken out of the graph
    pub dying: u64,
    /// places of deleted elements, which inserts use again
    pub deleted: u64,
    /// bytes on pages that hold nothing
    pub free_bytes: u64,
    /// where searches begin; none in an empty index
    pub entry_point: Option<Entry>,
    /// blocks by what is on them
    pub pages: Pages,
    /// live elements by level
    pub levels: Vec<u64>,
    /// the layers, lowest first
    pub layers: Vec<Layer>,
}

/// Counts while they grow; on the heap, for its size.
struct Counts {
    levels: [u64; LAYERS],
    degrees: [[u64; DEGREES]; LAYERS],
}

/// A live element: its level, version and neighbour tuple.
type Live = (u8, u8, Tid);

/// Counts the contents of `blocks`.
///
/// # Errors
/// A block that cannot be read, or one that is no page of an hnsw index.
pub fn gather<B: BlockStore>(blocks: &mut B) -> Result<Info, B::Error> {
    let count = blocks.count()?;
    let meta = blocks.read(META_BLOCK, MetaPage::read)?;
    let entry = meta.entry_point().map_err(|damage| damage.on(META_BLOCK))?;
    let mut info = Info {
        version: meta.version,
        dimensions: meta.dimensions,
        m: meta.m,
        ef_construction: meta.ef_construction,
        rows: 0,
        elements: 0,
        dying: 0,
        deleted: 0,
        free_bytes: 0,
        entry_point: entry.map(|e| Entry { block: e.tid.block(), offset: e.tid.offset(), level: e.level }),
        pages: Pages { meta: 1, ..Pages::default() },
        levels: Vec::new(),
        layers: Vec::new(),
    };
    let m = usize::from(meta.m);
    let mut counts = Box::new(Counts { levels: [0; LAYERS], degrees: [[0; DEGREES]; LAYERS] });
    let (mut here, mut elsewhere): (Vec<Live>, Vec<Live>) = (Vec::new(), Vec::new());
    for block in HEAD_BLOCK..count {
        blocks.pause()?;
        here.clear();
        elsewhere.clear();
        blocks.read_in_passing(block, |bytes| {
            look(bytes, &mut info, &mut here)?;
            for &live in &here {
                let list = live.2;
                if list.block() != block {
                    elsewhere.push(live);
                } else {
                    counts.add(list_of(bytes, list)?, live, m);
                }
            }
            Ok(())
        })?;
        for &live in &elsewhere {
            let list = live.2;
            let counts = &mut *counts;
            blocks.read_in_passing(list.block(), |bytes| {
                counts.add(list_of(bytes, list)?, live, m);
                Ok(())
            })?;
        }
    }
    info.levels = trimmed(&counts.levels);
    info.layers = counts.layers(m);
    Ok(info)
}

/// Counts the items of a page and notes its live elements.
fn look(bytes: &[u8], info: &mut Info, here: &mut Vec<Live>) -> Result<(), Damage> {
    if verify::is_zero(bytes) {
        info.pages.unused += 1;
        return Ok(());
    }
    let page = Page::new(bytes, PAGE_ID)?;
    info.free_bytes += page.exact_free_space() as u64;
    if page.max_offset() < FIRST_OFFSET {
        info.pages.empty += 1;
        return Ok(());
    }
    info.pages.elements += 1;
    for offset in FIRST_OFFSET..=page.max_offset() {
        let item = page.item(offset)?;
        if !is_element(item) {
            continue;
        }
        let header = Element::new(item, offset)?.header;
        match (header.deleted, header.is_live()) {
            (0, true) => {
                info.elements += 1;
                info.rows += header.live_heap_tids().len() as u64;
                here.push((header.level, header.version, header.neighbour_tid));
            }
            (0, false) => info.dying += 1,
            _ => info.deleted += 1,
        }
    }
    Ok(())
}

/// The neighbour tuple at `list`, on the page `bytes`.
fn list_of(bytes: &[u8], list: Tid) -> Result<Neighbours<'_>, Damage> {
    Neighbours::new(Page::new(bytes, PAGE_ID)?.item(list.offset())?, list.offset())
}

impl Counts {
    /// Counts an element and its edges. One whose tuple was given to another element meanwhile has none.
    fn add(&mut self, list: Neighbours<'_>, (level, version, _): Live, m: usize) {
        if let Some(count) = self.levels.get_mut(usize::from(level)) {
            *count += 1;
        }
        for (layer, degrees) in (0..=level).zip(&mut self.degrees) {
            let slots = list.layer(level, version, layer, m).unwrap_or_default();
            let degree = slots.iter().filter(|slot| slot.is_valid()).count();
            if let Some(count) = degrees.get_mut(degree) {
                *count += 1;
            }
        }
    }

    fn layers(&self, m: usize) -> Vec<Layer> {
        let layer = |(number, counts): (usize, &[u64; DEGREES])| {
            let elements: u64 = counts.iter().sum();
            let edges = (0u64..).zip(counts).map(|(degree, &count)| degree * count).sum();
            let max = counts.iter().rposition(|&count| count > 0)?;
            let slots = layer_slots(m, number.min(1) as u8);
            Some(Layer {
                layer: number,
                elements,
                edges,
                degree: Degrees {
                    min: counts.iter().position(|&count| count > 0)?,
                    avg: edges as f64 / elements as f64,
                    max,
                    histogram: counts.iter().take(slots.max(max) + 1).copied().collect(),
                },
            })
        };
        self.degrees.iter().enumerate().map_while(layer).collect()
    }
}

/// Without the zeros at the end.
fn trimmed(counts: &[u64]) -> Vec<u64> {
    let used = counts.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
    counts.iter().take(used).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hnsw::check::{Subject, check};
    use crate::hnsw::v1::census::PageCensus;
    use crate::space::AnySpace;
    use crate::testing::hnsw::{DIMS, build, graph, random_vectors, used};

    #[test]
    fn counts_agree_with_those_of_a_check() {
        for mut blocks in [used(), build(graph().space, DIMS as u32, &graph(), &random_vectors(3, DIMS, 900))]
        {
            let info = gather(&mut blocks).unwrap();
            let subject = Subject { space: AnySpace::Vector(graph().space), unit: false };
            let census =
                check(&mut PageCensus::new(&mut blocks), &subject, false, &mut |v| panic!("{v}")).unwrap();
            assert_eq!(
                (info.elements, info.dying, info.deleted, info.rows),
                (census.live, census.dying, census.deleted, census.rows() as u64)
            );
            assert_eq!(info.layers.iter().map(|layer| layer.edges).sum::<u64>(), census.edges);
            assert_eq!(info.entry_point.map(|entry| entry.level), census.entry_level);
            assert_eq!(info.levels.len(), usize::from(census.top_level.unwrap()) + 1);
            assert_eq!(info.levels.iter().sum::<u64>(), info.elements);
            let pages = info.pages;
            assert_eq!(pages.meta + pages.elements + pages.empty + pages.unused, blocks.count().unwrap());
            for layer in &info.layers {
                // an element of a level is in every layer up to it
                assert_eq!(layer.elements, info.levels.iter().skip(layer.layer).sum::<u64>());
                assert_eq!(layer.degree.histogram.len(), layer_slots(4, layer.layer.min(1) as u8) + 1);
                assert_eq!(layer.degree.histogram.iter().sum::<u64>(), layer.elements);
                assert!(
                    layer.degree.min as f64 <= layer.degree.avg
                        && layer.degree.avg <= layer.degree.max as f64
                );
            }
        }
    }

    #[test]
    fn an_empty_index_and_unused_blocks_are_told() {
        let mut blocks = build(graph().space, DIMS as u32, &graph(), &[]);
        blocks.add_zero_block();
        let info = gather(&mut blocks).unwrap();
        assert_eq!((info.rows, info.elements, info.entry_point, info.pages.unused), (0, 0, None, 1));
        assert!(info.levels.is_empty() && info.layers.is_empty());
    }

    #[test]
    fn damage_is_an_error() {
        let mut blocks = used();
        blocks.edit(0, |bytes| bytes[24] ^= 0xff);
        assert!(gather(&mut blocks).is_err());
        let mut blocks = used();
        blocks.edit(1, |bytes| bytes[12] = 0xff);
        assert!(gather(&mut blocks).is_err());
    }
}
