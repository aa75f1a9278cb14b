//! The loops that every SIMD tier shares, as macros over a tier's small vocabulary.
//!
//! A tier module defines, for vectors of `W` floats, the functions
//!
//! | name | meaning |
//! |---|---|
//! | `zero add sub mul fma abs` | arithmetic on vectors; `fma(x, y, z)` is x·y + z |
//! | `W UNROLL` | floats in a vector, and vectors in a turn of a loop (a power of two) |
//! | `total` | sum of a vector's lanes |
//! | `splat PANEL_ROWS` | a vector of equal lanes; how many vectors meet a panel at once (below) |
//! | `prefetch` | a hint that some elements will be read soon; see below |
//! | `load_T tail_T` | read `W` elements of `T`, or fewer than `W` with zeros after them, as floats |
//! | `store_T store_tail_T` | write `W` elements of `T`, or fewer than `W`, rounding to nearest even |
//! | `divide` | divide every lane by an `f64` in `f64`, round back |
//! | `wide_zero wide_square wide_add wide_total` | sums of squares in `f64` |
//! | `positive_T` | read 8 elements, give their "greater than zero" bits, the first in the top bit |
//!
//! with `T` being `f32` and `f16`, and then invokes [`float_kernels!`] with its feature string. Functions with
//! the same target features inline into each other, so a kernel compiles to one loop. Zeros after a tail
//! are harmless: they add zero to every sum.
//!
//! `prefetch(p, n)` asks the cache for n elements; loops ask for what they read a few turns later, but for
//! nothing behind the vector: in an index, something else is read next. Short vectors do without, the processor
//! sees their end soon enough.
//!
//! A floating point addition takes several cycles, but several can be in flight: each loop keeps independent
//! sums and folds them at the end. `UNROLL`, the number of vectors that a turn adds up, is each tier's choice and
//! comes to about two cache lines. More is no faster in cache, and from memory it hurts: on a Zen 5 with four
//! vectors of 512 bits to a turn, half-precision vectors of more than about 1,000 dimensions came at half the
//! bandwidth, as if the hardware prefetcher could not follow so many load instructions.

/// How many vectors ahead of its loads a loop prefetches.
pub(super) const PREFETCH_DISTANCE_VECTORS: usize = 4;

/// Sums of one term per element: `$name<T>` accumulates `$step` over the elements of two arrays.
macro_rules! sum_kernels {
    ($features:literal; $($name:ident<$t:ty>($load:ident, $tail:ident): $step:ident;)*) => {$(
        #[target_feature(enable = $features)]
        unsafe fn $name(a: *const $t, b: *const $t, n: usize) -> f32 {
            let mut sums = [zero(); UNROLL];
            let mut i = 0;
            // SAFETY: the caller vouches for n readable elements behind both pointers. i <= n always: it grows
            // by the number of elements that the condition before has found to be left, and the loads of a
            // step read within those elements. The tail reads the n - i < W elements that are left. A prefetch
            // starts at most TURN * W elements before the end.
            unsafe {
                while n - i >= UNROLL * W {
                    if n > 2 * generic::PREFETCH_DISTANCE_VECTORS * W {
                        let ahead = (i + generic::PREFETCH_DISTANCE_VECTORS * W).min(n - UNROLL * W);
                        prefetch(a.add(ahead), UNROLL * W);
                        prefetch(b.add(ahead), UNROLL * W);
                    }
                    for k in 0..UNROLL {
                        sums[k] = $step($load(a.add(i + k * W)), $load(b.add(i + k * W)), sums[k]);
                    }
                    i += UNROLL * W;
                }
                for k in 0..UNROLL - 1 {
                    if n - i >= W {
                        sums[k] = $step($load(a.add(i)), $load(b.add(i)), sums[k]);
                        i += W;
                    }
                }
                if i < n {
                    sums[UNROLL - 1] = $step($tail(a.add(i), n - i), $tail(b.add(i), n - i), sums[UNROLL - 1]);
                }
            }
            let mut half = UNROLL / 2;
            while half > 0 {
                for k in 0..half {
                    sums[k] = add(sums[k], sums[k + half]);
                }
                half /= 2;
            }
            total(sums[0])
        }
    )*};
}

