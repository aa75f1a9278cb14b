//! Kernels for aarch64's Advanced SIMD: four floats to a vector.
//!
//! There are no masked loads: tails go through a zeroed array on the stack.

use super::dispatch::{
    BoundTerms, ByteCode, CodeColumns, CodeHead, FAST_ENTRIES, FAST_QUAD, Kernels, PANEL, PLANE_BLOCK,
    PlaneSums, Tier,
};
use super::{cosine, generic, jaccard, scalar};
use core::arch::aarch64::*;
use half::f16;

/// Whether this CPU can run the kernels of this module. The half-precision conversions they use belong to
/// the baseline; only half-precision arithmetic, which they do not use, is an extension.
pub(crate) fn detected() -> bool {
    std::arch::is_aarch64_feature_detected!("neon")
}

/// Floats in a vector.
const W: usize = 4;
/// Vectors that one turn of a loop adds up.
const UNROLL: usize = 4;
/// Vectors that meet a panel at once.
const PANEL_ROWS: usize = 4;
type Vector = float32x4_t;
/// The lower and upper two lanes of a vector, in `f64`.
type Wide = (float64x2_t, float64x2_t);

/// Bytes that the bit kernels count at once.
const BLOCK: usize = 16;

/// Defines functions that inline into each other and into the kernels.
macro_rules! simd_ops {
    ($($item:item)*) => {$(
        #[inline]
        #[target_feature(enable = "neon")]
        $item
    )*};
}

