//! What an index on pgvector's pages consists of, counted.

use super::layout::{Element, Neighbours, is_element};
use crate::hnsw::info::{Counts, Info};
use crate::hnsw::meta::{HEAD_BLOCK, META_BLOCK, MetaPage, PAGE_ID};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, FIRST_OFFSET, Page, Tid};
use crate::storage::verify;

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
    let mut info = Info::new("pgvector", &meta, entry);
    let m = usize::from(meta.m);
    let mut counts = Counts::new();
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
                    add(&mut counts, list_of(bytes, list)?, live, m);
                }
            }
            Ok(())
        })?;
        for &live in &elsewhere {
            let list = live.2;
            let counts = &mut *counts;
            blocks.read_in_passing(list.block(), |bytes| {
                add(counts, list_of(bytes, list)?, live, m);
                Ok(())
            })?;
        }
    }
    counts.finish(&mut info, m);
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

/// Counts an element and its edges. One whose tuple was given to another element meanwhile has none.
fn add(counts: &mut Counts, list: Neighbours<'_>, (level, version, _): Live, m: usize) {
    counts.element(level);
    for layer in 0..=level {
        let slots = list.layer(level, version, layer, m).unwrap_or_default();
        counts.edges(layer, slots.iter().filter(|slot| slot.is_valid()).count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hnsw::check::{Subject, check};
    use crate::hnsw::params::layer_slots;
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
