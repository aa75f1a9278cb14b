//! Clustering: the centres of lists, and to which of them rows belong.

pub mod assign;
pub mod kmeans;
mod means;
mod plan;
pub mod sample;
pub mod seed;
pub mod sq8;
