//! Every kernel of every tier against a plain oracle, over every tail length and unaligned slices.

mod support;

use support::{Random, lengths, same_f16, widened};
use vector_kernels::{
    BoundTerms, CodeColumns, CodeHead, FAST_ENTRIES, FAST_QUAD, GROUP, Kernels, MAX_PLANES, PANEL, available,
    f16,
};

/// Offsets of a slice in its allocation, in elements. Odd ones break every alignment but the element's own.
const OFFSETS: [(usize, usize); 3] = [(0, 0), (1, 3), (5, 2)];

fn each(mut check: impl FnMut(&Kernels, usize, (usize, usize), &mut Random)) {
    for k in available() {
        let mut random = Random(42);
        for n in lengths() {
            for offsets in OFFSETS {
                check(k, n, offsets, &mut random);
            }
        }
    }
}

#[test]
fn distances_f32() {
    each(|k, n, (i, j), random| {
        let (a, b) = (random.floats(i + n), random.floats(j + n));
        let (a, b) = (&a[i..], &b[j..]);
        let tier = k.tier().name();
        support::l2_squared(a, b).check(k.l2_squared_f32(a, b), tier);
        support::inner_product(a, b).check(k.inner_product_f32(a, b), tier);
        support::l1(a, b).check(k.l1_f32(a, b), tier);
        support::check_cosine(k.cosine_similarity_f32(a, b), a, b, tier);
        support::check_norm(k.norm_f32(a), a, tier);
    });
}

#[test]
fn distances_f16() {
    each(|k, n, (i, j), random| {
        let (a, b) = (random.halves(i + n), random.halves(j + n));
        let (a, b) = (&a[i..], &b[j..]);
        let (x, y) = (&widened(a)[..], &widened(b)[..]);
        let tier = k.tier().name();
        support::l2_squared(x, y).check(k.l2_squared_f16(a, b), tier);
        support::inner_product(x, y).check(k.inner_product_f16(a, b), tier);
        support::l1(x, y).check(k.l1_f16(a, b), tier);
        support::check_cosine(k.cosine_similarity_f16(a, b), x, y, tier);
        support::check_norm(k.norm_f16(a), x, tier);
    });
}

/// Every number of rows up to two batches, rows and panel at odd offsets.
#[test]
fn panels() {
    let lengths = if cfg!(miri) { vec![0, 1, 5] } else { vec![0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 100, 129, 784] };
    for k in available() {
        let mut random = Random(5);
        for &n in &lengths {
            let columns: Vec<Vec<f32>> = (0..PANEL).map(|_| random.floats(n)).collect();
            let mut panel = vec![f32::NAN; 1 + n * PANEL];
            for (c, column) in columns.iter().enumerate() {
                column.iter().enumerate().for_each(|(i, x)| panel[1 + i * PANEL + c] = *x);
            }
            for count in if cfg!(miri) { 0..=9 } else { 0..=17 } {
                let rows: Vec<Vec<f32>> = (0..count).map(|_| random.floats(n + 3)).collect();
                let rows: Vec<&[f32]> = rows.iter().enumerate().map(|(r, x)| &x[r % 4..r % 4 + n]).collect();
                let mut out = vec![[9.0f32; PANEL]; count + 1];
                k.l2_squared_panel(&rows, &panel[1..], &mut out);
                for (row, out) in rows.iter().zip(&out) {
                    columns.iter().zip(out).for_each(|(c, x)| support::l2_squared(row, c).check(*x, "l2"));
                }
                k.inner_product_panel(&rows, &panel[1..], &mut out);
                for (row, out) in rows.iter().zip(&out) {
                    columns.iter().zip(out).for_each(|(c, x)| support::inner_product(row, c).check(*x, "ip"));
                }
                assert_eq!(out[count], [9.0; PANEL]);
            }
        }
    }
}

