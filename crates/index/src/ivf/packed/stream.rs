//! Records that stand one behind the other on chained pages, cut where a page ends.

use super::layout::{Geometry, PageKind, START, front, next_of, put};
use crate::space::ValueBuf;
use crate::storage::blocks::BlockStore;
use crate::storage::page::Damage;

/// What the first page of a record says.
enum First<R> {
    /// all of it is there
    Whole(R),
    /// so many bytes, and the next page
    Part(usize, u32),
    /// there is none
    None,
}

/// Shows the record that begins at byte `at` of the records of `block`; none where no record can begin there, be it
/// that the page now serves something else. `whole` is room for one that is cut.
///
/// # Errors
/// A block that does not exist, no memory.
#[inline]
pub fn read_record<B: BlockStore, R>(
    blocks: &mut B,
    geometry: &Geometry,
    kind: PageKind,
    (block, at): (u32, usize),
    whole: &mut ValueBuf,
    look: impl FnOnce(&[u8]) -> R,
) -> Result<Option<R>, B::Error> {
    let mut look = Some(look);
    let size = geometry.record;
    let first = blocks.read(block, |bytes| {
        let Ok(front) = front(bytes, kind) else { return Ok(First::None) };
        let used = usize::from(front.used);
        if at >= used || at < usize::from(front.begun) {
            return Ok(First::None);
        }
        let Some(part) = bytes.get(START + at..START + used.min(at + size)) else { return Ok(First::None) };
        if part.len() == size {
            return Ok(look.take().map_or(First::None, |look| First::Whole(look(part))));
        }
        whole.try_reset(size)?;
        put(whole.bytes_mut(), 0, part);
        Ok(First::Part(part.len(), next_of(bytes)))
    })?;
    let (mut have, mut next) = match first {
        First::Whole(found) => return Ok(Some(found)),
        First::Part(have, next) => (have, next),
        First::None => return Ok(None),
    };
    while have < size {
        if next >= blocks.count()? {
            return Ok(None);
        }
        let part = blocks.read(next, |bytes| {
            let Ok(front) = front(bytes, kind) else { return Ok(None) };
            let len = (size - have).min(geometry.space());
            let part = bytes.get(START..START + len).filter(|_| usize::from(front.begun) == len);
            Ok(part.map(|part| {
                put(whole.bytes_mut(), have, part);
                (len, next_of(bytes))
            }))
        })?;
        let Some((len, follows)) = part else { return Ok(None) };
        have += len;
        next = follows;
    }
    Ok(look.map(|look| look(whole.bytes())))
}

/// Of a place that has no value.
pub const NO_VALUE: Damage = Damage::at(0, "no value where an entry says that it is");
