//! Memory that may be wanting. Rust ends the process when an allocation finds no memory, and the process is a
//! server's: what grows with data or settings is asked for in a way that may fail, by the functions here and
//! `try_reserve`, and ends as an error or goes on with less. Only what is small whatever the data are
//! ([`SMALL`]) may be asked for in the ordinary way: the host keeps a reserve for it, and says by [`set_short`]
//! when that had to be opened.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Bytes of an allocation, at most, that the host's reserve answers for.
pub const SMALL: usize = 256 << 10;

/// Left to small allocations and to the stacks of threads, in bytes, whatever large ones take.
pub const RESERVE: usize = 16 << 20;

/// The system has no memory left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl From<std::collections::TryReserveError> for OutOfMemory {
    fn from(_: std::collections::TryReserveError) -> Self {
        OutOfMemory
    }
}

static SHORT: AtomicBool = AtomicBool::new(false);

/// Told by the host's allocator: whether its reserve is in use.
pub fn set_short(short: bool) {
    SHORT.store(short, Relaxed);
}

/// Whether the host lives on its reserve: nothing large is to be begun, and what is under way should end with an error.
#[inline]
pub fn is_short() -> bool {
    SHORT.load(Relaxed)
}

/// Whether the system would grant `bytes` more and leave [`RESERVE`]. Nothing is kept: it may be gone when it is taken.
pub fn can_allocate(bytes: usize) -> bool {
    if is_short() {
        return false;
    }
    let mut tried = Vec::<u8>::new();
    let done = tried.try_reserve_exact(bytes.saturating_add(RESERVE)).is_ok();
    // An allocation that nobody looks at is left out by the optimiser, and counts as done.
    core::hint::black_box(&mut tried);
    done
}

/// `count` times `value`.
///
/// # Errors
/// No memory.
pub fn filled<T: Clone>(value: T, count: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut vec = with_room(count)?;
    vec.resize(count, value);
    Ok(vec)
}

/// An empty vector with room for `count`.
///
/// # Errors
/// No memory.
pub fn with_room<T>(count: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(count)?;
    Ok(vec)
}

/// What an iterator gives, which knows its length.
///
/// # Errors
/// No memory.
pub fn collected<T>(items: impl ExactSizeIterator<Item = T>) -> Result<Vec<T>, OutOfMemory> {
    let mut vec = with_room(items.len())?;
    vec.extend(items);
    Ok(vec)
}

/// Adds `item`.
///
/// # Errors
/// No memory.
#[inline]
pub fn push<T>(vec: &mut Vec<T>, item: T) -> Result<(), OutOfMemory> {
    vec.try_reserve(1)?;
    vec.push(item);
    Ok(())
}

/// Adds copies of `items`.
///
/// # Errors
/// No memory.
#[inline]
pub fn append<T: Copy>(vec: &mut Vec<T>, items: &[T]) -> Result<(), OutOfMemory> {
    vec.try_reserve(items.len())?;
    vec.extend_from_slice(items);
    Ok(())
}

/// Makes it as long as `len`, with copies of `value` where it was shorter.
///
/// # Errors
/// No memory.
#[inline]
pub fn resize<T: Clone>(vec: &mut Vec<T>, len: usize, value: T) -> Result<(), OutOfMemory> {
    vec.try_reserve(len.saturating_sub(vec.len()))?;
    vec.resize(len, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_is_is_not_granted() {
        assert!(can_allocate(0) && can_allocate(1 << 20));
        assert!(!can_allocate(1 << 62) && !can_allocate(usize::MAX));
    }

    #[test]
    fn vectors_grow_or_say_that_they_cannot() {
        let mut vec = filled(7u32, 3).unwrap();
        push(&mut vec, 8).unwrap();
        append(&mut vec, &[9, 10]).unwrap();
        resize(&mut vec, 8, 0).unwrap();
        assert_eq!(vec, [7, 7, 7, 8, 9, 10, 0, 0]);
        assert_eq!(collected([1, 2].iter().map(|x| x + 1)), Ok(vec![2, 3]));
        assert_eq!(filled(0u64, 1 << 60), Err(OutOfMemory));
        assert_eq!(with_room::<u64>(usize::MAX), Err(OutOfMemory));
        assert_eq!(resize(&mut vec, usize::MAX, 0), Err(OutOfMemory));
        assert_eq!(vec.len(), 8);
    }
}