#[test]
fn panels_use_the_common_prefix() {
    for k in available() {
        let (rows, panel) = ([&[1.0f32, 2.0, 3.0][..], &[1.0, 2.0][..]], [1.0f32; 5 * PANEL - 1]);
        let mut out = [[9.0; PANEL]; 3];
        k.l2_squared_panel(&rows, &panel, &mut out);
        assert_eq!(out, [[1.0; PANEL], [1.0; PANEL], [9.0; PANEL]]);
        k.inner_product_panel(&rows, &panel, &mut out[..1]);
        assert_eq!(out, [[3.0; PANEL], [1.0; PANEL], [9.0; PANEL]]);
    }
}

/// As for panels of floats: every number of rows up to two batches, rows and panel at odd offsets.
#[test]
fn byte_panels() {
    let lengths = if cfg!(miri) { vec![0, 1, 5] } else { vec![0, 1, 2, 3, 4, 5, 7, 8, 9, 25, 196] };
    for k in available() {
        let mut random = Random(6);
        for &n in &lengths {
            let panel = random.bytes(1 + n * GROUP * PANEL);
            let column = |c: usize| {
                let byte = |i: usize| panel[1 + (i / GROUP * PANEL + c) * GROUP + i % GROUP];
                (0..n * GROUP).map(byte).collect::<Vec<_>>()
            };
            let columns: Vec<Vec<u8>> = (0..PANEL).map(column).collect();
            for count in if cfg!(miri) { 0..=9 } else { 0..=17 } {
                let row = |random: &mut Random| {
                    random.bytes(n * GROUP + 6).iter().map(|&x| x as i8).collect::<Vec<_>>()
                };
                let rows: Vec<Vec<i8>> = (0..count).map(|_| row(&mut random)).collect();
                // bytes after the last whole group do not count
                let rows: Vec<&[i8]> =
                    rows.iter().enumerate().map(|(r, x)| &x[r % 3..r % 3 + n * GROUP + r % 4]).collect();
                let mut out = vec![[9i32; PANEL]; count + 1];
                k.inner_product_byte_panel(&rows, &panel[1..], &mut out);
                for (row, out) in rows.iter().zip(&out) {
                    for (column, out) in columns.iter().zip(out) {
                        let want: i32 =
                            row.iter().zip(column).map(|(x, y)| i32::from(*x) * i32::from(*y)).sum();
                        assert_eq!(*out, want, "{}", k.tier().name());
                    }
                }
                assert_eq!(out[count], [9; PANEL]);
            }
        }
    }
}

#[test]
fn codes_are_as_near_as_they_say() {
    each(|k, n, (i, _), random| {
        for factor in [1.0, 1e-9, 1e9] {
            let a: Vec<f32> = random.floats(i + n).iter().map(|x| x * factor).collect();
            let (a, mut bytes) = (&a[i..], vec![7i8; n]);
            let code = k.encode_i8(a, &mut bytes);
            assert_eq!(code.sum, bytes.iter().map(|&x| i32::from(x)).sum::<i32>());
            assert_eq!(code.squares, bytes.iter().map(|&x| i32::from(x) * i32::from(x)).sum::<i32>());
            let lost = |(x, byte): (&f32, &i8)| f64::from(*x) - f64::from(code.scale) * f64::from(*byte);
            let lost: f64 = a.iter().zip(&bytes).map(lost).map(|x| x * x).sum();
            assert!(lost.sqrt() <= f64::from(code.error), "{} {n}", k.tier().name());
            // half a step per element, with the allowance for rounding
            assert!(f64::from(code.error) <= 0.51 * f64::from(code.scale) * (n as f64).sqrt() + 1e-30);
        }
    });
}

#[test]
fn what_does_not_fit_a_code_says_so() {
    for k in available() {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e20, 1e-40] {
            for n in [1, 16, 17, 40] {
                for at in [0, n - 1] {
                    let mut a = vec![if odd == 1e-40 { 0.0 } else { 1.0 }; n];
                    a[at] = odd;
                    let code = k.encode_i8(&a, &mut vec![0; n]);
                    assert!(!(code.error.is_finite() && code.scale.is_finite()), "{} {odd}", k.tier().name());
                }
            }
        }
        let mut bytes = [5i8; 20];
        let code = k.encode_i8(&[0.0; 20], &mut bytes);
        assert_eq!((code.error, code.scale, code.sum, code.squares, bytes), (0.0, 0.0, 0, 0, [0; 20]));
        assert_eq!(k.encode_i8(&[], &mut bytes).error, 0.0);
    }
}

