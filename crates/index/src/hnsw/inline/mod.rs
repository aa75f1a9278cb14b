//! The second layout of hnsw on pages: a node's record holds, beside its value, the id and a short code of each
//! neighbour, so that one page access expands a node. Codes are those of RaBitQ ([`crate::quant::rabitq`]),
//! kept in a graph as SymphonyQG (arXiv:2411.12229) keeps them.
//!
//! | file | what |
//! |---|---|
//! | [`layout`] | records and pages, byte by byte |
//! | [`meta`] | the meta page |
//! | [`codec`] | rotated values, codes of edges, estimates |
//! | [`reader`] | a node expanded: its exact distance, its neighbours' estimates |
//! | [`id_map`] | what a search knows of the nodes it met |
//! | [`pool`] | candidates of a search, nearest first |
//! | [`beam`] | how many candidates a search waits with |
//! | [`search`] | one layer, by estimates; results by exact distances |
//! | [`filtered`] | scans with conditions on filter columns |
//! | [`scan`] | whole scans, and how they go on |
//! | [`graph`] | reading elements and their lists, for inserts, vacuums and repairs |
//! | [`neighbour_search`] | their searches |
//! | `list_estimates` | which edge of a list gives way, by codes |
//! | `turned` | codes of edges back, from those of the edges |
//! | `records` | records one by one: the way up, values that are cut |
//! | [`run`] | entries of all nodes in the order of their filter keys |
//! | [`bulk_write`] | a graph built in memory, to pages |
//! | [`census`] | every page, slot and record, checked |
//! | [`info`] | what there is, counted |

mod batches;
pub mod beam;
pub mod bulk_write;
pub mod census;
#[cfg(test)]
mod chain_tests;
pub mod codec;
mod edit;
pub mod filtered;
pub mod graph;
#[cfg(test)]
mod graph_tests;
pub mod id_map;
#[cfg(test)]
mod included_tests;
pub mod info;
#[cfg(test)]
mod insert_tests;
pub mod layout;
mod list_estimates;
mod lists;
mod marks;
pub mod meta;
pub mod neighbour_search;
pub mod parts;
mod place;
pub mod pool;
pub mod reader;
mod records;
mod returned;
mod rooms;
mod rotated;
mod rows;
pub mod run;
pub mod scan;
pub mod search;
mod sections;
#[cfg(test)]
mod tests;
mod tree_plan;
mod turned;
mod wider;
mod writer;
#[cfg(test)]
mod writer_tests;
