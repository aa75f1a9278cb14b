//! AVX-512 kernels: sixteen floats to a vector, and masked loads and stores that make tails as cheap as
//! whole vectors.

use super::dispatch::{
    BoundTerms, ByteCode, CodeColumns, CodeHead, FAST_ENTRIES, FAST_QUAD, GROUP, Kernels, MAX_PLANES, PANEL,
    PLANE_BLOCK, PlaneSums, Tier,
};
use super::{cosine, generic, jaccard, scalar};
use core::arch::x86_64::*;
use half::f16;

/// Whether this CPU (and its operating system) can run the kernels of this module. The list is the one in the
/// `target_feature` attributes below.
pub(crate) fn detected() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx512vpopcntdq")
        && super::avx2::detected()
}

/// Floats in a vector.
const W: usize = 16;
/// Vectors that one turn of a loop adds up.
const UNROLL: usize = 2;
/// Vectors that meet a panel at once.
const PANEL_ROWS: usize = 8;
type Vector = __m512;
/// The lower and upper eight lanes of a vector, in `f64`.
type Wide = (__m512d, __m512d);

/// Defines functions that inline into each other and into the kernels.
macro_rules! simd_ops {
    ($($item:item)*) => {$(
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2")]
        $item
    )*};
}

simd_ops! {
    fn zero() -> Vector {
        _mm512_setzero_ps()
    }
    fn add(x: Vector, y: Vector) -> Vector {
        _mm512_add_ps(x, y)
    }
    fn sub(x: Vector, y: Vector) -> Vector {
        _mm512_sub_ps(x, y)
    }
    fn mul(x: Vector, y: Vector) -> Vector {
        _mm512_mul_ps(x, y)
    }
    fn fma(x: Vector, y: Vector, z: Vector) -> Vector {
        _mm512_fmadd_ps(x, y, z)
    }
    fn abs(x: Vector) -> Vector {
        _mm512_abs_ps(x)
    }
    fn floor(x: Vector) -> Vector {
        _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(x)
    }
    fn min(x: Vector, y: Vector) -> Vector {
        _mm512_min_ps(x, y)
    }
    fn max(x: Vector, y: Vector) -> Vector {
        _mm512_max_ps(x, y)
    }
    fn plane_bits(x: Vector, p: u32) -> u32 {
        u32::from(_mm512_test_epi32_mask(_mm512_cvttps_epi32(x), _mm512_set1_epi32(1 << p)))
    }
    fn splat(x: f32) -> Vector {
        _mm512_set1_ps(x)
    }
    fn total(x: Vector) -> f32 {
        _mm512_reduce_add_ps(x)
    }

    /// A mask of the first n < 16 lanes.
    fn first(n: usize) -> __mmask16 {
        _bzhi_u32(0xffff, n as u32) as __mmask16
    }

    fn prefetch<T>(p: *const T, n: usize) {
        for line in 0..(n * size_of::<T>()).div_ceil(64) {
            _mm_prefetch::<_MM_HINT_T0>(p.cast::<i8>().wrapping_add(64 * line));
        }
    }

    unsafe fn load_f32(p: *const f32) -> Vector {
        // SAFETY: the caller has 16 elements at p; the load needs no alignment.
        unsafe { _mm512_loadu_ps(p) }
    }
    unsafe fn tail_f32(p: *const f32, n: usize) -> Vector {
        // SAFETY: the caller has n elements at p; lanes masked out are not accessed.
        unsafe { _mm512_maskz_loadu_ps(first(n), p) }
    }
    unsafe fn store_f32(p: *mut f32, x: Vector) {
        // SAFETY: the caller has 16 writable elements at p; the store needs no alignment.
        unsafe { _mm512_storeu_ps(p, x) }
    }
    unsafe fn store_tail_f32(p: *mut f32, x: Vector, n: usize) {
        // SAFETY: the caller has n writable elements at p; lanes masked out are not accessed.
        unsafe { _mm512_mask_storeu_ps(p, first(n), x) }
    }

    unsafe fn load_f16(p: *const f16) -> Vector {
        // SAFETY: the caller has 16 two-byte elements at p, 32 bytes; the load needs no alignment.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(p.cast()) })
    }
    unsafe fn tail_f16(p: *const f16, n: usize) -> Vector {
        // SAFETY: the caller has n two-byte elements at p; lanes masked out are not accessed.
        _mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16(first(n), p.cast()) })
    }
    fn narrow(x: Vector) -> __m256i {
        _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
    }
    unsafe fn store_f16(p: *mut f16, x: Vector) {
        // SAFETY: the caller has 16 writable two-byte elements at p; the store needs no alignment.
        unsafe { _mm256_storeu_si256(p.cast(), narrow(x)) }
    }
    unsafe fn store_tail_f16(p: *mut f16, x: Vector, n: usize) {
        // SAFETY: the caller has n writable two-byte elements at p; lanes masked out are not accessed.
        unsafe { _mm256_mask_storeu_epi16(p.cast(), first(n), narrow(x)) }
    }

    fn widen(x: Vector) -> Wide {
        (_mm512_cvtps_pd(_mm512_castps512_ps256(x)), _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(x)))
    }
    fn divide(x: Vector, by: f64) -> Vector {
        let (low, high) = widen(x);
        let by = _mm512_set1_pd(by);
        let low = _mm512_cvtpd_ps(_mm512_div_pd(low, by));
        let high = _mm512_cvtpd_ps(_mm512_div_pd(high, by));
        _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high)
    }
    fn wide_zero() -> Wide {
        (_mm512_setzero_pd(), _mm512_setzero_pd())
    }
    fn wide_square(x: Vector, sum: Wide) -> Wide {
        let (low, high) = widen(x);
        (_mm512_fmadd_pd(low, low, sum.0), _mm512_fmadd_pd(high, high, sum.1))
    }
    fn wide_add(x: Wide, y: Wide) -> Wide {
        (_mm512_add_pd(x.0, y.0), _mm512_add_pd(x.1, y.1))
    }
    fn wide_total(x: Wide) -> f64 {
        _mm512_reduce_add_pd(_mm512_add_pd(x.0, x.1))
    }

    /// Reversing the lanes first puts the first element into the top bit of the mask.
    fn positive(x: __m256) -> u8 {
        let reversed = _mm256_permutevar8x32_ps(x, _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0));
        _mm256_cmp_ps_mask::<_CMP_GT_OQ>(reversed, _mm256_setzero_ps())
    }
    unsafe fn positive_f32(p: *const f32) -> u8 {
        // SAFETY: the caller has 8 elements at p; the load needs no alignment.
        positive(unsafe { _mm256_loadu_ps(p) })
    }
    unsafe fn positive_f16(p: *const f16) -> u8 {
        // SAFETY: the caller has 8 two-byte elements at p; the load needs no alignment.
        positive(_mm256_cvtph_ps(unsafe { _mm_loadu_si128(p.cast()) }))
    }

    unsafe fn load_bytes(p: *const u8) -> __m512i {
        // SAFETY: the caller has 64 bytes at p; the load needs no alignment.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    unsafe fn tail_bytes(p: *const u8, n: usize) -> __m512i {
        // SAFETY: the caller has n < 64 bytes at p; bytes masked out are not accessed.
        unsafe { _mm512_maskz_loadu_epi8(_bzhi_u64(u64::MAX, n as u32), p.cast()) }
    }
    fn count(sum: __m512i, bits: __m512i) -> __m512i {
        _mm512_add_epi64(sum, _mm512_popcnt_epi64(bits))
    }
}

