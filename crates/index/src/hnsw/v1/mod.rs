//! The first page layout, pgvector's: an element tuple and a neighbour tuple for each element.

pub mod bulk_write;
pub(super) mod free_space;
pub mod layout;
pub mod reader;
