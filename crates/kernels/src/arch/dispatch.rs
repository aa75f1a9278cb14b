//! The table of kernels, its safe methods, and the choice of a tier.

use crate::arch;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use half::f16;

/// A set of CPU features that kernels are written for, in ascending order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Plain Rust, whatever the compiler makes of it with the target's baseline features.
    Scalar,
    /// 128-bit Advanced SIMD.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// AVX2 with FMA, F16C, POPCNT and BMI2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, VL, DQ, VNNI and VPOPCNTDQ, with everything of the tier below.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Tier {
    /// The name that `VECTOR_SIMD` uses for this tier.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Scalar => "scalar",
            #[cfg(target_arch = "aarch64")]
            Tier::Neon => "neon",
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => "avx512",
        }
    }
}

/// Columns of a panel: vectors stored side by side, element by element, so that one vector is compared with all of
/// them in one pass. Element `i` of column `c` is at `i * PANEL + c`.
pub const PANEL: usize = 16;

/// Elements of a column that lie together in a panel of bytes: element `GROUP * g + j` of column `c` is at
/// `(g * PANEL + c) * GROUP + j`.
pub const GROUP: usize = 4;

/// A vector in signed bytes: each element is nearly `scale` times its byte.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct ByteCode {
    /// what bytes are multiplied with
    pub scale: f32,
    /// upper bound of the Euclidean distance between the vector and what its bytes say, rounding included
    pub error: f32,
    /// the sum of the bytes
    pub sum: i32,
    /// the sum of their squares
    pub squares: i32,
}

/// What is known of a vector beside its code, for estimates of distances.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct CodeHead {
    /// as in [`ByteCode`]
    pub scale: f32,
    /// what the products with a panel are too large by: 128 times the sum of the bytes, where a panel's bytes are 128
    /// more than the columns'
    pub excess: i32,
    /// the squared norm of what the code says, and its root
    pub square: f32,
    /// see `square`
    pub norm: f32,
    /// as in [`ByteCode`]
    pub error: f32,
}

/// The same for the columns of a panel.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CodeColumns {
    /// as in [`CodeHead`]
    pub scale: [f32; PANEL],
    /// as in [`CodeHead`]
    pub square: [f32; PANEL],
    /// as in [`CodeHead`]; infinite: nothing is known of the column, minus infinity: there is none
    pub error: [f32; PANEL],
    /// at least the norm of the column, not of its code
    pub norm: [f32; PANEL],
}

/// What sums of up to 4,000 products or squares in many lanes may round, relatively, with much to spare.
pub const ROUNDING: f32 = 4e-5;
/// The same of the few operations that make a squared distance from an inner product of codes, relative to the squares.
pub const PRODUCT_EPS: f32 = 1e-6;

/// Bit planes of a code, at most.
pub const MAX_PLANES: usize = 4;

/// Bytes that [`Kernels::copy_short`] copies at most.
pub const SHORT: usize = 128;

/// Codes in planes are made of a multiple of so many elements.
pub const PLANE_BLOCK: usize = 16;

/// Sums over a residual r = x - c and the code y of it, as [`Kernels::encode_planes`] makes it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct PlaneSums {
    /// <r, r>
    pub square: f32,
    /// <r, c>
    pub centre_along: f32,
    /// <y, r>; zero when there is no code
    pub along: f32,
    /// <y, y>
    pub length: f32,
    /// <y, c>
    pub across: f32,
}

/// Entries of a block of [`Kernels::fastscan`].
pub const FAST_ENTRIES: usize = 32;
/// Bytes of a block, and of the table, for a quad of elements.
pub const FAST_QUAD: usize = 16;

/// What estimates of one centre have in common ([`Kernels::code_bounds`]).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct BoundTerms {
    /// what every bound begins with
    pub base: f32,
    /// what first factors are multiplied with
    pub add: f32,
    /// what second factors are multiplied with, beside the product
    pub scale: f32,
    /// what is taken from every product
    pub middle: f32,
    /// what the magnitudes of second factors are multiplied with; it is taken from the bound
    pub spread: f32,
}

/// Vectors handed to a panel kernel at a time.
const BATCH: usize = 8;

