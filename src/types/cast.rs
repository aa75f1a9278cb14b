//! Casts: between the types, from and to arrays, and to a type modifier. Each takes (value, typmod, explicit).

use half::f16;
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, Datum};
use vector_index::value::{self, DenseView, SPARSE_MAX_NNZ, SparseView, check_nnz};
use vector_index::{TypeName, ValueError};

use super::element::{Element, argument_hot, build_hot};
use super::sparse;
use crate::error::Error;
use crate::pg::array::{self, Array};
use crate::pg::call::Call;
use crate::pg::varlena::Scratch;

/// Dimensions that a result of type `ty` may have, against limits and typmod.
fn check_result(ty: TypeName, dims: usize, typmod: i32) -> Result<(), ValueError> {
    let dims = i32::try_from(dims).unwrap_or(i32::MAX);
    value::check_dims(ty, dims)?;
    value::check_expected_dims(typmod, dims)
}

/// A dense vector to its own type with a modifier.
#[inline]
pub fn dense_typmod<T: Element>(call: Call<'_>) -> Result<Datum, ValueError> {
    let mut room = Scratch::new();
    let (bytes, value) = call.kept_hot(0, &mut room);
    value::check_expected_dims(call.i32(1), DenseView::<T>::new(bytes)?.dims())?;
    Ok(value)
}

/// A sparse vector to its own type with a modifier.
#[inline]
pub fn sparse_typmod(call: Call<'_>) -> Result<Datum, ValueError> {
    let mut room = Scratch::new();
    let (bytes, value) = call.kept_hot(0, &mut room);
    value::check_expected_dims(call.i32(1), SparseView::new(bytes)?.dims())?;
    Ok(value)
}

/// The array in argument 0, its shape checked against the result's type.
fn array_argument(call: Call<'_>, ty: TypeName) -> Result<Array<'_>, Error> {
    let array = Array::argument(call, 0).ok_or_else(unsupported)?;
    if array.ndim() > 1 {
        return Err(Error::Fixed(PgSqlErrorCode::ERRCODE_DATA_EXCEPTION, "array must be 1-D"));
    }
    if array.contains_nulls() {
        let code = PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED;
        return Err(Error::Fixed(code, "array must not contain nulls"));
    }
    check_result(ty, array.len(), call.i32(1))?;
    Ok(array)
}

fn unsupported() -> Error {
    Error::Fixed(PgSqlErrorCode::ERRCODE_DATA_EXCEPTION, "unsupported array type")
}

/// Calls `take` with each element as f32, in order: what PostgreSQL cannot convert is an error in its turn.
fn each_element(array: Array<'_>, take: impl FnMut(f32) -> Result<(), Error>) -> Result<(), Error> {
    match array.element_type() {
        pg_sys::INT4OID => {
            array.elements::<i32>().ok_or_else(unsupported)?.iter().map(|&x| x as f32).try_for_each(take)
        }
        pg_sys::FLOAT8OID => {
            array.elements::<f64>().ok_or_else(unsupported)?.iter().map(|&x| x as f32).try_for_each(take)
        }
        pg_sys::FLOAT4OID => {
            array.elements::<f32>().ok_or_else(unsupported)?.iter().copied().try_for_each(take)
        }
        pg_sys::NUMERICOID => array.numerics_to_f32().try_for_each(take),
        _ => Err(unsupported()),
    }
}

/// int4[], float4[], float8[] or numeric[] to a dense vector.
pub fn array_to_dense<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let array = array_argument(call, T::TYPE)?;
    build_hot::<T, Error>(call, array.len(), |out| {
        let mut slots = out.iter_mut();
        each_element(array, |x| {
            if let Some(slot) = slots.next() {
                *slot = T::convert(x)?;
            }
            Ok(())
        })?;
        out.iter().try_for_each(|x| value::check_element(T::TYPE, x.to_f32()))?;
        Ok(())
    })
}

/// int4[], float4[], float8[] or numeric[] to a sparse vector.
pub fn array_to_sparse(call: Call<'_>) -> Result<Datum, Error> {
    let array = array_argument(call, TypeName::Sparsevec)?;
    // an array may have more elements than a value, and more than there is memory for
    let (mut stored, mut nnz, mut at) = (Vec::new(), 0i32, 0i32);
    each_element(array, |x| {
        if x != 0.0 {
            nnz = nnz.saturating_add(1);
            if nnz <= SPARSE_MAX_NNZ {
                stored.push((at, x));
            }
        }
        at = at.saturating_add(1);
        Ok(())
    })?;
    let dims = array.len() as i32; // checked above
    check_nnz(nnz, dims)?;
    let value = sparse::build(dims, stored.len(), |indices, values| {
        for ((index, value), &(at, x)) in indices.iter_mut().zip(values).zip(&stored) {
            (*index, *value) = (at, x);
        }
        Ok(())
    })?;
    stored.iter().try_for_each(|&(_, x)| value::check_element(TypeName::Sparsevec, x))?;
    Ok(value)
}

