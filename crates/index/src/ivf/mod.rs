//! Inverted files with flat (uncompressed) lists: clustering ([`cluster`]), and what the `ivfflat` access method does on
//! its pages ([`v1`], [`scan`], [`candidates`], [`centres`], [`mod@write`], [`load`], [`check`]).

pub mod candidates;
pub mod centres;
pub mod check;
pub mod cluster;
pub mod info;
pub mod load;
pub mod scan;
pub mod v1;
pub mod write;

#[cfg(test)]
mod tests;
