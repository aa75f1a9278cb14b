//! `vector` and `halfvec`: input and output, arithmetic, comparison.

use core::cmp::Ordering;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Datum;
use vector_index::value::{self, DenseView};
use vector_index::{TypeName, ValueError, text, wire};

use super::element::{Element, argument, build};
use crate::error::Error;
use crate::pg::call::Call;
use crate::pg::varlena::{self, NewVarlena, Scratch};
use crate::pg::{array, bits};

/// Text input: (cstring, oid, typmod).
pub fn input<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let literal = call.text(0);
    let typmod = call.i32(2);
    let capacity = text::dense_capacity(literal);
    let mut value = NewVarlena::zeroed(DenseView::<T>::size(capacity));
    let elements = DenseView::<T>::init(value.bytes_mut()).ok_or(ValueError::TooManyDims(T::TYPE))?;
    let dims = text::parse_dense(literal, elements).map_err(|e| Error::text(&e, literal))?;
    value::check_expected_dims(typmod, dims as i32)?;
    // every comma separated two elements, or the text would not have been read
    debug_assert_eq!(dims, capacity);
    Ok(value.into_datum())
}

/// Text output.
pub fn output<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let v = argument::<T>(call, 0)?;
    let size = text::dense_text_size(v.elements().len());
    Ok(varlena::cstring(size, |buffer| text::print_dense(v.elements(), buffer)))
}

/// Binary input: (internal, oid, typmod).
pub fn receive<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let mut reader = wire::Reader::new(call.message());
    let dims = wire::read_dense_header::<T>(&mut reader, call.i32(2))?;
    let value = build::<T>(dims, |out| Ok(wire::read_dense_elements(&mut reader, out)?))?;
    call.advance_message(reader.consumed());
    Ok(value)
}

/// Binary output.
pub fn send<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let v = argument::<T>(call, 0)?;
    let size = wire::dense_message_size::<T>(v.elements().len());
    Ok(varlena::bytea(size, |out| wire::write_dense(v.elements(), out)))
}

/// Type modifier input.
pub fn typmod_in<T: Element>(call: Call<'_>) -> Result<i32, Error> {
    typmod(call, T::TYPE)
}

/// The one modifier of a type: its dimensions.
pub fn typmod(call: Call<'_>, ty: TypeName) -> Result<i32, Error> {
    const CODE: PgSqlErrorCode = PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;
    match array::typmods(call)[..] {
        [dims] if dims < 1 => {
            Err(Error::Message(CODE, format!("dimensions for type {ty} must be at least 1")))
        }
        [dims] if dims > ty.max_dims() => {
            Err(Error::Message(CODE, format!("dimensions for type {ty} cannot exceed {}", ty.max_dims())))
        }
        [dims] => Ok(dims),
        _ => Err(Error::Fixed(CODE, "invalid type modifier")),
    }
}

/// Number of dimensions: the header says it, so no more than that is fetched of a value stored out of line.
#[inline]
pub fn dims<T: Element>(call: Call<'_>) -> Result<i32, ValueError> {
    let mut room = Scratch::new();
    value::dense_dims(call.varlena_prefix_hot(0, 4, &mut room)).ok_or(ValueError::Corrupted(T::TYPE))
}

/// Euclidean norm.
pub fn norm<T: Element>(call: Call<'_>) -> Result<f64, Error> {
    Ok(T::norm(argument::<T>(call, 0)?.elements()))
}

fn check_overflow<T: Element>(elements: &[T]) -> Result<(), Error> {
    // no early exit, so that the loop is a vector one
    let overflow = elements.iter().fold(false, |found, e| found | e.is_infinite());
    if overflow { Err(ValueError::Overflow.into()) } else { Ok(()) }
}

/// The vector divided by its Euclidean norm; a zero vector stays as it is.
pub fn l2_normalize<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let v = argument::<T>(call, 0)?.elements();
    let norm = T::norm(v);
    build::<T>(v.len(), |out| {
        if norm > 0.0 {
            T::scale(v, norm, out);
            check_overflow(out)?;
        }
        Ok(())
    })
}

