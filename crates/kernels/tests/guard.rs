//! Slices that touch an unmapped page: a kernel that reads or writes one byte too far dies here.
#![cfg(all(unix, not(miri)))]

mod support;

use std::mem::MaybeUninit;
use std::{ptr, slice};
use support::Random;
use vector_kernels::{FAST_ENTRIES, FAST_QUAD, GROUP, PANEL, SHORT, available, f16};

/// A mapping whose first and last page are inaccessible.
struct Guarded {
    base: *mut u8,
    page: usize,
}

/// Accessible pages in the middle.
const PAGES: usize = 2;

impl Guarded {
    fn new() -> Guarded {
        // SAFETY: a fresh private mapping; the two outer pages lie within it.
        unsafe {
            let page = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).unwrap_or(4096);
            let (access, kind) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let base = libc::mmap(ptr::null_mut(), (PAGES + 2) * page, access, kind, -1, 0);
            assert!(base != libc::MAP_FAILED);
            let base = base.cast::<u8>();
            assert_eq!(libc::mprotect(base.cast(), page, libc::PROT_NONE), 0);
            assert_eq!(libc::mprotect(base.add((PAGES + 1) * page).cast(), page, libc::PROT_NONE), 0);
            Guarded { base, page }
        }
    }

    /// The last n elements of the accessible pages, or their first n.
    fn slice<T: Copy>(&mut self, n: usize, at_end: bool) -> &mut [T] {
        let bytes = n * size_of::<T>();
        assert!(bytes <= PAGES * self.page);
        // SAFETY: the bytes lie in the accessible pages, which are initialised (zero) memory; a page is
        // aligned for T and so is its end less a whole number of elements; T is a plain number.
        unsafe {
            let start = self.base.add(self.page);
            let at = if at_end { start.add(PAGES * self.page - bytes) } else { start };
            slice::from_raw_parts_mut(at.cast::<T>(), n)
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, unmapped once.
        unsafe { libc::munmap(self.base.cast(), (PAGES + 2) * self.page) };
    }
}

