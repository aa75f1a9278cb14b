//! Values of INCLUDE columns that a build keeps in a temporary file until the rest of its index is written.

use vector_index::included::{HEAD, size_of_values};
use vector_index::storage::page::{Corruption, Damage};
use vector_index::work::memory::resize;
use vector_index::work::runs::Runs;

use super::spill::Spill;

/// Bytes of values that are written at once.
const AT_ONCE: usize = 16 << 10;

/// Values of rows, in the order in which they came.
pub struct KeptRows {
    values: Spill,
    /// those of them that are written at once
    batch: Vec<u8>,
}

impl KeptRows {
    /// None yet. The current memory context must outlive their use.
    pub fn new() -> Self {
        KeptRows { values: Spill::new(), batch: Vec::new() }
    }

    /// Adds those of a row ([`super::included::Included::form`]).
    pub fn push(&mut self, values: &[u8]) {
        self.values.write(values);
    }

    /// Shows all of them to `add`, many at a time, and forgets them. Damage of the file is told of block `meta`.
    ///
    /// # Errors
    /// What `add` answers, no memory.
    pub fn finish(
        &mut self,
        meta: u32,
        mut add: impl FnMut(&[u8]) -> Result<(), Corruption>,
    ) -> Result<(), Corruption> {
        let KeptRows { values, batch } = self;
        values.end_run();
        resize(batch, AT_ONCE, 0).map_err(|memory| Damage::from(memory).on(meta))?;
        let mut filled = 0;
        loop {
            let read = Runs::read(values, 0, batch.get_mut(filled..).unwrap_or_default());
            filled += read;
            let whole = whole_values(batch.get(..filled).unwrap_or_default());
            if whole == 0 {
                break;
            }
            add(batch.get(..whole).unwrap_or_default())?;
            batch.copy_within(whole..filled, 0);
            filled -= whole;
        }
        Runs::clear(values);
        if filled > 0 {
            return Err(Damage::internal("temporary file with other values than were written").on(meta));
        }
        Ok(())
    }
}

/// Bytes of the whole values that the bytes begin with.
fn whole_values(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Some(rest) = bytes.get(whole..).filter(|rest| rest.len() >= HEAD) {
        let size = size_of_values(rest);
        if size < HEAD || size > rest.len() {
            break;
        }
        whole += size;
    }
    whole
}
