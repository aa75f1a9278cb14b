//! Inverted files: rows in lists around centres.
//!
//! [`cluster`] finds the centres; [`load`] builds, [`scan`] searches (with [`candidates`], [`centre_cache`]),
//! [`insert`], [`vacuum`] and [`check`](mod@check) do what they are called. All of them work on [`lists`], the
//! traits that a layout of pages implements: [`v1`], pgvector's, and [`packed`]. [`format`](mod@format) tells layouts
//! apart, and [`choice`] knows what each is good for.

pub mod candidates;
pub mod centre_cache;
pub mod check;
pub mod choice;
pub mod cluster;
pub mod format;
pub mod info;
pub mod insert;
pub mod lists;
pub mod load;
pub mod packed;
pub mod scan;
pub mod tally;
pub mod v1;
pub mod vacuum;

#[cfg(test)]
mod tests;
