//! `sparsevec`: input and output, norm, comparison.

use core::cmp::Ordering;

use pgrx::pg_sys::Datum;
use vector_index::value::{SparseView, sparsevec_parts_mut, sparsevec_size};
use vector_index::{TypeName, ValueError, text, wire};

use super::element::Element;
use crate::error::Error;
use crate::pg::call::Call;
use crate::pg::varlena::{NewVarlena, Scratch};

/// A new sparse vector, made with the guard: the caller may hold what needs dropping. `fill` writes indices and values.
pub fn build(
    dims: i32,
    nnz: usize,
    fill: impl FnOnce(&mut [i32], &mut [f32]) -> Result<(), Error>,
) -> Result<Datum, Error> {
    let mut value = NewVarlena::zeroed(sparsevec_size(nnz));
    let (indices, values) = sparsevec_parts_mut(value.bytes_mut(), dims).ok_or(ValueError::TooManyNnz)?;
    fill(indices, values)?;
    Ok(value.into_datum())
}

/// A new sparse vector; `fill` writes indices and values.
#[inline]
pub fn build_hot<E: From<ValueError>>(
    call: Call<'_>,
    dims: i32,
    nnz: usize,
    fill: impl FnOnce(&mut [i32], &mut [f32]) -> Result<(), E>,
) -> Result<Datum, E> {
    let mut value = call.new_varlena_hot(sparsevec_size(nnz));
    let (indices, values) = sparsevec_parts_mut(value.bytes_mut(), dims).ok_or(ValueError::TooManyNnz)?;
    fill(indices, values)?;
    Ok(value.into_datum())
}

/// Text input: (cstring, oid, typmod).
pub fn input(call: Call<'_>) -> Result<Datum, Error> {
    let literal = call.text(0);
    let sparse = text::parse_sparse(literal, call.i32(2)).map_err(|e| Error::text(&e, literal))?;
    build(sparse.dims, sparse.elements.len(), |indices, values| {
        for ((i, v), &(index, value)) in indices.iter_mut().zip(values).zip(&sparse.elements) {
            (*i, *v) = (index, value);
        }
        Ok(())
    })
}

/// Text output.
pub fn output(call: Call<'_>) -> Result<Datum, Error> {
    let mut room = Scratch::new();
    let v = SparseView::new(call.varlena_hot(0, &mut room))?;
    let size = text::sparse_text_size(v.values().len());
    Ok(call.cstring_hot(size, |buffer| text::print_sparse(&v, buffer)))
}

/// Binary input: (internal, oid, typmod).
pub fn receive(call: Call<'_>) -> Result<Datum, Error> {
    let mut reader = wire::Reader::new(call.message());
    let (dims, nnz) = wire::read_sparse_header(&mut reader, call.i32(2))?;
    let value = build_hot::<ValueError>(call, dims, nnz, |indices, values| {
        wire::read_sparse_elements(&mut reader, dims, indices, values)
    })?;
    call.advance_message(reader.consumed());
    Ok(value)
}

/// Binary output.
pub fn send(call: Call<'_>) -> Result<Datum, Error> {
    let mut room = Scratch::new();
    let v = SparseView::new(call.varlena_hot(0, &mut room))?;
    let size = wire::sparse_message_size(v.values().len());
    Ok(call.bytea_hot(size, |out| wire::write_sparse(v.dims(), v.indices(), v.values(), out)))
}

/// Type modifier input.
pub fn typmod_in(call: Call<'_>) -> Result<i32, Error> {
    super::dense::typmod(call, TypeName::Sparsevec)
}

/// Euclidean norm.
#[inline]
pub fn norm(call: Call<'_>) -> Result<f64, ValueError> {
    let mut room = Scratch::new();
    Ok(f32::norm(SparseView::new(call.varlena_hot(0, &mut room))?.values()))
}

/// The vector divided by its Euclidean norm; elements that become zero are not stored.
#[inline]
pub fn l2_normalize(call: Call<'_>) -> Result<Datum, ValueError> {
    let mut room = Scratch::new();
    let v = SparseView::new(call.varlena_hot(0, &mut room))?;
    let norm = f32::norm(v.values());
    let mut zeros = 0;
    let whole = build_hot(call, v.dims(), v.values().len(), |indices, values| {
        f32::scale(v.values(), norm, values);
        if values.iter().fold(false, |found, x| found | x.is_infinite()) {
            return Err(ValueError::Overflow);
        }
        zeros = values.iter().map(|&x| usize::from(x == 0.0)).sum();
        indices.iter_mut().zip(v.indices()).for_each(|(to, &from)| *to = from);
        Ok(())
    })?;
    if zeros == 0 {
        return Ok(whole);
    }
    build_hot(call, v.dims(), v.values().len().saturating_sub(zeros), |indices, values| {
        let mut slots = indices.iter_mut().zip(values);
        let mut scaled = [0f32; 64];
        for (from, unscaled) in v.indices().chunks(64).zip(v.values().chunks(64)) {
            f32::scale(unscaled, norm, &mut scaled);
            for (&index, &x) in from.iter().zip(&scaled).filter(|&(_, &x)| x != 0.0) {
                if let Some((i, value)) = slots.next() {
                    (*i, *value) = (index, x);
                }
            }
        }
        Ok(())
    })
}

/// The btree order.
pub fn compare(call: Call<'_>) -> Result<Ordering, ValueError> {
    let (mut room_a, mut room_b) = (Scratch::new(), Scratch::new());
    let a = SparseView::new(call.varlena_hot(0, &mut room_a))?;
    let b = SparseView::new(call.varlena_hot(1, &mut room_b))?;
    Ok(a.compare(&b))
}
