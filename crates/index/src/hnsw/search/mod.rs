//! Search in one layer (paper, algorithm 2) over any store, and the choice of neighbours (algorithm 4).

mod layer;
mod queue;
mod select;
pub mod visited;

pub use layer::search_layer;
pub use queue::{CandidateQueue, Discarded, pop_discarded};
pub use select::{equal_share, next_dropped, select_dropped, select_neighbours, select_sharing, tie_order};

/// A node with its distance from the query. Nodes are opaque handles below 2^31 that their store gives out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// distance from the query, not NaN
    pub distance: f32,
    /// the node
    pub node: u32,
}

/// Where nodes, their neighbours and their values are. The query and the nodes visited belong to the store too, so
/// that it may batch, prefetch, or answer from something cheaper than values.
pub trait Store {
    /// Why a node cannot be read.
    type Error;

    /// Gives the neighbours of `node` in `layer` that were not visited before, scored; those at `bound` or beyond may
    /// be left out.
    fn expand(&mut self, node: u32, layer: u8, bound: f32, out: &mut Vec<Scored>) -> Result<(), Self::Error>;

    /// Says that `node` may be the next to be expanded: time to ask for what that reads.
    fn prefetch_node(&mut self, node: u32) {
        let _ = node;
    }

    /// The error for want of memory.
    fn out_of_memory(&self) -> Self::Error;

    /// Whether a node fills a place in the result. Those that do not (elements being deleted, during their own
    /// repair) still lead to others.
    fn accepts(&self, node: u32) -> bool {
        let _ = node;
        true
    }
}
