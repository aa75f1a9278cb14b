//! Hierarchical navigable small world graphs (Malkov and Yashunin, arXiv:1603.09320): pure algorithms over stores.

mod anchor;
mod anchor_tests;
mod backlinks;
pub mod build;
pub mod bulk_write;
pub mod check;
mod foreign_tests;
mod free_space;
pub mod insert;
pub mod layout;
mod orphans;
pub mod pages;
pub mod params;
mod repair;
pub mod scan;
pub mod search;
pub mod vacuum;
