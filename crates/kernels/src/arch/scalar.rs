//! Plain Rust kernels: the fallback, the oracle for Miri, and the tier of every other architecture.
//!
//! Sums are spread over a few lanes, which breaks the dependency of each addition on the one before and
//! lets the compiler use the vector unit of the target's baseline.

use super::dispatch::{
    BoundTerms, ByteCode, CodeColumns, CodeHead, FAST_ENTRIES, FAST_QUAD, GROUP, Kernels, PANEL, PLANE_BLOCK,
    PRODUCT_EPS, PlaneSums, ROUNDING, Tier,
};
pub(super) use super::planes::plane_differences;
use super::{cosine, jaccard, per_step};
use core::slice::{from_raw_parts, from_raw_parts_mut};
use half::f16;

/// Independent partial sums per reduction.
const LANES: usize = 8;

/// An element that computes as `f32`.
trait Element: Copy {
    fn get(self) -> f32;
    fn put(x: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn get(self) -> f32 {
        self
    }
    #[inline(always)]
    fn put(x: f32) -> f32 {
        x
    }
}

impl Element for f16 {
    /// Branch-free so that loops over it vectorise: the half's bits are moved to where a float keeps them,
    /// then a product with 2^112 corrects the exponent and normalises subnormals, exactly.
    #[inline(always)]
    fn get(self) -> f32 {
        let h = u32::from(self.to_bits());
        let sign = (h & 0x8000) << 16;
        let magnitude = h & 0x7fff;
        let finite = (f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23)).to_bits();
        // Infinity keeps its zero mantissa; a NaN keeps its payload and becomes quiet.
        let quiet = if magnitude > 0x7c00 { 0x0040_0000 } else { 0 };
        let special = 0x7f80_0000 | (magnitude << 13) | quiet;
        f32::from_bits(sign | if magnitude >= 0x7c00 { special } else { finite })
    }
    #[inline(always)]
    fn put(x: f32) -> f16 {
        f16::from_f32_const(x)
    }
}

/// Sums `step` over both slices, `N` sums at once.
#[inline(always)]
fn reduce<T: Element, const N: usize>(a: &[T], b: &[T], step: impl Fn(f32, f32) -> [f32; N]) -> [f32; N] {
    let mut lanes = [[0.0f32; LANES]; N];
    let (a_blocks, a_tail) = a.as_chunks::<LANES>();
    let (b_blocks, b_tail) = b.as_chunks::<LANES>();
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            let terms = step(x[lane].get(), y[lane].get());
            for k in 0..N {
                lanes[k][lane] += terms[k];
            }
        }
    }
    let mut sums = lanes.map(|l| ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7])));
    for (x, y) in a_tail.iter().zip(b_tail) {
        let terms = step(x.get(), y.get());
        for k in 0..N {
            sums[k] += terms[k];
        }
    }
    sums
}

/// Sums two counts over both byte strings, eight bytes at a time.
#[inline(always)]
fn count(a: &[u8], b: &[u8], step: impl Fn(u64, u64) -> [u32; 2]) -> [u64; 2] {
    let mut sums = [0u64; 2];
    let mut add = |x, y| {
        let terms = step(x, y);
        sums[0] += u64::from(terms[0]);
        sums[1] += u64::from(terms[1]);
    };
    let (a_words, a_tail) = a.as_chunks::<8>();
    let (b_words, b_tail) = b.as_chunks::<8>();
    for (x, y) in a_words.iter().zip(b_words) {
        add(u64::from_ne_bytes(*x), u64::from_ne_bytes(*y));
    }
    for (x, y) in a_tail.iter().zip(b_tail) {
        add(u64::from(*x), u64::from(*y));
    }
    sums
}

/// Wraps a safe expression over two slices as a kernel that reduces them.
macro_rules! pairs {
    ($($name:ident<$t:ident>($a:ident, $b:ident) -> $r:ty = $body:expr;)*) => {$(
        unsafe fn $name<$t: Element>($a: *const $t, $b: *const $t, n: usize) -> $r {
            // SAFETY: the caller passes pointers readable for n elements (the contract of `Kernels`).
            let ($a, $b) = unsafe { (from_raw_parts($a, n), from_raw_parts($b, n)) };
            $body
        }
    )*};
}

