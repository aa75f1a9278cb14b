//! `sparsevec`: input and output, norm, comparison.

use core::cmp::Ordering;

use pgrx::pg_sys::Datum;
use vector_index::value::{SparseView, sparsevec_parts_mut, sparsevec_size};
use vector_index::{TypeName, ValueError, text, wire};
use vector_kernels::kernels;

use crate::error::Error;
use crate::pg::call::Call;
use crate::pg::varlena::{self, NewVarlena, Scratch};

/// Argument `n` as a sparse vector.
pub fn argument(call: Call<'_>, n: usize) -> Result<SparseView<'_>, ValueError> {
    SparseView::new(call.varlena(n))
}

/// A new sparse vector; `fill` writes indices and values.
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

/// A new sparse vector from ascending (index, value) pairs.
pub fn build_from(dims: i32, nnz: usize, elements: impl Iterator<Item = (i32, f32)>) -> Result<Datum, Error> {
    build(dims, nnz, |indices, values| {
        for ((i, v), (index, value)) in indices.iter_mut().zip(values).zip(elements) {
            (*i, *v) = (index, value);
        }
        Ok(())
    })
}

/// Text input: (cstring, oid, typmod).
pub fn input(call: Call<'_>) -> Result<Datum, Error> {
    let literal = call.text(0);
    let sparse = text::parse_sparse(literal, call.i32(2)).map_err(|e| Error::text(&e, literal))?;
    build_from(sparse.dims, sparse.elements.len(), sparse.elements.into_iter())
}

/// Text output.
pub fn output(call: Call<'_>) -> Result<Datum, Error> {
    let v = argument(call, 0)?;
    let size = text::sparse_text_size(v.values().len());
    Ok(varlena::cstring(size, |buffer| text::print_sparse(&v, buffer)))
}

/// Binary input: (internal, oid, typmod).
pub fn receive(call: Call<'_>) -> Result<Datum, Error> {
    let mut reader = wire::Reader::new(call.message());
    let (dims, nnz) = wire::read_sparse_header(&mut reader, call.i32(2))?;
    let value = build(dims, nnz, |indices, values| {
        Ok(wire::read_sparse_elements(&mut reader, dims, indices, values)?)
    })?;
    call.advance_message(reader.consumed());
    Ok(value)
}

/// Binary output.
pub fn send(call: Call<'_>) -> Result<Datum, Error> {
    let v = argument(call, 0)?;
    let size = wire::sparse_message_size(v.values().len());
    Ok(varlena::bytea(size, |out| wire::write_sparse(v.dims(), v.indices(), v.values(), out)))
}

/// Type modifier input.
pub fn typmod_in(call: Call<'_>) -> Result<i32, Error> {
    super::dense::typmod(call, TypeName::Sparsevec)
}

/// Euclidean norm.
pub fn norm(call: Call<'_>) -> Result<f64, Error> {
    Ok(kernels().norm_f32(argument(call, 0)?.values()))
}

/// The vector divided by its Euclidean norm; elements that become zero are not stored.
pub fn l2_normalize(call: Call<'_>) -> Result<Datum, Error> {
    let v = argument(call, 0)?;
    let mut scaled = vec![0f32; v.values().len()];
    kernels().scale_f32(v.values(), kernels().norm_f32(v.values()), &mut scaled);
    if scaled.iter().any(|x| x.is_infinite()) {
        return Err(ValueError::Overflow.into());
    }
    let nnz = scaled.iter().filter(|&&x| x != 0.0).count();
    let kept = v.indices().iter().copied().zip(scaled).filter(|&(_, x)| x != 0.0);
    build_from(v.dims(), nnz, kept)
}

/// The btree order.
pub fn compare(call: Call<'_>) -> Result<Ordering, ValueError> {
    let (mut room_a, mut room_b) = (Scratch::new(), Scratch::new());
    let a = SparseView::new(call.varlena_hot(0, &mut room_a))?;
    let b = SparseView::new(call.varlena_hot(1, &mut room_b))?;
    Ok(a.compare(&b))
}
