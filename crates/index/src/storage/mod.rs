//! Pages, the blocks they stand on, and what a check of either says.

pub mod blocks;
pub mod chains;
pub mod delta;
mod error;
pub mod page;
mod tid;
pub mod verify;
