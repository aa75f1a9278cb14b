//! Kernels for AVX2 with FMA and F16C: eight floats to a vector.

use super::dispatch::{
    BoundTerms, ByteCode, CodeColumns, CodeHead, FAST_ENTRIES, FAST_QUAD, Kernels, PANEL, PLANE_BLOCK,
    PlaneSums, Tier,
};
use super::{cosine, generic, jaccard, scalar};
use core::arch::x86_64::*;
use half::f16;

/// Whether this CPU (and its operating system) can run the kernels of this module. The list is the one in the
/// `target_feature` attributes below.
pub(crate) fn detected() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("bmi2")
}

/// Floats in a vector.
const W: usize = 8;
/// Vectors that one turn of a loop adds up.
const UNROLL: usize = 4;
/// Vectors that meet a panel at once.
const PANEL_ROWS: usize = 4;
type Vector = __m256;
/// The lower and upper four lanes of a vector, in `f64`.
type Wide = (__m256d, __m256d);

/// Bytes that the bit kernels count at once.
const BLOCK: usize = 32;

/// Eight lanes on, eight lanes off: a window that starts 8 - n lanes in has its first n lanes on.
static WINDOW: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// 32 bytes off, 32 bytes on: a window that starts n bytes in has its last n bytes on.
static REST: [u8; 64] = {
    let mut bytes = [0; 64];
    let mut at = 32;
    while at < 64 {
        bytes[at] = 0xff;
        at += 1;
    }
    bytes
};

/// Defines functions that inline into each other and into the kernels.
macro_rules! simd_ops {
    ($($item:item)*) => {$(
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c,popcnt,bmi2")]
        $item
    )*};
}

