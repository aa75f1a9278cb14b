//! Stores for tests: blocks in memory that hold the algorithms to the contract of [`crate::storage::blocks`].
#![cfg(any(test, feature = "testing"))]

#[cfg(test)]
mod grid;
#[cfg(test)]
mod grid_census;
#[cfg(test)]
mod grid_search;
#[cfg(test)]
mod grid_tests;
pub mod hnsw;
#[cfg(test)]
mod hostile;
pub mod ivf;
pub mod lists;
mod lock;
mod memory;
pub mod operations;
pub mod packed;
pub mod schedules;
mod stepped;
mod turns;

pub use memory::{Counts, MemBlocks, MemChange, MemError, PAGE_SIZE};