type Pair<T, R> = unsafe fn(*const T, *const T, usize) -> R;
type Single<T, R> = unsafe fn(*const T, usize) -> R;
type Panel = unsafe fn(*const *const f32, usize, *const f32, usize, *mut f32);
type BytePanel = unsafe fn(*const *const i8, usize, *const u8, usize, *mut i32);
type CodeBounds = unsafe fn(*const CodeHead, usize, *const CodeColumns, *const i32, *mut f32);
type RowBounds = unsafe fn(
    *const i8,
    *const CodeHead,
    *const u8,
    *const CodeColumns,
    usize,
    usize,
    bool,
    *mut f32,
    *mut f32,
);
type PlaneProducts = unsafe fn(*const u8, usize, usize, usize, *const i8, usize, *mut i32);
type PlaneDifferences = unsafe fn(*const u8, usize, usize, usize, *const u8, usize, *mut i32);
type FastScan = unsafe fn(*const u8, *const u8, usize, *mut u32);
type PlaneBounds = unsafe fn(*const i32, *const f32, *const f32, usize, *const BoundTerms, *mut f32);
type EncodePlanes = unsafe fn(*const f32, *const f32, usize, usize, f32, *mut u8) -> PlaneSums;
type InPlace = unsafe fn(*mut f32, usize);
type Encode = unsafe fn(*const f32, *mut i8, usize) -> ByteCode;
type Map<T, U> = unsafe fn(*const T, *mut U, usize);
type Map2<T> = unsafe fn(*const T, *const T, *mut T, usize);
type Scale<T> = unsafe fn(*const T, f64, *mut T, usize);

/// The kernels of one tier.
///
/// A value of this type exists only as a reference from [`kernels`] or [`available`], which hand out a
/// tier's table only on a CPU that has the tier's features. So its methods are safe to call.
#[derive(Debug)]
pub struct Kernels {
    // Contract of every pointer below: the CPU has the tier's features, each `*const` is readable and each
    // `*mut` writable for `usize` elements (`binary_quantize`: one byte per eight elements, rounded up), and
    // no `*mut` overlaps a `*const`. A panel kernel gets that many row pointers, each readable for the second
    // `usize` of elements, a panel of PANEL columns of that length, and writes PANEL floats per row; one of bytes
    // counts in groups of GROUP elements and writes PANEL integers per row. Bounds read that many heads and PANEL
    // integers for each, and write as many floats; those of one row get it with its head, that many panels and their
    // columns, the row's groups, whether the distance is Euclidean, and room for PANEL floats and for one for each
    // panel. `plane_products` gets codes, their stride, their count, their planes (at most MAX_PLANES), a query of a
    // multiple of eight bytes and its length; `plane_differences` the same (one plane at least) with a code and its
    // elements instead of the query; `hadamard_f32` a power of two; `rotate_f32` n signs for each round;
    // `encode_planes` a multiple of PLANE_BLOCK, the planes (1 to MAX_PLANES) and planes * n / 8 writable bytes.
    // `fastscan` gets a table and a block of FAST_QUAD bytes a quad for so many quads and writes FAST_ENTRIES integers.
    // `code_bounds` gets that many products, first and second factors, and places. `below` gets at most 64 numbers.
    // `copy_short` gets at most SHORT, and its `*mut` is writable for SHORT bytes.
    pub(crate) tier: Tier,
    pub(crate) l2_squared_f32: Pair<f32, f32>,
    pub(crate) inner_product_f32: Pair<f32, f32>,
    pub(crate) l1_f32: Pair<f32, f32>,
    pub(crate) cosine_similarity_f32: Pair<f32, f64>,
    pub(crate) l2_squared_f16: Pair<f16, f32>,
    pub(crate) inner_product_f16: Pair<f16, f32>,
    pub(crate) l1_f16: Pair<f16, f32>,
    pub(crate) cosine_similarity_f16: Pair<f16, f64>,
    pub(crate) l2_squared_panel: Panel,
    pub(crate) inner_product_panel: Panel,
    pub(crate) norm_f32: Single<f32, f64>,
    pub(crate) norm_f16: Single<f16, f64>,
    pub(crate) scale_f32: Scale<f32>,
    pub(crate) scale_f16: Scale<f16>,
    pub(crate) f16_to_f32: Map<f16, f32>,
    pub(crate) f32_to_f16: Map<f32, f16>,
    pub(crate) inner_product_i8: Pair<i8, i32>,
    pub(crate) inner_product_byte_panel: BytePanel,
    pub(crate) code_l2_bounds: CodeBounds,
    pub(crate) code_inner_product_bounds: CodeBounds,
    pub(crate) encode_i8: Encode,
    pub(crate) plane_products: PlaneProducts,
    pub(crate) encode_planes: EncodePlanes,
    pub(crate) fastscan: FastScan,
    pub(crate) code_row_bounds: RowBounds,
    pub(crate) plane_differences: PlaneDifferences,
    pub(crate) code_bounds: PlaneBounds,
    pub(crate) below: unsafe fn(*const f32, usize, f32) -> u64,
    pub(crate) hadamard_f32: InPlace,
    pub(crate) rotate_f32: unsafe fn(*mut f32, usize, *const u32, usize),
    pub(crate) hamming: Pair<u8, u64>,
    pub(crate) jaccard_distance: Pair<u8, f64>,
    pub(crate) add_f32: Map2<f32>,
    pub(crate) sub_f32: Map2<f32>,
    pub(crate) mul_f32: Map2<f32>,
    pub(crate) add_f16: Map2<f16>,
    pub(crate) sub_f16: Map2<f16>,
    pub(crate) mul_f16: Map2<f16>,
    pub(crate) binary_quantize_f32: Map<f32, u8>,
    pub(crate) binary_quantize_f16: Map<f16, u8>,
    pub(crate) copy_short: Map<u8, u8>,
}

