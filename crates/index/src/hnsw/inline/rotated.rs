//! Values of a graph in memory, rotated as codes are made of them: all at once where there is room, or one by one.

use vector_kernels::prefetch;
use zerocopy::IntoBytes;

use super::scan::Index;
use crate::hnsw::build::Graph;
use crate::quant::space::CodedSpace;
use crate::storage::page::Damage;
use crate::work::memory::{can_allocate, filled, with_room};
use crate::work::workers::Workers;

/// Nodes whose values a thread rotates at a time.
const ROTATED: usize = 256;

/// Rotates all values of a graph, on the threads, when that takes no more than `budget` bytes; returns none when it
/// does.
pub(super) fn rotate_all<S: CodedSpace>(
    graph: &Graph<S>,
    index: &Index<S>,
    budget: usize,
    workers: &mut Workers<'_>,
) -> Result<Vec<f32>, Damage> {
    let padded = index.codec.padded();
    let size = graph.len().saturating_mul(padded);
    let bytes = size.saturating_mul(size_of::<f32>());
    if size == 0 || bytes > budget || !can_allocate(bytes) {
        return Ok(Vec::new());
    }
    let mut rotated = filled(0.0f32, size)?;
    workers.each(
        rotated.chunks_mut(ROTATED * padded).enumerate(),
        || with_room(padded),
        |widened, (chunk, out), beat| {
            for (n, out) in out.chunks_exact_mut(padded).enumerate() {
                if n % 32 == 0 && !beat() {
                    return;
                }
                if let Some(view) = view(graph, index, (chunk * ROTATED + n) as u32) {
                    index.codec.rotate(&index.space, view, widened, out);
                }
            }
        },
    )?;
    Ok(rotated)
}

/// A value rotated: that among `kept`, if [`rotate_all`] has made them, or `out`.
pub(super) fn rotated<'a, S: CodedSpace>(
    graph: &Graph<S>,
    index: &Index<S>,
    kept: &'a [f32],
    node: u32,
    widened: &mut Vec<f32>,
    out: &'a mut [f32],
) -> &'a [f32] {
    let start = node as usize * out.len();
    if !kept.is_empty()
        && let Some(kept) = kept.get(start..start + out.len())
    {
        return kept;
    }
    if let Some(view) = view(graph, index, node) {
        index.codec.rotate(&index.space, view, widened, out);
    }
    out
}

/// Asks the cache for the value of a node among `kept`, if it is there.
#[inline]
pub(super) fn prefetch_rotated(kept: &[f32], node: u32, padded: usize) {
    let start = node as usize * padded;
    prefetch(kept.get(start..start + padded).unwrap_or_default().as_bytes());
}

/// The value of a node.
pub(super) fn view<'g, S: CodedSpace>(
    graph: &'g Graph<S>,
    index: &Index<S>,
    node: u32,
) -> Option<S::View<'g>> {
    index.space.view(graph.element(node)?.value()).ok()
}
