//! What the system would still grant. Rust ends the process when a small allocation finds no memory, and the process is a
//! server's: large ones are asked for in a way that may fail, and leave enough for the small ones.

/// Left to small allocations and to the stacks of threads, in bytes, whatever large ones take.
pub const CUSHION: usize = 16 << 20;

/// Whether the system would grant `bytes` more and leave the cushion. Nothing is kept: it may be gone when it is taken.
pub fn granted(bytes: usize) -> bool {
    Vec::<u8>::new().try_reserve_exact(bytes.saturating_add(CUSHION)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_is_is_not_granted() {
        assert!(granted(0) && granted(1 << 20));
        assert!(!granted(1 << 62) && !granted(usize::MAX));
    }
}