/// Methods that reduce two slices to a number.
macro_rules! pairs {
    ($($(#[$doc:meta])* $name:ident: $t:ty => $r:ty;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&self, a: &[$t], b: &[$t]) -> $r {
            let n = a.len().min(b.len());
            // SAFETY: both slices hold at least n elements; a table is reachable only on a CPU with its features.
            unsafe { (self.$name)(a.as_ptr(), b.as_ptr(), n) }
        }
    )*};
}

/// Methods that turn one slice into another, element by element.
macro_rules! maps {
    ($($(#[$doc:meta])* $name:ident: $t:ty => $u:ty;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&self, a: &[$t], out: &mut [$u]) {
            let n = a.len().min(out.len());
            // SAFETY: both slices hold at least n elements and `&mut` cannot overlap `&`; a table is reachable
            // only on a CPU with its features.
            unsafe { (self.$name)(a.as_ptr(), out.as_mut_ptr(), n) }
        }
    )*};
}

/// Methods that combine two slices into a third, element by element.
macro_rules! maps2 {
    ($($(#[$doc:meta])* $name:ident: $t:ty;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&self, a: &[$t], b: &[$t], out: &mut [$t]) {
            let n = a.len().min(b.len()).min(out.len());
            // SAFETY: all three slices hold at least n elements and `&mut` cannot overlap `&`; a table is
            // reachable only on a CPU with its features.
            unsafe { (self.$name)(a.as_ptr(), b.as_ptr(), out.as_mut_ptr(), n) }
        }
    )*};
}

/// Methods that divide a slice by a number.
macro_rules! scales {
    ($($(#[$doc:meta])* $name:ident: $t:ty;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&self, a: &[$t], norm: f64, out: &mut [$t]) {
            let n = a.len().min(out.len());
            // SAFETY: as for the other maps: n elements on both sides, no overlap, features present.
            unsafe { (self.$name)(a.as_ptr(), norm, out.as_mut_ptr(), n) }
        }
    )*};
}

/// Methods that pack the signs of a slice into bits.
macro_rules! quantizers {
    ($($(#[$doc:meta])* $name:ident: $t:ty;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&self, a: &[$t], out: &mut [u8]) {
            let n = a.len().min(out.len().saturating_mul(8));
            // SAFETY: `a` holds n elements and `out` ceil(n / 8) bytes, since n is at most 8 times its length;
            // `&mut` cannot overlap `&`; a table is reachable only on a CPU with its features.
            unsafe { (self.$name)(a.as_ptr(), out.as_mut_ptr(), n) }
        }
    )*};
}

