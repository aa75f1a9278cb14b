//! Lists in memory, without pages: what the algorithms over [`crate::ivf::lists`] do is known in advance, and
//! that they know no bytes is shown by their working here.
#![cfg(any(test, feature = "testing"))]
#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use crate::ivf::lists::{
    AuditLists, BAD_VALUE, BulkLists, Collector, EntryForm, ListPlace, Listed, Met, ReadLists, Shape, Unpack,
    Workspace, WriteLists,
};
use crate::ivf::tally::Tally;
use crate::quant::space::CodedSpace;
use crate::space::{ValueBuf, varlena_header};
use crate::storage::page::{Corruption, Damage, Tid};

/// A list and its rows. Entry `i` of list `n` stands at block `n`, offset `i + 1`.
#[derive(Clone, Debug, Default)]
pub struct MemList {
    /// its centre, a whole varlena
    pub centre: Vec<u8>,
    /// its rows with their values
    pub entries: Vec<(Tid, ValueBuf)>,
}

/// An index that is nothing but lists.
#[derive(Clone, Debug, Default)]
pub struct MemLists {
    /// the lists
    pub lists: Vec<MemList>,
    /// how many there should be
    pub expected: u32,
}

fn whole(bytes: &[u8]) -> ValueBuf {
    let mut value = ValueBuf::new();
    value.reset(bytes.len()).copy_from_slice(bytes);
    value
}

/// An entry is its row's eight packed bytes and the value, four-byte header and all.
pub fn entry_form(value_size: usize) -> EntryForm {
    fn write(row: Tid, header: [u8; 4], elements: &[u8], out: &mut [u8]) {
        let size = 8 + elements.len();
        for (place, part) in
            [(0, &row.packed().to_ne_bytes()[..]), (8, &varlena_header(size)), (12, &header), (16, elements)]
        {
            out[place..place + part.len()].copy_from_slice(part);
        }
    }
    EntryForm { size: 8 + value_size, elements_at: 16, keys_at: 0, write }
}

impl MemLists {
    fn place(at: usize) -> ListPlace {
        ListPlace { block: at as u32, offset: 0, start_page: at as u32 }
    }

    fn list(&mut self, place: ListPlace) -> Result<&mut MemList, Corruption> {
        self.lists.get_mut(place.block as usize).ok_or(Damage::at(0, "no such list").on(place.block))
    }
}

impl ReadLists for MemLists {
    type Error = Corruption;

