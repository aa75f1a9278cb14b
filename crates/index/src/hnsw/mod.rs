//! Hierarchical navigable small world graphs (Malkov and Yashunin, arXiv:1603.09320): pure algorithms over stores.

pub mod build;
pub mod layout;
pub mod params;
pub mod search;
mod connect;
pub mod insert;
pub mod pages;
mod place;
pub mod scan;
pub mod vacuum;
pub mod write;