/// Methods between several vectors and a panel.
macro_rules! panels {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self, rows: &[&[f32]], panel: &[f32], out: &mut [[f32; PANEL]]) {
            for (rows, out) in rows.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
                let count = rows.len().min(out.len());
                let n = rows.iter().map(|row| row.len()).fold(panel.len() / PANEL, usize::min);
                let mut pointers = [ptr::null(); BATCH];
                for (pointer, row) in pointers.iter_mut().zip(rows) {
                    *pointer = row.as_ptr();
                }
                // SAFETY: the first `count` <= BATCH pointers are those of rows of at least n elements; the panel
                // holds n * PANEL, `out` has `count` rows of PANEL and `&mut` overlaps no `&`; a table is reachable
                // only on a CPU with its features.
                unsafe {
                    (self.$name)(pointers.as_ptr(), count, panel.as_ptr(), n, out.as_mut_ptr().cast());
                }
            }
        }
    )*};
}

/// Methods that turn products of codes into bounds.
macro_rules! bounds {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(
            &self,
            rows: &[CodeHead],
            columns: &CodeColumns,
            products: &[[i32; PANEL]],
            out: &mut [[f32; PANEL]],
        ) {
            let n = rows.len().min(products.len()).min(out.len());
            // SAFETY: the slices hold at least n elements and `&mut` cannot overlap `&`; a table is reachable
            // only on a CPU with its features.
            unsafe {
                (self.$name)(rows.as_ptr(), n, columns, products.as_ptr().cast(), out.as_mut_ptr().cast())
            }
        }
    )*};
}

