//! The first page layout, pgvector's: a chain of pages for each list, an entry for each row.

pub mod layout;