float_kernels!("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2");
plane_kernels!("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2");

/// The instruction multiplies unsigned with signed bytes. So 128 is added to the left ones, by flipping their top bit,
/// and 128 times the sum of the right ones is taken away again; all modulo 2^32.
#[target_feature(
    enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2"
)]
unsafe fn inner_product_i8(a: *const i8, b: *const i8, n: usize) -> i32 {
    let (mut products, mut excess) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    let flip = _mm512_set1_epi8(-128);
    let mut i = 0;
    // SAFETY: each step reads bytes that the condition before has found to lie within the n that the caller vouches
    // for behind both pointers; the tail reads the n - i < 64 that are left.
    unsafe {
        while n - i >= 64 {
            let (x, y) = (load_bytes(a.add(i).cast()), load_bytes(b.add(i).cast()));
            products = _mm512_dpbusd_epi32(products, _mm512_xor_si512(x, flip), y);
            excess = _mm512_dpbusd_epi32(excess, flip, y);
            i += 64;
        }
        if i < n {
            let (x, y) = (tail_bytes(a.add(i).cast(), n - i), tail_bytes(b.add(i).cast(), n - i));
            products = _mm512_dpbusd_epi32(products, _mm512_xor_si512(x, flip), y);
            excess = _mm512_dpbusd_epi32(excess, flip, y);
        }
    }
    _mm512_reduce_add_epi32(_mm512_sub_epi32(products, excess))
}