impl Kernels {
    /// The tier these kernels are written for.
    #[inline]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    pairs! {
        /// Squared Euclidean distance: the sum of squared differences.
        l2_squared_f32: f32 => f32;
        /// Inner product: the sum of products.
        inner_product_f32: f32 => f32;
        /// Taxicab distance: the sum of absolute differences.
        l1_f32: f32 => f32;
        /// Cosine of the angle between the vectors: `dot / sqrt(|a|² · |b|²)` in `f64`, from three sums in
        /// `f32`. NaN for a zero vector or when a sum overflows; rounding may carry it outside -1..=1.
        cosine_similarity_f32: f32 => f64;
        /// Squared Euclidean distance of half-precision vectors, in single precision.
        l2_squared_f16: f16 => f32;
        /// Inner product of half-precision vectors, in single precision.
        inner_product_f16: f16 => f32;
        /// Taxicab distance of half-precision vectors, in single precision.
        l1_f16: f16 => f32;
        /// Cosine similarity of half-precision vectors; see [`Kernels::cosine_similarity_f32`].
        cosine_similarity_f16: f16 => f64;
        /// Inner product of bytes, in `i32`; beyond 2^17 elements it may wrap around.
        inner_product_i8: i8 => i32;
        /// Hamming distance: the number of bits that differ.
        hamming: u8 => u64;
        /// Jaccard distance of two bit sets: 1 - |a ∩ b| / |a ∪ b|, and 1 when nothing is common (two empty
        /// sets included).
        jaccard_distance: u8 => f64;
    }

    panels! {
        /// Squared Euclidean distances: `out[r][c]` is that between `rows[r]` and column `c` of the panel (see
        /// [`PANEL`]). Works on as many elements as the panel and every row of a batch of eight have, and on as many
        /// rows as there are in both slices.
        l2_squared_panel;
        /// Inner products, laid out as by [`Kernels::l2_squared_panel`].
        inner_product_panel;
    }

    maps! {
        /// Widens half precision to single; exact. A signalling NaN comes back quiet.
        f16_to_f32: f16 => f32;
        /// Narrows single precision to half, rounding to nearest even. Too large a value becomes infinite,
        /// too small a one a subnormal or zero of the same sign.
        f32_to_f16: f32 => f16;
    }

    quantizers! {
        /// One bit per element, the most significant bit of a byte first: set when the element is greater
        /// than zero (so not for zeros and NaN). Writes `ceil(n / 8)` bytes; spare bits of the last are zero.
        binary_quantize_f32: f32;
        /// As [`Kernels::binary_quantize_f32`], for half precision.
        binary_quantize_f16: f16;
    }

    maps2! {
        /// `out[i] = a[i] + b[i]`. May overflow to infinity; callers check.
        add_f32: f32;
        /// `out[i] = a[i] - b[i]`. May overflow to infinity; callers check.
        sub_f32: f32;
        /// `out[i] = a[i] * b[i]`. May overflow to infinity or underflow to zero; callers check.
        mul_f32: f32;
        /// `out[i] = a[i] + b[i]`, computed in single precision and rounded to nearest even.
        add_f16: f16;
        /// `out[i] = a[i] - b[i]`, computed in single precision and rounded to nearest even.
        sub_f16: f16;
        /// `out[i] = a[i] * b[i]`, computed in single precision and rounded to nearest even.
        mul_f16: f16;
    }

    scales! {
        /// `out[i] = a[i] / norm`: divided in `f64`, then rounded to single precision.
        scale_f32: f32;
        /// `out[i] = a[i] / norm`: divided in `f64`, rounded to single and then to half precision.
        scale_f16: f16;
    }

    /// Copies up to [`SHORT`] bytes and returns the copy; what follows it in `to` may be overwritten. For elements that
    /// a kernel reads at once: a processor hands on what was just written only to a read that lies within one write,
    /// and kernels read in whole vectors.
    #[inline(always)]
    pub fn copy_short<'a>(&self, from: &[u8], to: &'a mut [MaybeUninit<u8>; SHORT]) -> &'a [u8] {
        let n = from.len().min(SHORT);
        // SAFETY: `from` holds n bytes and `to` SHORT, at least n of which are written; `&mut` cannot overlap `&`; a
        // table is reachable only on a CPU with its features.
        unsafe {
            (self.copy_short)(from.as_ptr(), to.as_mut_ptr().cast(), n);
            core::slice::from_raw_parts(to.as_ptr().cast(), n)
        }
    }

    /// Inner products of signed bytes with the columns of a panel of unsigned ones (see [`GROUP`]): `out[r][c]`
    /// is that of `rows[r]` and column `c`, in `i32`; beyond 2^16 elements it may wrap around. Works on as many
    /// whole groups as the panel and every row of a batch of eight have, and on as many rows as there are in
    /// both slices.
    pub fn inner_product_byte_panel(&self, rows: &[&[i8]], panel: &[u8], out: &mut [[i32; PANEL]]) {
        for (rows, out) in rows.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let count = rows.len().min(out.len());
            let n = rows.iter().map(|row| row.len() / GROUP).fold(panel.len() / (GROUP * PANEL), usize::min);
            let mut pointers = [ptr::null(); BATCH];
            for (pointer, row) in pointers.iter_mut().zip(rows) {
                *pointer = row.as_ptr();
            }
            // SAFETY: the first `count` <= BATCH pointers are those of rows of at least n groups; the panel
            // holds n * PANEL groups, `out` has `count` rows of PANEL and `&mut` overlaps no `&`; a table is
            // reachable only on a CPU with its features.
            unsafe {
                (self.inner_product_byte_panel)(
                    pointers.as_ptr(),
                    count,
                    panel.as_ptr(),
                    n,
                    out.as_mut_ptr().cast(),
                );
            }
        }
    }

    bounds! {
        /// Lower bounds of the Euclidean distances (not their squares) between vectors and the columns of a
        /// panel, from [`Kernels::inner_product_byte_panel`] of their codes. By the triangle inequality they
        /// are below the distances of the codes by no more than both errors.
        code_l2_bounds;
        /// Lower bounds of minus the inner products, by Cauchy and Schwarz: x . y = x' . y' + x' . (y - y') +
        /// (x - x') . y.
        code_inner_product_bounds;
    }

    /// What [`Kernels::code_l2_bounds`] (`euclidean`) or [`Kernels::code_inner_product_bounds`] give for one row and
    /// many panels, which follow each other, each as long as the row; in `least` the least bound of each panel, unless
    /// it is no number. Returns the number of panels: as many as all slices have.
    #[allow(clippy::too_many_arguments)]
    pub fn code_row_bounds(
        &self,
        (row, head): (&[i8], &CodeHead),
        panels: &[u8],
        columns: &[CodeColumns],
        euclidean: bool,
        lower: &mut [[f32; PANEL]],
        least: &mut [f32],
    ) -> usize {
        let n = row.len() / GROUP;
        let whole = panels.len().checked_div(n * GROUP * PANEL).unwrap_or(usize::MAX);
        let count = whole.min(columns.len()).min(lower.len()).min(least.len());
        // SAFETY: the row has n groups, and there are `count` panels of n * PANEL groups, columns and places; `&mut`
        // overlaps no `&`; a table is reachable only on a CPU with its features.
        unsafe {
            let (lower, least) = (lower.as_mut_ptr().cast(), least.as_mut_ptr());
            let (row, panels, columns) = (row.as_ptr(), panels.as_ptr(), columns.as_ptr());
            (self.code_row_bounds)(row, head, panels, columns, count, n, euclidean, lower, least);
        }
        count
    }

    /// Puts a vector of less than 2^17 elements into signed bytes of -127..=127, one scale for all. When
    /// `scale` or `error` is not finite, the vector has elements that are not, or are too large or too small
    /// for this, and the bytes mean nothing.
    pub fn encode_i8(&self, a: &[f32], out: &mut [i8]) -> ByteCode {
        let n = a.len().min(out.len());
        // SAFETY: both slices hold at least n elements and `&mut` cannot overlap `&`; a table is reachable only
        // on a CPU with its features.
        unsafe { (self.encode_i8)(a.as_ptr(), out.as_mut_ptr(), n) }
    }

    /// Inner products of a query in signed bytes with codes of a few bits an element, in *planes*: the lowest
    /// bits of all elements, then the next higher ones, up to [`MAX_PLANES`]; element `j` is bit `j % 8` of
    /// byte `j / 8` of its plane. Code `i` begins at `i * stride` and its planes follow each other,
    /// `query.len() / 8` bytes each. Fills as much of `out` as there are whole codes; counts in whole bytes of
    /// a plane; beyond 2^20 elements it may wrap around. Returns the number of products.
    pub fn plane_products(
        &self,
        codes: &[u8],
        stride: usize,
        planes: usize,
        query: &[i8],
        out: &mut [i32],
    ) -> usize {
        let (planes, n) = (planes.min(MAX_PLANES), query.len() & !7);
        let size = planes * (n / 8);
        let count = out.len().min(whole_codes(codes, size, stride));
        // SAFETY: `count` codes of `size` bytes, `stride` apart, lie in `codes`; the query has n bytes, a multiple of
        // eight, `out` at least `count` places and `&mut` overlaps no `&`; a table is reachable only on a CPU with its
        // features.
        unsafe {
            (self.plane_products)(codes.as_ptr(), stride, count, planes, query.as_ptr(), n, out.as_mut_ptr());
        }
        count
    }

    /// The bits in which codes of `planes` planes (see [`Kernels::plane_products`] for their order) differ from one of
    /// them, `code`: for each two planes p and q, those between plane p of the one and plane q of the other, times
    /// 2^(p + q). Code `i` begins at `i * stride`. Fills as much of `out` as there are whole codes, and returns how
    /// much. The last bytes of `code` that are no whole plane are left out; planes beyond [`MAX_PLANES`], too.
    pub fn plane_differences(
        &self,
        codes: &[u8],
        stride: usize,
        planes: usize,
        code: &[u8],
        out: &mut [i32],
    ) -> usize {
        let planes = planes.clamp(1, MAX_PLANES);
        let n = code.len() / planes * 8;
        let size = planes * (n / 8);
        let count = out.len().min(whole_codes(codes, size, stride));
        // SAFETY: `count` codes of `size` bytes, `stride` apart, lie in `codes`, and one in `code`; `out` has at least
        // `count` places and `&mut` overlaps no `&`; a table is reachable only on a CPU with its features.
        unsafe {
            let (codes, code) = (codes.as_ptr(), code.as_ptr());
            (self.plane_differences)(codes, stride, count, planes, code, n, out.as_mut_ptr());
        }
        count
    }

    /// Sums of what a table has for each of 32 codes of one bit an element, four elements (a *quad*) to a look-up
    /// (André, Kermarrec and Le Scouarnec, "Cache locality is not enough", VLDB 2015). The table has 16 bytes a
    /// quad, one for each value of a code's four bits, and so has the block: byte `i` holds the four bits of code
    /// `i` in its low half, those of code `i + 16` in its high half. Looks at `quads` quads, or as many as there
    /// are in both slices; beyond 2^24 of them sums may wrap around.
    #[inline]
    pub fn fastscan(&self, table: &[u8], block: &[u8], quads: usize, out: &mut [u32; FAST_ENTRIES]) {
        let quads = quads.min(table.len() / FAST_QUAD).min(block.len() / FAST_QUAD);
        // SAFETY: table and block hold FAST_QUAD bytes for each of the quads and `&mut` overlaps no `&`; a table of
        // kernels is reachable only on a CPU with its features.
        unsafe { (self.fastscan)(table.as_ptr(), block.as_ptr(), quads, out.as_mut_ptr()) }
    }

    /// Bounds from products of codes and their factors: `base + add * a + (scale * (p - middle)) * s - spread * |s|` of
    /// each product `p`, first factor `a` and second one `s`; infinite where that is no number.
    #[inline]
    pub fn code_bounds(
        &self,
        products: &[i32],
        adds: &[f32],
        scales: &[f32],
        terms: &BoundTerms,
        out: &mut [f32],
    ) {
        let n = products.len().min(adds.len()).min(scales.len()).min(out.len());
        // SAFETY: all slices hold at least n elements and `&mut` overlaps no `&`; a table is reachable only on a CPU
        // with its features.
        unsafe {
            (self.code_bounds)(products.as_ptr(), adds.as_ptr(), scales.as_ptr(), n, terms, out.as_mut_ptr())
        }
    }

    /// Which of the first 64 numbers are below a limit: bit `i` for number `i`.
    #[inline]
    pub fn below(&self, a: &[f32], limit: f32) -> u64 {
        // SAFETY: the slice holds as many elements as that; a table is reachable only on a CPU with its features.
        unsafe { (self.below)(a.as_ptr(), a.len().min(64), limit) }
    }

    /// Makes the code of the residual r = x - c in `planes` bits an element (see [`Kernels::plane_products`]
    /// for their order): the integer u of an element is floor(r / (step sigma)) + 2^(planes - 1), brought into
    /// 0..2^planes, where sigma is the root of the mean square of r, and y = u - (2^planes - 1) / 2. Works on
    /// as many whole blocks of [`PLANE_BLOCK`] elements as all slices have; planes beyond [`MAX_PLANES`] are
    /// left out. Where r is zero, or has no finite square, the code is zero, and so are the sums with y.
    pub fn encode_planes(
        &self,
        x: &[f32],
        c: &[f32],
        planes: usize,
        step: f32,
        code: &mut [u8],
    ) -> PlaneSums {
        let planes = planes.clamp(1, MAX_PLANES);
        let n = x.len().min(c.len()).min(code.len() / planes * 8) / PLANE_BLOCK * PLANE_BLOCK;
        // SAFETY: both vectors have at least n elements, a multiple of PLANE_BLOCK, the code planes * n / 8 bytes, and
        // `&mut` overlaps no `&`; a table is reachable only on a CPU with its features.
        unsafe { (self.encode_planes)(x.as_ptr(), c.as_ptr(), n, planes, step, code.as_mut_ptr()) }
    }

    /// The fast Walsh-Hadamard transform of the first 2^k elements, as many as there are, in place: a rotation (and
    /// reflection) that also multiplies lengths by the root of 2^k. Returns 2^k.
    pub fn hadamard_f32(&self, a: &mut [f32]) -> usize {
        let n = match a.len() {
            0 => return 0,
            n => 1usize << n.ilog2(),
        };
        // SAFETY: the slice holds at least n elements, a power of two; a table is reachable only on a CPU with its
        // features.
        unsafe { (self.hadamard_f32)(a.as_mut_ptr(), n) };
        n
    }

    /// Rotates a vector in place, by rounds of as many `signs` as it has elements, as many as there are whole: each
    /// element gets its sign (the highest bit; the others are zero), then a window of the largest power of two is
    /// transformed ([`Kernels::hadamard_f32`]) and keeps its length, the first and the last elements by turns. Where
    /// that is not all, the vector's halves are mixed after both. Every step is orthogonal, and every tier rounds as
    /// the others do.
    pub fn rotate_f32(&self, a: &mut [f32], signs: &[u32]) {
        let rounds = signs.len().checked_div(a.len()).unwrap_or_default();
        // SAFETY: there are a.len() elements and as many signs for each round, and `&mut` overlaps no `&`; a table is
        // reachable only on a CPU with its features.
        unsafe { (self.rotate_f32)(a.as_mut_ptr(), a.len(), signs.as_ptr(), rounds) }
    }

    /// Whether panels of bytes are several times as fast as panels of floats in this tier.
    #[inline]
    pub fn fast_byte_panels(&self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.tier == Tier::Avx512;
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Euclidean norm: the square root of the sum of squares, all in `f64`.
    #[inline]
    pub fn norm_f32(&self, a: &[f32]) -> f64 {
        // SAFETY: the slice holds a.len() elements; a table is reachable only on a CPU with its features.
        unsafe { (self.norm_f32)(a.as_ptr(), a.len()) }
    }

    /// Euclidean norm of a half-precision vector: the square root of the sum of squares, all in `f64`.
    #[inline]
    pub fn norm_f16(&self, a: &[f16]) -> f64 {
        // SAFETY: the slice holds a.len() elements; a table is reachable only on a CPU with its features.
        unsafe { (self.norm_f16)(a.as_ptr(), a.len()) }
    }
}