simd_ops! {
    fn zero() -> Vector {
        vdupq_n_f32(0.0)
    }
    fn add(x: Vector, y: Vector) -> Vector {
        vaddq_f32(x, y)
    }
    fn sub(x: Vector, y: Vector) -> Vector {
        vsubq_f32(x, y)
    }
    fn mul(x: Vector, y: Vector) -> Vector {
        vmulq_f32(x, y)
    }
    fn fma(x: Vector, y: Vector, z: Vector) -> Vector {
        vfmaq_f32(z, x, y)
    }
    fn abs(x: Vector) -> Vector {
        vabsq_f32(x)
    }
    fn floor(x: Vector) -> Vector {
        vrndmq_f32(x)
    }
    fn min(x: Vector, y: Vector) -> Vector {
        vminq_f32(x, y)
    }
    fn max(x: Vector, y: Vector) -> Vector {
        vmaxq_f32(x, y)
    }
    /// Each lane that has the bit gives its own, lowest first; their sum is the mask.
    fn plane_bits(x: Vector, p: u32) -> u32 {
        // SAFETY: the constant is an array of the four elements that are read.
        let lanes = unsafe { vld1q_u32([1u32, 2, 4, 8].as_ptr()) };
        vaddvq_u32(vandq_u32(vtstq_u32(vcvtq_u32_f32(x), vdupq_n_u32(1 << p)), lanes))
    }
    fn splat(x: f32) -> Vector {
        vdupq_n_f32(x)
    }
    fn total(x: Vector) -> f32 {
        vaddvq_f32(x)
    }

    /// There is no stable intrinsic.
    fn prefetch<T>(_: *const T, _: usize) {}

    unsafe fn load_f32(p: *const f32) -> Vector {
        // SAFETY: the caller has 4 elements at p; the load needs no more alignment than theirs.
        unsafe { vld1q_f32(p) }
    }
    unsafe fn tail_f32(p: *const f32, n: usize) -> Vector {
        let mut four = [0.0; W];
        // SAFETY: the caller has n < 4 elements at p; the array has 4.
        unsafe {
            p.copy_to_nonoverlapping(four.as_mut_ptr(), n);
            load_f32(four.as_ptr())
        }
    }
    unsafe fn store_f32(p: *mut f32, x: Vector) {
        // SAFETY: the caller has 4 writable elements at p; the store needs no more alignment than theirs.
        unsafe { vst1q_f32(p, x) }
    }
    unsafe fn store_tail_f32(p: *mut f32, x: Vector, n: usize) {
        let mut four = [0.0; W];
        // SAFETY: the array has 4 elements; the caller has n < 4 writable ones at p.
        unsafe {
            store_f32(four.as_mut_ptr(), x);
            p.copy_from_nonoverlapping(four.as_ptr(), n);
        }
    }

    unsafe fn load_f16(p: *const f16) -> Vector {
        // SAFETY: the caller has 4 elements at p; f16 is a transparent u16.
        vcvt_f32_f16(vreinterpret_f16_u16(unsafe { vld1_u16(p.cast()) }))
    }
    unsafe fn tail_f16(p: *const f16, n: usize) -> Vector {
        let mut four = [f16::ZERO; W];
        // SAFETY: the caller has n < 4 elements at p; the array has 4.
        unsafe {
            p.copy_to_nonoverlapping(four.as_mut_ptr(), n);
            load_f16(four.as_ptr())
        }
    }
    unsafe fn store_f16(p: *mut f16, x: Vector) {
        // SAFETY: the caller has 4 writable elements at p; f16 is a transparent u16.
        unsafe { vst1_u16(p.cast(), vreinterpret_u16_f16(vcvt_f16_f32(x))) }
    }
    unsafe fn store_tail_f16(p: *mut f16, x: Vector, n: usize) {
        let mut four = [f16::ZERO; W];
        // SAFETY: the array has 4 elements; the caller has n < 4 writable ones at p.
        unsafe {
            store_f16(four.as_mut_ptr(), x);
            p.copy_from_nonoverlapping(four.as_ptr(), n);
        }
    }

    fn widen(x: Vector) -> Wide {
        (vcvt_f64_f32(vget_low_f32(x)), vcvt_high_f64_f32(x))
    }
    fn divide(x: Vector, by: f64) -> Vector {
        let (low, high) = widen(x);
        let by = vdupq_n_f64(by);
        vcvt_high_f32_f64(vcvt_f32_f64(vdivq_f64(low, by)), vdivq_f64(high, by))
    }
    fn wide_zero() -> Wide {
        (vdupq_n_f64(0.0), vdupq_n_f64(0.0))
    }
    fn wide_square(x: Vector, sum: Wide) -> Wide {
        let (low, high) = widen(x);
        (vfmaq_f64(sum.0, low, low), vfmaq_f64(sum.1, high, high))
    }
    fn wide_add(x: Wide, y: Wide) -> Wide {
        (vaddq_f64(x.0, y.0), vaddq_f64(x.1, y.1))
    }
    fn wide_total(x: Wide) -> f64 {
        vaddvq_f64(vaddq_f64(x.0, x.1))
    }

    /// Each lane that is greater than zero keeps its own bit; their sum is the byte.
    fn positive(low: Vector, high: Vector) -> u8 {
        // SAFETY: both constants are arrays of the four elements that are read.
        let (low_bits, high_bits) =
            unsafe { (vld1q_u32([128u32, 64, 32, 16].as_ptr()), vld1q_u32([8u32, 4, 2, 1].as_ptr())) };
        let low = vandq_u32(vcgtzq_f32(low), low_bits);
        let high = vandq_u32(vcgtzq_f32(high), high_bits);
        vaddvq_u32(vorrq_u32(low, high)) as u8
    }
    unsafe fn positive_f32(p: *const f32) -> u8 {
        // SAFETY: the caller has 8 elements at p.
        unsafe { positive(load_f32(p), load_f32(p.add(W))) }
    }
    unsafe fn positive_f16(p: *const f16) -> u8 {
        // SAFETY: the caller has 8 elements at p.
        unsafe { positive(load_f16(p), load_f16(p.add(W))) }
    }

    fn products_zero() -> int32x4_t {
        vdupq_n_s32(0)
    }
    /// A product fits 16 bits, and neighbouring ones are summed in 32.
    unsafe fn products(a: *const i8, b: *const i8, sum: int32x4_t) -> int32x4_t {
        // SAFETY: the caller has 16 bytes at both.
        let (x, y) = unsafe { (vld1q_s8(a), vld1q_s8(b)) };
        let sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
        vpadalq_s16(sum, vmull_high_s8(x, y))
    }
    fn products_total(x: int32x4_t, y: int32x4_t) -> i32 {
        vaddvq_s32(vaddq_s32(x, y))
    }

    unsafe fn load_block(p: *const u8) -> uint8x16_t {
        // SAFETY: the caller has 16 bytes at p.
        unsafe { vld1q_u8(p) }
    }
    fn xor(x: uint8x16_t, y: uint8x16_t) -> uint8x16_t {
        veorq_u8(x, y)
    }
    fn and(x: uint8x16_t, y: uint8x16_t) -> uint8x16_t {
        vandq_u8(x, y)
    }
    fn or(x: uint8x16_t, y: uint8x16_t) -> uint8x16_t {
        vorrq_u8(x, y)
    }
    /// Counts per byte, then sums neighbours until the lanes are wide enough never to overflow.
    fn ones(bits: uint8x16_t) -> uint64x2_t {
        vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(vcntq_u8(bits))))
    }
    fn count_zero() -> uint64x2_t {
        vdupq_n_u64(0)
    }
    fn count_add(x: uint64x2_t, y: uint64x2_t) -> uint64x2_t {
        vaddq_u64(x, y)
    }
    fn count_total(x: uint64x2_t) -> u64 {
        vaddvq_u64(x)
    }
}

