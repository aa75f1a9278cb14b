//! What a packed index consists of, counted: rows by list, pages by kind. Others may insert meanwhile; the counts are
//! then of no single moment, each page's of its own.

use super::Index;
use super::centre_codes::Plan;
use super::layout::{ANOTHER_LIST, CodePage, Head, PageKind, front, heads, heads_per_page, next_of};
use super::meta::VERSION;
use super::read::HEAD_BLOCK;
use crate::included;
use crate::ivf::info::{Info, ListRows, Pages, distribution, within};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, INVALID_BLOCK};
use crate::work::memory::{append, push};

/// How often pages may lead elsewhere because a vacuum packs them at that moment, before they must be damaged.
const TRIES: usize = 10;

/// Counts the contents of `blocks`.
///
/// # Errors
/// A block that cannot be read or is none of what leads to it; pages that are chained in a circle.
pub fn gather<B: BlockStore>(blocks: &mut B, index: &Index) -> Result<Info, B::Error> {
    let mut found = gather_once(blocks, index);
    for _ in 1..TRIES {
        if found.is_ok() {
            break;
        }
        found = gather_once(blocks, index);
    }
    found
}

fn gather_once<B: BlockStore>(blocks: &mut B, index: &Index) -> Result<Info, B::Error> {
    let geometry = &index.geometry;
    let count = blocks.count()?;
    let mut info = Info {
        layout: "packed",
        version: VERSION,
        dimensions: geometry.dims as u32,
        lists: index.lists,
        probes: index.probes.known(),
        rerank: Some(index.rerank()),
        runs: Some(index.runs.count()).filter(|_| geometry.filter_size > 0),
        rows: 0,
        free_bytes: 0,
        pages: Pages { meta: 1, ..Pages::default() },
        list_rows: ListRows::default(),
    };
    let mut starts: Vec<Head> = Vec::new();
    let per_page = heads_per_page(geometry.page_size) as u32;
    for block in HEAD_BLOCK..HEAD_BLOCK + index.lists.div_ceil(per_page) {
        blocks.read(block, |bytes| Ok(append(&mut starts, heads(bytes)?)?))?;
    }
    // heads, centres, and codes of these
    let (middles, code_pages) = Plan::of(index).map_or((0, 0), |plan| (plan.groups(), plan.pages()));
    let centres = (u64::from(index.lists.saturating_add(middles)) * geometry.record as u64)
        .div_ceil(geometry.space() as u64);
    info.pages.lists = index.lists.div_ceil(per_page) + centres as u32 + code_pages;
    let mut sizes: Vec<u64> = Vec::new();
    for (list, head) in (0..).zip(&starts) {
        let (mut next, mut rows) = (head.start, 0);
        while next != INVALID_BLOCK {
            blocks.pause()?;
            let (live, room, follows) = blocks.read_in_passing(next, |bytes| {
                let page = CodePage::new(geometry, bytes)?;
                if page.front.list != list {
                    return Err(ANOTHER_LIST);
                }
                Ok((page.live(), geometry.entries() - page.len(), page.next()))
            })?;
            *(if live > 0 { &mut info.pages.entries } else { &mut info.pages.empty }) += 1;
            within(info.pages.entries + info.pages.empty, count, next)?;
            info.free_bytes += (room * geometry.block_size / geometry.block_entries.max(1)) as u64;
            rows += live as u64;
            next = follows;
        }
        push(&mut sizes, rows).map_err(|_| Damage::OUT_OF_MEMORY.on(head.start))?;
        let mut next = head.values;
        while next != INVALID_BLOCK {
            blocks.pause()?;
            let (dead, used, follows) = blocks.read_in_passing(next, |bytes| {
                let front = front(bytes, PageKind::Values)?;
                Ok((usize::from(front.count), usize::from(front.used), next_of(bytes)))
            })?;
            info.pages.values += 1;
            within(info.pages.values, count, next)?;
            info.free_bytes += (geometry.space() - used + dead * geometry.record) as u64;
            next = follows;
        }
    }
    if index.included != 0 {
        info.pages.included = Some(included::pages(blocks, PageKind::INCLUDED, index.included)?);
    }
    if let Some(geometry) = index.runs.geometry() {
        let mut pages = u32::from(index.runs.centre().is_some());
        for tree in index.runs.trees() {
            let (found, room) = crate::runs::read::pages(blocks, PageKind::RUNS, geometry, tree)?;
            pages += found;
            info.free_bytes += room;
        }
        info.pages.runs = Some(pages);
    }
    info.rows = sizes.iter().sum();
    info.list_rows = distribution(&mut sizes);
    let pages = info.pages;
    let used = pages.meta + pages.lists + pages.entries + pages.empty + pages.values;
    let used = used + pages.included.unwrap_or(0) + pages.runs.unwrap_or(0);
    info.pages.unused = blocks.count()?.saturating_sub(used);
    Ok(info)
}
