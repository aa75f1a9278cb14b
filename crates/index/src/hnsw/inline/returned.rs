//! The values of the row that a scan has returned, for scans that need no table. src/hnsw/README.md has the argument
//! why whoever holds on to the row's page may believe that the table has the row.

use super::layout::Layout;
use super::records::{look_at_ground, look_at_segment, look_at_value};
use super::scan::Scan;
use crate::space::{ValueBuf, varlena_header};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, Tid};

impl Scan {
    /// The block that names the row that was returned last: its node's record of layer 0, or a segment. To be held on
    /// to before [`Self::read_returned`] looks at it. `None` before the first row.
    pub fn place_of_returned(&self, layout: &Layout) -> Option<u32> {
        let (node, _) = self.returned_row()?;
        Some(if self.part.is_valid() { self.part.block() } else { layout.tid(node.id).block() })
    }

    /// Reads the value of the row that was returned last into `value`, a whole varlena as it was given with the filter
    /// keys behind it. False when the index does not name the row any more: a vacuum has removed it, since no snapshot
    /// sees it.
    ///
    /// # Errors
    /// Damaged blocks, no memory.
    pub fn read_returned<B: BlockStore>(
        &mut self,
        blocks: &mut B,
        layout: &Layout,
        value: &mut ValueBuf,
    ) -> Result<bool, B::Error> {
        let Some((node, row)) = self.returned_row() else { return Ok(false) };
        let tid = layout.tid(node.id);
        let (id, version, part) = (node.id, node.version, self.part);
        let named = if part.is_valid() {
            let found = look_at_segment(blocks, layout, part, |header, rows| {
                Ok(header.owner == id && header.version == version && rows.contains(&row))
            })?;
            found.unwrap_or(false)
        } else {
            look_at_ground(blocks, layout, tid, |record| {
                let header = record.header;
                Ok(record.is_live() && header.version == version && header.heap_tid == row)
            })?
        };
        if !named {
            return Ok(false);
        }
        let keys = layout.shape.filter_size();
        look_at_value(blocks, layout, &mut self.joined, tid, |member, bytes| {
            if member.version != version {
                return Ok(false);
            }
            let size = bytes.len().checked_sub(keys).filter(|&size| size >= size_of::<u32>());
            let whole = size.is_some_and(|size| bytes.starts_with(&varlena_header(size)));
            if !whole {
                return Err(Damage::at(tid.offset(), "invalid value"));
            }
            value.try_reset(bytes.len())?.copy_from_slice(bytes);
            Ok(true)
        })
    }

    /// The row that was returned last.
    pub fn row_of_returned(&self) -> Option<Tid> {
        self.returned_row().map(|(_, row)| row)
    }

    fn returned_row(&self) -> Option<(&super::reader::Found, Tid)> {
        let node = self.walk.result(self.at)?;
        let row = match self.part.is_valid() {
            true => *self.rows.get(self.row.checked_sub(1)?)?,
            false if self.begun => node.heap_tid,
            false => return None,
        };
        Some((node, row))
    }
}
