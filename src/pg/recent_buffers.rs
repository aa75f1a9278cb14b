//! Which buffer each block of an index was last seen in. A search reads thousands of blocks, mostly the same from query
//! to query, and `ReadRecentBuffer` (PostgreSQL 14) pins a block whose buffer is known without the buffer table's hash
//! lookup. The memory hangs on the relation's cache entry (`rd_amcache`): the server frees it when the entry changes.
//!
//! Nothing here is believed: a remembered buffer is checked by the server before it is pinned, and prefetching an
//! address that no longer holds the block only costs time.
//!
//! `ReadRecentBuffer` leaves a buffer's usage count as it is (PinBuffer_Locked,
//! src/backend/storage/buffer/bufmgr.c), so that however often it is read, the buffer would be among the first
//! to be evicted. A read that finds the count low goes the server's ordinary way, which raises it: where
//! nothing is being evicted, none does.

use pgrx::pg_sys::{self, Buffer};
use vector_index::storage::page::{FIRST_OFFSET, Tid};
use vector_kernels::prefetch_line;

use super::blocks::{PAGE_SIZE, prefetch_lines};
use super::ffi;
use super::relation::Rel;

/// More blocks than this (32 GB) are not remembered: four bytes each, per backend and index.
const MOST: usize = 1 << 22;

#[repr(C)]
struct Header {
    magic: u32,
    blocks: u32,
}

const MAGIC: u32 = 0x5265_6375;

/// Whether buffers of this relation can be remembered: shared ones can, a temporary table's cannot.
pub fn usable(relation: Rel<'_>) -> bool {
    if cfg!(feature = "pg13") {
        return false;
    }
    // SAFETY: the relation is open.
    unsafe {
        (*(*relation.as_ptr()).rd_rel).relpersistence != pg_sys::RELPERSISTENCE_TEMP as core::ffi::c_char
    }
}

/// The remembered buffers, one per block, 0 for none.
#[inline(always)]
fn table<'a>(relation: Rel<'a>) -> &'a mut [Buffer] {
    // SAFETY: rd_amcache is null or what `grow` put there: a header followed by as many buffers as it says. Only this
    // module touches it, each function for itself, and one backend runs one of them at a time.
    unsafe {
        let header = (*relation.as_ptr()).rd_amcache.cast::<Header>();
        if header.is_null() || (*header).magic != MAGIC {
            return &mut [];
        }
        core::slice::from_raw_parts_mut(header.add(1).cast(), (*header).blocks as usize)
    }
}

/// Makes room for the relation's blocks.
#[cold]
fn grow(relation: Rel<'_>, block: u32) {
    let have = table(relation).len();
    // a quarter more than there are, so that a growing index does not grow this every time
    let blocks = relation.blocks(pg_sys::ForkNumber::MAIN_FORKNUM).max(block.saturating_add(1)) as usize;
    let want = (blocks + blocks / 4 + 64).min(MOST);
    if want <= have {
        return;
    }
    let bytes = size_of::<Header>() + want * size_of::<Buffer>();
    let flags = (pg_sys::MCXT_ALLOC_HUGE | pg_sys::MCXT_ALLOC_NO_OOM | pg_sys::MCXT_ALLOC_ZERO) as i32;
    // SAFETY: the index's own memory context lives as long as its cache entry; the server frees rd_amcache by pfree,
    // which is what one allocation allows. The old table is copied before it goes.
    unsafe {
        let rel = relation.as_ptr();
        let new = ffi::MemoryContextAllocExtended((*rel).rd_indexcxt, bytes, flags).cast::<Header>();
        if new.is_null() {
            return;
        }
        new.write(Header { magic: MAGIC, blocks: want as u32 });
        let old = table(relation);
        core::ptr::copy_nonoverlapping(old.as_ptr(), new.add(1).cast::<Buffer>(), old.len());
        let previous = core::mem::replace(&mut (*rel).rd_amcache, new.cast());
        if !previous.is_null() {
            ffi::pfree(previous);
        }
    }
}

/// Remembers where a block was found.
pub fn remember(relation: Rel<'_>, block: u32, buffer: Buffer) {
    let at = block as usize;
    if at >= MOST {
        return;
    }
    if at >= table(relation).len() {
        grow(relation, block);
    }
    if let Some(slot) = table(relation).get_mut(at) {
        *slot = buffer;
    }
}

