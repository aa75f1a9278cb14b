//! The audit of a graph without pages: what a check says of it is known.
#![cfg(test)]

use super::grid::{Grid, GridError, ON_PAGE, number_of, tid_of};
use crate::hnsw::census::{Auditor, Census, CheckError, Node, State};
use crate::hnsw::check::{Subject, Tally, check};
use crate::hnsw::meta::MetaPage;
use crate::space::AnySpace;
use crate::storage::page::Tid;
use crate::storage::verify::Violation;

impl Census for Grid {
    type Error = GridError;

    fn begin(&mut self, _: &mut Auditor<'_>) -> Result<Option<MetaPage>, CheckError<GridError>> {
        Ok(Some(self.meta))
    }

    fn max_level(&self) -> u8 {
        super::grid::MAX_LEVEL
    }

    fn elements(&mut self, _: &MetaPage, audit: &mut Auditor<'_>) -> Result<(), CheckError<GridError>> {
        for (n, element) in self.elements.iter().enumerate() {
            let tid = tid_of(n);
            if tid.offset() == 1 {
                let page = self.elements[n..].iter().take(ON_PAGE as usize);
                audit.begin_page(
                    tid.block(),
                    ON_PAGE as usize,
                    page.map(|element| element.rows.len()).sum(),
                )?;
            }
            let state = match (element.deleted, element.rows.is_empty()) {
                (true, _) => State::Deleted,
                (false, true) => State::Dying,
                (false, false) => State::Live,
            };
            let (level, version) = (element.level, element.version);
            audit.element(Node { tid, list: tid, level, version, state }, &element.rows, element.bytes());
        }
        Ok(())
    }

    /// Lists are part of their elements.
    fn parts(&mut self, _: &mut Auditor<'_>) {}

    fn slots(&mut self, node: &Node, out: &mut Vec<Tid>) -> Result<Option<u8>, CheckError<GridError>> {
        let element = &self.elements[number_of(node.list)];
        out.clear();
        out.extend_from_slice(&element.slots);
        Ok(Some(element.version))
    }

    fn pause(&mut self) -> Result<(), GridError> {
        Ok(())
    }
}

/// What a deep check finds and tells.
fn run(grid: &mut Grid) -> (Tally, Vec<String>) {
    let subject = Subject { space: AnySpace::Vector(grid.shape.space), unit: false };
    let mut told = Vec::new();
    let tally =
        check(grid, &subject, true, &mut |violation: Violation| told.push(violation.to_string())).unwrap();
    (tally, told)
}

/// What a deep check finds, which must have nothing to tell.
#[track_caller]
pub fn healthy(grid: &mut Grid) -> Tally {
    let (tally, told) = run(grid);
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(tally.unreached(), 0);
    tally
}

mod tests {
    use super::super::grid_tests::{POINTS, SIDE, known};
    use super::super::hnsw::{row, vector};
    use super::*;
    use crate::hnsw::check::{Found, OutOfReach};
    use crate::hnsw::meta::EntryPoint;

    /// What is done to a grid, and what its check says then.
    type Fault<'a> = (&'a dyn Fn(&mut Grid), String);

    /// The neighbours of a point inside the grid stand left, above, right and below.
    const INSIDE: usize = SIDE + 1;

    #[test]
    fn what_a_grid_has_is_counted() {
        let tally = healthy(&mut known());
        assert_eq!((tally.live, tally.dying, tally.deleted, tally.rows()), (POINTS as u64, 0, 0, POINTS));
        // SIDE rows and columns of SIDE - 1 edges in both directions
        assert_eq!(tally.edges, 4 * (SIDE * (SIDE - 1)) as u64);
        assert_eq!((tally.entry_level, tally.top_level), (Some(0), Some(0)));
        assert_eq!(tally.find(row(30)), Some(Found { element: tid_of(30), reached: true }));
        assert_eq!(tally.find(row(POINTS)), None);
        assert_eq!(tally.rows_from(row(100).block()).count(), POINTS - 100);
    }

