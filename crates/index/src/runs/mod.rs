//! Entries of all rows of an index with filter columns, in the order of a column's keys: for scans under conditions
//! that few rows meet, which would visit node after node, or list after list, in vain.
//!
//! Each of the first filter columns, as many as the index was built for, has a B+-tree of its own, and each row (of
//! hnsw each node) an *entry* in each tree: its name, its keys of all columns, and a code of its value. Entries stand
//! on the leaves, in blocks of 32 whose codes are met at once, so that the rows of a key or of a range of keys are a
//! *run* of blocks; within a leaf they have no order. Codes are of the residual between a value and one centre of the
//! index, zero where it has none. What an entry's name is, is the access method's: of hnsw a node's id as the block of
//! a TID, of ivfflat the row's heap TID, beside which the entry says where the row's value stands.
//!
//! Each page knows where it ends, and the page behind it. A page that is full is divided in one change with its
//! parent, which has room for that, or is divided first, and never goes. So whoever comes late, with the number of a
//! page that was divided meanwhile, moves on to the right; and every place in the order is on one leaf at any time.
//! src/hnsw/README.md has the argument; there and in src/ivfflat/README.md is what it means that an entry, and what it
//! names, change one after the other.
//!
//! | file | what |
//! |---|---|
//! | [`page`] | pages, byte by byte |
//! | [`tree`] | entries that come and go, pages that are divided |
//! | [`read`] | how long a run is about, and what is on it |
//! | [`bulk`] | a tree that is built at once |
//! | [`sort`] | entries in order, in little memory |
//! | [`audit`] | whether a tree is whole |

pub mod audit;
pub mod bulk;
pub mod page;
pub mod read;
pub mod sort;
pub mod tree;

use crate::filter::KEY_SIZE;
use crate::ivf::packed::layout::Geometry;
use crate::quant::rabitq::Bits;
use crate::quant::rotation::Rotation;
use crate::space::ValueKind;
use crate::storage::page::INVALID_BLOCK;

/// Blocks with fewer entries are not worth codes.
pub const FEWEST: usize = 8;

/// How an access method tells the pages of its trees from its others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// what its pages are identified by
    pub page_id: u16,
    /// the kind of leaves
    pub leaf: u8,
    /// the kind of directories
    pub directory: u8,
    /// the kind of the page with the centre of codes
    pub centre: u8,
}

/// One of the trees of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// the filter column in the order of whose keys its entries are
    pub column: usize,
    /// the block where it begins; none before there is an entry
    pub root: u32,
}

impl Tree {
    /// Whether there is a page of it.
    pub const fn is_there(&self) -> bool {
        self.root != INVALID_BLOCK
    }
}

/// Where entries with codes of so many bits stand, and, with `places`, where the values of their rows are; none where a
/// page holds few codes, or where values have none.
pub fn coded(
    kind: ValueKind,
    dims: usize,
    page_size: usize,
    columns: usize,
    places: bool,
    bits: Bits,
) -> Option<Geometry> {
    let coded = match kind {
        ValueKind::Vector | ValueKind::Halfvec => {
            Geometry::starting_at(page::START, kind, dims, page_size, columns * KEY_SIZE, places, bits)
        }
        _ => None,
    };
    coded.filter(|geometry| columns > 0 && geometry.entries() >= FEWEST)
}

/// Elements of the centre of codes; 0 where there are no codes, or the centre fits no page and is zero.
pub fn centre_size(dims: usize, geometry: &Geometry) -> usize {
    let padded = Rotation::padded_to(dims);
    if geometry.code > 0 && padded <= page::most_of_centre(geometry.page_size) { padded } else { 0 }
}
