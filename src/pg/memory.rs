//! Rust's allocator in a backend. When a small allocation finds no memory, Rust would end the process and the
//! server would restart every session. So a backend keeps a reserve of address space: it is given up when the
//! system has nothing more, the small allocation is answered from there, and whatever asks for much
//! (`vector_index::work::memory`) fails until the reserve could be refilled. What small allocations serve then
//! is mostly the way to an error: its message, unwinding.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::AcqRel, Ordering::Acquire};
use std::alloc::System;

use pgrx::PgSqlErrorCode;
use vector_index::work::memory::{SMALL, is_short, set_short};

use super::ereport::Report;

/// Bytes of the reserve. It is never touched: it takes address space, and counts where the system counts that
/// (vm.overcommit_memory = 2), but no memory. The C library's heap grows by a megabyte where it cannot grow at its end.
const RESERVED: usize = 4 << 20;

/// The reserve; null when there is none.
static HELD: AtomicPtr<libc::c_void> = AtomicPtr::new(null_mut());

/// The allocator.
struct Reserved;

#[global_allocator]
static ALLOCATOR: Reserved = Reserved;

/// PostgreSQL's error.
#[cold]
pub fn wanting() -> Report {
    Report::new(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, b"out of memory")
}

/// Makes the reserve, when the library is loaded.
pub fn make_reserve() {
    fill();
}

/// Makes the reserve, unless there is one or no memory for one.
#[cold]
fn fill() {
    // SAFETY: a new mapping of anonymous memory, which takes nobody's place.
    let new = unsafe {
        libc::mmap(
            null_mut(),
            RESERVED,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if new == libc::MAP_FAILED {
        return;
    }
    // Said before, so that it cannot undo what a thread says that gives this reserve up at once.
    set_short(false);
    if HELD.compare_exchange(null_mut(), new, AcqRel, Acquire).is_err() {
        // another thread was faster
        // SAFETY: mapped above, and nobody else knows it.
        unsafe { libc::munmap(new, RESERVED) };
    }
}

/// Gives the reserve up; false when there is none.
fn open() -> bool {
    let held = HELD.swap(null_mut(), AcqRel);
    if held.is_null() {
        return false;
    }
    set_short(true);
    // SAFETY: mapped by `fill`, and taken out by this thread alone.
    unsafe { libc::munmap(held, RESERVED) };
    true
}

/// Asks again for a small allocation that failed, with the reserve given up.
#[cold]
#[inline(never)]
fn again(size: usize, ask: impl Fn() -> *mut u8) -> *mut u8 {
    if size > SMALL || !open() { null_mut() } else { ask() }
}

// SAFETY: every call goes to the system's allocator with the caller's own arguments, whose contract is the same. The
// reserve is memory that the system's allocator does not know. Nothing here allocates or unwinds.
unsafe impl GlobalAlloc for Reserved {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_short() {
            fill();
        }
        // SAFETY: the caller's contract, here and below.
        let found = unsafe { System.alloc(layout) };
        if !found.is_null() {
            return found;
        }
        // SAFETY: as above.
        again(layout.size(), || unsafe { System.alloc(layout) })
    }

    #[inline]
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract: the place came from the system's allocator by one of these functions.
        unsafe { System.dealloc(place, layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_short() {
            fill();
        }
        // SAFETY: as in `alloc`.
        let found = unsafe { System.alloc_zeroed(layout) };
        if !found.is_null() {
            return found;
        }
        // SAFETY: as above.
        again(layout.size(), || unsafe { System.alloc_zeroed(layout) })
    }

    #[inline]
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_short() {
            fill();
        }
        // SAFETY: as in `alloc`; a place whose new size is not granted stays as it is, so it can be asked again.
        let found = unsafe { System.realloc(place, layout, size) };
        if !found.is_null() {
            return found;
        }
        // SAFETY: as above.
        again(size, || unsafe { System.realloc(place, layout, size) })
    }
}

/// Bytes of the machine's memory; as if there were no end to it where the system does not say.
pub fn physical() -> u64 {
    // SAFETY: both only answer, -1 for what is not known.
    let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    match (u64::try_from(pages), u64::try_from(size)) {
        (Ok(pages), Ok(size)) => pages.saturating_mul(size),
        _ => u64::MAX,
    }
}