/// Dimensions of a sparse vector of these elements, which the caller has checked, and how many it stores.
#[inline]
fn sparse_size<T: Element>(elements: &[T]) -> Result<(i32, usize), ValueError> {
    let dims = elements.len() as i32;
    let nnz = elements.iter().map(|x| usize::from(!x.is_zero())).sum();
    check_nnz(i32::try_from(nnz).unwrap_or(i32::MAX), dims)?;
    Ok((dims, nnz))
}

/// Stores the elements that are not zero, for which there is room.
#[inline]
fn store_sparse<T: Element>(elements: &[T], indices: &mut [i32], values: &mut [f32]) {
    if values.len() == elements.len() {
        indices.iter_mut().zip(0..).for_each(|(slot, i)| *slot = i);
        return T::widen(elements, values);
    }
    let mut room = [0f32; 64];
    let (mut at, mut index) = (0, 0);
    for chunk in elements.chunks(room.len()) {
        T::widen(chunk, &mut room);
        for &x in room.iter().take(chunk.len()) {
            // Which elements are zero cannot be predicted: each is stored, and a zero overwritten by the next.
            if let (Some(i), Some(value)) = (indices.get_mut(at), values.get_mut(at)) {
                (*i, *value) = (index, x);
            }
            at += usize::from(x != 0.0);
            index += 1;
        }
    }
}

/// A dense vector to float4[].
#[inline]
pub fn dense_to_float4<T: Element>(call: Call<'_>) -> Result<Datum, ValueError> {
    let mut room = Scratch::new();
    let v = argument_hot!(call, 0, T, room)?.elements();
    Ok(array::build_hot::<f32>(call, pg_sys::FLOAT4OID, v.len(), |out| T::widen(v, out)))
}

/// `vector` to `halfvec`; an element that does not fit is an error.
#[inline]
pub fn vector_to_halfvec(call: Call<'_>) -> Result<Datum, ValueError> {
    let mut room = Scratch::new();
    let v = argument_hot!(call, 0, f32, room)?.elements();
    check_result(TypeName::Halfvec, v.len(), call.i32(1))?;
    build_hot::<f16, _>(call, v.len(), |out| f16::convert_all(v, out))
}

/// `halfvec` to `vector`.
#[inline]
pub fn halfvec_to_vector(call: Call<'_>) -> Result<Datum, ValueError> {
    let mut room = Scratch::new();
    let v = argument_hot!(call, 0, f16, room)?.elements();
    check_result(TypeName::Vector, v.len(), call.i32(1))?;
    build_hot::<f32, _>(call, v.len(), |out| {
        f16::widen(v, out);
        Ok(())
    })
}

/// A dense vector to a sparse one.
#[inline]
pub fn dense_to_sparse<T: Element>(call: Call<'_>) -> Result<Datum, ValueError> {
    let mut room = Scratch::new();
    let v = argument_hot!(call, 0, T, room)?.elements();
    check_result(TypeName::Sparsevec, v.len(), call.i32(1))?;
    let (dims, nnz) = sparse_size(v)?;
    sparse::build_hot(call, dims, nnz, |indices, values| {
        store_sparse(v, indices, values);
        Ok(())
    })
}

/// A sparse vector to a dense one.
#[inline]
pub fn sparse_to_dense<T: Element>(call: Call<'_>) -> Result<Datum, ValueError> {
    let mut room = Scratch::new();
    let v = SparseView::new(call.varlena_hot(0, &mut room))?;
    let dims = usize::try_from(v.dims()).unwrap_or(0);
    check_result(T::TYPE, dims, call.i32(1))?;
    build_hot::<T, _>(call, dims, |out| {
        let mut converted = [T::from_f32(0.0); 64];
        for (indices, values) in v.indices().chunks(64).zip(v.values().chunks(64)) {
            T::convert_all(values, &mut converted)?;
            for (&i, &x) in indices.iter().zip(&converted) {
                let slot = usize::try_from(i).ok().and_then(|i| out.get_mut(i));
                *slot.ok_or(ValueError::Corrupted(TypeName::Sparsevec))? = x;
            }
        }
        Ok(())
    })
}