/// Quads of a turn of [`fastscan`]: 256 * 255 < 2^16.
const FAST_TURN: usize = 256;

/// One quad at a time; bytes that were looked up are added to sums of 16 bits.
#[target_feature(enable = "neon")]
unsafe fn fastscan(table: *const u8, block: *const u8, quads: usize, out: *mut u32) {
    let nibble = vdupq_n_u8(15);
    let mut sums = [vdupq_n_u32(0); 8];
    let mut done = 0;
    while done < quads {
        let end = quads.min(done + FAST_TURN);
        let mut words = [vdupq_n_u16(0); 4];
        while done < end {
            // SAFETY: the caller vouches for FAST_QUAD = 16 bytes a quad behind both pointers.
            let (entries, values) =
                unsafe { (vld1q_u8(block.add(done * FAST_QUAD)), vld1q_u8(table.add(done * FAST_QUAD))) };
            let low = vqtbl1q_u8(values, vandq_u8(entries, nibble));
            let high = vqtbl1q_u8(values, vshrq_n_u8::<4>(entries));
            words[0] = vaddw_u8(words[0], vget_low_u8(low));
            words[1] = vaddw_high_u8(words[1], low);
            words[2] = vaddw_u8(words[2], vget_low_u8(high));
            words[3] = vaddw_high_u8(words[3], high);
            done += 1;
        }
        for (i, words) in words.into_iter().enumerate() {
            sums[2 * i] = vaddw_u16(sums[2 * i], vget_low_u16(words));
            sums[2 * i + 1] = vaddw_high_u16(sums[2 * i + 1], words);
        }
    }
    for (i, sum) in sums.into_iter().enumerate() {
        // SAFETY: the caller has FAST_ENTRIES writable integers, which are eight vectors.
        unsafe { vst1q_u32(out.add(i * (FAST_ENTRIES / 8)), sum) };
    }
}

float_kernels!("neon");
plane_kernels!("neon");
byte_kernels!("neon");
bit_kernels!("neon");
compiled_kernels! { "neon";
    inner_product_byte_panel(rows: *const *const i8, count: usize, panel: *const u8, n: usize, out: *mut i32);
    code_l2_bounds(rows: *const CodeHead, n: usize, columns: *const CodeColumns, products: *const i32, out: *mut f32);
    code_inner_product_bounds(rows: *const CodeHead, n: usize, columns: *const CodeColumns, products: *const i32, out: *mut f32);
    plane_differences(codes: *const u8, stride: usize, count: usize, planes: usize, code: *const u8, n: usize, out: *mut i32);
    code_bounds(products: *const i32, adds: *const f32, scales: *const f32, n: usize, terms: *const BoundTerms, out: *mut f32);
    below(a: *const f32, n: usize, limit: f32) -> u64;
    encode_i8(a: *const f32, out: *mut i8, n: usize) -> ByteCode;
    plane_products(codes: *const u8, stride: usize, count: usize, planes: usize, query: *const i8, n: usize, out: *mut i32);
    hadamard_f32(a: *mut f32, n: usize);
}
use scalar::copy_short;
row_kernels! { #[target_feature(enable = "neon")] }
rotation_kernels! { #[target_feature(enable = "neon")] }
kernel_table!(Neon);
