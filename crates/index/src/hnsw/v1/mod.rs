//! The first page layout, pgvector's: an element tuple and a neighbour tuple for each element.

pub mod bulk_write;
pub mod census;
mod free_space;
pub mod graph;
pub mod info;
pub mod layout;
pub mod reader;
mod writer;
