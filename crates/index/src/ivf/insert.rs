//! Inserts: a row goes to the list with the nearest centre.

use super::centre_cache::Centres;
use super::format::META_BLOCK;
use super::lists::{BAD_CENTRE, ListPlace, Workspace, WriteLists};
use crate::ValueError;
use crate::quant::space::CodedSpace;
use crate::storage::page::{Damage, Tid};
use crate::work::memory::append;
use zerocopy::IntoBytes;

/// Why a row cannot be added.
#[derive(Debug)]
pub enum InsertError<E> {
    /// a block
    Store(E),
    /// the value does not fit the index
    Value(ValueError),
}

impl<E> From<E> for InsertError<E> {
    fn from(e: E) -> Self {
        InsertError::Store(e)
    }
}

/// What inserts use again.
#[derive(Debug, Default)]
pub struct Inserter {
    workspace: Workspace,
    nearest: Vec<u64>,
    places: Vec<ListPlace>,
}

/// Adds a row to the list with the nearest centre. `value` is a whole varlena, unit-length where the index keeps unit
/// vectors. `centres` are those kept in memory, or none.
///
/// # Errors
/// A damaged block, a value of other dimensions, or no memory.
pub fn insert<L: WriteLists, S: CodedSpace>(
    lists: &mut L,
    space: S,
    value: &[u8],
    row: Tid,
    inserter: &mut Inserter,
    centres: &mut Centres,
) -> Result<(), InsertError<L::Error>> {
    insert_keyed(lists, space, value, &[], row, inserter, centres)
}

/// The same with the keys of the row's filter columns.
///
/// # Errors
/// As for [`insert`].
pub fn insert_keyed<L: WriteLists, S: CodedSpace>(
    lists: &mut L,
    space: S,
    value: &[u8],
    keys: &[u64],
    row: Tid,
    inserter: &mut Inserter,
    centres: &mut Centres,
) -> Result<(), InsertError<L::Error>> {
    let view = space.view(value).map_err(InsertError::Value)?;
    inserter.workspace.centre.clear();
    let (list, tail) = match known_list(lists, space, view, inserter, centres)? {
        Some(list) => list,
        None => find_list(lists, space, view)?,
    };
    let workspace = &mut inserter.workspace;
    let room = &mut workspace.keys;
    room.clear();
    append(room, keys.as_bytes()).map_err(|memory| L::Error::from(Damage::from(memory).on(META_BLOCK)))?;
    lists.append(list, tail, space, row, value, workspace)?;
    Ok(())
}

/// The nearest list by what the index has to find it, or by the centres kept, when there are any; its tail, and what
/// its codes are made against. The index must still say the same.
fn known_list<L: WriteLists, S: CodedSpace>(
    lists: &mut L,
    space: S,
    value: S::View<'_>,
    inserter: &mut Inserter,
    centres: &mut Centres,
) -> Result<Option<(ListPlace, u32)>, L::Error> {
    let Inserter { workspace, nearest, places } = inserter;
    let centre = &mut workspace.centre;
    nearest.clear();
    places.clear();
    let by_index = lists.nearest_lists(space, value, 1, centres, (&mut *nearest, &mut *places))?;
    if !by_index {
        centres.nearest(space, Some(value), 1, nearest);
    }
    let found = nearest.iter().min().map(|&list| list as u32 as usize);
    let place = found.and_then(|at| if by_index { places.get(at).copied() } else { centres.place(at) });
    let Some(place) = place else { return Ok(None) };
    if let Some(list) = if by_index { centres.number(place) } else { found } {
        let coded = centres.coded(space, list, centre, |view, out| lists.code_centre(space, view, out));
        coded.map_err(|damage| damage.on(META_BLOCK))?;
    }
    let tail = lists.tail(place)?;
    if tail.is_none() {
        centres.clear();
        centre.clear();
    }
    Ok(tail.map(|tail| (place, tail)))
}

fn find_list<L: WriteLists, S: CodedSpace>(
    lists: &mut L,
    space: S,
    value: S::View<'_>,
) -> Result<(ListPlace, u32), L::Error> {
    let (mut least, mut nearest) = (f32::INFINITY, None);
    lists.each_list(&mut |list| {
        let bad = Damage::at(list.place.offset, BAD_CENTRE);
        let distance = space.distance(value, space.view(list.centre).map_err(|_| bad)?);
        // all may be infinitely far
        if distance < least || nearest.is_none() {
            (least, nearest) = (distance, Some((list.place, list.tail)));
        }
        Ok(true)
    })?;
    Ok(nearest.ok_or_else(|| Damage::at(0, "no lists").on(META_BLOCK))?)
}