/// Cosine similarity: three sums per element, so two of each keep the multipliers busy. Folding three sums at the
/// end of a vector takes so long that prefetching pays from vectors a little shorter on than for one sum.
macro_rules! cosine_kernels {
    ($features:literal; $($name:ident<$t:ty>($load:ident, $tail:ident);)*) => {$(
        #[target_feature(enable = $features)]
        unsafe fn $name(a: *const $t, b: *const $t, n: usize) -> f64 {
            let (mut dot0, mut aa0, mut bb0) = (zero(), zero(), zero());
            let (mut dot1, mut aa1, mut bb1) = (zero(), zero(), zero());
            let mut i = 0;
            // SAFETY: as for the other sums: each step reads elements that the condition before has found to
            // lie within the n that the caller vouches for, and the tail reads the n - i < W that are left. A
            // prefetch starts at most 2 * W elements before the end.
            unsafe {
                while n - i >= 2 * W {
                    if n >= 2 * generic::PREFETCH_DISTANCE_VECTORS * W {
                        let ahead = (i + generic::PREFETCH_DISTANCE_VECTORS * W).min(n - 2 * W);
                        prefetch(a.add(ahead), 2 * W);
                        prefetch(b.add(ahead), 2 * W);
                    }
                    let (x, y) = ($load(a.add(i)), $load(b.add(i)));
                    (dot0, aa0, bb0) = (fma(x, y, dot0), fma(x, x, aa0), fma(y, y, bb0));
                    let (x, y) = ($load(a.add(i + W)), $load(b.add(i + W)));
                    (dot1, aa1, bb1) = (fma(x, y, dot1), fma(x, x, aa1), fma(y, y, bb1));
                    i += 2 * W;
                }
                if n - i >= W {
                    let (x, y) = ($load(a.add(i)), $load(b.add(i)));
                    (dot0, aa0, bb0) = (fma(x, y, dot0), fma(x, x, aa0), fma(y, y, bb0));
                    i += W;
                }
                if i < n {
                    let (x, y) = ($tail(a.add(i), n - i), $tail(b.add(i), n - i));
                    (dot1, aa1, bb1) = (fma(x, y, dot1), fma(x, x, aa1), fma(y, y, bb1));
                }
            }
            cosine(total(add(dot0, dot1)), total(add(aa0, aa1)), total(add(bb0, bb1)))
        }
    )*};
}

/// Euclidean norms, summed in `f64`.
macro_rules! norm_kernels {
    ($features:literal; $($name:ident<$t:ty>($load:ident, $tail:ident);)*) => {$(
        #[target_feature(enable = $features)]
        unsafe fn $name(a: *const $t, n: usize) -> f64 {
            let (mut s0, mut s1) = (wide_zero(), wide_zero());
            let mut i = 0;
            // SAFETY: each step reads elements that the condition before has found to lie within the n that the
            // caller vouches for, and the tail reads the n - i < W that are left.
            unsafe {
                while n - i >= 2 * W {
                    s0 = wide_square($load(a.add(i)), s0);
                    s1 = wide_square($load(a.add(i + W)), s1);
                    i += 2 * W;
                }
                if n - i >= W {
                    s0 = wide_square($load(a.add(i)), s0);
                    i += W;
                }
                if i < n {
                    s1 = wide_square($tail(a.add(i), n - i), s1);
                }
            }
            wide_total(wide_add(s0, s1)).sqrt()
        }
    )*};
}

/// Elementwise maps of one array: `$name<from, to>` stores the expression over the vector `$x` and, where it
/// takes one, the number `$arg`.
macro_rules! map_kernels {
    ($features:literal; $($name:ident<$t:ty, $u:ty>($load:ident, $tail:ident, $store:ident, $store_tail:ident)
        = |$x:ident $(, $arg:ident: $arg_t:ty)?| $body:expr;)*) => {$(
        #[target_feature(enable = $features)]
        unsafe fn $name(a: *const $t, $($arg: $arg_t,)? out: *mut $u, n: usize) {
            let mut i = 0;
            // SAFETY: the caller vouches for n elements behind both pointers. i + W <= n in the loop; after it
            // n - i < W elements are left, which is what the tail functions read and write.
            unsafe {
                while n - i >= W {
                    let $x = $load(a.add(i));
                    $store(out.add(i), $body);
                    i += W;
                }
                if i < n {
                    let $x = $tail(a.add(i), n - i);
                    $store_tail(out.add(i), $body, n - i);
                }
            }
        }
    )*};
}

/// Elementwise operations on two arrays.
macro_rules! zip_kernels {
    ($features:literal; $($name:ident<$t:ty>($load:ident, $tail:ident, $store:ident, $store_tail:ident)
        = $op:ident;)*) => {$(
        #[target_feature(enable = $features)]
        unsafe fn $name(a: *const $t, b: *const $t, out: *mut $t, n: usize) {
            let mut i = 0;
            // SAFETY: as for the maps of one array, with three pointers.
            unsafe {
                while n - i >= W {
                    $store(out.add(i), $op($load(a.add(i)), $load(b.add(i))));
                    i += W;
                }
                if i < n {
                    let (x, y) = ($tail(a.add(i), n - i), $tail(b.add(i), n - i));
                    $store_tail(out.add(i), $op(x, y), n - i);
                }
            }
        }
    )*};
}

