//! Which blocks of an index have room, in the free space map that the server keeps beside it (src/backend/storage/
//! freespace/README). The map is a hint: it is not logged, and whoever is told a block looks whether there is room.

use pgrx::pg_sys;

use super::relation::Rel;
use super::server;

/// The map tells room in steps of so many bytes, and classes of room are such steps (freespace.c, FSM_CAT_STEP).
const STEP: usize = pg_sys::BLCKSZ as usize / 256;

/// Blocks of higher classes that are passed over. They come in runs, and the map goes on where it was.
const TRIES: usize = 100;

/// A block with room of a class. The map answers with one of a higher class, too, which is room for something else.
pub fn find(relation: Rel<'_>, class: u8) -> Option<u32> {
    let (relation, room) = (relation.as_ptr(), usize::from(class) * STEP);
    for _ in 0..TRIES {
        // SAFETY: the relation is open.
        let block = unsafe { server::GetPageWithFreeSpace(relation, room) };
        if block == pg_sys::InvalidBlockNumber {
            return None;
        }
        // SAFETY: the relation is open.
        if unsafe { server::GetRecordedFreeSpace(relation, block) } == room {
            return Some(block);
        }
    }
    None
}

/// Notes the room of a block.
pub fn note(relation: Rel<'_>, block: u32, class: u8) {
    let room = usize::from(class) * STEP;
    // SAFETY: the relation is open, and its index not read only: a standby does not get here, since it changes nothing.
    unsafe {
        // where there is no map, nothing need be made to say that there is no room
        if room > 0 || server::GetRecordedFreeSpace(relation.as_ptr(), block) > 0 {
            server::RecordPageWithFreeSpace(relation.as_ptr(), block, room);
        }
    }
}

/// Brings the map's upper levels up to date.
pub fn publish(relation: Rel<'_>) {
    // SAFETY: the relation is open.
    unsafe { server::FreeSpaceMapVacuum(relation.as_ptr()) };
}