#[target_feature(
    enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2"
)]
unsafe fn hamming(a: *const u8, b: *const u8, n: usize) -> u64 {
    let (mut s0, mut s1) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    let mut i = 0;
    // SAFETY: each step reads bytes that the condition before has found to lie within the n that the caller
    // vouches for behind both pointers; the tail reads the n - i < 64 that are left.
    unsafe {
        while n - i >= 128 {
            s0 = count(s0, _mm512_xor_si512(load_bytes(a.add(i)), load_bytes(b.add(i))));
            s1 = count(s1, _mm512_xor_si512(load_bytes(a.add(i + 64)), load_bytes(b.add(i + 64))));
            i += 128;
        }
        if n - i >= 64 {
            s0 = count(s0, _mm512_xor_si512(load_bytes(a.add(i)), load_bytes(b.add(i))));
            i += 64;
        }
        if i < n {
            s1 = count(s1, _mm512_xor_si512(tail_bytes(a.add(i), n - i), tail_bytes(b.add(i), n - i)));
        }
    }
    _mm512_reduce_add_epi64(_mm512_add_epi64(s0, s1)) as u64
}

#[target_feature(
    enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2"
)]
unsafe fn jaccard_distance(a: *const u8, b: *const u8, n: usize) -> f64 {
    let (mut both, mut either) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    let mut i = 0;
    // SAFETY: as for `hamming`.
    unsafe {
        while n - i >= 64 {
            let (x, y) = (load_bytes(a.add(i)), load_bytes(b.add(i)));
            both = count(both, _mm512_and_si512(x, y));
            either = count(either, _mm512_or_si512(x, y));
            i += 64;
        }
        if i < n {
            let (x, y) = (tail_bytes(a.add(i), n - i), tail_bytes(b.add(i), n - i));
            both = count(both, _mm512_and_si512(x, y));
            either = count(either, _mm512_or_si512(x, y));
        }
    }
    jaccard(_mm512_reduce_add_epi64(both) as u64, _mm512_reduce_add_epi64(either) as u64)
}