/// Sign bits, eight elements to a byte.
macro_rules! quantize_kernels {
    ($features:literal; $($name:ident<$t:ty>($positive:ident);)*) => {$(
        #[target_feature(enable = $features)]
        unsafe fn $name(a: *const $t, out: *mut u8, n: usize) {
            let (bytes, rest) = (n / 8, n % 8);
            // SAFETY: the caller vouches for n readable elements and ceil(n / 8) writable bytes. Byte k of the
            // loop reads elements 8k..8k+8 <= n. The rest copies the last n % 8 elements into a padded array
            // and writes byte n / 8, which exists because n % 8 > 0.
            unsafe {
                for k in 0..bytes {
                    *out.add(k) = $positive(a.add(8 * k));
                }
                if rest > 0 {
                    let mut block = [<$t>::default(); 8];
                    a.add(8 * bytes).copy_to_nonoverlapping(block.as_mut_ptr(), rest);
                    *out.add(bytes) = $positive(block.as_ptr());
                }
            }
        }
    )*};
}

/// Sums of one term per element between each of several vectors and the [`PANEL`](super::dispatch::PANEL) columns of
/// a panel. Lanes are columns, so nothing is folded at the end, and a load of the panel serves `PANEL_ROWS` vectors:
/// as many as the registers hold sums for, and enough independent sums to hide an addition's latency. A vector left
/// over meets the panel alone and takes four elements to a turn for the same reason.
macro_rules! panel_kernels {
    ($features:literal; $($name:ident: $step:ident;)*) => {$(
        #[target_feature(enable = $features)]
        unsafe fn $name(rows: *const *const f32, count: usize, panel: *const f32, n: usize, out: *mut f32) {
            const V: usize = PANEL / W;
            let mut done = 0;
            // SAFETY: the caller vouches for `count` pointers to n elements each, a panel of n * PANEL and room for
            // count * PANEL. `done + r` stays below `count`, an element's number below n, and V vectors of W are
            // exactly PANEL floats, in the panel's row as in the output's.
            unsafe {
                while count - done >= PANEL_ROWS {
                    let mut sums = [[zero(); V]; PANEL_ROWS];
                    for i in 0..n {
                        let mut columns = [zero(); V];
                        for v in 0..V {
                            columns[v] = load_f32(panel.add(i * PANEL + v * W));
                        }
                        for r in 0..PANEL_ROWS {
                            let x = splat(*(*rows.add(done + r)).add(i));
                            for v in 0..V {
                                sums[r][v] = $step(x, columns[v], sums[r][v]);
                            }
                        }
                    }
                    for r in 0..PANEL_ROWS {
                        for v in 0..V {
                            store_f32(out.add((done + r) * PANEL + v * W), sums[r][v]);
                        }
                    }
                    done += PANEL_ROWS;
                }
                while done < count {
                    let row = *rows.add(done);
                    let mut sums = [[zero(); V]; 4];
                    let mut i = 0;
                    while n - i >= 4 {
                        for k in 0..4 {
                            let x = splat(*row.add(i + k));
                            for v in 0..V {
                                sums[k][v] = $step(x, load_f32(panel.add((i + k) * PANEL + v * W)), sums[k][v]);
                            }
                        }
                        i += 4;
                    }
                    while i < n {
                        let x = splat(*row.add(i));
                        for v in 0..V {
                            sums[0][v] = $step(x, load_f32(panel.add(i * PANEL + v * W)), sums[0][v]);
                        }
                        i += 1;
                    }
                    for v in 0..V {
                        let sum = add(add(sums[0][v], sums[1][v]), add(sums[2][v], sums[3][v]));
                        store_f32(out.add(done * PANEL + v * W), sum);
                    }
                    done += 1;
                }
            }
        }
    )*};
}

/// Kernels whose plain form the compiler turns into good vector code, given a tier's features.
macro_rules! compiled_kernels {
    ($features:literal; $($name:ident($($arg:ident: $t:ty),*) $(-> $r:ty)?;)*) => {$(
        #[target_feature(enable = $features)]
        unsafe fn $name($($arg: $t),*) $(-> $r)? {
            // SAFETY: the same contract.
            unsafe { scalar::$name($($arg),*) }
        }
    )*};
}