simd_ops! {
    fn zero() -> Vector {
        _mm256_setzero_ps()
    }
    fn add(x: Vector, y: Vector) -> Vector {
        _mm256_add_ps(x, y)
    }
    fn sub(x: Vector, y: Vector) -> Vector {
        _mm256_sub_ps(x, y)
    }
    fn mul(x: Vector, y: Vector) -> Vector {
        _mm256_mul_ps(x, y)
    }
    fn fma(x: Vector, y: Vector, z: Vector) -> Vector {
        _mm256_fmadd_ps(x, y, z)
    }
    fn abs(x: Vector) -> Vector {
        _mm256_andnot_ps(_mm256_set1_ps(-0.0), x)
    }
    fn floor(x: Vector) -> Vector {
        _mm256_floor_ps(x)
    }
    fn min(x: Vector, y: Vector) -> Vector {
        _mm256_min_ps(x, y)
    }
    fn max(x: Vector, y: Vector) -> Vector {
        _mm256_max_ps(x, y)
    }
    /// The bit moves to where the sign of a float is.
    fn plane_bits(x: Vector, p: u32) -> u32 {
        let shift = _mm_cvtsi32_si128(31 - p as i32);
        _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_sll_epi32(_mm256_cvttps_epi32(x), shift))) as u32
    }
    fn splat(x: f32) -> Vector {
        _mm256_set1_ps(x)
    }
    fn total(x: Vector) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }

    /// A mask of the first n < 8 lanes.
    fn first(n: usize) -> __m256i {
        debug_assert!(n <= W);
        // SAFETY: a window starts at most 8 lanes into WINDOW, which leaves the 8 lanes that are read.
        unsafe { _mm256_loadu_si256(WINDOW.as_ptr().add(W - n.min(W)).cast()) }
    }

    fn prefetch<T>(p: *const T, n: usize) {
        for line in 0..(n * size_of::<T>()).div_ceil(64) {
            _mm_prefetch::<_MM_HINT_T0>(p.cast::<i8>().wrapping_add(64 * line));
        }
    }

    unsafe fn load_f32(p: *const f32) -> Vector {
        // SAFETY: the caller has 8 elements at p; the load needs no alignment.
        unsafe { _mm256_loadu_ps(p) }
    }
    unsafe fn tail_f32(p: *const f32, n: usize) -> Vector {
        // SAFETY: the caller has n elements at p; lanes masked out are not accessed.
        unsafe { _mm256_maskload_ps(p, first(n)) }
    }
    unsafe fn store_f32(p: *mut f32, x: Vector) {
        // SAFETY: the caller has 8 writable elements at p; the store needs no alignment.
        unsafe { _mm256_storeu_ps(p, x) }
    }
    unsafe fn store_tail_f32(p: *mut f32, x: Vector, n: usize) {
        // SAFETY: the caller has n writable elements at p; lanes masked out are not accessed.
        unsafe { _mm256_maskstore_ps(p, first(n), x) }
    }

    unsafe fn load_f16(p: *const f16) -> Vector {
        // SAFETY: the caller has 8 two-byte elements at p, 16 bytes; the load needs no alignment.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(p.cast()) })
    }
    /// There is no masked load of two-byte elements, so the bits of n < 8 choose pieces of four, two and one.
    unsafe fn tail_f16(p: *const f16, n: usize) -> Vector {
        let rest = n & 4;
        // SAFETY: the caller has n two-byte elements at p. The pieces are disjoint and together n long: four
        // at 0 if n & 4, two at n & 4 if n & 2, one at n & 6 if n & 1. None is read as more than its size.
        let (four, few) = unsafe {
            let four = if n & 4 != 0 { p.cast::<u64>().read_unaligned() } else { 0 };
            let two = if n & 2 != 0 { u64::from(p.add(rest).cast::<u32>().read_unaligned()) } else { 0 };
            let one = if n & 1 != 0 { u64::from((*p.add(n & 6)).to_bits()) } else { 0 };
            (four, two | one << (16 * (n & 2)))
        };
        let (low, high) = if rest != 0 { (four, few) } else { (few, 0) };
        _mm256_cvtph_ps(_mm_set_epi64x(high as i64, low as i64))
    }
    fn narrow(x: Vector) -> __m128i {
        _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x)
    }
    unsafe fn store_f16(p: *mut f16, x: Vector) {
        // SAFETY: the caller has 8 writable two-byte elements at p; the store needs no alignment.
        unsafe { _mm_storeu_si128(p.cast(), narrow(x)) }
    }
    unsafe fn store_tail_f16(p: *mut f16, x: Vector, n: usize) {
        let halves = narrow(x);
        let (low, high) = (_mm_cvtsi128_si64(halves) as u64, _mm_extract_epi64::<1>(halves) as u64);
        let few = if n & 4 != 0 { high } else { low };
        // SAFETY: the caller has n writable two-byte elements at p; the pieces are those of `tail_f16`.
        unsafe {
            if n & 4 != 0 {
                p.cast::<u64>().write_unaligned(low);
            }
            if n & 2 != 0 {
                p.add(n & 4).cast::<u32>().write_unaligned(few as u32);
            }
            if n & 1 != 0 {
                *p.add(n & 6) = f16::from_bits((few >> (16 * (n & 2))) as u16);
            }
        }
    }

    fn widen(x: Vector) -> Wide {
        (_mm256_cvtps_pd(_mm256_castps256_ps128(x)), _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(x)))
    }
    fn divide(x: Vector, by: f64) -> Vector {
        let (low, high) = widen(x);
        let by = _mm256_set1_pd(by);
        let low = _mm256_cvtpd_ps(_mm256_div_pd(low, by));
        let high = _mm256_cvtpd_ps(_mm256_div_pd(high, by));
        _mm256_set_m128(high, low)
    }
    fn wide_zero() -> Wide {
        (_mm256_setzero_pd(), _mm256_setzero_pd())
    }
    fn wide_square(x: Vector, sum: Wide) -> Wide {
        let (low, high) = widen(x);
        (_mm256_fmadd_pd(low, low, sum.0), _mm256_fmadd_pd(high, high, sum.1))
    }
    fn wide_add(x: Wide, y: Wide) -> Wide {
        (_mm256_add_pd(x.0, y.0), _mm256_add_pd(x.1, y.1))
    }
    fn wide_total(x: Wide) -> f64 {
        let four = _mm256_add_pd(x.0, x.1);
        let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
        _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
    }

    /// Reversing the lanes first puts the first element into the top bit of the mask.
    fn positive(x: Vector) -> u8 {
        let greater = _mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_setzero_ps());
        let reversed = _mm256_permutevar8x32_ps(greater, _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0));
        _mm256_movemask_ps(reversed) as u8
    }
    unsafe fn positive_f32(p: *const f32) -> u8 {
        // SAFETY: the caller has 8 elements at p.
        positive(unsafe { load_f32(p) })
    }
    unsafe fn positive_f16(p: *const f16) -> u8 {
        // SAFETY: the caller has 8 elements at p.
        positive(unsafe { load_f16(p) })
    }

    fn products_zero() -> __m256i {
        _mm256_setzero_si256()
    }
    /// Widened to 16 bits, neighbouring products are summed in 32: -128 * -128 twice is far from overflowing.
    unsafe fn products(a: *const i8, b: *const i8, sum: __m256i) -> __m256i {
        // SAFETY: the caller has 16 bytes at both; the loads need no alignment.
        let (x, y) = unsafe { (_mm_loadu_si128(a.cast()), _mm_loadu_si128(b.cast())) };
        _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_cvtepi8_epi16(x), _mm256_cvtepi8_epi16(y)))
    }
    fn products_total(x: __m256i, y: __m256i) -> i32 {
        let eight = _mm256_add_epi32(x, y);
        let four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
        let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_srli_epi64::<32>(two)))
    }

    unsafe fn load_block(p: *const u8) -> __m256i {
        // SAFETY: the caller has 32 bytes at p; the load needs no alignment.
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    fn xor(x: __m256i, y: __m256i) -> __m256i {
        _mm256_xor_si256(x, y)
    }
    fn and(x: __m256i, y: __m256i) -> __m256i {
        _mm256_and_si256(x, y)
    }
    fn or(x: __m256i, y: __m256i) -> __m256i {
        _mm256_or_si256(x, y)
    }
    /// Looks each half byte up in a table of bit counts, then sums the bytes of each 64-bit lane.
    fn ones(bits: __m256i) -> __m256i {
        let table = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
        let half_byte = _mm256_set1_epi8(15);
        let low = _mm256_shuffle_epi8(table, _mm256_and_si256(bits, half_byte));
        let high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<4>(bits), half_byte));
        _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256())
    }
    fn count_zero() -> __m256i {
        _mm256_setzero_si256()
    }
    fn count_add(x: __m256i, y: __m256i) -> __m256i {
        _mm256_add_epi64(x, y)
    }
    fn count_total(x: __m256i) -> u64 {
        let two = _mm_add_epi64(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
        (_mm_cvtsi128_si64(two) + _mm_extract_epi64::<1>(two)) as u64
    }
}

