//! The binary wire forms: the stored fields in network byte order, without the varlena header.
//!
//! Readers check in the order in which the bytes arrive, so that the first thing wrong is the one reported.

use half::f16;

use crate::error::{TypeName, ValueError};
use crate::value::{self, DenseElement};

/// A message and how far it has been read.
#[derive(Debug)]
pub struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the front of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Reader { data, at: 0 }
    }

    /// Bytes read so far.
    pub fn consumed(&self) -> usize {
        self.at
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ValueError> {
        let bytes = self.data.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let bytes = *bytes.ok_or(ValueError::Truncated)?;
        self.at += N;
        Ok(bytes)
    }

    fn i16(&mut self) -> Result<i16, ValueError> {
        self.take().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, ValueError> {
        self.take().map(i32::from_be_bytes)
    }
}

/// An element as it travels.
pub trait WireElement: DenseElement {
    /// Bytes of one element.
    const SIZE: usize = size_of::<Self>();
    /// The element in [`Self::SIZE`] bytes; zero from any other number of bytes.
    fn read(bytes: &[u8]) -> Self;
    /// Writes the element into [`Self::SIZE`] bytes.
    fn write(self, out: &mut [u8]);
}

impl WireElement for f32 {
    #[inline]
    fn read(bytes: &[u8]) -> Self {
        bytes.try_into().map(f32::from_be_bytes).unwrap_or_default()
    }
    #[inline]
    fn write(self, out: &mut [u8]) {
        out.copy_from_slice(&self.to_be_bytes());
    }
}

impl WireElement for f16 {
    #[inline]
    fn read(bytes: &[u8]) -> Self {
        bytes.try_into().map(f16::from_be_bytes).unwrap_or_default()
    }
    #[inline]
    fn write(self, out: &mut [u8]) {
        out.copy_from_slice(&self.to_be_bytes());
    }
}

/// Reads the header of a `vector` or `halfvec` and returns its dimensions, checked against the type's limits
/// and the type modifier (-1: none).
pub fn read_dense_header<T: DenseElement>(reader: &mut Reader<'_>, typmod: i32) -> Result<usize, ValueError> {
    let dims = i32::from(reader.i16()?);
    let unused = i32::from(reader.i16()?);
    value::check_dims(T::TYPE, dims)?;
    value::check_expected_dims(typmod, dims)?;
    if unused != 0 {
        return Err(ValueError::Unused(unused));
    }
    Ok(dims as usize)
}

/// Reads the elements of a `vector` or `halfvec`. An element that may not be stored is reported before a
/// message that ends after it.
pub fn read_dense_elements<T: WireElement>(reader: &mut Reader<'_>, out: &mut [T]) -> Result<(), ValueError> {
    let rest = reader.data.get(reader.at..).unwrap_or_default();
    let wanted = out.len() * T::SIZE;
    let mut read = 0;
    let mut finite = true;
    // no early exit, so that the loop is a vector one
    for (slot, bytes) in out.iter_mut().zip(rest.chunks_exact(T::SIZE)) {
        *slot = T::read(bytes);
        finite &= slot.is_finite();
        read += 1;
    }
    if !finite {
        out[..read].iter().try_for_each(|x| value::check_element(T::TYPE, x.to_f32()))?;
    }
    if read < out.len() {
        return Err(ValueError::Truncated);
    }
    reader.at += wanted;
    Ok(())
}

/// Bytes of the message for a dense vector.
pub fn dense_message_size<T: WireElement>(dims: usize) -> usize {
    4 + dims * T::SIZE
}

/// Writes a dense vector; `out` has [`dense_message_size`] bytes.
pub fn write_dense<T: WireElement>(elements: &[T], out: &mut [u8]) {
    let (header, body) = out.split_at_mut(4);
    header[..2].copy_from_slice(&(elements.len() as u16).to_be_bytes());
    header[2..].fill(0);
    for (element, slot) in elements.iter().zip(body.chunks_exact_mut(T::SIZE)) {
        element.write(slot);
    }
}

/// Reads the header of a `sparsevec`: dimensions and stored elements, both checked.
pub fn read_sparse_header(reader: &mut Reader<'_>, typmod: i32) -> Result<(i32, usize), ValueError> {
    let dims = reader.i32()?;
    let nnz = reader.i32()?;
    let unused = reader.i32()?;
    value::check_dims(TypeName::Sparsevec, dims)?;
    value::check_nnz(nnz, dims)?;
    value::check_expected_dims(typmod, dims)?;
    if unused != 0 {
        return Err(ValueError::Unused(unused));
    }
    Ok((dims, nnz as usize))
}

/// Reads the indices, then the values of a `sparsevec`.
pub fn read_sparse_elements(
    reader: &mut Reader<'_>,
    dims: i32,
    indices: &mut [i32],
    values: &mut [f32],
) -> Result<(), ValueError> {
    let rest = reader.data.get(reader.at..).unwrap_or_default();
    let (index_bytes, rest) = rest.split_at_checked(indices.len() * 4).unwrap_or((rest, &[]));
    let wanted = (indices.len() + values.len()) * 4;

    // No early exit, so that the loops are vector ones; what is wrong is looked for afterwards.
    let mut read = 0;
    let mut ascending = true;
    let mut previous = -1;
    for (slot, bytes) in indices.iter_mut().zip(index_bytes.as_chunks().0) {
        *slot = i32::from_be_bytes(*bytes);
        ascending &= *slot > previous;
        previous = *slot;
        read += 1;
    }
    if !ascending || previous >= dims {
        value::check_indices(&indices[..read], dims)?;
    }
    if read < indices.len() {
        return Err(ValueError::Truncated);
    }
    let mut read = 0;
    let mut storable = true;
    for (slot, bytes) in values.iter_mut().zip(rest.as_chunks().0) {
        *slot = f32::from_be_bytes(*bytes);
        storable &= slot.is_finite() & (*slot != 0.0);
        read += 1;
    }
    if !storable {
        for &value in &values[..read] {
            value::check_element(TypeName::Sparsevec, value)?;
            if value == 0.0 {
                return Err(ValueError::ZeroValue);
            }
        }
    }
    if read < values.len() {
        return Err(ValueError::Truncated);
    }
    reader.at += wanted;
    Ok(())
}

/// Bytes of the message for a sparse vector.
pub fn sparse_message_size(nnz: usize) -> usize {
    12 + nnz * 8
}

/// Writes a sparse vector; `out` has [`sparse_message_size`] bytes.
pub fn write_sparse(dims: i32, indices: &[i32], values: &[f32], out: &mut [u8]) {
    let words = [dims, indices.len() as i32, 0];
    let words = words.iter().chain(indices).map(|i| i.to_be_bytes());
    let words = words.chain(values.iter().map(|v| v.to_be_bytes()));
    for (word, slot) in words.zip(out.chunks_exact_mut(4)) {
        slot.copy_from_slice(&word);
    }
}
