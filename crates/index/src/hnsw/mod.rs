//! Hierarchical navigable small world graphs (Malkov and Yashunin, arXiv:1603.09320): pure algorithms over the
//! traits of `graph.rs`, and the page layouts behind these.

mod anchor;
mod anchor_table_tests;
mod anchor_tests;
mod backlinks;
pub mod build;
pub mod census;
pub mod check;
pub mod choice;
pub mod cost;
mod estimated_plan;
mod foreign_tests;
pub mod format;
pub mod graph;
pub mod info;
pub mod inline;
pub mod insert;
mod mend;
pub mod meta;
mod neighbour_cache;
mod orphans;
pub mod params;
mod repair;
pub mod scan;
pub mod search;
pub mod v1;
pub mod vacuum;
pub mod values;