#[test]
fn bits() {
    each(|k, n, (i, j), random| {
        let (a, b) = (random.bytes(i + n), random.bytes(j + n));
        let (a, b) = (&a[i..], &b[j..]);
        let tier = k.tier().name();
        assert_eq!(k.hamming(a, b), support::hamming(a, b), "{tier} {n}");
        assert_eq!(k.jaccard_distance(a, b), support::jaccard(a, b), "{tier} {n}");
        let inverted: Vec<u8> = a.iter().map(|x| !x).collect();
        assert_eq!(k.hamming(a, &inverted), 8 * n as u64, "{tier} {n}");
        assert_eq!(k.jaccard_distance(a, &inverted), 1.0, "{tier} {n}");
    });
}

#[test]
fn bytes() {
    each(|k, n, (i, j), random| {
        let (a, b) = (random.signed(i + n), random.signed(j + n));
        let (a, b) = (&a[i..], &b[j..]);
        let want: i32 = a.iter().zip(b).map(|(x, y)| i32::from(*x) * i32::from(*y)).sum();
        assert_eq!(k.inner_product_i8(a, b), want, "{} {n}", k.tier().name());
        for (x, y) in [(-128, -128), (-128, 127), (127, -128), (127, 127)] {
            let (a, b) = (vec![x as i8; n], vec![y as i8; n]);
            assert_eq!(k.inner_product_i8(&a, &b), x * y * n as i32, "{} {n}", k.tier().name());
        }
    });
}

/// Runs `write` on a slice inside a larger one and checks that nothing around the slice has changed.
fn within<T: Copy + PartialEq + std::fmt::Debug>(
    n: usize,
    offset: usize,
    filler: T,
    write: impl Fn(&mut [T]),
) -> Vec<T> {
    let mut out = vec![filler; offset + n + 9];
    write(&mut out[offset..offset + n]);
    assert!(out[..offset].iter().all(|x| *x == filler), "wrote before the slice, length {n}");
    assert!(out[offset + n..].iter().all(|x| *x == filler), "wrote past the slice, length {n}");
    out[offset..offset + n].to_vec()
}

#[test]
fn elementwise_f32() {
    each(|k, n, (i, j), random| {
        let (a, b) = (random.floats(i + n), random.floats(j + n));
        let (a, b) = (&a[i..], &b[j..]);
        let zip = |f: fn(f32, f32) -> f32| a.iter().zip(b).map(|(x, y)| f(*x, *y)).collect::<Vec<_>>();
        assert_eq!(within(n, j, 9.0, |out| k.add_f32(a, b, out)), zip(|x, y| x + y));
        assert_eq!(within(n, j, 9.0, |out| k.sub_f32(a, b, out)), zip(|x, y| x - y));
        assert_eq!(within(n, j, 9.0, |out| k.mul_f32(a, b, out)), zip(|x, y| x * y));
        let norm = 3.7 + f64::from(random.unit());
        let want: Vec<f32> = a.iter().map(|x| (f64::from(*x) / norm) as f32).collect();
        assert_eq!(within(n, j, 9.0, |out| k.scale_f32(a, norm, out)), want);
        let want: Vec<f16> = a.iter().map(|x| f16::from_f32_const(*x)).collect();
        assert_eq!(within(n, j, f16::MAX, |out| k.f32_to_f16(a, out)), want);
        let bytes = n.div_ceil(8);
        assert_eq!(within(bytes, j, 0x55, |out| k.binary_quantize_f32(a, out)), support::quantized(a));
    });
}

