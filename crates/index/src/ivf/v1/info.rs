//! What an ivfflat index consists of, counted: rows by list, pages by kind. Others may insert meanwhile; the counts are
//! then of no single moment, each page's of its own.

use super::layout::{HEAD_BLOCK, List, META_BLOCK, MetaPage, PAGE_ID};
use crate::ivf::info::{Info, ListRows, Pages, distribution, within};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, FIRST_OFFSET, INVALID_BLOCK, Page};
use crate::work::memory::push;

/// Counts the contents of `blocks`.
///
/// # Errors
/// A block that cannot be read or is no page of an ivfflat index; pages that are chained in a circle.
pub fn gather<B: BlockStore>(blocks: &mut B) -> Result<Info, B::Error> {
    let count = blocks.count()?;
    let meta = blocks.read(META_BLOCK, MetaPage::read)?;
    let mut info = Info {
        layout: "pgvector",
        version: meta.version,
        dimensions: meta.dimensions.into(),
        lists: meta.lists.into(),
        probes: None,
        rerank: None,
        runs: None,
        rows: 0,
        free_bytes: 0,
        pages: Pages { meta: 1, ..Pages::default() },
        list_rows: ListRows::default(),
    };
    let mut starts: Vec<u32> = Vec::new();
    let mut next = HEAD_BLOCK;
    while next != INVALID_BLOCK {
        blocks.pause()?;
        info.pages.lists += 1;
        within(info.pages.lists, count, next)?;
        next = blocks.read(next, |bytes| {
            let page = Page::new(bytes, PAGE_ID)?;
            info.free_bytes += page.exact_free_space() as u64;
            for offset in FIRST_OFFSET..=page.max_offset() {
                push(&mut starts, List::new(page.item(offset)?, offset)?.head.start_page)?;
            }
            Ok(page.next())
        })?;
    }
    let mut sizes: Vec<u64> = Vec::new();
    for &start in &starts {
        let (mut next, mut rows) = (start, 0);
        while next != INVALID_BLOCK {
            blocks.pause()?;
            let (entries, follows) = blocks.read_in_passing(next, |bytes| {
                let page = Page::new(bytes, PAGE_ID)?;
                info.free_bytes += page.exact_free_space() as u64;
                Ok((page.max_offset(), page.next()))
            })?;
            *(if entries > 0 { &mut info.pages.entries } else { &mut info.pages.empty }) += 1;
            within(info.pages.lists + info.pages.entries + info.pages.empty, count, next)?;
            rows += u64::from(entries);
            next = follows;
        }
        push(&mut sizes, rows).map_err(|_| Damage::OUT_OF_MEMORY.on(start))?;
    }
    info.rows = sizes.iter().sum();
    info.list_rows = distribution(&mut sizes);
    let used = 1 + info.pages.lists + info.pages.entries + info.pages.empty;
    info.pages.unused = blocks.count()?.saturating_sub(used);
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ivf::check::check;
    use crate::ivf::tally::Tally;
    use crate::ivf::v1::Pages as Lists;
    use crate::testing::hnsw::random_vectors;
    use crate::testing::ivf::{DIMS, LISTS, Nothing, build, space, used};

    #[test]
    fn counts_agree_with_those_of_a_check() {
        for mut blocks in [used(), build(&random_vectors(4, DIMS, 3000))] {
            let info = gather(&mut blocks).unwrap();
            let mut tally = Tally::default();
            check(&mut Lists(&mut blocks), space(), true, &mut Nothing, &mut tally).unwrap();
            assert!(tally.violations.is_empty());
            assert_eq!((info.rows, info.lists), (tally.entries, LISTS as u32));
            let pages = info.pages;
            let all = pages.meta + pages.lists + pages.entries + pages.empty + pages.unused;
            assert_eq!(all, blocks.count().unwrap());
            let rows = info.list_rows;
            assert!(rows.min <= rows.p50 && rows.p50 <= rows.p95 && rows.p95 <= rows.max);
            assert!(rows.imbalance >= 1.0 && rows.avg * LISTS as f64 == info.rows as f64);
        }
    }

    #[test]
    fn damage_is_an_error() {
        let mut blocks = used();
        blocks.edit(META_BLOCK, |bytes| bytes[24] ^= 0xff);
        assert!(gather(&mut blocks).is_err());
        // the list page follows itself: the last four bytes before the page's identity are its next
        let mut blocks = used();
        let size = blocks.page_size();
        blocks.edit(HEAD_BLOCK, |bytes| bytes[size - 8..size - 4].copy_from_slice(&HEAD_BLOCK.to_ne_bytes()));
        let error = format!("{:?}", gather(&mut blocks).unwrap_err());
        assert!(error.contains("circle"), "{error}");
    }
}