    #[test]
    fn each_fault_of_a_grid_is_told_where_it_is() {
        let inside = tid_of(INSIDE);
        let at = |tid: Tid, what: &str| format!("block {}, offset {}: {what}", tid.block(), tid.offset());
        let other = |value: &[f32]| {
            let mut grid = Grid::new(known().shape, 2);
            grid.add(vector(value).bytes(), row(0), &[]);
            grid.elements.remove(0).value
        };
        let faults: [Fault<'_>; 12] = [
            (&|grid| grid.meta.dimensions = 0, "block 0: dimensions are 0".into()),
            (&|grid| grid.meta.set_entry_point(None), "block 0: no entry point".into()),
            (
                &|grid| grid.meta.set_entry_point(Some(EntryPoint { tid: tid_of(POINTS), level: 0 })),
                format!("block 0: entry point {}, where there is no element", tid_of(POINTS)),
            ),
            (
                &|grid| grid.meta.set_entry_point(Some(EntryPoint { tid: tid_of(0), level: 2 })),
                format!("block 0: entry point {} of level 2, which has level 0", tid_of(0)),
            ),
            (
                &|grid| grid.elements[INSIDE].rows.push(row(0)),
                at(inside, &format!("row {} of the table is in the element at {} too", row(0), tid_of(0))),
            ),
            (
                &|grid| grid.elements[INSIDE].value = other(&[1.0, 2.0, 3.0]),
                at(inside, "different vector dimensions 2 and 3"),
            ),
            (
                &|grid| grid.elements[INSIDE].value = other(&[1.0, f32::NAN]),
                at(inside, "value with an element that is not finite"),
            ),
            (
                &|grid| grid.elements[INSIDE].slots[4] = tid_of(INSIDE + 1),
                at(inside, &format!("edge to {} twice in layer 0", tid_of(INSIDE + 1))),
            ),
            (
                &|grid| grid.elements[INSIDE].slots[4] = inside,
                at(inside, "edge to the element itself in layer 0"),
            ),
            (
                &|grid| grid.elements[INSIDE].slots[5] = tid_of(0),
                at(inside, "edges after a free slot in layer 0"),
            ),
            (
                &|grid| grid.elements[INSIDE].slots[4] = tid_of(POINTS),
                at(inside, &format!("edge in layer 0 to {}, where there is no element", tid_of(POINTS))),
            ),
            (&|grid| grid.elements[INSIDE].slots.truncate(7), at(inside, "7 slots for level 0, which has 8")),
        ];
        for (damage, expected) in faults {
            let mut grid = known();
            damage(&mut grid);
            assert_eq!(run(&mut grid).1, [expected]);
        }
    }

    #[test]
    fn levels_and_deleted_elements_are_looked_at() {
        let mut grid = known();
        let (lower, upper) = (tid_of(INSIDE), tid_of(INSIDE + 1));
        // an edge of layer 1 to an element that is not in it
        grid.elements[INSIDE + 1].level = 1;
        grid.elements[INSIDE + 1].slots.splice(0..0, [lower, Tid::INVALID, Tid::INVALID, Tid::INVALID]);
        let what = format!(
            "block {}, offset {}: edge in layer 1 to {lower}, an element of level 0",
            upper.block(),
            upper.offset()
        );
        assert_eq!(run(&mut grid).1, [what]);

        // four edges lead to an element that is deleted, with its row still there, and its own edges
        let mut grid = known();
        grid.elements[INSIDE].deleted = true;
        let (_, told) = run(&mut grid);
        assert_eq!(told.iter().filter(|what| what.contains("a deleted element")).count(), 5, "{told:?}");
        assert_eq!(told.iter().filter(|what| what.ends_with("deleted element with rows")).count(), 1);
        assert_eq!(told.len(), 6);
    }

    #[test]
    fn rows_that_nothing_leads_to_are_out_of_reach() {
        let mut grid = known();
        let target = tid_of(INSIDE);
        for element in &mut grid.elements {
            element.slots.retain(|&edge| edge != target);
            element.slots.resize(8, Tid::INVALID);
        }
        let (tally, mut told) = run(&mut grid);
        assert_eq!((tally.unreached(), told.len()), (1, 0));
        let found = tally.find(row(INSIDE)).unwrap();
        assert_eq!(found, Found { element: target, reached: false });
        let (mut out, mut report) =
            (OutOfReach::default(), |violation: Violation| told.push(violation.to_string()));
        out.note(row(INSIDE), found.element, &mut report);
        out.end(&mut report);
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn elements_from_which_nothing_leads_back_are_told() {
        let mut grid = known();
        // the entry point in layer 1, with a neighbour there whose own list is empty
        for n in [0, INSIDE] {
            grid.elements[n].level = 1;
            grid.elements[n].slots.splice(0..0, [Tid::INVALID; 4]);
        }
        grid.elements[0].slots[0] = tid_of(INSIDE);
        grid.meta.set_entry_point(Some(EntryPoint { tid: tid_of(0), level: 1 }));
        healthy(&mut grid);
        grid.elements[INSIDE].slots.fill(Tid::INVALID);
        let (tally, told) = run(&mut grid);
        assert_eq!(tally.unreached(), 0);
        assert_eq!(told.len(), 2);
        assert!(told[0].contains("a descent can end here"), "{told:?}");
    }
}