/// Four elements of one row in every lane, against four of each column: no instruction but this one per row, its memory
/// operand included. A row left over meets the panel alone, four groups to a turn.
#[target_feature(
    enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2"
)]
unsafe fn inner_product_byte_panel(
    rows: *const *const i8,
    count: usize,
    panel: *const u8,
    n: usize,
    out: *mut i32,
) {
    const BYTES: usize = GROUP * PANEL;
    let mut done = 0;
    // SAFETY: the caller vouches for `count` pointers to n groups each, a panel of n * PANEL groups and room
    // for count * PANEL. `done + r` stays below `count`, a group's number below n, and a vector is PANEL groups
    // or integers.
    unsafe {
        while count - done >= PANEL_ROWS {
            let mut sums = [_mm512_setzero_si512(); PANEL_ROWS];
            let mut row = [core::ptr::null::<i8>(); PANEL_ROWS];
            for (r, row) in row.iter_mut().enumerate() {
                *row = *rows.add(done + r);
            }
            for i in 0..n {
                let columns = load_bytes(panel.add(i * BYTES));
                for (sum, row) in sums.iter_mut().zip(row) {
                    let x = row.add(i * GROUP).cast::<i32>().read_unaligned();
                    *sum = _mm512_dpbusd_epi32(*sum, columns, _mm512_set1_epi32(x));
                }
            }
            for (r, sum) in sums.iter().enumerate() {
                _mm512_storeu_si512(out.add((done + r) * PANEL).cast(), *sum);
            }
            done += PANEL_ROWS;
        }
        while done < count {
            let row = *rows.add(done);
            let mut sums = [_mm512_setzero_si512(); 4];
            let mut i = 0;
            while i < n {
                let turn = 4.min(n - i);
                for (k, sum) in sums.iter_mut().take(turn).enumerate() {
                    let x = row.add((i + k) * GROUP).cast::<i32>().read_unaligned();
                    let columns = load_bytes(panel.add((i + k) * BYTES));
                    *sum = _mm512_dpbusd_epi32(*sum, columns, _mm512_set1_epi32(x));
                }
                i += turn;
            }
            let sum =
                _mm512_add_epi32(_mm512_add_epi32(sums[0], sums[1]), _mm512_add_epi32(sums[2], sums[3]));
            _mm512_storeu_si512(out.add(done * PANEL).cast(), sum);
            done += 1;
        }
    }
}

/// Codes that meet the query at once: a sum of a vector for each, of the 32 that there are.
const PLANE_CODES: usize = 16;

/// The bits of an element become a byte, and one instruction multiplies 64 of them with the query's.
#[target_feature(
    enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2"
)]
unsafe fn plane_products(
    codes: *const u8,
    stride: usize,
    count: usize,
    planes: usize,
    query: *const i8,
    n: usize,
    out: *mut i32,
) {
    // SAFETY: the same contract.
    unsafe {
        match planes {
            0 => out.write_bytes(0, count),
            1 => plane_batches::<1>(codes, stride, count, query, n, out),
            2 => plane_batches::<2>(codes, stride, count, query, n, out),
            3 => plane_batches::<3>(codes, stride, count, query, n, out),
            _ => plane_batches::<MAX_PLANES>(codes, stride, count, query, n, out),
        }
    }
}

#[target_feature(
    enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2"
)]
unsafe fn plane_batches<const P: usize>(
    codes: *const u8,
    stride: usize,
    count: usize,
    query: *const i8,
    n: usize,
    out: *mut i32,
) {
    let mut done = 0;
    // SAFETY: batches are of codes that the caller vouches for, with as many places.
    unsafe {
        while count - done >= PLANE_CODES {
            let (codes, out) = (codes.add(done * stride), out.add(done));
            plane_batch::<P, PLANE_CODES>(codes, done * stride, stride, query, n, out);
            done += PLANE_CODES;
        }
        while count - done >= 4 {
            plane_batch::<P, 4>(codes.add(done * stride), done * stride, stride, query, n, out.add(done));
            done += 4;
        }
        while done < count {
            plane_batch::<P, 1>(codes.add(done * stride), done * stride, stride, query, n, out.add(done));
            done += 1;
        }
    }
}