/// Bytes of a buffer's header, and where its state lies: after the tag of five words and the buffer's number
/// (BufferDesc, src/include/storage/buf_internals.h, the same in 14 to 18).
const DESCRIPTOR: usize = 64;
// elsewhere they are not padded to that
const _: () = assert!(size_of::<usize>() == 8);
#[cfg(not(feature = "pg13"))]
const STATE: usize = 24;

/// How often a buffer was used lately, as the server counts: 0 to 5.
#[inline(always)]
#[cfg(not(feature = "pg13"))]
fn used(buffer: Buffer) -> u32 {
    // SAFETY: the buffer number came from the server in this process, so the address lies within its buffer headers.
    // Others write there at any moment, so the read is volatile; its value only chooses between two ways of reading.
    let state = unsafe {
        let headers = ffi::BufferDescriptors.cast::<u8>();
        headers.add((buffer - 1) as usize * DESCRIPTOR + STATE).cast::<u32>().read_volatile()
    };
    state >> 18 & 15
}

/// Pins a block in the buffer where it was last seen, when it still is there. Returns none, too, when the
/// buffer was used less than `enough` times lately, so that the use is counted (module comment).
#[inline(always)]
pub fn pin(relation: Rel<'_>, block: u32, enough: u32) -> Option<Buffer> {
    #[cfg(not(feature = "pg13"))]
    {
        let buffer = *table(relation).get(block as usize)?;
        if buffer <= 0 || used(buffer) < enough {
            return None;
        }
        let rel = relation.as_ptr();
        // SAFETY: the relation is open; the buffer number came from the server in this process, so it is one of its
        // buffers. The function pins it only when it holds this very block.
        let pinned = unsafe {
            #[cfg(any(feature = "pg14", feature = "pg15"))]
            let place = (*rel).rd_node;
            #[cfg(not(any(feature = "pg14", feature = "pg15")))]
            let place = (*rel).rd_locator;
            ffi::ReadRecentBuffer(place, pg_sys::ForkNumber::MAIN_FORKNUM, block, buffer)
        };
        pinned.then_some(buffer)
    }
    #[cfg(feature = "pg13")]
    {
        let _ = (relation, block, enough);
        None
    }
}

/// Where the block of an item was last seen.
#[inline(always)]
fn place(table: &[Buffer], tid: Tid) -> Option<usize> {
    match table.get(tid.block() as usize) {
        Some(&buffer) if buffer > 0 && (1..PAGE_SIZE / 8).contains(&usize::from(tid.offset())) => {
            Some((buffer - 1) as usize)
        }
        _ => None,
    }
}

/// The address of an item's line pointer, were its block in the buffer `at`.
#[inline(always)]
fn line_pointer(at: usize, tid: Tid) -> *const u8 {
    // SAFETY: reads the address of the shared pages, which is set before any backend runs.
    let pages = unsafe { ffi::BufferBlocks }.cast::<u8>();
    pages.wrapping_byte_add(at * PAGE_SIZE + 24 + (usize::from(tid.offset()) - 1) * 4)
}

/// Asks for what reading the items touches first: buffer headers and line pointers.
#[inline(always)]
pub fn prefetch_blocks(relation: Rel<'_>, tids: &[Tid]) {
    let table = table(relation);
    // SAFETY: reads the address of the buffer headers, which is set before any backend runs.
    let headers = unsafe { ffi::BufferDescriptors }.cast::<u8>();
    for &tid in tids {
        if let Some(at) = place(table, tid) {
            prefetch_line(headers.wrapping_byte_add(at * DESCRIPTOR));
            // the page header, and the line pointer unless it is in the same line
            prefetch_line(line_pointer(at, Tid::new(0, FIRST_OFFSET)));
            if tid.offset() > 10 {
                prefetch_line(line_pointer(at, tid));
            }
        }
    }
}