/// Codes of `size` bytes that lie in `codes`, `stride` bytes apart.
#[inline]
fn whole_codes(codes: &[u8], size: usize, stride: usize) -> usize {
    match codes.len().checked_sub(size) {
        Some(rest) if stride > 0 => rest / stride + 1,
        // one code, again and again
        Some(_) => usize::MAX,
        None => 0,
    }
}

/// Every tier this CPU can run, in ascending order; `VECTOR_SIMD` does not matter here.
pub fn available() -> impl Iterator<Item = &'static Kernels> {
    arch::detected().into_iter().flatten()
}

/// The table that `kernels` has settled on; null until the first call.
static CHOSEN: AtomicPtr<Kernels> = AtomicPtr::new(ptr::null_mut());

/// The kernels of the best tier this CPU has, not above the one that `VECTOR_SIMD` names.
///
/// The choice is made at the first call and kept for the life of the process.
#[inline]
pub fn kernels() -> &'static Kernels {
    // Relaxed is enough: the pointee is an immutable static, initialised before any thread runs.
    let chosen = CHOSEN.load(Ordering::Relaxed);
    // SAFETY: CHOSEN holds null or the address of a `&'static Kernels` that `choose` stored.
    match unsafe { chosen.as_ref() } {
        Some(table) => table,
        None => choose(),
    }
}

