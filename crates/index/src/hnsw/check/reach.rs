//! What a deep check asks of the graph as a whole: that searches come everywhere. Layer 0 must lead from the
//! entry point to every element that has rows, and back to the entry point from every element in which a
//! descent can end, that is, which the layers above lead to from the entry point. So layer 0 leads everywhere
//! from wherever a descent ends.
//!
//! A vacuum at work, or interrupted, may have an entry point without rows, to which nothing need lead any more. In its
//! place, then, is any element with rows: layer 0 must lead from it to all others that have rows.

use super::{Auditor, Census, Check, CheckError, Node, STRIDE, State, reserve};
use crate::hnsw::params::layer_range;
use crate::storage::page::Tid;
use crate::storage::verify::Violation;

/// Layer 0 leads here from the entry point.
const REACHED: u8 = 1;
/// A descent can end here.
const END: u8 = 2;
/// Layer 0 leads here from where a descent can end.
const WALKED: u8 = 4;
/// Layer 0 leads from here to the goal: the entry point, or an element with rows in its place.
const BACK: u8 = 8;
/// Layer 0 leads here from the goal.
const FROM_GOAL: u8 = 16;

/// So many of a kind are told one by one, and then how many there are.
const TOLD: u64 = 10;

/// Counts rows whose elements no search comes to, and tells of the first few one by one.
#[derive(Debug, Default)]
pub struct OutOfReach {
    rows: u64,
}

impl OutOfReach {
    /// A row of the table whose element is out of reach.
    pub fn note(&mut self, row: Tid, element: Tid, report: &mut dyn FnMut(Violation)) {
        self.rows += 1;
        if self.rows <= TOLD {
            let what =
                format!("row {row} of the table is out of reach: no edges lead here from the entry point");
            report(Violation::at(element.block(), element.offset(), what));
        }
    }

    /// The end of the table: says how many rows there were.
    pub fn end(self, report: &mut dyn FnMut(Violation)) {
        if self.rows > 0 {
            let what = format!(
                "{} rows of the table are out of reach of searches; REINDEX makes every row reachable",
                self.rows
            );
            report(Violation::of_index(what));
        }
    }
}

/// What is known of each element, and which are to be looked at.
#[derive(Debug, Default)]
struct Traversal {
    marks: Vec<u8>,
    left: Vec<usize>,
    edges: Vec<Tid>,
    steps: usize,
}

impl Traversal {
    fn has(&self, at: usize, mark: u8) -> bool {
        self.marks.get(at).is_some_and(|marks| marks & mark != 0)
    }

    /// Sets a mark; returns whether it was not set before.
    fn mark(&mut self, at: usize, mark: u8) -> bool {
        match self.marks.get_mut(at) {
            Some(marks) => {
                let new = *marks & mark == 0;
                *marks |= mark;
                new
            }
            None => false,
        }
    }

    fn pause<C: Census>(&mut self, census: &mut C) -> Result<(), C::Error> {
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(STRIDE) { census.pause() } else { Ok(()) }
    }
}