pairs! {
    l2_squared<T>(a, b) -> f32 = reduce(a, b, |x, y| [(x - y) * (x - y)])[0];
    inner_product<T>(a, b) -> f32 = reduce(a, b, |x, y| [x * y])[0];
    l1<T>(a, b) -> f32 = reduce(a, b, |x, y| [(x - y).abs()])[0];
    cosine_similarity<T>(a, b) -> f64 = {
        let [dot, aa, bb] = reduce(a, b, |x, y| [x * y, x * x, y * y]);
        cosine(dot, aa, bb)
    };
}

/// The inner product of bytes; also what is left of a SIMD tier's bytes.
#[inline(always)]
pub(super) unsafe fn inner_product_i8(a: *const i8, b: *const i8, n: usize) -> i32 {
    // SAFETY: the caller passes pointers readable for n bytes.
    let (a, b) = unsafe { (from_raw_parts(a, n), from_raw_parts(b, n)) };
    a.iter().zip(b).fold(0i32, |sum, (x, y)| sum.wrapping_add(i32::from(*x) * i32::from(*y)))
}

/// The number of bits that differ; also what is left of a SIMD tier's bytes.
#[inline(always)]
pub(super) unsafe fn differing(a: *const u8, b: *const u8, n: usize) -> u64 {
    // SAFETY: the caller passes pointers readable for n bytes.
    let (a, b) = unsafe { (from_raw_parts(a, n), from_raw_parts(b, n)) };
    count(a, b, |x, y| [(x ^ y).count_ones(), 0])[0]
}

/// The numbers of bits in the intersection and in the union; also what is left of a SIMD tier's bytes.
#[inline(always)]
pub(super) unsafe fn common(a: *const u8, b: *const u8, n: usize) -> [u64; 2] {
    // SAFETY: the caller passes pointers readable for n bytes.
    let (a, b) = unsafe { (from_raw_parts(a, n), from_raw_parts(b, n)) };
    count(a, b, |x, y| [(x & y).count_ones(), (x | y).count_ones()])
}

unsafe fn hamming(a: *const u8, b: *const u8, n: usize) -> u64 {
    // SAFETY: the caller passes pointers readable for n bytes (the contract of `Kernels`).
    unsafe { differing(a, b, n) }
}

unsafe fn jaccard_distance(a: *const u8, b: *const u8, n: usize) -> f64 {
    // SAFETY: the caller passes pointers readable for n bytes (the contract of `Kernels`).
    let [both, either] = unsafe { common(a, b, n) };
    jaccard(both, either)
}

/// Wraps a step as a kernel between vectors and a panel.
macro_rules! panels {
    ($($name:ident(|$x:ident, $y:ident| $step:expr);)*) => {$(
        unsafe fn $name(rows: *const *const f32, count: usize, panel: *const f32, n: usize, out: *mut f32) {
            // SAFETY: the caller passes `count` pointers, each readable for n elements, a panel of n * PANEL and
            // `count * PANEL` writable floats that overlap none of them (the contract of `Kernels`).
            let (rows, panel, out) = unsafe {
                let out = from_raw_parts_mut(out, count * PANEL);
                (from_raw_parts(rows, count), from_raw_parts(panel, n * PANEL), out)
            };
            let ((panel, _), (out, _)) = (panel.as_chunks::<PANEL>(), out.as_chunks_mut::<PANEL>());
            for (row, out) in rows.iter().zip(out) {
                // SAFETY: as above.
                let row = unsafe { from_raw_parts(*row, n) };
                let mut sums = [0.0f32; PANEL];
                for (&$x, columns) in row.iter().zip(panel) {
                    for (sum, &$y) in sums.iter_mut().zip(columns) {
                        *sum += $step;
                    }
                }
                *out = sums;
            }
        }
    )*};
}

panels! {
    l2_squared_panel(|x, y| (x - y) * (x - y));
    inner_product_panel(|x, y| x * y);
}

