//! Runs in a check: each tree has all of its pages, in order, and its entries are those of the rows in lists, with
//! their keys and the places of their values.

use super::layout::{PAGE_ID, PageKind};
use super::{Index, Lists};
use crate::ivf::tally::{RunEntry, Tally};
use crate::runs::audit::{Met, Walk, Witness, digest};
use crate::runs::page;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, Tid};
use crate::storage::verify;

/// Whoever is told of a tree's pages.
struct Audited<'w, B> {
    blocks: &'w mut B,
    tally: &'w mut Tally,
}

impl<B: BlockStore> Witness for Audited<'_, B> {
    type Error = B::Error;

    fn read(&mut self, block: u32, out: &mut [u8]) -> Result<bool, B::Error> {
        self.blocks.pause()?;
        if !super::census::note(block, self.tally) {
            return Ok(false);
        }
        let tally = &mut *self.tally;
        self.blocks.read(block, |bytes| {
            let len = bytes.len().min(out.len());
            let (to, from) = (out.get_mut(..len), bytes.get(..len));
            if let (Some(to), Some(from)) = (to, from) {
                to.copy_from_slice(from);
            }
            Ok(super::census::sound(bytes, block, tally))
        })
    }

    fn tell(&mut self, place: Tid, what: &'static str) {
        self.tally.violation(place.block(), place.offset(), what);
    }

    fn entry(&mut self, column: usize, entry: &Met<'_>) -> Result<(), B::Error> {
        let Met { at, name, place, keys } = *entry;
        self.tally.run_entry(RunEntry::new(name, column, digest_of(place, keys), at));
        Ok(())
    }

    fn no_memory(&mut self) -> B::Error {
        Damage::OUT_OF_MEMORY.on(0).into()
    }
}

/// What stands for keys and a place.
pub(super) fn digest_of(place: Tid, keys: &[u8]) -> u64 {
    digest(keys) ^ place.packed().wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl<B: BlockStore> Lists<'_, B> {
    /// Looks at the trees, if there are any, when the entries of all lists are known.
    pub(super) fn audit_runs(&mut self, tally: &mut Tally) -> Result<(), B::Error> {
        let Index { runs, geometry: own, .. } = self.index;
        let Some(geometry) = runs.geometry() else { return Ok(()) };
        let mut walk = Walk::default();
        let begun = walk.begin(tally.blocks, own.page_size);
        begun.map_err(|memory| Damage::from(memory).on(0))?;
        for tree in runs.trees() {
            let mut witness = Audited { blocks: &mut *self.blocks, tally: &mut *tally };
            walk.tree(PageKind::RUNS, geometry, tree, &mut witness)?;
        }
        if let Some(block) = runs.centre()
            && super::census::note(block, tally)
        {
            self.blocks.read(block, |bytes| {
                verify::page(bytes, PAGE_ID, false, |damage| {
                    tally.violation(block, damage.offset, damage.what);
                });
                match page::centre(PageKind::RUNS, bytes, own.padded) {
                    Ok(centre) if centre.iter().all(|x| x.is_finite()) => {}
                    Ok(_) => tally.violation(block, 0, "centre of codes is no vector"),
                    Err(damage) => tally.violation(block, damage.offset, damage.what),
                }
                Ok(())
            })?;
        }
        tally.compare_runs(runs.count());
        Ok(())
    }
}
