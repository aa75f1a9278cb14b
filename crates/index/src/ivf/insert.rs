//! Inserts: a row goes to the list with the nearest centre.

use super::centre_cache::Centres;
use super::format::META_BLOCK;
use super::lists::{BAD_CENTRE, ListPlace, Workspace, WriteLists};
use crate::ValueError;
use crate::quant::space::CodedSpace;
use crate::storage::page::{Damage, Tid};

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
}

/// Adds a row to the list with the nearest centre. `value` is a whole varlena, unit-length where the index keeps unit
/// vectors. `centres` are those kept in memory, or none.
///
/// # Errors
/// A damaged block, or a value of other dimensions.
pub fn insert<L: WriteLists, S: CodedSpace>(
    lists: &mut L,
    space: S,
    value: &[u8],
    row: Tid,
    inserter: &mut Inserter,
    centres: &mut Centres,
) -> Result<(), InsertError<L::Error>> {
    let view = space.view(value).map_err(InsertError::Value)?;
    let (list, tail) = match known_list(lists, space, view, &mut inserter.nearest, centres)? {
        Some(list) => list,
        None => find_list(lists, space, view)?,
    };
    lists.append(list, tail, space, row, value, &mut inserter.workspace)?;
    Ok(())
}

/// The nearest list by the centres kept, when there are any, and its tail. The index must still say the same.
fn known_list<L: WriteLists, S: CodedSpace>(
    lists: &mut L,
    space: S,
    value: S::View<'_>,
    nearest: &mut Vec<u64>,
    centres: &mut Centres,
) -> Result<Option<(ListPlace, u32)>, L::Error> {
    centres.nearest(space, Some(value), 1, nearest);
    let found = nearest.iter().min().and_then(|&list| centres.place(list as u32 as usize));
    let Some(place) = found else { return Ok(None) };
    let tail = lists.tail(place)?;
    if tail.is_none() {
        centres.clear();
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