/// Inner products of bytes with a panel; also that of tiers without an instruction for it.
#[inline(always)]
pub(super) unsafe fn inner_product_byte_panel(
    rows: *const *const i8,
    count: usize,
    panel: *const u8,
    n: usize,
    out: *mut i32,
) {
    // SAFETY: the caller passes `count` pointers, each readable for n groups, a panel of n * PANEL groups and
    // `count * PANEL` writable integers that overlap none of them (the contract of `Kernels`).
    let (rows, panel, out) = unsafe {
        let out = from_raw_parts_mut(out, count * PANEL);
        (from_raw_parts(rows, count), from_raw_parts(panel, n * PANEL * GROUP), out)
    };
    let ((panel, _), (out, _)) = (panel.as_chunks::<{ GROUP * PANEL }>(), out.as_chunks_mut::<PANEL>());
    for (row, out) in rows.iter().zip(out) {
        // SAFETY: as above.
        let row = unsafe { from_raw_parts(*row, n * GROUP) };
        let mut sums = [0i32; PANEL];
        for (x, columns) in row.as_chunks::<GROUP>().0.iter().zip(panel) {
            for (sum, y) in sums.iter_mut().zip(columns.as_chunks::<GROUP>().0) {
                for j in 0..GROUP {
                    *sum = sum.wrapping_add(i32::from(x[j]) * i32::from(y[j]));
                }
            }
        }
        *out = sums;
    }
}

/// Wraps the bound for one column as a kernel; every tier's, compiled with its features.
macro_rules! code_bounds {
    ($($name:ident(|$row:ident, $columns:ident, $c:ident, $product:ident| $bound:expr);)*) => {$(
        #[inline(always)]
        pub(super) unsafe fn $name(
            rows: *const CodeHead,
            n: usize,
            columns: *const CodeColumns,
            products: *const i32,
            out: *mut f32,
        ) {
            // SAFETY: the caller passes n heads, a panel's columns, n * PANEL integers and as many writable floats that
            // overlap none of them (the contract of `Kernels`).
            let (rows, $columns, products, out) = unsafe {
                let out = from_raw_parts_mut(out, n * PANEL);
                (from_raw_parts(rows, n), &*columns, from_raw_parts(products, n * PANEL), out)
            };
            let ((products, _), (out, _)) = (products.as_chunks::<PANEL>(), out.as_chunks_mut::<PANEL>());
            for (($row, products), out) in rows.iter().zip(products).zip(out) {
                for $c in 0..PANEL {
                    let $product = products[$c].wrapping_sub($row.excess) as f32 * ($row.scale * $columns.scale[$c]);
                    out[$c] = $bound;
                }
            }
        }
    )*};
}

code_bounds! {
    code_l2_bounds(|row, columns, c, product| {
        let squares = row.square + columns.square[c];
        let square = (squares - 2.0 * product) - PRODUCT_EPS * squares;
        let distance = (if square > 0.0 { square } else { 0.0 }).sqrt() - (row.error + columns.error[c]);
        if distance > 0.0 { distance } else { 0.0 }
    });
    code_inner_product_bounds(|row, columns, c, product| {
        // a column without a centre has an infinite error, which zero would make no number
        let norm = if row.norm > f32::MIN_POSITIVE { row.norm } else { f32::MIN_POSITIVE };
        let error = norm * columns.error[c] + (row.error + ROUNDING * row.norm) * columns.norm[c];
        -product - error
    });
}

row_kernels! {}
rotation_kernels! {}