#[test]
fn elementwise_f16() {
    each(|k, n, (i, j), random| {
        let (a, b) = (random.halves(i + n), random.halves(j + n));
        let (a, b) = (&a[i..], &b[j..]);
        let (x, y) = (widened(a), widened(b));
        let zip = |f: fn(f32, f32) -> f32| {
            x.iter().zip(&y).map(|(x, y)| f16::from_f32_const(f(*x, *y))).collect::<Vec<_>>()
        };
        let nine = f16::from_f32_const(9.0);
        assert_eq!(within(n, j, nine, |out| k.add_f16(a, b, out)), zip(|x, y| x + y));
        assert_eq!(within(n, j, nine, |out| k.sub_f16(a, b, out)), zip(|x, y| x - y));
        assert_eq!(within(n, j, nine, |out| k.mul_f16(a, b, out)), zip(|x, y| x * y));
        let norm = 3.7 + f64::from(random.unit());
        let want: Vec<f16> = x.iter().map(|x| f16::from_f32_const((f64::from(*x) / norm) as f32)).collect();
        let got = within(n, j, nine, |out| k.scale_f16(a, norm, out));
        assert!(got.iter().zip(&want).all(|(g, w)| same_f16(*g, *w)));
        assert_eq!(within(n, j, 9.0, |out| k.f16_to_f32(a, out)), x);
        let bytes = n.div_ceil(8);
        assert_eq!(within(bytes, j, 0x55, |out| k.binary_quantize_f16(a, out)), support::quantized(&x));
    });
}

#[test]
fn unequal_lengths_use_the_common_prefix() {
    for k in available() {
        let mut random = Random(7);
        for (n, m) in [(0, 5), (5, 0), (17, 40), (40, 17), (33, 32)] {
            let (a, b) = (random.floats(n), random.floats(m));
            let least = n.min(m);
            assert_eq!(k.l2_squared_f32(&a, &b), k.l2_squared_f32(&a[..least], &b[..least]));
            assert_eq!(k.inner_product_f32(&a, &b), k.inner_product_f32(&a[..least], &b[..least]));
            let (c, d) = (random.bytes(n), random.bytes(m));
            assert_eq!(k.hamming(&c, &d), k.hamming(&c[..least], &d[..least]));
            let mut out = vec![9.0; m];
            k.scale_f32(&a, 2.0, &mut out);
            assert!(out[least..].iter().all(|x| *x == 9.0));
            let mut out = vec![9.0; 3];
            k.add_f32(&a, &b, &mut out);
            assert!(out[least.min(3)..].iter().all(|x| *x == 9.0));
            let mut bits = vec![0x55; 2];
            k.binary_quantize_f32(&a, &mut bits);
            let want = support::quantized(&a[..n.min(16)]);
            assert_eq!(bits[..want.len()], want);
            assert!(bits[want.len()..].iter().all(|x| *x == 0x55));
        }
    }
}

/// Every number of planes, strides with and without a gap, lengths around every vector's; the code at odd addresses.
#[test]
fn plane_products() {
    let lengths = if cfg!(miri) {
        vec![0, 8, 40, 72]
    } else {
        vec![0, 8, 16, 24, 32, 56, 64, 72, 96, 120, 128, 384, 1544, 4040, 4096]
    };
    for k in available() {
        let mut random = Random(7);
        for &n in &lengths {
            for planes in 0..=MAX_PLANES {
                for (count, gap) in [(0, 0), (1, 0), (3, 5), (4, 0), (8, 1), (9, 3), (17, 0)] {
                    let (size, query) = (planes * n / 8, random.signed(n + 7));
                    let stride = size + gap;
                    let codes = random.bytes(1 + stride * count);
                    let mut out = vec![77; count + 1];
                    let found = k.plane_products(&codes[1..], stride, planes, &query, &mut out[..count]);
                    assert_eq!(found, count);
                    for (i, product) in out[..count].iter().enumerate() {
                        let code = &codes[1 + i * stride..];
                        let bit = |p: usize, j: usize| i32::from(code[p * n / 8 + j / 8] >> (j % 8) & 1) << p;
                        let element = |j: usize| (0..planes).map(|p| bit(p, j)).sum::<i32>();
                        let want: i32 = (0..n).map(|j| element(j) * i32::from(query[j])).sum();
                        assert_eq!(*product, want, "{} n {n} planes {planes}", k.tier().name());
                    }
                    assert_eq!(out[count], 77);
                }
            }
        }
    }
}