/// [`plane_products`] with exactly `C` codes; `before` bytes can be read before them.
#[inline]
#[target_feature(
    enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2"
)]
unsafe fn plane_batch<const P: usize, const C: usize>(
    codes: *const u8,
    before: usize,
    stride: usize,
    query: *const i8,
    n: usize,
    out: *mut i32,
) {
    let mut sums = [_mm512_setzero_si512(); C];
    let (plane_size, mut j) = (n / 8, 0);
    // SAFETY: code i is one of the C that the caller vouches for, each of P * n / 8 bytes; a step reads the 8
    // bytes for 64 elements of each plane, and as much of the query's n.
    unsafe {
        while n - j >= 64 {
            let bytes = load_bytes(query.add(j).cast());
            for (i, sum) in sums.iter_mut().enumerate() {
                let code = codes.add(i * stride + j / 8);
                let mut elements = _mm512_setzero_si512();
                for p in 0..P {
                    let bits = code.add(p * plane_size).cast::<u64>().read_unaligned();
                    elements = _mm512_mask_add_epi8(elements, bits, elements, _mm512_set1_epi8(1 << p));
                }
                *sum = _mm512_dpbusd_epi32(*sum, elements, bytes);
            }
            j += 64;
        }
    }
    let rest = n - j;
    if rest > 0 {
        // The 64 elements that end with the plane are looked at, and the query's bytes are zero for those that were met
        // before, or belong to another plane. What lies before the first plane may not be read: it is copied.
        let skipped = 64 - rest;
        // SAFETY: the query has `rest` bytes from j on; bytes masked out are not accessed. Code i has P planes, and
        // `before` bytes lie before the first code.
        unsafe {
            let bytes =
                _mm512_maskz_loadu_epi8(u64::MAX << skipped, query.wrapping_add(j).wrapping_sub(skipped));
            for (i, sum) in sums.iter_mut().enumerate() {
                let mut elements = _mm512_setzero_si512();
                for p in 0..P {
                    let end = i * stride + (p + 1) * plane_size;
                    let bits = if plane_size >= 8 || before + end >= 8 {
                        codes.offset(end as isize - 8).cast::<u64>().read_unaligned()
                    } else {
                        let mut bits = [0u8; 8];
                        let last = bits.as_mut_ptr().add(8 - plane_size);
                        core::ptr::copy_nonoverlapping(codes.add(end - plane_size), last, plane_size);
                        u64::from_le_bytes(bits)
                    };
                    elements = _mm512_mask_add_epi8(elements, bits, elements, _mm512_set1_epi8(1 << p));
                }
                *sum = _mm512_dpbusd_epi32(*sum, elements, bytes);
            }
        }
    }
    // SAFETY: the caller has places for C integers.
    unsafe {
        if let Ok(sums) = <&[__m512i; PLANE_CODES]>::try_from(&sums[..]) {
            _mm512_storeu_si512(out.cast(), totals(sums));
        } else {
            for (i, sum) in sums.iter().enumerate() {
                *out.add(i) = _mm512_reduce_add_epi32(*sum);
            }
        }
    }
}

/// The sums of the lanes of 16 vectors.
#[inline]
#[target_feature(
    enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2"
)]
fn totals(x: &[__m512i; 16]) -> __m512i {
    let by_two = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let by_four = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    let four = |at: usize| by_four(by_two(x[at], x[at + 1]), by_two(x[at + 2], x[at + 3]));
    fold_lanes(four(0), four(4), four(8), four(12), |a, b| _mm512_add_epi32(a, b))
}

/// The four 128-bit lanes of each of four vectors, added to one lane of the result.
#[inline]
#[target_feature(
    enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2"
)]
fn fold_lanes(
    a: __m512i,
    b: __m512i,
    c: __m512i,
    d: __m512i,
    add: impl Fn(__m512i, __m512i) -> __m512i,
) -> __m512i {
    let half = |a, b| add(_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0xee>(a, b));
    let (low, high) = (half(a, b), half(c, d));
    add(_mm512_shuffle_i64x2::<0x88>(low, high), _mm512_shuffle_i64x2::<0xdd>(low, high))
}

/// Quads that fill a vector.
const FAST_STEP: usize = 4;
/// Vectors of quads, the sum of whose bytes in one place still fits 16 bits: 64 * 4 * 255 < 2^16.
const FAST_TURN: usize = 64;

