//! Pages, the blocks they stand on, and what a check of either says.

pub mod blocks;
pub mod page;
pub mod verify;