    fn each_list(
        &mut self,
        look: &mut impl FnMut(Listed<'_>) -> Result<bool, Damage>,
    ) -> Result<(), Corruption> {
        for (at, list) in self.lists.iter().enumerate() {
            let listed =
                Listed { place: Self::place(at), tail: list.entries.len() as u32, centre: &list.centre };
            if !look(listed).map_err(|damage| damage.on(at as u32))? {
                break;
            }
        }
        Ok(())
    }

    fn tail(&mut self, list: ListPlace) -> Result<Option<u32>, Corruption> {
        Ok(self.lists.get(list.block as usize).map(|list| list.entries.len() as u32))
    }

    fn score_list<S: CodedSpace>(
        &mut self,
        list: ListPlace,
        _: f32,
        space: S,
        query: Option<S::View<'_>>,
        found: &mut Collector<'_, '_>,
    ) -> Result<bool, Corruption> {
        for (row, value) in &self.list(list)?.entries {
            let damage = Damage::at(0, BAD_VALUE).on(list.block);
            found.candidates.make_room(1, found.services.runs).map_err(|_| damage)?;
            let value = space.view(value.bytes()).map_err(|_| damage)?;
            found.candidates.push(query.map_or(0.0, |query| space.distance(value, query)), *row);
            found.candidates.spill_beyond(found.memory, found.services.runs).map_err(|_| damage)?;
        }
        Ok(true)
    }

    fn value_at<R>(
        &mut self,
        entry: Tid,
        _: &mut dyn Unpack,
        _: &mut ValueBuf,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, Corruption> {
        let list = self.list(Self::place(entry.block() as usize))?;
        let found = usize::from(entry.offset()).checked_sub(1).and_then(|at| list.entries.get(at));
        Ok(found.map(|(_, value)| look(value.bytes())))
    }
}

impl WriteLists for MemLists {
    fn append<S: CodedSpace>(
        &mut self,
        list: ListPlace,
        tail: u32,
        _: S,
        row: Tid,
        value: &[u8],
        _: &mut Workspace,
    ) -> Result<(), Corruption> {
        let list = self.list(list)?;
        assert_eq!(tail as usize, list.entries.len(), "the tail that a read has told");
        list.entries.push((row, whole(value)));
        Ok(())
    }

    fn remove(
        &mut self,
        list: ListPlace,
        is_dead: &mut dyn FnMut(Tid) -> bool,
        _: &mut Workspace,
        met: &mut Met,
    ) -> Result<(), Corruption> {
        let list = self.list(list)?;
        let before = list.entries.len();
        list.entries.retain(|(row, _)| !is_dead(*row));
        met.kept += list.entries.len() as u64;
        met.removed += (before - list.entries.len()) as u64;
        Ok(())
    }
}

impl BulkLists for MemLists {
    type Error = Corruption;
    type Head = usize;

    fn begin(
        &mut self,
        shape: Shape,
        counts: &[u32],
        mut centre: impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<Vec<usize>, Corruption> {
        for at in 0..counts.len() {
            let mut list = MemList::default();
            centre(at, &mut list.centre);
            assert_eq!(list.centre.len(), shape.value_size);
            self.lists.push(list);
        }
        self.expected = counts.len() as u32;
        Ok((0..counts.len()).collect())
    }

    fn write_list<'e>(
        &mut self,
        list: usize,
        size: usize,
        mut next: impl FnMut() -> Option<Cow<'e, [u8]>>,
    ) -> Result<(), Corruption> {
        while let Some(entry) = next() {
            assert_eq!(entry.len(), size);
            let row = Tid::from_packed(u64::from_ne_bytes(*entry.first_chunk().unwrap()));
            self.lists[list].entries.push((row, whole(&entry[8..])));
        }
        Ok(())
    }
}

impl AuditLists for MemLists {
    type Error = Corruption;

    fn begin(&mut self, _: &mut Tally) -> Result<Option<u32>, Corruption> {
        Ok(Some(self.expected))
    }

    fn lists<S: CodedSpace>(&mut self, _: S, tally: &mut Tally) -> Result<(), Corruption> {
        (0..self.lists.len()).for_each(|at| tally.list(Self::place(at), 0));
        Ok(())
    }

    fn entries<S: CodedSpace>(
        &mut self,
        at: usize,
        space: S,
        deep: bool,
        _: &mut dyn Unpack,
        tally: &mut Tally,
    ) -> Result<(), Corruption> {
        for (offset, (row, value)) in (1..).zip(&self.list(Self::place(at))?.entries) {
            tally.entries += 1;
            if deep {
                tally.row(*row, Tid::new(at as u32, offset));
                if space.view(value.bytes()).is_err() {
                    tally.violation(at as u32, offset, BAD_VALUE);
                }
            }
        }
        Ok(())
    }

    fn strays(&mut self, _: &mut Tally) -> Result<(), Corruption> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::hnsw::vector;
    use super::super::ivf::Nothing;
    use super::*;
    use crate::ivf::centre_cache::Centres;
    use crate::ivf::check::check;
    use crate::ivf::insert::{Inserter, insert};
    use crate::ivf::lists::{NoTable, Services};
    use crate::ivf::load::{LoadOptions, Loader};
    use crate::ivf::scan::{Scan, ScanSettings};
    use crate::ivf::vacuum::Vacuum;
    use crate::space::{AnySpace, Dense, Metric, ValueKind};
    use crate::work::workers::{Idle, Workers};

    /// Rows of a grid whose side is this long, around the points of a coarser one with three rows to a side.
    const SIDE: u32 = 9;

    fn space() -> Dense<f32> {
        match AnySpace::new(ValueKind::Vector, Metric::L2, 2) {
            AnySpace::Vector(space) => space,
            _ => unreachable!(),
        }
    }

    /// The row at a point of the grid.
    fn row(x: u32, y: u32) -> Tid {
        Tid::new(x, y as u16 + 1)
    }

    fn points() -> impl Iterator<Item = (u32, u32)> {
        (0..SIDE * SIDE).map(|at| (at / SIDE, at % SIDE))
    }

    /// The list of a point: its third of the grid in both directions.
    fn list_of(x: u32, y: u32) -> usize {
        (x / 3 * 3 + y / 3) as usize
    }

    fn grid() -> MemLists {
        let centres = (0..9).flat_map(|at| [(at / 3 * 3 + 1) as f32, (at % 3 * 3 + 1) as f32]).collect();
        let options = LoadOptions { dims: 2, width: 2, metric: Metric::L2, memory: usize::MAX };
        let (mut loader, mut idle) = (Loader::<f32>::new(options, entry_form(16), centres), Idle);
        let mut workers = Workers::new(0, &mut idle);
        loader.prepare(&mut workers).unwrap();
        for (x, y) in points() {
            loader.push(row(x, y), &[x as f32, y as f32], &mut workers, &mut Nothing).unwrap();
        }
        let mut lists = MemLists::default();
        loader.write(&mut lists, 8192, &mut workers, &mut Nothing, &mut |_| ()).unwrap();
        lists
    }

    /// The rows of a scan around a point, up to `max_probes` lists in batches of `probes`.
    fn scan(
        lists: &mut MemLists,
        at: [f32; 2],
        probes: usize,
        max_probes: usize,
        centres: &mut Centres,
    ) -> Vec<Tid> {
        let settings = ScanSettings { probes, asked: false, max_probes, memory: usize::MAX };
        let (mut scan, mut runs, mut unpack) = (Scan::default(), Nothing, Nothing);
        let mut services = Services { runs: &mut runs, unpack: &mut unpack, table: &mut NoTable };
        let query = vector(&at);
        scan.begin(lists, space(), Some(query.bytes()), &settings, centres).unwrap();
        core::iter::from_fn(|| {
            scan.next(lists, space(), Some(query.bytes()), &settings, &mut services).unwrap()
        })
        .collect()
    }

    fn told(lists: &mut MemLists) -> Vec<String> {
        let mut tally = Tally::default();
        check(lists, space(), true, &mut Nothing, &mut tally).unwrap();
        tally.violations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_build_puts_each_row_into_the_list_of_its_third() {
        let mut lists = grid();
        for (at, list) in lists.lists.iter().enumerate() {
            let rows: Vec<Tid> = list.entries.iter().map(|entry| entry.0).collect();
            let expected: Vec<Tid> =
                points().filter(|&(x, y)| list_of(x, y) == at).map(|(x, y)| row(x, y)).collect();
            assert_eq!(rows, expected);
        }
        assert_eq!(told(&mut lists), Vec::<String>::new());
    }

    #[test]
    fn a_scan_gives_the_rows_of_the_nearest_lists_in_order() {
        let mut lists = grid();
        let mut cached = Centres::default();
        cached.load(&mut lists, space(), usize::MAX).unwrap();
        assert!(!cached.is_empty());
        for centres in [&mut Centres::default(), &mut cached] {
            // off the middle of its list, so that no two rows are equally near
            let (at, near) =
                ([4.1, 4.03], |x: u32, y: u32| (x as f32 - 4.1).powi(2) + (y as f32 - 4.03).powi(2));
            let mut expected: Vec<(u32, u32)> = points().filter(|&(x, y)| list_of(x, y) == 4).collect();
            expected.sort_by(|a, b| near(a.0, a.1).total_cmp(&near(b.0, b.1)));
            let expected: Vec<Tid> = expected.into_iter().map(|(x, y)| row(x, y)).collect();
            assert_eq!(scan(&mut lists, at, 1, 1, centres), expected);
            let all = scan(&mut lists, at, 1, 9, centres);
            assert_eq!((&all[..9], all.len()), (&expected[..], 81));
            let one = scan(&mut lists, at, 9, 9, centres);
            assert_eq!(one[0], row(4, 4));
            let distance = |tid: &Tid| near(tid.block(), u32::from(tid.offset()) - 1);
            assert!(one.len() == 81 && one.is_sorted_by(|a, b| distance(a) <= distance(b)));
        }
    }

    #[test]
    fn inserts_and_vacuums_touch_the_rows_that_they_should() {
        let mut lists = grid();
        let (mut inserter, mut vacuum) = (Inserter::default(), Vacuum::default());
        let mut cached = Centres::default();
        cached.load(&mut lists, space(), usize::MAX).unwrap();
        for (number, centres) in [&mut Centres::default(), &mut cached].into_iter().enumerate() {
            let new = Tid::new(100 + number as u32, 1);
            insert(&mut lists, space(), vector(&[8.2, 0.4]).bytes(), new, &mut inserter, centres).unwrap();
            assert_eq!(lists.lists[6].entries.last().unwrap().0, new);
        }
        assert!(
            insert(&mut lists, space(), vector(&[1.0]).bytes(), row(0, 0), &mut inserter, &mut cached)
                .is_err()
        );
        vacuum.run(&mut lists, &mut |tid| tid.block() % 2 == 0).unwrap();
        assert_eq!(vacuum.met, Met { removed: 5 * 9 + 1, kept: 4 * 9 + 1 });
        assert!(lists.lists.iter().all(|list| list.entries.iter().all(|(row, _)| row.block() % 2 == 1)));
        let left = scan(&mut lists, [0.0, 0.0], 9, 9, &mut Centres::default());
        assert_eq!((left.len(), left[0], left[36]), (37, row(1, 0), row(7, 8)));
        assert!(left.contains(&Tid::new(101, 1)));
        assert_eq!(told(&mut lists), Vec::<String>::new());
    }

    #[test]
    fn a_check_tells_rows_that_are_there_twice_and_lists_that_are_not() {
        let mut lists = grid();
        let again = lists.lists[0].entries[2].clone();
        lists.lists[8].entries.push(again);
        lists.lists[3].entries[4].1 = vector(&[1.0, 2.0, 3.0]);
        lists.expected = 10;
        assert_eq!(
            told(&mut lists),
            [
                "block 0: meta page tells 10 lists, list pages hold 9",
                "block 3, offset 5: value does not fit the index",
                "block 8, offset 10: row (0,3) of the table is in the index twice",
            ]
        );
        lists.lists.clear();
        let mut inserter = Inserter::default();
        let none = insert(
            &mut lists,
            space(),
            vector(&[0.0, 0.0]).bytes(),
            row(0, 0),
            &mut inserter,
            &mut Centres::default(),
        );
        assert!(none.is_err());
    }
}
