//! Hierarchical navigable small world graphs (Malkov and Yashunin, arXiv:1603.09320): pure algorithms over stores.

mod anchor;
mod anchor_tests;
mod backlinks;
pub mod build;
pub mod check;
mod foreign_tests;
pub mod info;
pub mod insert;
mod orphans;
pub mod params;
mod repair;
pub mod scan;
pub mod search;
pub mod v1;
pub mod vacuum;