float_kernels!("avx2,fma,f16c,popcnt,bmi2");
plane_kernels!("avx2,fma,f16c,popcnt,bmi2");
byte_kernels!("avx2,fma,f16c,popcnt,bmi2");
bit_kernels!("avx2,fma,f16c,popcnt,bmi2");
/// Rows of bits that meet the query at once.
const PLANE_ROWS: usize = 8;
/// Elements whose products add up in 16 bits: 2 * 128 for each 32.
const PLANE_TURN: usize = 32 * 127;

/// 32 bits of a plane become bytes of 0 and 1: each byte is looked up eight times over, of each its own bit is left,
/// and that is cut down to 1. Then two neighbouring products sum to 16 bits. Short queries go the scalar way.
#[target_feature(enable = "avx2,fma,f16c,popcnt,bmi2")]
unsafe fn plane_products(
    codes: *const u8,
    stride: usize,
    count: usize,
    planes: usize,
    query: *const i8,
    n: usize,
    out: *mut i32,
) {
    let mut done = 0;
    // SAFETY: rows are planes of codes that the caller vouches for, each of n / 8 bytes, with as many places; a query
    // of less than a vector is left to the scalar kernel, which has the same contract.
    unsafe {
        if n < 32 {
            return scalar::plane_products(codes, stride, count, planes, query, n, out);
        }
        let mut last = _mm256_setzero_si256();
        if n & 31 != 0 {
            // 32 bytes of the array begin at n % 32 < 32
            let in_rest = _mm256_loadu_si256(REST.as_ptr().add(n & 31).cast());
            last = _mm256_and_si256(_mm256_loadu_si256(query.add(n - 32).cast()), in_rest);
        }
        while done < count {
            let (codes, out) = (codes.add(done * stride), out.add(done));
            let rows = (count - done).min(PLANE_ROWS);
            let mut sums = [0; PLANE_ROWS];
            for p in 0..planes {
                let plane = codes.add(p * (n / 8));
                let products = if rows == PLANE_ROWS {
                    plane_rows::<PLANE_ROWS>(plane, stride, query, last, n)
                } else {
                    let mut products = [0; PLANE_ROWS];
                    for (i, product) in products.iter_mut().take(rows).enumerate() {
                        *product = plane_rows::<1>(plane.add(i * stride), stride, query, last, n)[0];
                    }
                    products
                };
                for (sum, product) in sums.iter_mut().zip(products) {
                    *sum += product << p;
                }
            }
            out.copy_from_nonoverlapping(sums.as_ptr(), rows);
            done += rows;
        }
    }
}

