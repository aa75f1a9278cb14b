//! Inverted files with flat (uncompressed) lists: clustering ([`kmeans`], [`seed`], [`sample`], [`assign`], [`codes`]) on threads
//! ([`workers`]), and what the `ivfflat` access method does on its pages ([`layout`], [`scan`], [`candidates`], [`centres`],
//! [`write`], [`load`], [`check`]).

pub mod assign;
pub mod candidates;
pub mod centres;
pub mod check;
pub mod kmeans;
pub mod layout;
pub mod load;
mod means;
mod plan;
pub mod sample;
pub mod scan;
pub mod seed;
pub mod sq8;
pub mod workers;
pub mod write;

#[cfg(test)]
mod tests;
