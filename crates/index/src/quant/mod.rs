//! Quantisers: vectors in a few bits an element, and distances estimated from them.
//!
//! [`rotation`] spreads what a vector has over all its elements, so that a few bits of each say as much as they can;
//! [`rabitq`] makes the codes and the estimates. Nothing here is trained: an index needs a seed and no sample, works
//! when it is empty, and does not drift.

pub mod rabitq;
pub mod rotation;