/// The products of `C` rows of bits, at most [`PLANE_ROWS`], with a query of n >= 32 elements; `last` has its last 32,
/// with zeros for those before the rest of whole vectors.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,popcnt,bmi2")]
unsafe fn plane_rows<const C: usize>(
    rows: *const u8,
    stride: usize,
    query: *const i8,
    last: __m256i,
    n: usize,
) -> [i32; PLANE_ROWS] {
    let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let select = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let (one, pairs) = (_mm256_set1_epi8(1), _mm256_set1_epi16(1));
    let (mut totals, whole, mut j) = ([_mm256_setzero_si256(); C], n & !31, 0);
    loop {
        let mut sums = [_mm256_setzero_si256(); C];
        let end = whole.min(j + PLANE_TURN - 32);
        // SAFETY: a row has n / 8 bytes, of which a step reads four for 32 of the query's n; behind the whole ones the
        // four bytes that end with the row.
        unsafe {
            let mut add = |at: usize, query: __m256i| {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let bits = rows.add(i * stride + at).cast::<i32>().read_unaligned();
                    let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), spread);
                    let elements = _mm256_min_epu8(_mm256_and_si256(bytes, select), one);
                    *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(elements, query));
                }
            };
            while j < end {
                add(j / 8, _mm256_loadu_si256(query.add(j).cast()));
                j += 32;
            }
            if j == whole && whole < n {
                // the query's are zero for what was met before
                add(n / 8 - 4, last);
            }
        }
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = _mm256_add_epi32(*total, _mm256_madd_epi16(sum, pairs));
        }
        if j == whole {
            break;
        }
    }
    let mut out = [0; PLANE_ROWS];
    if let Ok(x) = <&[__m256i; PLANE_ROWS]>::try_from(&totals[..]) {
        let four = |at: usize| {
            _mm256_hadd_epi32(_mm256_hadd_epi32(x[at], x[at + 1]), _mm256_hadd_epi32(x[at + 2], x[at + 3]))
        };
        let (low, high) = (four(0), four(4));
        let halves =
            (_mm256_permute2x128_si256::<0x20>(low, high), _mm256_permute2x128_si256::<0x31>(low, high));
        // SAFETY: there is room for eight integers.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_add_epi32(halves.0, halves.1)) };
    } else {
        for (out, total) in out.iter_mut().zip(totals) {
            *out = products_total(total, products_zero());
        }
    }
    out
}

/// Quads of a turn of [`fastscan`]: 256 * 255 < 2^16.
const FAST_TURN: usize = 256;

