//! Which page layout suits an index, and what each can hold.

use super::format::MAX_LISTS;
use super::packed::layout::MAX_DIMS as PACKED_DIMS;
use crate::quant::space::has_codes;
use crate::space::{Metric, ValueKind};
use crate::value::SPARSE_MAX_DIMS;

/// Dimensions of a `vector` on pages of the first layout, at most; twice as many of a `halfvec`, 32 times of a `bit`.
const MAX_DIMS: i32 = 2000;
/// Fewer dimensions than this say too little in a bit each.
const LEAST_DIMS: i32 = 16;

/// Whether there are packed lists of values of `kind` that compare by `metric`.
pub const fn has_packed(kind: ValueKind, metric: Metric) -> bool {
    matches!(kind, ValueKind::Vector | ValueKind::Halfvec) && has_codes(kind, metric)
}

/// Most dimensions of an indexed column, packed or not.
pub const fn max_dims(packed: bool, kind: ValueKind) -> i32 {
    match (packed, kind) {
        (true, ValueKind::Vector | ValueKind::Halfvec) => PACKED_DIMS as i32,
        (_, ValueKind::Vector) => MAX_DIMS,
        (_, ValueKind::Halfvec) => MAX_DIMS * 2,
        (_, ValueKind::Bit) => MAX_DIMS * 32,
        (_, ValueKind::Sparsevec) => SPARSE_MAX_DIMS,
    }
}

/// Whether an index is packed where nobody says.
pub const fn automatic(kind: ValueKind, metric: Metric, dims: i32) -> bool {
    has_packed(kind, metric) && dims >= LEAST_DIMS
}

/// Lists of a packed index of so many rows, where nobody says how many: where a bit per element costs little, centres
/// are what a search compares most, and the fewer the longer they are. Tables that are not large have no more than
/// pgvector's default, so that who sets `ivfflat.probes` to that number gets all rows as ever.
pub fn lists(rows: f64, dims: u16) -> u16 {
    let factor = if dims <= LONG { 4.0 } else { 2.0 };
    let most = if rows < LARGE { f64::from(DEFAULT_LISTS) } else { f64::from(MAX_LISTS) / 2.0 };
    // a float beyond the range saturates
    (factor * rows.max(0.0).sqrt()).min(rows / LEAST_ROWS).clamp(1.0, most) as u16
}

/// Lists of an index where nobody says how many, on pages of the first layout.
pub const DEFAULT_LISTS: u16 = 100;

/// Rows from which a table is large.
const LARGE: f64 = 50_000.0;

/// Lists of fewer rows would be pages that are mostly empty.
const LEAST_ROWS: f64 = 50.0;

/// Values of more dimensions than this are long.
const LONG: u16 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_grow_with_the_root_of_the_rows() {
        assert_eq!(
            [0.0, 49.0, 2500.0, 4e4, 9e4, 1e6].map(|rows| lists(rows, 128)),
            [1, 1, 50, 100, 1200, 4000]
        );
        assert_eq!(lists(1e6, 768), 2000);
        assert_eq!((lists(1e12, 3), lists(f64::NAN, 3)), (16_384, 1));
    }

    #[test]
    fn packed_is_what_has_codes_worth_their_while() {
        for metric in [Metric::L2, Metric::InnerProduct] {
            assert!(
                automatic(ValueKind::Vector, metric, 16) && automatic(ValueKind::Halfvec, metric, 16_000)
            );
            assert!(!automatic(ValueKind::Vector, metric, 15));
        }
        assert!(!has_packed(ValueKind::Bit, Metric::Hamming) && !has_packed(ValueKind::Vector, Metric::L1));
        assert_eq!((max_dims(false, ValueKind::Vector), max_dims(false, ValueKind::Halfvec)), (2000, 4000));
        assert_eq!((max_dims(true, ValueKind::Halfvec), max_dims(true, ValueKind::Bit)), (16_000, 64_000));
    }
}
