//! The values of INCLUDE columns: their tree has all of its pages, in order, and each row has its values. (Others may
//! be there: of rows whose inserts, or whose removal, did not come to an end.)

use super::super::layout::PageKind;
use super::super::meta::META_BLOCK;
use super::InlineCensus;
use crate::hnsw::census::{Auditor, CheckError};
use crate::included::check;
use crate::storage::blocks::BlockStore;
use crate::storage::page::Tid;

impl<B: BlockStore> InlineCensus<'_, B> {
    /// Looks at the tree.
    pub(super) fn included(&mut self, audit: &mut Auditor<'_>) -> Result<(), CheckError<B::Error>> {
        if self.included != 0 {
            let mut report = |violation| audit.report(violation);
            let (tree, root) = (PageKind::INCLUDED, self.included);
            self.included_found = check::audit(self.blocks, tree, root, self.count, &mut report)?;
        }
        for block in META_BLOCK + 1..self.count {
            let kind = self.met.kind(block);
            let is_included = matches!(kind, Some(PageKind::Included | PageKind::IncludedDirectory));
            if is_included && self.included_found.known.get(block as usize) != Some(&true) {
                audit.tell(Tid::new(block, 0), "included values that scans do not come to");
            }
        }
        Ok(())
    }

    /// Tells of rows without values, when all rows have been counted.
    pub(super) fn rows_with_values(&mut self, audit: &mut Auditor<'_>) {
        let mut lacking = None;
        let mut count = 0u64;
        for (row, element) in audit.tally.rows_from(0) {
            if !self.included_found.has(row) {
                lacking = lacking.or(Some((row, element)));
                count += 1;
            }
        }
        if let Some((row, element)) = lacking {
            let others =
                if count > 1 { format!(", and so have {} others", count - 1) } else { String::new() };
            audit.tell(element, format!("row {row} of the table has no included values{others}"));
        }
    }
}
