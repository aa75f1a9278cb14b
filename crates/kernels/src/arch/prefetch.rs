//! Asking the cache for what is read soon. A hint: no address makes it fault, and nothing is read or written.

/// Bytes of a cache line on the processors that matter.
const LINE: usize = 64;

/// Asks the cache for every line of `bytes`.
#[inline(always)]
pub fn prefetch(bytes: &[u8]) {
    let start = bytes.as_ptr();
    let mut at = 0;
    while at < bytes.len() {
        prefetch_line(start.wrapping_add(at));
        at += LINE;
    }
    // the last line, when the slice starts inside one
    if let Some(last) = bytes.last() {
        prefetch_line(last);
    }
}

/// Asks the cache for the line of the first of `items`.
#[inline(always)]
pub fn prefetch_first<T>(items: &[T]) {
    prefetch_line(items.as_ptr().cast());
}

/// Asks the cache for the line of an address, which need not be mapped.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
pub fn prefetch_line(p: *const u8) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: SSE is part of x86-64, and prefetching accesses no memory as far as the program can see: an address
    // that is not mapped is ignored (Intel SDM, PREFETCHh).
    unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
}

/// Asks the cache for the line of an address, which need not be mapped.
#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline(always)]
pub fn prefetch_line(p: *const u8) {
    // SAFETY: a prefetch changes no register, no flag and no memory, and never faults (Arm ARM, PRFM).
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{p}]", p = in(reg) p, options(nostack, preserves_flags, readonly))
    }
}

/// Asks for nothing.
#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[inline(always)]
pub fn prefetch_line(_: *const u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_slice_will_do() {
        let bytes = [7u8; 300];
        for start in 0..70 {
            for end in [start, start + 1, start + 63, start + 64, 300] {
                prefetch(&bytes[start..end]);
            }
        }
        prefetch_first::<u64>(&[]);
        prefetch_first(&[1u32]);
    }
}