/// Added to a number of at most 22 bits, it leaves the nearest integer in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// Puts floats into bytes; every tier's, compiled with its features. What rounding can do to the result is
/// small next to what the bytes lose: an element's loss is wrong by at most 2^-23 of the largest element, and a
/// sum of squares by far less than a thousandth.
#[inline(always)]
pub(super) unsafe fn encode_i8(a: *const f32, out: *mut i8, n: usize) -> ByteCode {
    const LANES: usize = 16;
    // SAFETY: the caller passes n readable and n writable elements that do not overlap (the contract of `Kernels`).
    let (a, out) = unsafe { (from_raw_parts(a, n), from_raw_parts_mut(out, n)) };
    let ((blocks, tail), (out_blocks, out_tail)) = (a.as_chunks::<LANES>(), out.as_chunks_mut::<LANES>());
    let mut far = [0f32; LANES];
    for block in blocks {
        for (far, x) in far.iter_mut().zip(block) {
            *far = if x.abs() > *far { x.abs() } else { *far };
        }
    }
    let far = tail.iter().chain(&far).fold(0f32, |far, x| if x.abs() > far { x.abs() } else { far });
    let (scale, inverse) = (far / 127.0, if far > 0.0 { 127.0 / far } else { 0.0 });
    let (mut sums, mut squares, mut lost) = ([0i32; LANES], [0i32; LANES], [0f32; LANES]);
    let code = |x: f32| {
        let rounded = x * inverse + ROUND;
        let byte = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32) as i8;
        (byte, x - scale * (rounded - ROUND))
    };
    for (block, out) in blocks.iter().zip(out_blocks) {
        for i in 0..LANES {
            let (byte, loss) = code(block[i]);
            out[i] = byte;
            sums[i] += i32::from(byte);
            squares[i] += i32::from(byte) * i32::from(byte);
            lost[i] += loss * loss;
        }
    }
    let (mut sum, mut square) = (sums.iter().sum::<i32>(), squares.iter().sum::<i32>());
    let mut lost: f32 = lost.iter().sum();
    for (x, out) in tail.iter().zip(out_tail) {
        let (byte, loss) = code(*x);
        *out = byte;
        sum = sum.wrapping_add(i32::from(byte));
        square = square.wrapping_add(i32::from(byte) * i32::from(byte));
        lost += loss * loss;
    }
    // the largest element may be wrong in each of n elements
    let rounding = far * (n as f32).sqrt() * 2.4e-7;
    // squares of smaller losses would vanish, those of larger ones overflow
    let usable = far == 0.0 || (far > 1e-15 && far < 1e15);
    let error = if usable { lost.sqrt() * 1.001 + rounding } else { f32::INFINITY };
    ByteCode { scale, error, sum, squares: square }
}

/// Adds up the query's bytes under the bits of each plane.
#[inline(always)]
pub(super) unsafe fn plane_products(
    codes: *const u8,
    stride: usize,
    count: usize,
    planes: usize,
    query: *const i8,
    n: usize,
    out: *mut i32,
) {
    // SAFETY: the caller passes `count` codes of planes * n / 8 bytes, `stride` apart, a query of n bytes, a
    // multiple of eight, and `count` writable places (the contract of `Kernels`).
    unsafe {
        let (query, _) = from_raw_parts(query, n).as_chunks::<8>();
        for i in 0..count {
            let mut total = 0i32;
            for p in 0..planes {
                let plane = from_raw_parts(codes.add(i * stride + p * query.len()), query.len());
                let mut lanes = [0i32; 8];
                for (bits, query) in plane.iter().zip(query) {
                    for (j, lane) in lanes.iter_mut().enumerate() {
                        *lane += i32::from(query[j]) & -i32::from(bits >> j & 1);
                    }
                }
                total += lanes.iter().sum::<i32>() << p;
            }
            *out.add(i) = total;
        }
    }
}

unsafe fn encode_planes(
    x: *const f32,
    c: *const f32,
    n: usize,
    planes: usize,
    step: f32,
    code: *mut u8,
) -> PlaneSums {
    // SAFETY: the caller passes n readable elements twice, and planes * n / 8 writable bytes that overlap neither (the
    // contract of `Kernels`).
    let (x, c, code) =
        unsafe { (from_raw_parts(x, n), from_raw_parts(c, n), from_raw_parts_mut(code, planes * n / 8)) };
    code.fill(0);
    let [square, centre_along] = reduce(x, c, |x, c| [(x - c) * (x - c), (x - c) * c]);
    let mut sums = PlaneSums { square, centre_along, ..PlaneSums::default() };
    let per_step = per_step(square, n, step);
    if per_step == 0.0 {
        return sums;
    }
    let half = (1u32 << (planes - 1)) as f32;
    let (mut along, mut length, mut across) = ([0.0; PLANE_BLOCK], [0.0; PLANE_BLOCK], [0.0; PLANE_BLOCK]);
    let blocks = x.as_chunks::<PLANE_BLOCK>().0.iter().zip(c.as_chunks::<PLANE_BLOCK>().0);
    for (block, (x, c)) in blocks.enumerate() {
        let mut bits = [0u16; 4];
        for j in 0..PLANE_BLOCK {
            let r = x[j] - c[j];
            let whole = (r * per_step).floor().min(half - 1.0).max(-half);
            let y = whole + 0.5;
            along[j] += y * r;
            length[j] += y * y;
            across[j] += y * c[j];
            let u = (whole + half) as u16;
            for (p, bits) in bits.iter_mut().enumerate() {
                *bits |= (u >> p & 1) << j;
            }
        }
        for (p, bits) in bits.iter().take(planes).enumerate() {
            let at = p * (n / 8) + block * 2;
            code[at..at + 2].copy_from_slice(&bits.to_le_bytes());
        }
    }
    let all = |sums: [f32; PLANE_BLOCK]| sums.iter().sum::<f32>();
    (sums.along, sums.length, sums.across) = (all(along), all(length), all(across));
    sums
}

