//! Which page layout suits an index, and what each can hold.

use super::format::Layout;
use super::inline::layout::{Layout as InlineLayout, Shape};
use super::params::MAX_DIMS;
use super::v1::layout::{element_size, neighbours_size};
use crate::filter::Packings;
use crate::quant::space::has_codes;
use crate::space::{Metric, ValueKind};
use crate::storage::page::SPECIAL_SIZE;
use crate::value::SPARSE_MAX_DIMS;

/// Inline records are worth so many times the bytes of the first layout.
pub const WORTH: f64 = 2.5;

/// Whether there are inline indexes of values of `kind` that compare by `metric`.
pub const fn has_inline(kind: ValueKind, metric: Metric) -> bool {
    has_codes(kind, metric)
}

/// Most dimensions of an indexed column.
pub const fn max_dims(layout: Layout, kind: ValueKind) -> i32 {
    match (layout, kind) {
        (Layout::V1, ValueKind::Vector) => MAX_DIMS,
        (Layout::V1, ValueKind::Halfvec) => MAX_DIMS * 2,
        // the most that the types can have; of `bit`, what the first layout has, too
        (Layout::Inline, ValueKind::Vector | ValueKind::Halfvec) => MAX_DIMS * 8,
        (_, ValueKind::Bit) => MAX_DIMS * 32,
        (_, ValueKind::Sparsevec) => SPARSE_MAX_DIMS,
    }
}

/// The layout for whoever does not say: inline where its bytes are worth it, or where nothing else can hold the
/// dimensions.
pub fn automatic(kind: ValueKind, metric: Metric, dims: usize, m: usize, page_size: usize) -> Layout {
    let first = usize::try_from(max_dims(Layout::V1, kind)).unwrap_or_default();
    let inline = has_inline(kind, metric).then(|| inline_bytes(kind, dims, m, page_size)).flatten();
    match (inline, first_bytes(kind, dims, m, page_size)) {
        (Some(_), _) if dims > first => Layout::Inline,
        (Some(inline), Some(first)) if inline <= WORTH * first => Layout::Inline,
        _ => Layout::V1,
    }
}

/// Bytes of pages that a row takes where [`automatic`] is not the first layout.
pub fn own_bytes(kind: ValueKind, metric: Metric, dims: usize, m: usize, page_size: usize) -> Option<f64> {
    match automatic(kind, metric, dims, m, page_size) {
        Layout::Inline => inline_bytes(kind, dims, m, page_size),
        Layout::V1 => None,
    }
}

/// Bytes of pages that a row takes under the first layout, in the mean. `None` of values of any size, or too large.
pub fn first_bytes(kind: ValueKind, dims: usize, m: usize, page_size: usize) -> Option<f64> {
    let value = match kind {
        ValueKind::Vector => 8 + 4 * dims,
        ValueKind::Halfvec => 8 + 2 * dims,
        ValueKind::Bit => 8 + dims.div_ceil(8),
        ValueKind::Sparsevec => return None,
    };
    let space = page_size.checked_sub(PAGE_HEADER + SPECIAL_SIZE)?;
    let (element, neighbours) = (element_size(value) + LINE_POINTER, neighbours_size(0, m) + LINE_POINTER);
    if element > space {
        return None;
    }
    // an element and its neighbour tuple, which go to the next page together with nothing where one page is too small
    let page_size = page_size as f64;
    Some(match space / (element + neighbours) {
        0 => 2.0 * page_size,
        rows => page_size / rows as f64,
    })
}

const PAGE_HEADER: usize = 24;
const LINE_POINTER: usize = 4;

/// The same of a node's records. `None` when no page holds the ids.
fn inline_bytes(kind: ValueKind, dims: usize, m: usize, page_size: usize) -> Option<f64> {
    let shape = Shape::new(kind, dims, m, Packings::NONE, page_size);
    InlineLayout::new(shape, page_size).map(|layout| layout.cost())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 8192;

    #[test]
    fn bytes_are_those_of_the_pages() {
        // 100 dimensions: 72 + 408 and 4 + 32 * 6 bytes, both rounded up, a line pointer each: 11 to a page
        assert!((first_bytes(ValueKind::Vector, 100, 16, PAGE).unwrap() - 8192.0 / 11.0).abs() < 1.0);
        // an element nearly as large as a page sends its neighbours to another one
        assert_eq!(first_bytes(ValueKind::Vector, 2000, 16, PAGE), Some(16384.0));
        assert_eq!(first_bytes(ValueKind::Vector, 2100, 16, PAGE), None);
        assert_eq!(first_bytes(ValueKind::Sparsevec, 100, 16, PAGE), None);
        // five records to a page, and nine of an upper layer, which one element of fifteen has
        assert_eq!(inline_bytes(ValueKind::Vector, 100, 16, PAGE), Some(1638.0 + 910.0 / 15.0));
    }

    #[test]
    fn automatic_is_inline_where_bytes_are_worth_it() {
        let layout = |kind, metric, dims, m| automatic(kind, metric, dims, m, PAGE);
        for metric in [Metric::L2, Metric::InnerProduct] {
            for dims in [100, 128, 384, 768, 1536, 2000, 2001, 16_000] {
                assert_eq!(layout(ValueKind::Vector, metric, dims, 16), Layout::Inline, "{dims}");
            }
            // 32 neighbours' codes of one bit are twice a half-precision value
            assert_eq!(layout(ValueKind::Halfvec, metric, 384, 16), Layout::Inline);
            assert_eq!(layout(ValueKind::Halfvec, metric, 512, 16), Layout::V1);
            assert_eq!(layout(ValueKind::Halfvec, metric, 1024, 16), Layout::V1);
            assert_eq!(layout(ValueKind::Vector, metric, 384, 64), Layout::V1);
            assert_eq!(layout(ValueKind::Halfvec, metric, 4001, 16), Layout::Inline);
        }
        assert_eq!(layout(ValueKind::Vector, Metric::L1, 100, 16), Layout::V1);
        assert_eq!(layout(ValueKind::Vector, Metric::L1, 16_000, 16), Layout::V1);
        assert_eq!(layout(ValueKind::Sparsevec, Metric::L2, 100, 16), Layout::V1);
        for metric in [Metric::Hamming, Metric::Jaccard] {
            assert_eq!(layout(ValueKind::Bit, metric, 64, 16), Layout::Inline);
            assert_eq!(layout(ValueKind::Bit, metric, 1024, 16), Layout::V1);
            assert_eq!(layout(ValueKind::Bit, metric, 64_000, 16), Layout::V1);
        }
    }
}
