//! What an ivfflat index consists of, counted: rows by list, pages by kind. Others may insert meanwhile; the counts are
//! then of no single moment, each page's of its own.

use serde::Serialize;

use super::layout::{HEAD_BLOCK, List, META_BLOCK, MetaPage, PAGE_ID};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, FIRST_OFFSET, INVALID_BLOCK, Page};
use crate::work::memory::push;

/// How the rows are shared out among the lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ListRows {
    /// rows of the smallest list
    pub min: u64,
    /// mean
    pub avg: f64,
    /// half of the lists have no more
    pub p50: u64,
    /// nineteen of twenty lists have no more
    pub p95: u64,
    /// rows of the largest list
    pub max: u64,
    /// lists without a row
    pub empty: u64,
    /// how many times more rows a search reads than if all lists were of one size, when it comes to a list as often as
    /// rows are in it: lists * sum(rows^2) / sum(rows)^2, 1 at best
    pub imbalance: f64,
}

/// Blocks by what is on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pages {
    /// the meta page
    pub meta: u32,
    /// pages of lists and their centres
    pub lists: u32,
    /// pages with entries
    pub entries: u32,
    /// pages with values, where these are apart from entries
    pub values: u32,
    /// pages of lists without an entry
    pub empty: u32,
    /// blocks that no list leads to
    pub unused: u32,
}

/// What an index consists of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info {
    /// the page layout
    pub layout: &'static str,
    /// version of the page format
    pub version: u32,
    /// dimensions of every value
    pub dimensions: u32,
    /// number of lists
    pub lists: u32,
    /// rows of the table that it holds, dead ones included
    pub rows: u64,
    /// bytes on pages that hold nothing
    pub free_bytes: u64,
    /// blocks by what is on them
    pub pages: Pages,
    /// rows of a list
    pub list_rows: ListRows,
}

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

/// An error when more pages were read than there can be. Pages that are added meanwhile belong to lists, too.
pub(in crate::ivf) fn within(
    pages: u32,
    count: u32,
    block: u32,
) -> Result<(), crate::storage::page::Corruption> {
    // as many again may have been added: a circle exceeds any bound
    if pages > count.saturating_mul(2).saturating_add(1024) {
        return Err(Damage::at(0, "page that is chained in a circle").on(block));
    }
    Ok(())
}

/// Sorts `sizes`.
pub(in crate::ivf) fn distribution(sizes: &mut [u64]) -> ListRows {
    sizes.sort_unstable();
    let (Some(&min), Some(&max)) = (sizes.first(), sizes.last()) else { return ListRows::default() };
    let (lists, rows) = (sizes.len() as f64, sizes.iter().sum::<u64>() as f64);
    let squares: f64 = sizes.iter().map(|&size| (size as f64).powi(2)).sum();
    let share = |share: f64| {
        let at = (lists * share).ceil() as usize;
        sizes.get(at.saturating_sub(1)).copied().unwrap_or(max)
    };
    ListRows {
        min,
        avg: rows / lists,
        p50: share(0.5),
        p95: share(0.95),
        max,
        empty: sizes.iter().filter(|&&size| size == 0).count() as u64,
        imbalance: if rows > 0.0 { lists * squares / rows.powi(2) } else { 1.0 },
    }
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
    fn sizes_of_lists_are_described() {
        let rows = distribution(&mut [0, 30, 10, 0, 20, 40]);
        assert_eq!((rows.min, rows.p50, rows.p95, rows.max, rows.empty), (0, 10, 40, 40, 2));
        assert_eq!(rows.imbalance, 6.0 * 3000.0 / 10_000.0);
        assert_eq!(distribution(&mut [7, 7, 7]).imbalance, 1.0);
        assert_eq!(distribution(&mut [0, 0]).imbalance, 1.0);
        assert_eq!(distribution(&mut []), ListRows::default());
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
