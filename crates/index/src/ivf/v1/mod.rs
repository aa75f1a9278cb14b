//! The first page layout, pgvector's: a chain of pages for each list, an entry for each row.

mod append;
mod bulk_write;
mod census;
pub mod info;
pub mod layout;
mod scan_page;

use super::lists::EntryForm;

/// The lists of an index on its blocks.
#[derive(Debug)]
pub struct Pages<'b, B>(pub &'b mut B);

/// The entries of values of `value_size` bytes, as they stand on pages.
pub fn entry_form(value_size: usize) -> EntryForm {
    EntryForm {
        size: layout::entry_size(value_size),
        elements_at: layout::elements_at(value_size),
        keys_at: 0,
        write: layout::write_entry_of,
    }
}