/// Every kernel on floats of a tier.
macro_rules! float_kernels {
    ($features:literal) => {
        #[inline]
        #[target_feature(enable = $features)]
        fn square_of_difference(x: Vector, y: Vector, sum: Vector) -> Vector {
            let difference = sub(x, y);
            fma(difference, difference, sum)
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn absolute_difference(x: Vector, y: Vector, sum: Vector) -> Vector {
            add(sum, abs(sub(x, y)))
        }

        sum_kernels! { $features;
            l2_squared_f32<f32>(load_f32, tail_f32): square_of_difference;
            l2_squared_f16<f16>(load_f16, tail_f16): square_of_difference;
            inner_product_f32<f32>(load_f32, tail_f32): fma;
            inner_product_f16<f16>(load_f16, tail_f16): fma;
            l1_f32<f32>(load_f32, tail_f32): absolute_difference;
            l1_f16<f16>(load_f16, tail_f16): absolute_difference;
        }
        panel_kernels! { $features;
            l2_squared_panel: square_of_difference;
            inner_product_panel: fma;
        }
        cosine_kernels! { $features;
            cosine_similarity_f32<f32>(load_f32, tail_f32);
            cosine_similarity_f16<f16>(load_f16, tail_f16);
        }
        norm_kernels! { $features;
            norm_f32<f32>(load_f32, tail_f32);
            norm_f16<f16>(load_f16, tail_f16);
        }
        map_kernels! { $features;
            f16_to_f32<f16, f32>(load_f16, tail_f16, store_f32, store_tail_f32) = |x| x;
            f32_to_f16<f32, f16>(load_f32, tail_f32, store_f16, store_tail_f16) = |x| x;
            scale_f32<f32, f32>(load_f32, tail_f32, store_f32, store_tail_f32) = |x, norm: f64| divide(x, norm);
            scale_f16<f16, f16>(load_f16, tail_f16, store_f16, store_tail_f16) = |x, norm: f64| divide(x, norm);
        }
        zip_kernels! { $features;
            add_f32<f32>(load_f32, tail_f32, store_f32, store_tail_f32) = add;
            sub_f32<f32>(load_f32, tail_f32, store_f32, store_tail_f32) = sub;
            mul_f32<f32>(load_f32, tail_f32, store_f32, store_tail_f32) = mul;
            add_f16<f16>(load_f16, tail_f16, store_f16, store_tail_f16) = add;
            sub_f16<f16>(load_f16, tail_f16, store_f16, store_tail_f16) = sub;
            mul_f16<f16>(load_f16, tail_f16, store_f16, store_tail_f16) = mul;
        }
        quantize_kernels! { $features;
            binary_quantize_f32<f32>(positive_f32);
            binary_quantize_f16<f16>(positive_f16);
        }
    };
}

/// Inner product of bytes, for tiers without masked loads: `products` adds the products of sixteen pairs to a vector
/// of sums, `products_total` sums those. Bytes after the last sixteen go the scalar way.
macro_rules! byte_kernels {
    ($features:literal) => {
        #[target_feature(enable = $features)]
        unsafe fn inner_product_i8(a: *const i8, b: *const i8, n: usize) -> i32 {
            let (mut s0, mut s1) = (products_zero(), products_zero());
            let mut i = 0;
            // SAFETY: each step reads bytes that the condition before has found to lie within the n that the caller
            // vouches for behind both pointers, and the rest is the n - i < 16 that are left.
            unsafe {
                while n - i >= 32 {
                    s0 = products(a.add(i), b.add(i), s0);
                    s1 = products(a.add(i + 16), b.add(i + 16), s1);
                    i += 32;
                }
                if n - i >= 16 {
                    s0 = products(a.add(i), b.add(i), s0);
                    i += 16;
                }
                products_total(s0, s1).wrapping_add(scalar::inner_product_i8(a.add(i), b.add(i), n - i))
            }
        }
    };
}

/// Kernels on bits, for tiers that count a block of `BLOCK` bytes at a time: `ones` counts the bits of a block
/// into a vector of counts, `count_total` sums those. Bytes after the last whole block go the scalar way.
macro_rules! bit_kernels {
    ($features:literal) => {
        #[target_feature(enable = $features)]
        unsafe fn hamming(a: *const u8, b: *const u8, n: usize) -> u64 {
            let mut counts = count_zero();
            let mut i = 0;
            // SAFETY: i + BLOCK <= n in the loop and the rest is n - i bytes, all within the n bytes that the
            // caller vouches for behind both pointers.
            unsafe {
                while n - i >= BLOCK {
                    counts = count_add(counts, ones(xor(load_block(a.add(i)), load_block(b.add(i)))));
                    i += BLOCK;
                }
                count_total(counts) + scalar::differing(a.add(i), b.add(i), n - i)
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn jaccard_distance(a: *const u8, b: *const u8, n: usize) -> f64 {
            let (mut both, mut either) = (count_zero(), count_zero());
            let mut i = 0;
            // SAFETY: as for `hamming`.
            unsafe {
                while n - i >= BLOCK {
                    let (x, y) = (load_block(a.add(i)), load_block(b.add(i)));
                    both = count_add(both, ones(and(x, y)));
                    either = count_add(either, ones(or(x, y)));
                    i += BLOCK;
                }
                let [rest_both, rest_either] = scalar::common(a.add(i), b.add(i), n - i);
                jaccard(count_total(both) + rest_both, count_total(either) + rest_either)
            }
        }
    };
}

/// Codes of residuals, in two passes: their mean square first, then the code and its sums. The residual is
/// taken twice, which is cheaper than to keep it. `plane_bits` gives the bit `p` of each lane's integer, the
/// first lane's lowest.
macro_rules! plane_kernels {
    ($features:literal) => {
        #[target_feature(enable = $features)]
        unsafe fn encode_planes(
            x: *const f32,
            c: *const f32,
            n: usize,
            planes: usize,
            step: f32,
            code: *mut u8,
        ) -> PlaneSums {
            const V: usize = PLANE_BLOCK / W;
            let (mut square, mut centre_along) = ([zero(); V], [zero(); V]);
            // SAFETY: n is a multiple of PLANE_BLOCK, which is V vectors of W, and the caller vouches for n
            // elements behind both pointers.
            unsafe {
                for i in (0..n).step_by(PLANE_BLOCK) {
                    for v in 0..V {
                        let centre = load_f32(c.add(i + v * W));
                        let r = sub(load_f32(x.add(i + v * W)), centre);
                        square[v] = fma(r, r, square[v]);
                        centre_along[v] = fma(r, centre, centre_along[v]);
                    }
                }
            }
            let all = |sums: [Vector; V]| sums.into_iter().map(|sum| total(sum)).sum::<f32>();
            let mut sums =
                PlaneSums { square: all(square), centre_along: all(centre_along), ..PlaneSums::default() };
            let per_step = super::per_step(sums.square, n, step);
            if per_step == 0.0 {
                // SAFETY: the caller vouches for planes * n / 8 writable bytes.
                unsafe { code.write_bytes(0, planes * n / 8) };
                return sums;
            }
            let half = (1u32 << (planes - 1)) as f32;
            let (scale, lowest, highest) = (splat(per_step), splat(-half), splat(half - 1.0));
            let (mut along, mut length, mut across) = ([zero(); V], [zero(); V], [zero(); V]);
            // SAFETY: as above; a block's PLANE_BLOCK bits are two bytes of each plane, which has n / 8.
            unsafe {
                for i in (0..n).step_by(PLANE_BLOCK) {
                    let mut whole = [zero(); V];
                    for v in 0..V {
                        let centre = load_f32(c.add(i + v * W));
                        let r = sub(load_f32(x.add(i + v * W)), centre);
                        whole[v] = max(min(floor(mul(r, scale)), highest), lowest);
                        let y = add(whole[v], splat(0.5));
                        along[v] = fma(y, r, along[v]);
                        length[v] = fma(y, y, length[v]);
                        across[v] = fma(y, centre, across[v]);
                        whole[v] = add(whole[v], splat(half));
                    }
                    for p in 0..planes {
                        let mut bits = 0;
                        for v in 0..V {
                            bits |= plane_bits(whole[v], p as u32) << (v * W);
                        }
                        code.add(p * (n / 8) + i / 8).cast::<u16>().write_unaligned((bits as u16).to_le());
                    }
                }
            }
            (sums.along, sums.length, sums.across) = (all(along), all(length), all(across));
            sums
        }
    };
}

/// The table of a tier whose kernels have the names of the fields.
macro_rules! kernel_table {
    ($tier:ident) => {
        pub(crate) static KERNELS: Kernels = Kernels {
            tier: Tier::$tier,
            l2_squared_f32,
            inner_product_f32,
            l1_f32,
            cosine_similarity_f32,
            l2_squared_f16,
            inner_product_f16,
            l1_f16,
            cosine_similarity_f16,
            l2_squared_panel,
            inner_product_panel,
            norm_f32,
            norm_f16,
            scale_f32,
            scale_f16,
            f16_to_f32,
            f32_to_f16,
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
            add_f32,
            sub_f32,
            mul_f32,
            add_f16,
            sub_f16,
            mul_f16,
            binary_quantize_f32,
            binary_quantize_f16,
            copy_short,
        };
    };
}