/// Asks for an item whose line pointer had time to arrive.
#[inline(always)]
pub fn prefetch_item(relation: Rel<'_>, tid: Tid, size: usize) {
    if let Some(at) = place(table(relation), tid) {
        // SAFETY: the address lies within the shared pages: `at` is one of the server's buffers, and `place` keeps the
        // offset within its page. Others may write there at this moment, so the read is volatile and its value only
        // leads to a prefetch, harmless at any address.
        let pointer = unsafe { line_pointer(at, tid).cast::<u32>().read_volatile() };
        // SAFETY: reads an address set before any backend runs.
        let pages = unsafe { ffi::BufferBlocks }.cast::<u8>();
        let start = at * PAGE_SIZE + (pointer & 0x7fff) as usize;
        prefetch_lines(pages.wrapping_byte_add(start), size.min(PAGE_SIZE));
    }
}

/// Whether the relation has more blocks than there are shared buffers, so that those that will be read are worth
/// asking the kernel for.
#[inline(always)]
pub fn reads_ahead(relation: Rel<'_>) -> bool {
    // SAFETY: plain variables: a setting, and what the server was started with.
    let (buffers, asks) = unsafe { (pg_sys::NBuffers, pg_sys::effective_io_concurrency > 0) };
    asks && table(relation).len() > usize::try_from(buffers).unwrap_or(usize::MAX)
}

/// Asks the kernel for a block that exists and will be read, unless it is in a buffer.
#[inline(never)]
pub fn read_ahead(relation: Rel<'_>, block: u32) {
    #[cfg(not(feature = "pg13"))]
    {
        let Some(&buffer) = table(relation).get(block as usize) else { return };
        if buffer > 0 && holds(buffer, relation, block) {
            return;
        }
        // SAFETY: the relation is open and has the block (callers). As in reads, nothing above needs dropping should
        // it fail.
        let found =
            unsafe { ffi::PrefetchBuffer(relation.as_ptr(), pg_sys::ForkNumber::MAIN_FORKNUM, block) };
        if found.recent_buffer > 0 {
            remember(relation, block, found.recent_buffer);
        }
    }
    #[cfg(feature = "pg13")]
    let _ = (relation, block);
}

/// Whether a buffer holds a block, by a look at its tag without a lock: others may replace it at any moment.
#[cfg(not(feature = "pg13"))]
#[inline(always)]
fn holds(buffer: Buffer, relation: Rel<'_>, block: u32) -> bool {
    // BufferTag: tablespace, database, relation, fork, block
    const RELATION: usize = 8;
    const BLOCK: usize = 16;
    let rel = relation.as_ptr();
    // SAFETY: as in `used`; the relation is open.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let number = (*rel).rd_node.relNode;
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let number = (*rel).rd_locator.relNumber;
        let tag = ffi::BufferDescriptors.cast::<u8>().add((buffer - 1) as usize * DESCRIPTOR);
        tag.add(BLOCK).cast::<u32>().read_volatile() == block
            && tag.add(RELATION).cast::<u32>().read_volatile() == number.to_u32()
    }
}

/// Asks for some bytes of a block.
#[inline(always)]
pub fn prefetch_bytes(relation: Rel<'_>, block: u32, start: usize, size: usize) {
    let Some(&buffer) = table(relation).get(block as usize) else { return };
    if buffer <= 0 {
        return;
    }
    let at = (buffer - 1) as usize;
    // SAFETY: reads the addresses of headers and pages, which are set before any backend runs.
    let (headers, pages) = unsafe { (ffi::BufferDescriptors.cast::<u8>(), ffi::BufferBlocks.cast::<u8>()) };
    prefetch_line(headers.wrapping_byte_add(at * DESCRIPTOR));
    let page = pages.wrapping_byte_add(at * PAGE_SIZE);
    prefetch_line(page);
    let size = size.min(PAGE_SIZE.saturating_sub(start));
    prefetch_lines(page.wrapping_byte_add(start), size.min(FURTHEST_AHEAD));
}

/// Lines further on the processor asks for itself, once it has seen the first ones read.
const FURTHEST_AHEAD: usize = 2048;

/// Adds reads that found their buffer to the relation's statistics.
pub fn count_hits(relation: Rel<'_>, hits: u32) {
    // SAFETY: the relation is open; pgstat_info is null or its own counters.
    unsafe {
        let Some(info) = (*relation.as_ptr()).pgstat_info.as_mut() else { return };
        let hits = i64::from(hits);
        #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
        {
            info.t_counts.t_blocks_fetched += hits;
            info.t_counts.t_blocks_hit += hits;
        }
        #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
        {
            info.counts.blocks_fetched += hits;
            info.counts.blocks_hit += hits;
        }
    }
}
