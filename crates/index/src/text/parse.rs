//! Text to values.

use half::f16;

use super::number::{Number, parse_any, parse_ordinary, parse_prefix};
use crate::error::{TextError, TypeName, ValueError};
use crate::value::{self, DenseElement, MAX_DIMS, SPARSE_MAX_NNZ};

/// The characters PostgreSQL's scanner takes for white space.
fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// A position in a text that names its type in errors.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    ty: TypeName,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    /// Takes `c` after any white space.
    #[inline]
    fn take(&mut self, c: u8) -> bool {
        self.skip_spaces();
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    #[cold]
    fn syntax(&self) -> TextError {
        TextError::Syntax { ty: self.ty, detail: None }
    }

    #[cold]
    fn syntax_detail(&self, detail: &'static str) -> TextError {
        TextError::Syntax { ty: self.ty, detail: Some(detail) }
    }

    /// Reads a number and answers it with the place where it stands.
    #[inline]
    fn number(&mut self) -> Result<(Number, usize), TextError> {
        self.skip_spaces();
        let start = self.at;
        let number = parse_prefix(self.rest()).ok_or_else(|| self.syntax())?;
        self.at += number.len;
        Ok((number, start))
    }

    #[cold]
    fn out_of_range(&self, start: usize) -> TextError {
        TextError::NumberOutOfRange { ty: self.ty, at: start..self.at }
    }

    /// Reads a decimal integer as `strtol` does and clamps it to `i32`.
    fn integer(&mut self) -> Result<i32, TextError> {
        self.skip_spaces();
        let negative = self.peek() == Some(b'-');
        if matches!(self.peek(), Some(b'+' | b'-')) {
            self.at += 1;
        }
        let start = self.at;
        let mut magnitude: i64 = 0;
        while let Some(c) = self.peek().filter(u8::is_ascii_digit) {
            magnitude = (magnitude * 10 + i64::from(c - b'0')).min(i64::from(u32::MAX));
            self.at += 1;
        }
        if self.at == start {
            return Err(self.syntax());
        }
        let value = if negative { -magnitude } else { magnitude };
        Ok(value.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32)
    }
}

/// An element that the dense text form can hold.
pub trait TextElement: DenseElement {
    /// The element nearest to `value`; infinite when it does not fit.
    fn from_f32(value: f32) -> Self;
}

impl TextElement for f32 {
    #[inline]
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl TextElement for f16 {
    #[inline]
    fn from_f32(value: f32) -> Self {
        f16::from_f32(value)
    }
}

/// A number of elements that [`parse_dense`] will not exceed for this text; at most the type's limit.
pub fn dense_capacity(text: &[u8]) -> usize {
    // counted in bytes, a whole register of them at a time, and none of these overflows
    let blocks =
        text.chunks(255).map(|block| usize::from(block.iter().map(|&c| u8::from(c == b',')).sum::<u8>()));
    let commas = blocks.sum::<usize>();
    (commas + 1).min(MAX_DIMS as usize)
}

/// An element that is not read as others are, or that does not fit.
#[cold]
fn unusual_element<T: TextElement>(cursor: &mut Cursor<'_>) -> Result<T, TextError> {
    let start = cursor.at;
    let number = parse_any(cursor.rest()).ok_or_else(|| cursor.syntax())?;
    cursor.at += number.len;
    let element = T::from_f32(number.value);
    if !element.is_finite() {
        if number.overflow || number.value.is_finite() {
            return Err(cursor.out_of_range(start));
        }
        value::check_element(cursor.ty, number.value)?;
    }
    Ok(element)
}

/// Reads `[x, y, …]` into the front of `out`, which has [`dense_capacity`] elements, and returns how many.
pub fn parse_dense<T: TextElement>(text: &[u8], out: &mut [T]) -> Result<usize, TextError> {
    let ty = T::TYPE;
    let mut cursor = Cursor { text, at: 0, ty };
    if !cursor.take(b'[') {
        return Err(cursor.syntax_detail("Vector contents must start with \"[\"."));
    }
    cursor.skip_spaces();
    if cursor.peek() == Some(b']') {
        return Err(ValueError::TooFewDims(ty).into());
    }

    let mut dims = 0;
    loop {
        // a capacity below the limit has room for every element that the commas can separate
        let slot = out.get_mut(dims).ok_or(ValueError::TooManyDims(ty))?;
        cursor.skip_spaces();
        // in registers: a struct for every number costs half as much as reading it
        *slot = match parse_ordinary(cursor.rest()) {
            Some((value, len)) if T::from_f32(value).is_finite() => {
                cursor.at += len;
                T::from_f32(value)
            }
            _ => unusual_element(&mut cursor)?,
        };
        dims += 1;

        if cursor.peek() == Some(b',') {
            cursor.at += 1;
        } else if cursor.take(b']') {
            break;
        } else if !cursor.take(b',') {
            return Err(cursor.syntax());
        }
    }

    cursor.skip_spaces();
    if cursor.peek().is_some() {
        return Err(cursor.syntax_detail("Junk after closing right brace."));
    }
    Ok(dims)
}

/// A sparse text, read.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseText {
    /// The number of dimensions, as the text says.
    pub dims: i32,
    /// Zero-based index and value of the non-zero elements, by ascending index.
    pub elements: Vec<(i32, f32)>,
}

/// Reads `{index:value, …}/dims`, indices from 1 in any order. Limits and the type modifier (-1: none) are
/// checked in the order in which pgvector checks them.
pub fn parse_sparse(text: &[u8], typmod: i32) -> Result<SparseText, TextError> {
    let ty = TypeName::Sparsevec;
    let mut cursor = Cursor { text, at: 0, ty };
    let capacity = text.iter().map(|&c| usize::from(c == b',')).sum::<usize>() + 1;
    if capacity > SPARSE_MAX_NNZ as usize {
        return Err(ValueError::TooManyNnz.into());
    }
    if !cursor.take(b'{') {
        return Err(cursor.syntax_detail("Vector contents must start with \"{\"."));
    }

    let mut elements = Vec::with_capacity(capacity);
    if !cursor.take(b'}') {
        loop {
            let index = cursor.integer()?;
            if !cursor.take(b':') {
                return Err(cursor.syntax());
            }
            let (number, start) = cursor.number()?;
            if number.overflow || number.underflow {
                return Err(cursor.out_of_range(start));
            }
            value::check_element(ty, number.value)?;
            if number.value != 0.0 {
                // saturating: the lowest i32 is out of bounds either way
                elements.push((index.saturating_sub(1), number.value));
            }
            if cursor.take(b'}') {
                break;
            }
            if !cursor.take(b',') {
                return Err(cursor.syntax());
            }
        }
    }
    if !cursor.take(b'/') {
        return Err(cursor.syntax_detail("Unexpected end of input."));
    }
    let dims = cursor.integer()?;
    cursor.skip_spaces();
    if cursor.peek().is_some() {
        return Err(cursor.syntax_detail("Junk after closing."));
    }

    value::check_dims(ty, dims)?;
    value::check_expected_dims(typmod, dims)?;
    if !elements.is_sorted_by_key(|&(index, _)| index) {
        elements.sort_unstable_by_key(|&(index, _)| index);
    }
    let mut previous = None;
    for &(index, _) in &elements {
        value::check_index(previous, index, dims)?;
        previous = Some(index);
    }
    Ok(SparseText { dims, elements })
}
