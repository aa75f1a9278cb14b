//! Clustering: the centres of lists, and to which of them rows belong.
//!
//! [`kmeans`] is the whole; [`seed`] where it starts, `lloyd` a step of it, with `means`, `relocate` what
//! leaves a local optimum, `pruning` how most distances are left out, [`plan()`](kmeans::plan) what memory
//! allows. [`panels`] and [`sample`] are the centres and the rows that they work on; [`assign`] finds the lists
//! of all rows afterwards. [`refine`] makes up for a sample that memory has cut short.

pub mod assign;
pub mod kmeans;
mod lloyd;
mod means;
pub mod panels;
mod plan;
mod pruning;
pub mod refine;
mod relocate;
pub mod sample;
pub mod seed;