impl<C: Census> Check<'_, C> {
    /// Walks from the entry point, tells what does not lead back to it, and notes what it does not lead to.
    pub(super) fn reach(&mut self, entry: Option<usize>) -> Result<(), CheckError<C::Error>> {
        let mut walk = Traversal::default();
        reserve(&mut walk.marks, self.audit.tally.nodes.len())?;
        walk.marks.resize(self.audit.tally.nodes.len(), 0);
        let mut goal = None;
        if let Some(entry) = entry {
            let lives = self.audit.tally.nodes.get(entry).is_some_and(|node| node.state == State::Live);
            walk.mark(entry, END | if lives { BACK } else { 0 });
            self.spread_from(&mut walk, &[entry], REACHED)?;
            goal = match lives {
                true => Some(entry),
                false => self.audit.tally.nodes.iter().enumerate().find_map(|(at, node)| {
                    (node.state == State::Live && walk.has(at, REACHED)).then_some(at)
                }),
            };
            if let Some(goal) = goal.filter(|&goal| goal != entry) {
                walk.mark(goal, BACK);
                self.spread_from(&mut walk, &[goal], FROM_GOAL)?;
            }
            let ends = self.descend(&mut walk, entry)?;
            self.spread_from(&mut walk, &ends, WALKED)?;
            if goal.is_some() {
                self.lead_back(&mut walk, &ends)?;
            }
        }
        let from_goal = if goal == entry { REACHED } else { FROM_GOAL };
        for (at, node) in self.audit.tally.nodes.iter().enumerate() {
            if node.state == State::Live && !(walk.has(at, REACHED) && walk.has(at, from_goal)) {
                reserve(&mut self.audit.tally.unreached, 1)?;
                self.audit.tally.unreached.push(node.tid.packed());
            }
        }
        Ok(())
    }

    /// Follows layer 0 from `starts` and marks what it leads to. An edge to where it is known that the goal
    /// comes next, as an edge back to where one came from often is, leads to the goal, too.
    fn spread_from(
        &mut self,
        walk: &mut Traversal,
        starts: &[usize],
        mark: u8,
    ) -> Result<(), CheckError<C::Error>> {
        for &start in starts {
            if walk.mark(start, mark) && !(mark == WALKED && walk.has(start, REACHED)) {
                reserve(&mut walk.left, 1)?;
                walk.left.push(start);
            }
        }
        while let Some(at) = walk.left.pop() {
            walk.pause(self.census)?;
            self.follow(at, 0, &mut walk.edges)?;
            reserve(&mut walk.left, walk.edges.len())?;
            let edges = core::mem::take(&mut walk.edges);
            if mark != FROM_GOAL {
                self.audit.tell_of_edges(at, 0, &edges);
            }
            for &edge in &edges {
                let Some(target) = self.audit.walkable(edge, 0) else { continue };
                if walk.has(target, BACK) {
                    walk.mark(at, BACK);
                }
                // what the entry point leads to was walked already, and need not be for the ends of descents
                if walk.mark(target, mark) && !(mark == WALKED && walk.has(target, REACHED)) {
                    walk.left.push(target);
                }
            }
            walk.edges = edges;
        }
        Ok(())
    }

    /// Follows the upper layers from the entry point, each from everything that those above lead to.
    fn descend(&mut self, walk: &mut Traversal, entry: usize) -> Result<Vec<usize>, CheckError<C::Error>> {
        let mut ends = Vec::new();
        reserve(&mut ends, 1)?;
        ends.push(entry);
        let top = self.audit.tally.nodes.get(entry).map_or(0, |node| node.level);
        for layer in (1..=top).rev() {
            let mut next = 0;
            while let Some(&at) = ends.get(next) {
                next += 1;
                walk.pause(self.census)?;
                self.follow(at, layer, &mut walk.edges)?;
                reserve(&mut ends, walk.edges.len())?;
                let edges = core::mem::take(&mut walk.edges);
                self.audit.tell_of_edges(at, layer, &edges);
                for &edge in &edges {
                    if let Some(target) = self.audit.walkable(edge, layer)
                        && walk.mark(target, END)
                    {
                        ends.push(target);
                    }
                }
                walk.edges = edges;
            }
        }
        Ok(ends)
    }

    /// Finds out which elements lead to the entry point, as far as the ends of descents need it: over those not known
    /// yet, forwards and backwards, for as long as it makes more known. What does not is told.
    fn lead_back(&mut self, walk: &mut Traversal, ends: &[usize]) -> Result<(), CheckError<C::Error>> {
        let mut unknown = Vec::new();
        for at in 0..walk.marks.len() {
            if walk.has(at, WALKED | REACHED) && !walk.has(at, BACK) {
                reserve(&mut unknown, 1)?;
                unknown.push(at);
            }
        }
        while ends.iter().any(|&end| !walk.has(end, BACK)) {
            let before = unknown.len();
            for &at in &unknown {
                walk.pause(self.census)?;
                self.follow(at, 0, &mut walk.edges)?;
                let back =
                    |&edge: &Tid| self.audit.walkable(edge, 0).is_some_and(|target| walk.has(target, BACK));
                if walk.edges.iter().any(back) {
                    walk.mark(at, BACK);
                }
            }
            unknown.retain(|&at| !walk.has(at, BACK));
            unknown.reverse();
            if unknown.len() == before {
                break;
            }
        }
        let mut stray = 0u64;
        for &end in ends.iter().filter(|&&end| !walk.has(end, BACK)) {
            stray += 1;
            if let Some(node) = self.audit.tally.nodes.get(end).copied().filter(|_| stray <= TOLD) {
                let what = match node.state {
                    State::Dying => {
                        "a descent can end in this element, which has no rows, from where layer 0 does not lead to \
                         the entry point"
                    }
                    _ => "a descent can end here, from where layer 0 does not lead to the entry point",
                };
                self.audit.tell(node.tid, what);
            }
        }
        if stray > 0 {
            let what = format!(
                "{stray} elements in which a descent can end do not lead to the entry point; REINDEX makes every \
                 row reachable"
            );
            self.audit.report(Violation::of_index(what));
        }
        Ok(())
    }

    /// Reads the edges of an element in a layer into `edges`.
    fn follow(&mut self, at: usize, layer: u8, edges: &mut Vec<Tid>) -> Result<(), CheckError<C::Error>> {
        edges.clear();
        let Some(&node) = self.audit.nodes().get(at) else { return Ok(()) };
        let read = self.census.slots(&node, edges)?;
        if read.is_none() || edges.len() != (usize::from(node.level) + 2) * self.m {
            edges.clear();
            return Ok(());
        }
        // the layer alone, up to its first free slot
        let range = layer_range(node.level, layer, self.m);
        edges.truncate(range.end);
        edges.drain(..range.start);
        let count = edges.iter().position(|slot| !slot.is_valid()).unwrap_or(edges.len());
        edges.truncate(count);
        Ok(())
    }
}

impl Auditor<'_> {
    /// The element that an edge leads to, when searches walk on from there.
    fn walkable(&self, edge: Tid, layer: u8) -> Option<usize> {
        let (at, node) = self.node(edge)?;
        (matches!(node.state, State::Live | State::Dying) && node.level >= layer).then_some(at)
    }

    /// Tells what is wrong with the edges of a dying element, which were not looked at before: searches still pass
    /// through it.
    fn tell_of_edges(&mut self, at: usize, layer: u8, edges: &[Tid]) {
        let dying = |node: &&Node| node.state == State::Dying;
        let Some(list) = self.tally.nodes.get(at).filter(dying).map(|node| node.list) else { return };
        for &edge in edges {
            if let Some(fault) = self.edge_fault(edge, layer) {
                self.tell(list, fault);
            }
        }
    }
}
