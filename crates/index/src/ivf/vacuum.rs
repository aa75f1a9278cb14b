//! Vacuum: the entries of dead rows leave their lists.

use super::lists::{ListPlace, Met, Workspace, WriteLists};
use crate::storage::page::{Damage, Tid};
use crate::work::memory::push;

/// Memory of a vacuum that must not lie in frames while blocks are read.
#[derive(Debug, Default)]
pub struct Vacuum {
    lists: Vec<ListPlace>,
    workspace: Workspace,
    /// entries met so far
    pub met: Met,
}

impl Vacuum {
    /// Removes the entries of dead rows. `is_dead` must neither raise nor read blocks.
    ///
    /// # Errors
    /// A damaged block, or no memory for the places of lists.
    pub fn run<L: WriteLists>(
        &mut self,
        lists: &mut L,
        is_dead: &mut dyn FnMut(Tid) -> bool,
    ) -> Result<(), L::Error> {
        let Vacuum { lists: places, workspace, met } = self;
        places.clear();
        lists.each_list(&mut |list| {
            push(places, list.place).map_err(|_| Damage::OUT_OF_MEMORY)?;
            Ok(true)
        })?;
        lists.begin_removal(is_dead)?;
        for &place in &*places {
            lists.remove(place, is_dead, workspace, met)?;
        }
        Ok(())
    }
}