/// Threads that race here all arrive at the same table, so it does not matter whose store is last.
#[cold]
fn choose() -> &'static Kernels {
    let cap = std::env::var("VECTOR_SIMD").ok();
    let table = select(cap.as_deref());
    CHOSEN.store(ptr::from_ref(table).cast_mut(), Ordering::Relaxed);
    table
}

/// The best tier of this CPU, not above the one called `cap`; an unknown name caps nothing.
fn select(cap: Option<&str>) -> &'static Kernels {
    let cap = cap.and_then(|name| arch::TIERS.into_iter().find(|t| t.name() == name));
    available().filter(|k| cap.is_none_or(|cap| k.tier <= cap)).last().unwrap_or(&arch::scalar::KERNELS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_cap_limits_the_tier_and_an_unknown_one_does_not() {
        let best = select(None).tier;
        assert_eq!(available().last().map(|k| k.tier), Some(best));
        assert_eq!(select(Some("scalar")).tier, Tier::Scalar);
        for tier in arch::TIERS {
            assert_eq!(select(Some(tier.name())).tier, tier.min(best));
        }
        for unknown in ["", "AVX2", "sse2", "neon64"] {
            assert_eq!(select(Some(unknown)).tier, best);
        }
    }

    #[test]
    fn the_choice_is_stable() {
        assert!(ptr::eq(kernels(), kernels()));
    }

    #[test]
    fn tiers_ascend_from_scalar() {
        let tiers: Vec<_> = available().map(Kernels::tier).collect();
        assert_eq!(tiers[0], Tier::Scalar);
        assert!(tiers.is_sorted());
    }
}