/// The largest products, as many as a code may have: none of the sums on the way may overflow.
#[test]
fn plane_products_of_the_largest() {
    for k in available() {
        for n in [4032, 4064, 4072, 16_384] {
            for (value, count) in [(i8::MIN, 8), (i8::MAX, 9)] {
                let (query, codes) = (vec![value; n], vec![0xff; count * n / 8 * MAX_PLANES]);
                let mut out = vec![0; count];
                assert_eq!(k.plane_products(&codes, n / 8 * MAX_PLANES, MAX_PLANES, &query, &mut out), count);
                let want = n as i32 * i32::from(value) * ((1 << MAX_PLANES) - 1);
                assert!(out.iter().all(|&product| product == want), "{} n {n}", k.tier().name());
            }
        }
    }
}

#[test]
fn plane_products_stop_where_codes_end() {
    for k in available() {
        let (query, mut out) = ([1i8; 64], [9; 4]);
        // two whole codes of two planes and a part of a third
        assert_eq!(k.plane_products(&[0xff; 16 * 2 + 15], 16, 2, &query, &mut out), 2);
        assert_eq!(out, [192, 192, 9, 9]);
        assert_eq!(k.plane_products(&[0xff; 15], 16, 2, &query, &mut out), 0);
    }
}

/// One row and many panels are one row and each of them.
#[test]
fn row_bounds() {
    for k in available() {
        let mut random = Random(15);
        for n in [0usize, 1, 2, 5, 28, 33] {
            let panels = 5;
            let row = random.signed(n * GROUP);
            let bytes = random.bytes(panels * n * GROUP * PANEL);
            let number =
                |random: &mut Random| -> [f32; PANEL] { std::array::from_fn(|_| random.floats(1)[0].abs()) };
            let columns: Vec<CodeColumns> = (0..panels)
                .map(|_| CodeColumns {
                    scale: number(&mut random),
                    square: number(&mut random),
                    error: number(&mut random),
                    norm: number(&mut random),
                })
                .collect();
            let excess = 128 * row.iter().map(|&x| i32::from(x)).sum::<i32>();
            let head = CodeHead { scale: 0.01, excess, square: 1.5, norm: 1.2, error: 0.1 };
            for euclidean in [true, false] {
                let (mut lower, mut least) = (vec![[7.0; PANEL]; panels + 1], vec![7.0; panels]);
                let done =
                    k.code_row_bounds((&row, &head), &bytes, &columns, euclidean, &mut lower, &mut least);
                assert_eq!(done, panels);
                for (at, columns) in columns.iter().enumerate() {
                    let (mut products, mut want) = ([[0; PANEL]], [[0.0; PANEL]]);
                    let size = n * GROUP * PANEL;
                    k.inner_product_byte_panel(&[&row], &bytes[at * size..(at + 1) * size], &mut products);
                    match euclidean {
                        true => k.code_l2_bounds(&[head], columns, &products, &mut want),
                        false => k.code_inner_product_bounds(&[head], columns, &products, &mut want),
                    }
                    let near = |a: f32, b: f32| (a - b).abs() <= 1e-5 * (1.0 + b.abs());
                    assert!(lower[at].iter().zip(&want[0]).all(|(a, b)| near(*a, *b)), "{n} {at}");
                    assert_eq!(least[at], lower[at].iter().copied().fold(f32::INFINITY, f32::min));
                }
                assert_eq!(lower[panels], [7.0; PANEL]);
            }
        }
    }
}

/// Every number of bytes around a word's, with all planes; a code and codes at odd addresses.
#[test]
fn plane_differences() {
    for k in available() {
        let mut random = Random(14);
        for bytes in if cfg!(miri) { vec![0, 3, 8, 10] } else { (0..=34).chain([96, 98, 192]).collect() } {
            for planes in 1..=MAX_PLANES {
                let (size, count) = (planes * bytes, 3);
                let stride = size + 5;
                let (codes, one) = (random.bytes(1 + stride * count), random.bytes(1 + size));
                let mut out = [77; 4];
                let found = k.plane_differences(&codes[1..], stride, planes, &one[1..], &mut out[..count]);
                assert_eq!(found, if size > 0 { count } else { found });
                for (i, differing) in out[..count].iter().enumerate().filter(|_| size > 0) {
                    let plane = |code: &[u8], p: usize| code[p * bytes..(p + 1) * bytes].to_vec();
                    let want: u32 = (0..planes * planes)
                        .map(|both| {
                            let (p, q) = (both / planes, both % planes);
                            let (a, b) = (plane(&codes[1 + i * stride..], p), plane(&one[1..], q));
                            a.iter().zip(&b).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>() << (p + q)
                        })
                        .sum();
                    assert_eq!(*differing, want as i32, "{} {bytes} bytes, {planes}", k.tier().name());
                }
                assert_eq!(out[count], 77);
            }
        }
        // one whole code and a part of another
        let mut out = [9; 2];
        assert_eq!(k.plane_differences(&[0xff; 31], 16, 2, &[0; 16], &mut out), 1);
        assert_eq!(out, [64 * 9, 9]);
    }
}