/// Four quads at a time. What was looked up is a byte; sums are of 16 bits, in two ways: of whole words, in which the
/// odd entries' bytes stand above the even ones', and of the odd bytes alone; the even ones' sums are the difference.
#[target_feature(
    enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2"
)]
unsafe fn fastscan(table: *const u8, block: *const u8, quads: usize, out: *mut u32) {
    let nibble = _mm512_set1_epi8(15);
    let (mut low_sums, mut high_sums) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    // words of even and odd entries take turns in the sums of a vector, by entry
    let order = _mm512_set_epi16(
        31, 23, 30, 22, 29, 21, 28, 20, 27, 19, 26, 18, 25, 17, 24, 16, 15, 7, 14, 6, 13, 5, 12, 4, 11, 3,
        10, 2, 9, 1, 8, 0,
    );
    let mut done = 0;
    while done < quads {
        let (mut low, mut low_odd) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        let (mut high, mut high_odd) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        let mut step = |entries, values| {
            let x = _mm512_shuffle_epi8(values, _mm512_and_si512(entries, nibble));
            let y = _mm512_shuffle_epi8(values, _mm512_and_si512(_mm512_srli_epi16::<4>(entries), nibble));
            low = _mm512_add_epi16(low, x);
            high = _mm512_add_epi16(high, y);
            low_odd = _mm512_add_epi16(low_odd, _mm512_srli_epi16::<8>(x));
            high_odd = _mm512_add_epi16(high_odd, _mm512_srli_epi16::<8>(y));
        };
        let turn = FAST_TURN.min((quads - done) / FAST_STEP);
        // SAFETY: the caller vouches for FAST_QUAD bytes a quad behind both pointers; a step reads a vector of
        // FAST_STEP quads, of which `turn` are left, and then the bytes of the quads left, less than FAST_STEP.
        unsafe {
            for _ in 0..turn {
                step(load_bytes(block.add(done * FAST_QUAD)), load_bytes(table.add(done * FAST_QUAD)));
                done += FAST_STEP;
            }
            let rest = quads - done;
            if rest > 0 && rest < FAST_STEP && turn < FAST_TURN {
                let at = done * FAST_QUAD;
                step(
                    tail_bytes(block.add(at), rest * FAST_QUAD),
                    tail_bytes(table.add(at), rest * FAST_QUAD),
                );
                done = quads;
            }
        }
        let low_even = _mm512_sub_epi16(low, _mm512_slli_epi16::<8>(low_odd));
        let high_even = _mm512_sub_epi16(high, _mm512_slli_epi16::<8>(high_odd));
        let all = fold_lanes(low_even, low_odd, high_even, high_odd, |a, b| _mm512_add_epi16(a, b));
        let all = _mm512_permutexvar_epi16(order, all);
        low_sums = _mm512_add_epi32(low_sums, _mm512_cvtepu16_epi32(_mm512_castsi512_si256(all)));
        high_sums = _mm512_add_epi32(high_sums, _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(all)));
    }
    // SAFETY: the caller has FAST_ENTRIES writable integers, which are two vectors.
    unsafe {
        _mm512_storeu_si512(out.cast(), low_sums);
        _mm512_storeu_si512(out.add(FAST_ENTRIES / 2).cast(), high_sums);
    }
}

#[target_feature(
    enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2"
)]
unsafe fn below(a: *const f32, n: usize, limit: f32) -> u64 {
    let (limit, mut bits) = (splat(limit), 0);
    for i in (0..n).step_by(W) {
        // SAFETY: the caller vouches for n elements; those beyond are masked out, and not compared.
        unsafe {
            let lanes = _bzhi_u32(0xffff, (n - i).min(W) as u32) as __mmask16;
            let x = _mm512_maskz_loadu_ps(lanes, a.add(i));
            bits |= u64::from(_mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(lanes, x, limit)) << i;
        }
    }
    bits
}

/// Whole vectors are written, so that a kernel that reads them finds each in one write.
#[target_feature(
    enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2"
)]
unsafe fn copy_short(from: *const u8, to: *mut u8, n: usize) {
    // SAFETY: n <= SHORT = 128 bytes are readable and SHORT writable (the contract of `Kernels`); bytes masked out are
    // not accessed.
    unsafe {
        if n < 64 {
            return _mm512_storeu_si512(to.cast(), tail_bytes(from, n));
        }
        _mm512_storeu_si512(to.cast(), load_bytes(from));
        let rest = _mm512_maskz_loadu_epi8(_bzhi_u64(u64::MAX, (n - 64) as u32), from.add(64).cast());
        _mm512_storeu_si512(to.add(64).cast(), rest);
    }
}

