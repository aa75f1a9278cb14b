//! Codes in bit planes beside each other; every tier's, compiled with its features.

/// Counts the bits in which each plane of each code differs from each plane of one.
#[inline(always)]
pub(super) unsafe fn plane_differences(
    codes: *const u8,
    stride: usize,
    count: usize,
    planes: usize,
    code: *const u8,
    n: usize,
    out: *mut i32,
) {
    // SAFETY: the same contract.
    unsafe {
        match planes {
            1 => differences_of::<1>(codes, stride, count, code, n / 8, out),
            2 => differences_of::<2>(codes, stride, count, code, n / 8, out),
            3 => differences_of::<3>(codes, stride, count, code, n / 8, out),
            _ => differences_of::<4>(codes, stride, count, code, n / 8, out),
        }
    }
}

#[inline(always)]
unsafe fn differences_of<const P: usize>(
    codes: *const u8,
    stride: usize,
    count: usize,
    code: *const u8,
    size: usize,
    out: *mut i32,
) {
    // SAFETY: the caller passes `count` codes of P * size bytes, `stride` apart, one more, and `count` writable places
    // (the contract of `Kernels`); words are read where a plane has eight bytes, and end with it.
    unsafe {
        for i in 0..count {
            let of = codes.add(i * stride);
            let mut total = 0;
            let mut add = |p: usize, q: usize, differing: u64| total += differing.count_ones() << (p + q);
            let word = |of: *const u8, p: usize, at: usize| {
                u64::from_le(of.add(p * size + at).cast::<u64>().read_unaligned())
            };
            for at in (0..size & !7).step_by(8) {
                for (p, q) in (0..P * P).map(|both| (both / P, both % P)) {
                    add(p, q, word(of, p, at) ^ word(code, q, at));
                }
            }
            let rest = size % 8;
            for (p, q) in (0..if rest > 0 { P * P } else { 0 }).map(|both| (both / P, both % P)) {
                if size >= 8 {
                    // without the bytes that were counted, which are the lower ones
                    add(p, q, (word(of, p, size - 8) ^ word(code, q, size - 8)) >> (8 * (8 - rest)));
                } else {
                    for at in 0..size {
                        add(p, q, u64::from(*of.add(p * size + at) ^ *code.add(q * size + at)));
                    }
                }
            }
            *out.add(i) = total as i32;
        }
    }
}
