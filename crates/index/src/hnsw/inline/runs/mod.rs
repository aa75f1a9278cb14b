//! Entries of all nodes of an index with filter columns, in the order of a column's keys: for scans under conditions
//! that few rows meet, which would walk the graph in vain.
//!
//! Each of the first filter columns, as many as the index was built for, has a B+-tree of its own, and each node an
//! *entry* in each tree: its id, its keys of all columns, and a code of its value, of as many bits as those of edges.
//! Entries stand on the leaves, in blocks of 32 whose codes are met at once, so that the rows of a key or of a range of
//! keys are a *run* of blocks; within a leaf they have no order. Codes are of the residual between a value and one
//! centre of the index, the mean of a sample where a build has one and zero otherwise.
//!
//! Each page knows where it ends, and the page behind it. A page that is full is divided in one change with its
//! parent, which has room for that, or is divided first, and never goes. So whoever comes late, with the number of a
//! page that was divided meanwhile, moves on to the right; and every place in the order is on one leaf at any time.
//! src/hnsw/README.md has the argument.

pub mod bulk;
pub mod page;
pub mod read;
#[cfg(test)]
mod tests;
mod tree;

use crate::filter::KEY_SIZE;
use crate::ivf::packed::layout::Geometry;
use crate::quant::rotation::Rotation;
use crate::space::ValueKind;

use super::layout::Shape;

/// Blocks with fewer entries are not worth codes.
const FEWEST: usize = 8;

/// Where the entries of an index stand; `None` without filter columns. Values of so many dimensions that a page holds
/// few codes have none, and neither has `bit`.
pub fn geometry(shape: &Shape, page_size: usize) -> Option<Geometry> {
    let Shape { kind, dims, filters, .. } = *shape;
    let filter_size = filters.len() * KEY_SIZE;
    if filter_size == 0 {
        return None;
    }
    let coded = match kind {
        ValueKind::Vector | ValueKind::Halfvec => {
            Geometry::of_bits(kind, dims, page_size, filter_size, false, shape.run_bits())
        }
        _ => None,
    };
    coded.filter(|geometry| geometry.entries() >= FEWEST).or(Geometry::uncoded(page_size, filter_size))
}

/// Elements of the centre of codes; 0 where there are no codes, or the centre fits no page and is zero.
pub fn centre_size(shape: &Shape, geometry: &Geometry, page_size: usize) -> usize {
    let padded = Rotation::padded_to(shape.dims);
    if geometry.code > 0 && padded <= page::most_of_centre(page_size) { padded } else { 0 }
}

#[cfg(test)]
use tree::Dying;
pub(super) use tree::TreeRoom;

/// One of the trees of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// the filter column in the order of whose keys its entries are
    pub column: usize,
    /// the block where it begins; none before there is an entry
    pub root: u32,
}