/// As `scalar::hadamard_f32`: the same sums in the same order.
#[target_feature(
    enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2"
)]
unsafe fn hadamard_f32(a: *mut f32, n: usize) {
    if n < W {
        // SAFETY: the same contract.
        return unsafe { scalar::hadamard_f32(a, n) };
    }
    // the second of each two elements at such a distance is taken from the first
    let minus = |distance: u16| _mm512_castsi512_ps(_mm512_maskz_set1_epi32(distance, i32::MIN));
    let (one, two, four, eight) = (minus(0xaaaa), minus(0xcccc), minus(0xf0f0), minus(0xff00));
    // SAFETY: the caller passes n writable elements, a power of two: whole vectors; the four of a block are `half`
    // apart, and it has 4 * half elements.
    unsafe {
        for i in (0..n).step_by(W) {
            let x = _mm512_loadu_ps(a.add(i));
            let x = _mm512_add_ps(_mm512_shuffle_f32x4::<0b10_11_00_01>(x, x), _mm512_xor_ps(x, four));
            let x = _mm512_add_ps(_mm512_permute_ps::<0b01_00_11_10>(x), _mm512_xor_ps(x, two));
            let x = _mm512_add_ps(_mm512_permute_ps::<0b10_11_00_01>(x), _mm512_xor_ps(x, one));
            let x = _mm512_add_ps(_mm512_shuffle_f32x4::<0b01_00_11_10>(x, x), _mm512_xor_ps(x, eight));
            _mm512_storeu_ps(a.add(i), x);
        }
        let mut half = W;
        // two distances at once
        while 4 * half <= n {
            for block in (0..n).step_by(4 * half) {
                for i in (block..block + half).step_by(W) {
                    let places = [a.add(i), a.add(i + half), a.add(i + 2 * half), a.add(i + 3 * half)];
                    let [w, x, y, z] = places.map(|place| _mm512_loadu_ps(place));
                    let (p, q) = (_mm512_add_ps(w, x), _mm512_sub_ps(w, x));
                    let (r, s) = (_mm512_add_ps(y, z), _mm512_sub_ps(y, z));
                    _mm512_storeu_ps(places[0], _mm512_add_ps(p, r));
                    _mm512_storeu_ps(places[1], _mm512_add_ps(q, s));
                    _mm512_storeu_ps(places[2], _mm512_sub_ps(p, r));
                    _mm512_storeu_ps(places[3], _mm512_sub_ps(q, s));
                }
            }
            half *= 4;
        }
        // one is left
        for i in (0..if half < n { half } else { 0 }).step_by(W) {
            let (x, y) = (_mm512_loadu_ps(a.add(i)), _mm512_loadu_ps(a.add(i + half)));
            _mm512_storeu_ps(a.add(i), _mm512_add_ps(x, y));
            _mm512_storeu_ps(a.add(i + half), _mm512_sub_ps(x, y));
        }
    }
}

compiled_kernels! { "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2";
    code_l2_bounds(rows: *const CodeHead, n: usize, columns: *const CodeColumns, products: *const i32, out: *mut f32);
    code_inner_product_bounds(rows: *const CodeHead, n: usize, columns: *const CodeColumns, products: *const i32, out: *mut f32);
    plane_differences(codes: *const u8, stride: usize, count: usize, planes: usize, code: *const u8, n: usize, out: *mut i32);
    code_bounds(products: *const i32, adds: *const f32, scales: *const f32, n: usize, terms: *const BoundTerms, out: *mut f32);
    encode_i8(a: *const f32, out: *mut i8, n: usize) -> ByteCode;
}
row_kernels! {
    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2"
    )]
}
rotation_kernels! {
    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,avx2,fma,f16c,popcnt,bmi2"
    )]
}
kernel_table!(Avx512);