/// Two quads at a time. What was looked up is a byte; sums are of 16 bits, in two ways: of whole words, in which the
/// odd entries' bytes stand above the even ones', and of the odd bytes alone; the even ones' sums are the difference.
#[target_feature(enable = "avx2,fma,f16c,popcnt,bmi2")]
unsafe fn fastscan(table: *const u8, block: *const u8, quads: usize, out: *mut u32) {
    let nibble = _mm256_set1_epi8(15);
    let mut sums = [_mm256_setzero_si256(); 4];
    let mut done = 0;
    while done < quads {
        let end = quads.min(done + FAST_TURN);
        let (mut words, mut odd) = ([_mm256_setzero_si256(); 2], [_mm256_setzero_si256(); 2]);
        while done < end {
            // SAFETY: the caller vouches for FAST_QUAD bytes a quad behind both pointers; two are read where two
            // are left, else one.
            let (entries, values) = unsafe {
                let (entries, values) = (block.add(done * FAST_QUAD), table.add(done * FAST_QUAD));
                if quads - done >= 2 {
                    (_mm256_loadu_si256(entries.cast()), _mm256_loadu_si256(values.cast()))
                } else {
                    (
                        _mm256_zextsi128_si256(_mm_loadu_si128(entries.cast())),
                        _mm256_zextsi128_si256(_mm_loadu_si128(values.cast())),
                    )
                }
            };
            let low = _mm256_shuffle_epi8(values, _mm256_and_si256(entries, nibble));
            let high = _mm256_shuffle_epi8(values, _mm256_and_si256(_mm256_srli_epi16::<4>(entries), nibble));
            for ((words, odd), bytes) in words.iter_mut().zip(&mut odd).zip([low, high]) {
                *words = _mm256_add_epi16(*words, bytes);
                *odd = _mm256_add_epi16(*odd, _mm256_srli_epi16::<8>(bytes));
            }
            done += 2;
        }
        for (i, (words, odd)) in words.into_iter().zip(odd).enumerate() {
            let even = _mm256_sub_epi16(words, _mm256_slli_epi16::<8>(odd));
            let fold = |x| _mm_add_epi16(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            let (even, odd) = (fold(even), fold(odd));
            for (j, eight) in
                [_mm_unpacklo_epi16(even, odd), _mm_unpackhi_epi16(even, odd)].into_iter().enumerate()
            {
                let sum = &mut sums[2 * i + j];
                *sum = _mm256_add_epi32(*sum, _mm256_cvtepu16_epi32(eight));
            }
        }
    }
    for (i, sum) in sums.into_iter().enumerate() {
        // SAFETY: the caller has FAST_ENTRIES writable integers, which are four vectors.
        unsafe { _mm256_storeu_si256(out.add(i * (FAST_ENTRIES / 4)).cast(), sum) };
    }
}

#[target_feature(enable = "avx2,fma,f16c,popcnt,bmi2")]
unsafe fn below(a: *const f32, n: usize, limit: f32) -> u64 {
    let (limits, whole) = (splat(limit), n / W * W);
    let mut bits = 0;
    // SAFETY: the caller vouches for n elements; a step reads W of them, the tail what is left.
    unsafe {
        for i in (0..whole).step_by(W) {
            let less = _mm256_cmp_ps::<_CMP_LT_OQ>(load_f32(a.add(i)), limits);
            bits |= (_mm256_movemask_ps(less) as u64) << i;
        }
        bits | scalar::below(a.add(whole), n - whole, limit).checked_shl(whole as u32).unwrap_or(0)
    }
}

/// Whole vectors are written, so that a kernel that reads them finds each in one write.
#[target_feature(enable = "avx2,fma,f16c,popcnt,bmi2")]
unsafe fn copy_short(from: *const u8, to: *mut u8, n: usize) {
    let mut i = 0;
    // SAFETY: n <= SHORT = 128 bytes are readable and SHORT, a multiple of 32, writable (the contract of `Kernels`):
    // each step reads below n, and writes 32 bytes from a multiple of 32 below n. Words masked out are not accessed.
    unsafe {
        while n - i >= 32 {
            _mm256_storeu_si256(to.add(i).cast(), _mm256_loadu_si256(from.add(i).cast()));
            i += 32;
        }
        if i < n {
            let words = (n - i) / 4;
            let mut last = 0;
            for at in (i + 4 * words..n).rev() {
                last = last << 8 | i32::from(*from.add(at));
            }
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let after = _mm256_cmpeq_epi32(lanes, _mm256_set1_epi32(words as i32));
            let rest = _mm256_and_si256(_mm256_set1_epi32(last), after);
            let whole = _mm256_maskload_epi32(from.add(i).cast(), first(words));
            _mm256_storeu_si256(to.add(i).cast(), _mm256_or_si256(whole, rest));
        }
    }
}

compiled_kernels! { "avx2,fma,f16c,popcnt,bmi2";
    inner_product_byte_panel(rows: *const *const i8, count: usize, panel: *const u8, n: usize, out: *mut i32);
    code_l2_bounds(rows: *const CodeHead, n: usize, columns: *const CodeColumns, products: *const i32, out: *mut f32);
    code_inner_product_bounds(rows: *const CodeHead, n: usize, columns: *const CodeColumns, products: *const i32, out: *mut f32);
    plane_differences(codes: *const u8, stride: usize, count: usize, planes: usize, code: *const u8, n: usize, out: *mut i32);
    code_bounds(products: *const i32, adds: *const f32, scales: *const f32, n: usize, terms: *const BoundTerms, out: *mut f32);
    encode_i8(a: *const f32, out: *mut i8, n: usize) -> ByteCode;
    hadamard_f32(a: *mut f32, n: usize);
}
row_kernels! { #[target_feature(enable = "avx2,fma,f16c,popcnt,bmi2")] }
rotation_kernels! { #[target_feature(enable = "avx2,fma,f16c,popcnt,bmi2")] }
kernel_table!(Avx2);
