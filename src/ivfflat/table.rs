//! Values of the table for indexes that have none (`rerank = heap`).

use vector_index::ivf::lists::TableValues;
use vector_index::space::ValueBuf;
use vector_index::storage::page::Tid;
use vector_index::work::memory::OutOfMemory;

use crate::pg::table_rows::SeenRows;

/// The values of the rows that a snapshot sees.
pub struct Seen<'r>(pub SeenRows<'r>);

impl TableValues for Seen<'_> {
    fn prefetch(&mut self, row: Tid) {
        self.0.prefetch(row);
    }

    fn value(&mut self, row: Tid, out: &mut ValueBuf) -> Result<bool, OutOfMemory> {
        self.0.value(row).map_or(Ok(false), |value| out.try_copy_from(value).map(|()| true))
    }

    fn pause(&mut self) {
        self.0.pause();
    }
}
