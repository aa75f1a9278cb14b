//! Values to text.

use super::shortest::{Decimal, F32_ROOM, MAX_F32_TEXT, print_decimal, put};
use crate::value::{DenseElement, SparseView};

/// Bytes of an i32 in decimal, at most.
const MAX_I32_TEXT: usize = 11;

/// Bytes that [`print_dense`] needs at most: every element with its separator, the brackets, and room to print
/// the last element in.
pub const fn dense_text_size(dims: usize) -> usize {
    dims * (MAX_F32_TEXT + 1) + 2 + F32_ROOM
}

/// Bytes that [`print_sparse`] needs at most: `index:value,` for every element, braces, slash, dimensions, and
/// room to print the last element in.
pub const fn sparse_text_size(nnz: usize) -> usize {
    nnz * (MAX_I32_TEXT + 1 + MAX_F32_TEXT + 1) + 3 + MAX_I32_TEXT + F32_ROOM
}

/// Appends to a buffer of sufficient size; what would not fit is dropped, and the sizes above see to it that
/// nothing is.
struct Out<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl Out<'_> {
    #[inline]
    fn byte(&mut self, c: u8) {
        if let Some(slot) = self.buffer.get_mut(self.len) {
            *slot = c;
            self.len += 1;
        }
    }

    #[inline]
    fn float(&mut self, value: f32, decimal: Decimal) {
        if let Some(room) = self.buffer.get_mut(self.len..).and_then(|b| b.first_chunk_mut()) {
            self.len += print_decimal(value, decimal, room);
        }
    }

    fn integer(&mut self, value: i64) {
        let mut digits = itoa::Buffer::new();
        // any valid index and dimension is a u32, which takes half the time
        let text = match u32::try_from(value) {
            Ok(value) => digits.format(value).as_bytes(),
            Err(_) => digits.format(value).as_bytes(),
        };
        put(self.buffer, self.len, text);
        self.len += text.len();
    }
}

/// Prints a dense vector into `buffer`, which has [`dense_text_size`] bytes, and answers how many it took.
pub fn print_dense<T: DenseElement>(elements: &[T], buffer: &mut [u8]) -> usize {
    let mut out = Out { buffer, len: 0 };
    let mut decimals = [Decimal::default(); 32];
    let mut separator = b'[';
    for chunk in elements.chunks(decimals.len()) {
        for (decimal, element) in decimals.iter_mut().zip(chunk) {
            *decimal = Decimal::of(element.to_f32());
        }
        for (&decimal, element) in decimals.iter().zip(chunk) {
            out.byte(separator);
            separator = b',';
            out.float(element.to_f32(), decimal);
        }
    }
    if elements.is_empty() {
        out.byte(b'[');
    }
    out.byte(b']');
    out.len
}

/// Prints a sparse vector into `buffer`, which has [`sparse_text_size`] bytes, and answers how many it took.
pub fn print_sparse(value: &SparseView<'_>, buffer: &mut [u8]) -> usize {
    let mut out = Out { buffer, len: 0 };
    let mut decimals = [Decimal::default(); 32];
    let mut separator = b'{';
    let chunks = value.indices().chunks(decimals.len()).zip(value.values().chunks(decimals.len()));
    for (indices, values) in chunks {
        for (decimal, &element) in decimals.iter_mut().zip(values) {
            *decimal = Decimal::of(element);
        }
        for ((&decimal, &element), &index) in decimals.iter().zip(values).zip(indices) {
            out.byte(separator);
            separator = b',';
            out.integer(i64::from(index) + 1);
            out.byte(b':');
            out.float(element, decimal);
        }
    }
    if value.values().is_empty() {
        out.byte(b'{');
    }
    out.byte(b'}');
    out.byte(b'/');
    out.integer(i64::from(value.dims()));
    out.len
}