/// One bit per element: above zero or not.
pub fn binary_quantize<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let v = argument::<T>(call, 0)?.elements();
    Ok(bits::build(v.len(), |out| T::binary_quantize(v, out)))
}

/// (vector, start, count), start from 1.
pub fn subvector<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let v = argument::<T>(call, 0)?;
    let range = value::subvector_range(T::TYPE, v.dims(), call.i32(1), call.i32(2))?;
    let part = v.elements().get(range).unwrap_or_default();
    build::<T>(part.len(), |out| {
        out.copy_from_slice(part);
        Ok(())
    })
}

/// Elementwise sum. As the transition function of `sum` it adds to the transition value in place.
pub fn add<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    match call.change_transition(add_in_place::<T>) {
        Some((state, result)) => result.map(|()| state),
        None => elementwise::<T>(call, T::add),
    }
}

fn add_in_place<T: Element>(state: &mut [u8], value: &[u8]) -> Result<(), Error> {
    let value = DenseView::<T>::new(value)?;
    DenseView::<T>::new(state)?.check_same_dims(&value)?;
    let mut room = [T::from_f32(0.0); 256];
    // the kernels read from one place and write to another
    for (sum, b) in DenseView::<T>::elements_mut(state)?.chunks_mut(256).zip(value.elements().chunks(256)) {
        let a = &mut room[..sum.len()];
        a.copy_from_slice(sum);
        T::add(a, b, sum);
        check_overflow(sum)?;
    }
    Ok(())
}

/// Elementwise difference.
pub fn sub<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    elementwise::<T>(call, T::sub)
}

fn elementwise<T: Element>(call: Call<'_>, kernel: fn(&[T], &[T], &mut [T])) -> Result<Datum, Error> {
    let (a, b) = (argument::<T>(call, 0)?, argument::<T>(call, 1)?);
    a.check_same_dims(&b)?;
    build::<T>(a.elements().len(), |out| {
        kernel(a.elements(), b.elements(), out);
        check_overflow(out)
    })
}

/// Elementwise product.
pub fn mul<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let (a, b) = (argument::<T>(call, 0)?, argument::<T>(call, 1)?);
    a.check_same_dims(&b)?;
    build::<T>(a.elements().len(), |out| {
        T::mul(a.elements(), b.elements(), out);
        let mut suspect = false;
        for ((r, a), b) in out.iter().zip(a.elements()).zip(b.elements()) {
            suspect |= r.is_infinite() | (r.is_zero() & !a.is_zero() & !b.is_zero());
        }
        if !suspect {
            return Ok(());
        }
        // the first offence decides which error it is
        for ((r, a), b) in out.iter().zip(a.elements()).zip(b.elements()) {
            if r.is_infinite() {
                return Err(ValueError::Overflow.into());
            }
            if r.is_zero() && !a.is_zero() && !b.is_zero() {
                return Err(ValueError::Underflow.into());
            }
        }
        Ok(())
    })
}

/// One vector after the other.
pub fn concat<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let (a, b) = (argument::<T>(call, 0)?, argument::<T>(call, 1)?);
    value::check_dims(T::TYPE, a.dims() + b.dims())?;
    let (a, b) = (a.elements(), b.elements());
    build::<T>(a.len() + b.len(), |out| {
        out[..a.len()].copy_from_slice(a);
        out[a.len()..].copy_from_slice(b);
        Ok(())
    })
}

/// The btree order.
#[inline]
pub fn compare<T: Element>(call: Call<'_>) -> Result<Ordering, ValueError> {
    let (mut room_a, mut room_b) = (Scratch::new(), Scratch::new());
    let a = DenseView::<T>::new(call.varlena_hot(0, &mut room_a))?;
    let b = DenseView::<T>::new(call.varlena_hot(1, &mut room_b))?;
    Ok(a.compare(&b))
}
