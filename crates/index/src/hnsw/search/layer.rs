//! Search in one layer (paper, algorithm 2).

use std::cmp::Reverse;

use super::queue::Entry;
use super::{CandidateQueue, Discarded, Scored, Store};

/// Expands the candidates in `pool` until the nearest `ef` are all expanded (paper, algorithm 2). `out` is room for
/// one expansion. With `discarded`, every scored candidate ends either in the queue or there.
pub fn search_layer<S: Store>(
    store: &mut S,
    pool: &mut CandidateQueue,
    out: &mut Vec<Scored>,
    ef: usize,
    layer: u8,
    mut discarded: Option<&mut Discarded>,
) -> Result<(), S::Error> {
    while let Some(node) = pool.next() {
        let bound = if discarded.is_some() { f32::INFINITY } else { pool.bound(ef) };
        out.clear();
        if let Some(next) = pool.next_candidate() {
            store.prefetch_node(next);
        }
        store.expand(node, layer, bound, out)?;
        let mut room = pool.reserve(out.len());
        if let Some(heap) = discarded.as_deref_mut() {
            room &= heap.try_reserve(out.len()).is_ok();
        }
        if !room {
            return Err(store.out_of_memory());
        }
        for &scored in out.iter() {
            let rest = pool.offer(scored, store.accepts(scored.node), ef);
            if let (Some(rest), Some(heap)) = (rest, discarded.as_deref_mut()) {
                heap.push(Reverse(Entry::new(rest).0));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A line of nodes 0..n, each next to its two neighbours; the query is at a position.
    struct Line {
        n: u32,
        query: f32,
        visited: Vec<bool>,
    }

    impl Store for Line {
        type Error = ();
        fn out_of_memory(&self) {}
        fn expand(&mut self, node: u32, _: u8, _: f32, out: &mut Vec<Scored>) -> Result<(), ()> {
            for next in [node.wrapping_sub(1), node + 1] {
                if next < self.n && !self.visited[next as usize] {
                    self.visited[next as usize] = true;
                    out.push(Scored { distance: (next as f32 - self.query).abs(), node: next });
                }
            }
            Ok(())
        }
    }

    #[test]
    fn a_line_is_walked_to_the_query() {
        let mut line = Line { n: 1000, query: 700.2, visited: vec![false; 1000] };
        line.visited[0] = true;
        let mut pool = CandidateQueue::new();
        pool.offer(Scored { distance: 700.2, node: 0 }, true, 4);
        let mut discarded = Discarded::new();
        search_layer(&mut line, &mut pool, &mut Vec::new(), 4, 0, Some(&mut discarded)).unwrap();
        let found: Vec<_> = pool.iter().map(|s| s.node).collect();
        assert_eq!(found, [700, 701, 699, 702]);
        // nothing that was scored is lost
        let visited = line.visited.iter().filter(|v| **v).count();
        assert_eq!(discarded.len() + pool.len(), visited);
    }
}
