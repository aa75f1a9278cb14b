//! How many lists a search should look at when nobody says: found out when an index is built, by searches for some rows
//! of its sample among all lists.

use super::Lists;
use super::meta::MetaPage;
use super::probes::{POINTS, Probes};
use crate::ivf::candidates::Candidates;
use crate::ivf::centre_cache::Centres;
use crate::ivf::lists::{Collector, ReadLists, Services};
use crate::quant::space::CodedSpace;
use crate::space::ValueBuf;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, INVALID_BLOCK};
use crate::work::memory::{OutOfMemory, push};
use crate::work::ordered::from_order_key;

/// Rows that are searched for, at most: more say nothing that changes a plan.
pub const QUERIES: usize = 250;
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
    let has_keys = lists.index.geometry.filter_size > 0;
    let [a, b, c, d] = POINTS;
    let amounts = [NEIGHBOURS, a, b, c, d];
    let most = if has_keys { d } else { NEIGHBOURS };
    let mut needed: [Vec<u32>; 5] = Default::default();
    let (mut nearest, mut ranks, mut value) = (Vec::new(), Vec::new(), ValueBuf::new());
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
        ranks.clear();
        for (rank, &key) in nearest.iter().enumerate() {
            let start = centres.place(key as u32 as usize).map_or(INVALID_BLOCK, |place| place.start_page);
            push(&mut ranks, (start, rank as u32)).map_err(short)?;
        }
        ranks.sort_unstable();
        // the row itself comes first
        for neighbour in 0..=most {
            let Some((_, start)) = lists.next_with_list(space, view, &mut collector)? else { break };
            let rank = ranks.binary_search_by_key(&start, |(start, _)| *start);
            let Some((_, rank)) = rank.ok().and_then(|at| ranks.get(at)) else { continue };
            for (needed, among) in needed.iter_mut().zip(amounts) {
                if (1..=among.min(most)).contains(&neighbour) {
                    push(needed, rank + 1).map_err(short)?;
                }
            }
        }
    }
    let [first, more @ ..] = needed.map(|mut needed| {
        needed.sort_unstable();
        let at = ((needed.len() as f64 * RECALL).ceil() as usize).saturating_sub(1);
        needed.get(at).copied().unwrap_or(0)
    });
    let probes = Probes::new(first, if has_keys { more } else { [0; 4] });
    found.clear(services.runs);
    MetaPage::change(lists.blocks, |meta| meta.with_probes(probes))?;
    lists.index.probes = probes;
    Ok(first)
}
