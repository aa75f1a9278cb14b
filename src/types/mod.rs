//! The SQL functions of the types: thin bodies over the pure crates.

pub mod aggregate;
pub mod bit;
pub mod cast;
pub mod dense;
pub mod distance;
pub mod element;
pub mod sparse;
