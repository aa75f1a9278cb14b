//! How many lists a search should look at when nobody says: found out when an index is built, by searches for some rows
//! of its sample among all lists.

use zerocopy::IntoBytes;

use super::Lists;
use super::meta::MetaPage;
use crate::ivf::candidates::Candidates;
use crate::ivf::centre_cache::Centres;
use crate::ivf::lists::{Collector, ReadLists, Services};
use crate::quant::space::CodedSpace;
use crate::space::ValueBuf;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, PageMut};
use crate::work::memory::{OutOfMemory, push};
use crate::work::ordered::from_order_key;

/// Rows that are searched for, at most: more say nothing that changes a plan.
pub const QUERIES: usize = 100;
/// Nearest rows of each that count.
const NEIGHBOURS: usize = 10;
/// The share of these that a search is to find; a little less comes out, since rows of the index are nearer to their
/// neighbours than other queries are.
const RECALL: f64 = 0.96;

/// Finds out in the lists of how many nearest centres that share of the neighbours of rows is, and keeps it in the meta
/// page. `query` makes its argument the value of a row of the index, and returns false when there are no more.
///
/// # Errors
/// A damaged block, or no memory.
pub fn tune<B: BlockStore, S: CodedSpace>(
    lists: &mut Lists<'_, B>,
    space: S,
    memory: usize,
    services: &mut Services<'_>,
    mut query: impl FnMut(usize, &mut ValueBuf) -> Result<bool, OutOfMemory>,
) -> Result<u32, B::Error> {
    let start = lists.index.centres;
    let short = |memory| B::Error::from(Damage::from(memory).on(start));
    let mut centres = Centres::default();
    centres.load(lists, space, memory)?;
    let (mut needed, mut nearest, mut value) = (Vec::new(), Vec::new(), ValueBuf::new());
    let (mut found, mut candidates, mut unpacked) =
        (super::found::Found::default(), Candidates::default(), ValueBuf::new());
    for at in 0..if centres.is_empty() { 0 } else { QUERIES } {
        if !query(at, &mut value).map_err(short)? {
            break;
        }
        let Ok(view) = space.view(value.bytes()) else { continue };
        centres.nearest(space, Some(view), centres.places().len(), &mut nearest);
        nearest.sort_unstable();
        found.clear(services.runs);
        let mut collector = Collector {
            candidates: &mut candidates,
            packed: &mut found,
            memory,
            unpacked: &mut unpacked,
            services,
            entry_size: 0,
        };
        for &key in &nearest {
            let Some(place) = centres.place(key as u32 as usize) else { continue };
            let distance = from_order_key((key >> 32) as u32);
            // nobody else changes an index that is being built
            lists.score_list(place, distance, space, Some(view), &mut collector)?;
        }
        // the row itself comes first
        for neighbour in 0..=NEIGHBOURS {
            let Some((_, start)) = lists.next_with_list(space, view, &mut collector)? else { break };
            let place = |key: &u64| centres.place(*key as u32 as usize);
            let rank = nearest.iter().position(|key| place(key).is_some_and(|p| p.start_page == start));
            if neighbour > 0
                && let Some(rank) = rank
            {
                push(&mut needed, rank as u32 + 1).map_err(short)?;
            }
        }
    }
    needed.sort_unstable();
    let at = ((needed.len() as f64 * RECALL).ceil() as usize).saturating_sub(1);
    let probes = needed.get(at).copied().unwrap_or(0);
    found.clear(services.runs);
    let mut change = lists.blocks.update()?;
    let slot = change.open(0)?;
    let meta = MetaPage::read(change.bytes(slot)).map_err(|damage| damage.on(0))?;
    let bytes = change.bytes_mut(slot)?;
    let mut page = PageMut::new(bytes, super::layout::PAGE_ID).map_err(|damage| damage.on(0))?;
    page.set_contents(meta.with_probes(probes).as_bytes());
    change.commit()?;
    lists.index.probes = probes;
    Ok(probes)
}
