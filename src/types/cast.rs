//! Casts: between the types, from and to arrays, and to a type modifier. Each takes (value, typmod, explicit).

use half::f16;
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, Datum};
use vector_index::value::{self, SPARSE_MAX_NNZ, check_nnz};
use vector_index::{TypeName, ValueError};
use vector_kernels::kernels;

use super::element::{Element, argument, build};
use super::sparse;
use crate::error::Error;
use crate::pg::array::{self, Array};
use crate::pg::call::Call;
use crate::pg::varlena;

/// Dimensions that a result of type `ty` may have, against limits and typmod.
fn check_result(ty: TypeName, dims: usize, typmod: i32) -> Result<(), ValueError> {
    let dims = i32::try_from(dims).unwrap_or(i32::MAX);
    value::check_dims(ty, dims)?;
    value::check_expected_dims(typmod, dims)
}

/// A dense vector to its own type with a modifier.
pub fn dense_typmod<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let bytes = call.varlena(0);
    let v = vector_index::value::DenseView::<T>::new(bytes)?;
    value::check_expected_dims(call.i32(1), v.dims())?;
    Ok(varlena::same(bytes))
}

/// A sparse vector to its own type with a modifier.
pub fn sparse_typmod(call: Call<'_>) -> Result<Datum, Error> {
    let bytes = call.varlena(0);
    let v = vector_index::value::SparseView::new(bytes)?;
    value::check_expected_dims(call.i32(1), v.dims())?;
    Ok(varlena::same(bytes))
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
    build::<T>(array.len(), |out| {
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
    let value = sparse::build_from(dims, stored.len(), stored.iter().copied())?;
    stored.iter().try_for_each(|&(_, x)| value::check_element(TypeName::Sparsevec, x))?;
    Ok(value)
}

/// The non-zero elements of `elements` as a sparse vector.
fn to_sparse(dims: usize, elements: impl Iterator<Item = f32> + Clone) -> Result<Datum, Error> {
    let dims = dims as i32; // checked by the callers
    let stored = elements.zip(0..).filter(|&(x, _)| x != 0.0).map(|(x, i)| (i, x));
    let nnz = stored.clone().count();
    check_nnz(i32::try_from(nnz).unwrap_or(i32::MAX), dims)?;
    sparse::build_from(dims, nnz, stored)
}

/// A dense vector to float4[].
pub fn dense_to_float4<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let v = argument::<T>(call, 0)?.elements();
    Ok(array::build::<f32>(pg_sys::FLOAT4OID, v.len(), |out| {
        for (slot, x) in out.iter_mut().zip(v) {
            *slot = x.to_f32();
        }
    }))
}

/// `vector` to `halfvec`; an element that does not fit is an error.
pub fn vector_to_halfvec(call: Call<'_>) -> Result<Datum, Error> {
    let v = argument::<f32>(call, 0)?.elements();
    check_result(TypeName::Halfvec, v.len(), call.i32(1))?;
    build::<f16>(v.len(), |out| {
        kernels().f32_to_f16(v, out);
        if out.iter().any(|h| h.is_infinite()) {
            v.iter().try_for_each(|&x| f16::convert(x).map(drop))?;
        }
        Ok(())
    })
}

/// `halfvec` to `vector`.
pub fn halfvec_to_vector(call: Call<'_>) -> Result<Datum, Error> {
    let v = argument::<f16>(call, 0)?.elements();
    check_result(TypeName::Vector, v.len(), call.i32(1))?;
    build::<f32>(v.len(), |out| {
        kernels().f16_to_f32(v, out);
        Ok(())
    })
}

/// A dense vector to a sparse one.
pub fn dense_to_sparse<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let v = argument::<T>(call, 0)?.elements();
    check_result(TypeName::Sparsevec, v.len(), call.i32(1))?;
    to_sparse(v.len(), v.iter().map(|x| x.to_f32()))
}

/// A sparse vector to a dense one.
pub fn sparse_to_dense<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let v = sparse::argument(call, 0)?;
    let dims = v.dims();
    check_result(T::TYPE, usize::try_from(dims).unwrap_or(0), call.i32(1))?;
    build::<T>(dims as usize, |out| {
        for (&i, &x) in v.indices().iter().zip(v.values()) {
            let slot = usize::try_from(i).ok().and_then(|i| out.get_mut(i));
            *slot.ok_or(ValueError::Corrupted(TypeName::Sparsevec))? = T::convert(x)?;
        }
        Ok(())
    })
}
