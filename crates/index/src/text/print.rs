//! Values to text.

use super::integer;
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

    /// A byte and a whole number as [`integer::magnitude`] found it.
    #[inline]
    fn whole(&mut self, separator: u8, value: f32, magnitude: u32) {
        let room = self.buffer.get_mut(self.len..).and_then(|b| b.first_chunk_mut::<{ integer::ROOM + 1 }>());
        if let Some([first, rest @ ..]) = room {
            *first = separator;
            self.len += 1 + integer::print(magnitude, value.is_sign_negative(), rest);
        }
    }

    /// A byte and the element behind it.
    #[inline]
    fn number(&mut self, separator: u8, number: &Number) {
        if number.magnitude != integer::NONE {
            return self.whole(separator, number.value, number.magnitude);
        }
        self.byte(separator);
        if let Some(room) = self.buffer.get_mut(self.len..).and_then(|b| b.first_chunk_mut()) {
            self.len += print_decimal(number.value, number.decimal, room);
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

/// Elements that are worked out together: the processor overlaps the steps of several better than the stages of one.
const TOGETHER: usize = 32;

/// An element on its way to text.
#[derive(Clone, Copy, Default)]
struct Number {
    value: f32,
    magnitude: u32,
    decimal: Decimal,
}

/// Elements on their way to text.
struct Numbers {
    /// all are whole numbers, whose decimals are not worked out
    whole: bool,
    numbers: [Number; TOGETHER],
}

impl Numbers {
    fn new() -> Self {
        Numbers { whole: true, numbers: [Number::default(); TOGETHER] }
    }

    /// Takes at most [`TOGETHER`] elements, and answers them worked out.
    #[inline]
    fn of(&mut self, elements: impl ExactSizeIterator<Item = f32>) -> &[Number] {
        let len = elements.len().min(TOGETHER);
        let numbers = &mut self.numbers[..len];
        self.whole = true;
        for (number, value) in numbers.iter_mut().zip(elements) {
            number.value = value;
            number.magnitude = integer::magnitude(value);
            self.whole &= number.magnitude != integer::NONE;
        }
        if !self.whole {
            for number in &mut *numbers {
                number.decimal = Decimal::of(number.value);
            }
        }
        numbers
    }
}

/// Prints a dense vector into `buffer`, which has [`dense_text_size`] bytes, and returns how many it took.
pub fn print_dense<T: DenseElement>(elements: &[T], buffer: &mut [u8]) -> usize {
    let mut out = Out { buffer, len: 0 };
    let mut numbers = Numbers::new();
    let mut separator = b'[';
    for chunk in elements.chunks(TOGETHER) {
        for number in numbers.of(chunk.iter().map(|x| x.to_f32())) {
            out.number(separator, number);
            separator = b',';
        }
    }
    if elements.is_empty() {
        out.byte(b'[');
    }
    out.byte(b']');
    out.len
}

/// Prints a sparse vector into `buffer`, which has [`sparse_text_size`] bytes, and returns how many it took.
pub fn print_sparse(value: &SparseView<'_>, buffer: &mut [u8]) -> usize {
    let mut out = Out { buffer, len: 0 };
    let mut numbers = Numbers::new();
    let mut separator = b'{';
    for (indices, values) in value.indices().chunks(TOGETHER).zip(value.values().chunks(TOGETHER)) {
        for (number, &index) in numbers.of(values.iter().copied()).iter().zip(indices) {
            out.byte(separator);
            separator = b',';
            out.integer(i64::from(index) + 1);
            out.number(b':', number);
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