#[test]
fn nothing_beyond_the_slices_is_touched() {
    let (mut first, mut second, mut third) = (Guarded::new(), Guarded::new(), Guarded::new());
    for k in available() {
        let mut random = Random(11);
        for n in 0..=300 {
            for at_end in [false, true] {
                let a = first.slice::<f32>(n, at_end);
                a.copy_from_slice(&random.floats(n));
                let b = second.slice::<f32>(n, at_end);
                b.copy_from_slice(&random.floats(n));
                let (a, b) = (&*a, &*b);
                support::l2_squared(a, b).check(k.l2_squared_f32(a, b), "l2");
                support::inner_product(a, b).check(k.inner_product_f32(a, b), "inner product");
                support::l1(a, b).check(k.l1_f32(a, b), "l1");
                support::check_cosine(k.cosine_similarity_f32(a, b), a, b, "cosine");
                support::check_norm(k.norm_f32(a), a, "norm");
                let out = third.slice::<f32>(n, at_end);
                k.add_f32(a, b, out);
                k.sub_f32(a, b, out);
                k.mul_f32(a, b, out);
                k.scale_f32(a, 2.0, out);
                k.f32_to_f16(a, third.slice(n, at_end));
                k.binary_quantize_f32(a, third.slice(n.div_ceil(8), at_end));

                if n <= 80 {
                    let panel = third.slice::<f32>(n * PANEL, at_end);
                    panel.copy_from_slice(&random.floats(n * PANEL));
                    let mut out = [[0.0; PANEL]; 9];
                    k.l2_squared_panel(&[a, b, a, b, a, b, a, b, a], panel, &mut out);
                    k.inner_product_panel(&[b, a], panel, &mut out);
                    let out = second.slice::<[f32; PANEL]>(3, at_end);
                    k.l2_squared_panel(&[a; 3], panel, out);
                }

                let a = first.slice::<f16>(n, at_end);
                a.copy_from_slice(&random.halves(n));
                let b = second.slice::<f16>(n, at_end);
                b.copy_from_slice(&random.halves(n));
                let (a, b) = (&*a, &*b);
                let (x, y) = (&support::widened(a)[..], &support::widened(b)[..]);
                support::l2_squared(x, y).check(k.l2_squared_f16(a, b), "l2");
                support::inner_product(x, y).check(k.inner_product_f16(a, b), "inner product");
                support::l1(x, y).check(k.l1_f16(a, b), "l1");
                support::check_cosine(k.cosine_similarity_f16(a, b), x, y, "cosine");
                support::check_norm(k.norm_f16(a), x, "norm");
                let out = third.slice::<f16>(n, at_end);
                k.add_f16(a, b, out);
                k.sub_f16(a, b, out);
                k.mul_f16(a, b, out);
                k.scale_f16(a, 2.0, out);
                k.f16_to_f32(a, third.slice(n, at_end));
                k.binary_quantize_f16(a, third.slice(n.div_ceil(8), at_end));

                let a = first.slice::<u8>(n, at_end);
                a.copy_from_slice(&random.bytes(n));
                let b = second.slice::<u8>(n, at_end);
                b.copy_from_slice(&random.bytes(n));
                let (a, b) = (&*a, &*b);
                assert_eq!(k.hamming(a, b), support::hamming(a, b));
                let signed = |x: &[u8]| x.iter().map(|x| *x as i8).collect::<Vec<_>>();
                let (x, y) = (signed(a), signed(b));
                let a = first.slice::<i8>(n, at_end);
                a.copy_from_slice(&x);
                let b = second.slice::<i8>(n, at_end);
                b.copy_from_slice(&y);
                let want: i32 = x.iter().zip(&y).map(|(x, y)| i32::from(*x) * i32::from(*y)).sum();
                assert_eq!(k.inner_product_i8(a, b), want);
                let n4 = n / GROUP * GROUP;
                if n4 <= 80 {
                    let panel = third.slice::<u8>(n4 * PANEL, at_end);
                    panel.copy_from_slice(&random.bytes(n4 * PANEL));
                    let (a, b) = (first.slice::<i8>(n4, at_end), second.slice::<i8>(n4, at_end));
                    let (a, b) = (&*a, &*b);
                    let mut out = [[0; PANEL]; 9];
                    k.inner_product_byte_panel(&[a, b, a, b, a, b, a, b, a], panel, &mut out);
                    k.inner_product_byte_panel(&[b; 3], panel, &mut out);
                }
                let floats = first.slice::<f32>(n, at_end);
                floats.copy_from_slice(&random.floats(n));
                k.below(floats, 0.5);
                k.encode_i8(floats, third.slice::<i8>(n, at_end));
                let n8 = n / 8 * 8;
                let (codes, query) =
                    (first.slice::<u8>(9 * n8 / 8 * 2, at_end), second.slice::<i8>(n8, at_end));
                let out = third.slice::<i32>(9, at_end);
                assert_eq!(k.plane_products(codes, n8 / 8 * 2, 2, query, out), 9);
                let code = second.slice::<u8>(n8 / 8 * 2, at_end);
                assert_eq!(k.plane_differences(codes, n8 / 8 * 2, 2, code, out), 9);
                if n <= 260 {
                    let table = first.slice::<u8>(n * FAST_QUAD, at_end);
                    let block = second.slice::<u8>(n * FAST_QUAD, at_end);
                    let out = third.slice::<[u32; FAST_ENTRIES]>(1, at_end);
                    k.fastscan(table, block, n, &mut out[0]);
                }
                k.hadamard_f32(first.slice::<f32>(n, at_end));
                k.rotate_f32(first.slice::<f32>(n, at_end), second.slice::<u32>(n, at_end));
                let (a, b) = (first.slice::<u8>(n, at_end), second.slice::<u8>(n, at_end));
                a.copy_from_slice(&random.bytes(n));
                assert_eq!(k.jaccard_distance(a, b), support::jaccard(a, b));
            }
        }
    }
}

#[test]
fn a_short_copy_reads_what_it_copies_and_writes_its_room() {
    let (mut first, mut second) = (Guarded::new(), Guarded::new());
    for k in available() {
        let mut random = Random(12);
        for n in 0..=SHORT + 3 {
            for at_end in [false, true] {
                let from = first.slice::<u8>(n, at_end);
                from.copy_from_slice(&random.bytes(n));
                let to = &mut second.slice::<[MaybeUninit<u8>; SHORT]>(1, at_end)[0];
                let copied = k.copy_short(from, to);
                assert_eq!(copied, &from[..n.min(SHORT)]);
            }
        }
    }
}
