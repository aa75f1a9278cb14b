//! More rows of a scan under conditions of which many rows are left: a search again, for several times as many, from
//! the rows that were returned. What these were it finds once more, and leaves out. A first search for so many would
//! take longer where ten rows are enough, and a pass over a long run takes longer than both searches.

use super::id_map::READ;
use super::meta::META_BLOCK;
use super::reader::Reader;
use super::scan::{Index, Scan, reader};
use super::search::Walk;
use crate::hnsw::scan::{ScanError, ScanSettings};
use crate::quant::space::CodedSpace;
use crate::storage::blocks::{BlockStore, LockMode, OperationLock};
use crate::storage::page::Damage;

/// A search finds so many times the rows of all before.
const GROWTH: usize = 4;
/// The most that one finds: pgvector's largest `ef_search`.
const MOST: usize = 1000;

impl Scan {
    /// Makes more rows of the graph the results; false where the run is the better way to them, or there are none.
    #[cold]
    pub(super) fn search_wider<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        index: &Index<S>,
        query: Option<S::View<'_>>,
        settings: &ScanSettings,
    ) -> Result<bool, ScanError<B::Error>> {
        let on_meta = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
        if query.is_none() || self.walk.gave_up {
            return Ok(false);
        }
        self.walk.note_given().map_err(on_meta)?;
        let wanted = self.walk.given.len().saturating_mul(GROWTH);
        let patience = self.walk.patience.map(|patience| patience.of_more(wanted));
        if !patience.is_some_and(|patience| patience.suits())
            || wanted == 0
            || wanted > MOST
            || self.in_use() > settings.max_memory
        {
            return Ok(false);
        }
        blocks.pause()?;
        blocks.fault_point("hnsw.scan.batch")?;
        // Nodes returned may have been deleted and replaced since; a record's own state tells.
        blocks.lock(OperationLock::Scan, LockMode::Shared)?;
        self.walk.patience = patience;
        let caution = self.caution(index, settings);
        let mut reader = reader(blocks, index, query, &self.prepared, caution).filtered(Some(&self.filter));
        let found = self.walk.search_from_given(&mut reader, wanted);
        blocks.unlock(OperationLock::Scan, LockMode::Shared);
        found?;
        self.walk.leave_out_given(wanted).map_err(on_meta)?;
        if self.walk.gave_up {
            self.walk.begin_collection().map_err(on_meta)?;
        }
        // where a search finds few, the next one would, too
        self.walk.gave_up |= self.walk.len() < wanted / GROWTH;
        Ok(!self.walk.is_empty())
    }
}

impl Walk {
    /// Notes the results as returned.
    fn note_given(&mut self) -> Result<(), Damage> {
        self.given.try_reserve(self.results.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        let found = &self.found;
        let ids = self.results.iter().filter_map(|&(_, place)| found.get(place as usize).map(|node| node.id));
        self.given.extend(ids);
        self.given.sort_unstable();
        Ok(())
    }

    /// A search under conditions for the nearest `ef`, of which many were found before.
    fn search_from_given<B: BlockStore, S: CodedSpace>(
        &mut self,
        reader: &mut Reader<'_, '_, B, S>,
        ef: usize,
    ) -> Result<(), B::Error> {
        let on_meta = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
        self.begin_layer();
        for at in 0..self.given.len() {
            if let Some(&id) = self.given.get(at) {
                self.enter(id).map_err(on_meta)?;
            }
        }
        // what was expanded before is not counted against this search
        let before = std::mem::take(&mut self.expanded);
        let width = self.patience.map_or(1.0, |patience| patience.width());
        let found = self.search_beside(reader, ef, width);
        self.expanded += before;
        found
    }

    /// Takes what was returned out of what was found, and leaves the nearest of `ef` that are no such rows.
    fn leave_out_given(&mut self, ef: usize) -> Result<(), Damage> {
        let Walk { given, found, free, results, kept, visited, .. } = self;
        free.try_reserve(results.len() + kept.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        let mut stays = |place: u32| {
            let given = found.get(place as usize).is_none_or(|node| given.binary_search(&node.id).is_ok());
            if given {
                free.push(place);
            }
            !given
        };
        results.retain(|&(_, place)| stays(place));
        kept.retain(|&std::cmp::Reverse((_, place))| stays(place));
        // those that this search had no need of are no news for a run either
        visited.reserve(given.len())?;
        for &id in given.iter() {
            if let Some(known) = visited.entry(id) {
                *known = READ;
            }
        }
        let left = ef.saturating_sub(given.len());
        self.narrow(left, true)
    }
}