/// Every number of quads around a vector's and a turn's, with the largest bytes, too; tables and blocks at odd
/// addresses; what is beyond the quads asked for takes no part.
#[test]
fn fastscan() {
    let mut numbers: Vec<usize> = (0..=9).collect();
    if !cfg!(miri) {
        numbers.extend([16, 25, 32, 96, 255, 256, 257, 258, 259, 260, 384, 511, 512, 513, 1000, 1027, 4096]);
    }
    for k in available() {
        let mut random = Random(10);
        for &quads in &numbers {
            for largest in [false, true] {
                let mut table = random.bytes(1 + (quads + 1) * FAST_QUAD);
                let block = random.bytes(1 + (quads + 2) * FAST_QUAD);
                if largest {
                    table.fill(255);
                }
                let (table, block) = (&table[1..], &block[1..]);
                let want = |quads: usize| -> [u32; FAST_ENTRIES] {
                    std::array::from_fn(|e| {
                        let nibble = |q: usize| block[q * FAST_QUAD + e % 16] >> (e / 16 * 4) & 15;
                        (0..quads).map(|q| u32::from(table[q * FAST_QUAD + usize::from(nibble(q))])).sum()
                    })
                };
                let mut out = [77; FAST_ENTRIES];
                k.fastscan(table, block, quads, &mut out);
                assert_eq!(out, want(quads), "{} {quads}", k.tier().name());
                // no more than both slices hold
                k.fastscan(table, block, usize::MAX, &mut out);
                assert_eq!(out, want(quads + 1), "{} {quads}", k.tier().name());
            }
        }
    }
}

/// Bounds against double precision, damaged factors included, and what is below a limit, every length.
#[test]
fn code_bounds_and_what_is_below() {
    for k in available() {
        let mut random = Random(13);
        for n in 0..70 {
            let products: Vec<i32> = (0..n).map(|_| (random.bits() % 20_000) as i32 - 10_000).collect();
            let (mut adds, scales) = (random.floats(n), random.floats(n));
            let terms = BoundTerms { base: 2.0, add: 1.5, scale: -0.001, middle: 300.0, spread: 0.25 };
            if n > 5 {
                (adds[2], adds[4]) = (f32::NAN, f32::INFINITY);
            }
            let mut out = vec![7.0; n + 1];
            k.code_bounds(&products, &adds, &scales, &terms, &mut out);
            for i in 0..n {
                let (p, a, s) = (f64::from(products[i]), f64::from(adds[i]), f64::from(scales[i]));
                let want = 2.0 + 1.5 * a - 0.001 * (p - 300.0) * s - 0.25 * s.abs();
                let near = (f64::from(out[i]) - want).abs() < 1e-5 * (1.0 + p.abs() * 1e-3);
                assert!(
                    near || want.is_nan() && out[i] == f32::INFINITY || want == f64::from(out[i]),
                    "{n} {i}"
                );
            }
            assert_eq!(out[n], 7.0);
            for limit in [0.0, 2.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                let want = (0..n.min(64)).filter(|i| out[*i] < limit).fold(0u64, |bits, i| bits | 1 << i);
                assert_eq!(k.below(&out[..n], limit), want, "{} {n} {limit}", k.tier().name());
            }
        }
    }
}

