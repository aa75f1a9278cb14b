//! Which blocks of an index have room, in the free space map that the server keeps beside it (src/backend/storage/
//! freespace/README). The map is a hint: it is not logged, and whoever is told a block looks whether there is room.

use pgrx::pg_sys;

use super::relation::Rel;
use super::server;

/// The map tells room in steps of so many bytes, and classes of room are such steps (freespace.c, FSM_CAT_STEP).
const STEP: usize = pg_sys::BLCKSZ as usize / 256;

/// A block with room of a class or a higher one.
pub fn find(relation: Rel<'_>, class: u8) -> Option<u32> {
    // SAFETY: the relation is open.
    let block = unsafe { server::GetPageWithFreeSpace(relation.as_ptr(), usize::from(class) * STEP) };
    (block != pg_sys::InvalidBlockNumber).then_some(block)
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
