//! What a scan under conditions takes by lists and by a run, about, in nanoseconds: to choose between them.

use super::layout::{BLOCK, Geometry};

/// To compare the keys of a row, its page included.
const KEY: f64 = 1.2;
/// To bound the distances of a block of codes, and more for each element.
const BLOCK_OF_CODES: f64 = 60.0;
const PER_ELEMENT: f64 = 1.0;
/// To turn to a list: its head, its centre against the query, and more for each element.
const LIST: f64 = 500.0;
/// Exact distances that a run needs beside those that lists need, and what one takes of own values and of the table's.
const MORE_VALUES: f64 = 100.0;
const OWN_VALUE: f64 = 200.0;
const TABLE_VALUE: f64 = 1000.0;

/// What things cost in an index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    block: f64,
    list: f64,
    value: f64,
}

impl Prices {
    /// In an index of such lists.
    pub fn of(geometry: &Geometry) -> Self {
        let value = if geometry.own_values { OWN_VALUE } else { TABLE_VALUE };
        let elements = PER_ELEMENT * geometry.padded as f64;
        Prices { block: BLOCK_OF_CODES + elements, list: LIST + elements, value }
    }

    /// A run of so many entries.
    pub fn run(&self, entries: f64) -> f64 {
        MORE_VALUES.min(entries) * self.value + entries * (KEY + self.block / BLOCK as f64)
    }

    /// So many lists of so many rows in all, of which this share matches. A block is bounded where one of its rows
    /// does.
    pub fn lists(&self, lists: f64, rows: f64, share: f64) -> f64 {
        let n = BLOCK as f64;
        let blocks = 1.0 - (1.0 - share.clamp(0.0, 1.0)).powf(n);
        lists * self.list + rows * (KEY + blocks * self.block / n)
    }
}
