//! Quantisers: vectors in a byte or a few bits an element, and what the codes tell of their distances.
//!
//! [`sq8`] is scalar quantisation: a byte an element, distances bounded or estimated.
//! [`rotation`] spreads what a vector has over all its elements, so that a few bits of each say as much as they can;
//! [`rabitq`] makes the codes and the estimates, [`fastscan`] the same for 32 codes side by side; [`space`] has the
//! exact distances that these stand for. Nothing here is trained: an index needs a seed and no sample, works when it
//! is empty, and does not drift.

pub mod fastscan;
pub mod rabitq;
pub mod rotation;
pub mod space;
pub mod sq8;