/// Codes as their definition has them, at the bounds of the range, too; sums against double precision.
#[test]
fn encode_planes() {
    let lengths = if cfg!(miri) { vec![0, 16, 48] } else { vec![0, 16, 32, 48, 112, 384, 1536] };
    for k in available() {
        let mut random = Random(9);
        for &n in &lengths {
            for (planes, step) in [(1, 1.596f32), (2, 0.9957), (4, 0.3352)] {
                // the last few elements take no part, and an odd address
                let (x, c) = (random.floats(n + 6), random.floats(n + 6));
                let (x, c) = (&x[1..], &c[1..]);
                let mut code = vec![0xaa; planes * n / 8 + 1];
                let (code_end, whole) = (planes * n / 8, &mut code[..]);
                let sums = k.encode_planes(x, c, planes, step, &mut whole[..code_end]);
                let r: Vec<f32> = (0..n).map(|j| x[j] - c[j]).collect();
                let square: f64 = r.iter().map(|r| f64::from(*r).powi(2)).sum();
                let sigma = (square / n.max(1) as f64).sqrt();
                let (half, top) = (1i32 << (planes - 1), (1i32 << planes) - 1);
                let mut want = [square, 0.0, 0.0, 0.0, 0.0];
                for j in 0..n {
                    let u: i32 =
                        (0..planes).map(|p| i32::from(code[p * n / 8 + j / 8] >> (j % 8) & 1) << p).sum();
                    let exact = f64::from(r[j]) / (f64::from(step) * sigma) + f64::from(half);
                    let (low, high) = ((exact - 1e-4).floor() as i32, (exact + 1e-4).floor() as i32);
                    assert!(u == low.clamp(0, top) || u == high.clamp(0, top), "{u} of {exact}");
                    let y = f64::from(u) - f64::from(top) / 2.0;
                    let terms = [0.0, f64::from(r[j]) * f64::from(c[j]), y * f64::from(r[j]), y * y];
                    terms.iter().zip(&mut want).for_each(|(term, want)| *want += term);
                    want[4] += y * f64::from(c[j]);
                }
                let got = [sums.square, sums.centre_along, sums.along, sums.length, sums.across];
                for (got, want) in got.iter().zip(want) {
                    let slack = 1e-5 * (1.0 + square + want.abs() + n as f64);
                    assert!((f64::from(*got) - want).abs() < slack, "{:?} {got} {want}", k.tier());
                }
                assert_eq!(code[code_end], 0xaa);
            }
        }
        // nothing to encode
        let mut code = [0xaa; 4];
        for (x, c) in [(1.0, 1.0), (3e38, 0.0), (f32::NAN, 0.0)] {
            let sums = k.encode_planes(&[x; 16], &[c; 16], 2, 1.0, &mut code);
            assert!(code == [0; 4] && sums.along == 0.0 && sums.across == 0.0);
        }
        assert_eq!(k.encode_planes(&[1.0; 15], &[0.0; 15], 1, 1.0, &mut [0; 2]), Default::default());
    }
}

/// The transform as its definition has it, every power of two; what lies beyond the power stays.
#[test]
fn hadamard() {
    for k in available() {
        let mut random = Random(8);
        for log in 0..if cfg!(miri) { 5 } else { 12 } {
            let n = 1usize << log;
            let input = random.floats(n + n / 2);
            let mut out = input.clone();
            assert_eq!(k.hadamard_f32(&mut out), n);
            for (i, x) in out[..n].iter().enumerate().step_by(n.div_ceil(64)) {
                let sign = |j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
                let want: f64 = (0..n).map(|j| sign(j) * f64::from(input[j])).sum();
                assert!(
                    (f64::from(*x) - want).abs() < 1e-5 * n as f64,
                    "{} of {n}: {x}, {want}",
                    k.tier().name()
                );
            }
            assert_eq!(out[n..], input[n..]);
            // to the last bit: codes on disk are made with it
            let mut plain = input.clone();
            available().take(1).for_each(|scalar| _ = scalar.hadamard_f32(&mut plain));
            assert_eq!(out, plain, "{} {n}", k.tier().name());
        }
        assert_eq!(k.hadamard_f32(&mut []), 0);
    }
}