unsafe fn fastscan(table: *const u8, block: *const u8, quads: usize, out: *mut u32) {
    // SAFETY: the caller passes FAST_QUAD readable bytes a quad twice, and FAST_ENTRIES writable places that overlap
    // neither (the contract of `Kernels`).
    let (table, block, out) = unsafe {
        (
            from_raw_parts(table, quads * FAST_QUAD),
            from_raw_parts(block, quads * FAST_QUAD),
            from_raw_parts_mut(out, FAST_ENTRIES),
        )
    };
    let (low, high) = out.split_at_mut(FAST_QUAD);
    low.fill(0);
    high.fill(0);
    let tables = table.as_chunks::<FAST_QUAD>().0.iter();
    for (table, block) in tables.zip(block.as_chunks::<FAST_QUAD>().0) {
        for ((low, high), nibbles) in low.iter_mut().zip(high.iter_mut()).zip(block) {
            *low = low.wrapping_add(u32::from(table[usize::from(nibbles & 15)]));
            *high = high.wrapping_add(u32::from(table[usize::from(nibbles >> 4)]));
        }
    }
}

#[inline(always)]
pub(super) unsafe fn code_bounds(
    products: *const i32,
    adds: *const f32,
    scales: *const f32,
    n: usize,
    terms: *const BoundTerms,
    out: *mut f32,
) {
    // SAFETY: the caller passes n readable elements three times, terms, and n writable places that overlap none of them
    // (the contract of `Kernels`).
    let (products, adds, scales, terms, out) = unsafe {
        (
            from_raw_parts(products, n),
            from_raw_parts(adds, n),
            from_raw_parts(scales, n),
            *terms,
            from_raw_parts_mut(out, n),
        )
    };
    for (((out, product), add), scale) in out.iter_mut().zip(products).zip(adds).zip(scales) {
        let along = terms.scale * (*product as f32 - terms.middle);
        let bound = terms.base + terms.add * add + along * scale - terms.spread * scale.abs();
        *out = if bound.is_nan() { f32::INFINITY } else { bound };
    }
}

#[inline(always)]
pub(super) unsafe fn below(a: *const f32, n: usize, limit: f32) -> u64 {
    // SAFETY: the caller passes n readable elements (the contract of `Kernels`).
    let a = unsafe { from_raw_parts(a, n) };
    a.iter().enumerate().fold(0, |bits, (i, x)| bits | u64::from(*x < limit) << i)
}

/// Butterflies of ever larger distance: every tier's, compiled with its features.
#[inline(always)]
pub(super) unsafe fn hadamard_f32(a: *mut f32, n: usize) {
    // SAFETY: the caller passes n writable elements (the contract of `Kernels`).
    let a = unsafe { from_raw_parts_mut(a, n) };
    let mut half = 1;
    if n >= 8 {
        // the three smallest distances at once, while eight elements are at hand
        for block in a.as_chunks_mut::<8>().0 {
            let [a, b, c, d, e, f, g, h] = *block;
            let (ae, be, ce, de) = (a + e, b + f, c + g, d + h);
            let (ai, bi, ci, di) = (a - e, b - f, c - g, d - h);
            let (p, q, r, s) = (ae + ce, be + de, ae - ce, be - de);
            let (t, u, v, w) = (ai + ci, bi + di, ai - ci, bi - di);
            *block = [p + q, p - q, r + s, r - s, t + u, t - u, v + w, v - w];
        }
        half = 8;
    }
    while half < n {
        for block in a.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for (x, y) in low.iter_mut().zip(high) {
                (*x, *y) = (*x + *y, *x - *y);
            }
        }
        half *= 2;
    }
}

