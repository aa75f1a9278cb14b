//! The graph on inline pages.

use super::scan::Index;

/// A graph in the blocks of an index.
#[derive(Debug)]
pub struct InlineGraph<'b, B, S> {
    /// the blocks
    pub blocks: &'b mut B,
    /// what it is
    pub index: &'b Index<S>,
    /// queue length of inserts
    pub ef_construction: usize,
}

impl<'b, B, S> InlineGraph<'b, B, S> {
    /// The graph in `blocks`.
    pub fn new(blocks: &'b mut B, index: &'b Index<S>, ef_construction: usize) -> Self {
        InlineGraph { blocks, index, ef_construction }
    }
}