unsafe fn norm<T: Element>(a: *const T, n: usize) -> f64 {
    // SAFETY: the caller passes a pointer readable for n elements (the contract of `Kernels`).
    let a = unsafe { from_raw_parts(a, n) };
    let square = |x: T| f64::from(x.get()) * f64::from(x.get());
    let (blocks, tail) = a.as_chunks::<4>();
    let mut lanes = [0.0f64; 4];
    for block in blocks {
        for lane in 0..4 {
            lanes[lane] += square(block[lane]);
        }
    }
    let sum = (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
    tail.iter().fold(sum, |s, &x| s + square(x)).sqrt()
}

unsafe fn map<T: Element, U: Element>(a: *const T, out: *mut U, n: usize) {
    // SAFETY: the caller passes n readable and n writable elements that do not overlap (the contract of
    // `Kernels`).
    let (a, out) = unsafe { (from_raw_parts(a, n), from_raw_parts_mut(out, n)) };
    for (o, x) in out.iter_mut().zip(a) {
        *o = U::put(x.get());
    }
}

unsafe fn scale<T: Element>(a: *const T, norm: f64, out: *mut T, n: usize) {
    // SAFETY: as for `map`.
    let (a, out) = unsafe { (from_raw_parts(a, n), from_raw_parts_mut(out, n)) };
    for (o, x) in out.iter_mut().zip(a) {
        *o = T::put((f64::from(x.get()) / norm) as f32);
    }
}

/// Wraps an operator as an elementwise kernel.
macro_rules! maps2 {
    ($($name:ident = $op:tt;)*) => {$(
        unsafe fn $name<T: Element>(a: *const T, b: *const T, out: *mut T, n: usize) {
            // SAFETY: the caller passes n readable elements twice and n writable ones that overlap neither
            // (the contract of `Kernels`).
            let (a, b, out) = unsafe { (from_raw_parts(a, n), from_raw_parts(b, n), from_raw_parts_mut(out, n)) };
            for ((o, x), y) in out.iter_mut().zip(a).zip(b) {
                *o = T::put(x.get() $op y.get());
            }
        }
    )*};
}

maps2! {
    add = +;
    sub = -;
    mul = *;
}

unsafe fn binary_quantize<T: Element>(a: *const T, out: *mut u8, n: usize) {
    // SAFETY: the caller passes n readable elements and a writable byte for every eight of them, rounded up,
    // without overlap (the contract of `Kernels`).
    let (a, out) = unsafe { (from_raw_parts(a, n), from_raw_parts_mut(out, n.div_ceil(8))) };
    for (o, block) in out.iter_mut().zip(a.chunks(8)) {
        let mut bits = 0;
        for (i, x) in block.iter().enumerate() {
            bits |= u8::from(x.get() > 0.0) << (7 - i);
        }
        *o = bits;
    }
}

pub(crate) unsafe fn copy_short(from: *const u8, to: *mut u8, n: usize) {
    // SAFETY: the caller passes n readable and at least n writable bytes, without overlap (the contract of `Kernels`).
    unsafe { core::ptr::copy_nonoverlapping(from, to, n) }
}

pub(crate) static KERNELS: Kernels = Kernels {
    tier: Tier::Scalar,
    l2_squared_f32: l2_squared::<f32>,
    inner_product_f32: inner_product::<f32>,
    l1_f32: l1::<f32>,
    cosine_similarity_f32: cosine_similarity::<f32>,
    l2_squared_f16: l2_squared::<f16>,
    inner_product_f16: inner_product::<f16>,
    l1_f16: l1::<f16>,
    cosine_similarity_f16: cosine_similarity::<f16>,
    l2_squared_panel,
    inner_product_panel,
    norm_f32: norm::<f32>,
    norm_f16: norm::<f16>,
    scale_f32: scale::<f32>,
    scale_f16: scale::<f16>,
    f16_to_f32: map::<f16, f32>,
    f32_to_f16: map::<f32, f16>,
    inner_product_i8,
    inner_product_byte_panel,
    code_l2_bounds,
    code_inner_product_bounds,
    encode_i8,
    plane_products,
    encode_planes,
    fastscan,
    code_row_bounds,
    plane_differences,
    code_bounds,
    below,
    hadamard_f32,
    rotate_f32,
    hamming,
    jaccard_distance,
    add_f32: add::<f32>,
    sub_f32: sub::<f32>,
    mul_f32: mul::<f32>,
    add_f16: add::<f16>,
    sub_f16: sub::<f16>,
    mul_f16: mul::<f16>,
    binary_quantize_f32: binary_quantize::<f32>,
    binary_quantize_f16: binary_quantize::<f16>,
    copy_short,
};
