//! `vector` and `halfvec`: input and output, arithmetic, comparison.

use core::cmp::Ordering;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Datum;
use vector_index::value::{self, DenseView};
use vector_index::{TypeName, ValueError, text, wire};

use super::element::{Element, argument_hot, build_hot};
use crate::error::Error;
use crate::pg::call::Call;
use crate::pg::varlena::Scratch;
use crate::pg::{array, bits};

/// Text input: (cstring, oid, typmod).
pub fn input<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let literal = call.text(0);
    let typmod = call.i32(2);
    let capacity = text::dense_capacity(literal);
    build_hot::<T, Error>(call, capacity, |elements| {
        let dims = text::parse_dense(literal, elements).map_err(|e| Error::text(&e, literal))?;
        // every comma separated two elements, or the text would not have been read
        debug_assert_eq!(dims, capacity);
        Ok(value::check_expected_dims(typmod, dims as i32)?)
    })
}

/// Text output.
pub fn output<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let mut room = Scratch::new();
    let v = argument_hot!(call, 0, T, room)?.elements();
    Ok(call.cstring_hot(text::dense_text_size(v.len()), |buffer| text::print_dense(v, buffer)))
}

/// Binary input: (internal, oid, typmod).
pub fn receive<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let mut reader = wire::Reader::new(call.message());
    let dims = wire::read_dense_header::<T>(&mut reader, call.i32(2))?;
    let value = build_hot::<T, ValueError>(call, dims, |out| wire::read_dense_elements(&mut reader, out))?;
    call.advance_message(reader.consumed());
    Ok(value)
}

/// Binary output.
pub fn send<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    let mut room = Scratch::new();
    let v = argument_hot!(call, 0, T, room)?.elements();
    Ok(call.bytea_hot(wire::dense_message_size::<T>(v.len()), |out| wire::write_dense(v, out)))
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
#[inline]
pub fn norm<T: Element>(call: Call<'_>) -> Result<f64, ValueError> {
    let mut room = Scratch::new();
    Ok(T::norm(argument_hot!(call, 0, T, room)?.elements()))
}

#[inline]
fn check_overflow<T: Element>(elements: &[T]) -> Result<(), ValueError> {
    // no early exit, so that the loop is a vector one
    let overflow = elements.iter().fold(false, |found, e| found | e.is_infinite());
    if overflow { Err(ValueError::Overflow) } else { Ok(()) }
}

/// The vector divided by its Euclidean norm; a zero vector stays as it is.
#[inline]
pub fn l2_normalize<T: Element>(call: Call<'_>) -> Result<Datum, ValueError> {
    let mut room = Scratch::new();
    let v = argument_hot!(call, 0, T, room)?.elements();
    let norm = T::norm(v);
    build_hot::<T, _>(call, v.len(), |out| {
        if norm > 0.0 {
            T::scale(v, norm, out);
            check_overflow(out)?;
        }
        Ok(())
    })
}

/// One bit per element: above zero or not.
#[inline]
pub fn binary_quantize<T: Element>(call: Call<'_>) -> Result<Datum, ValueError> {
    let mut room = Scratch::new();
    let v = argument_hot!(call, 0, T, room)?.elements();
    Ok(bits::build_hot(call, v.len(), |out| T::binary_quantize(v, out)))
}

/// Writes `from` to as many elements of `to`.
#[inline]
fn copy<T: Element>(from: &[T], to: &mut [T]) {
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
}

/// (vector, start, count), start from 1.
#[inline]
pub fn subvector<T: Element>(call: Call<'_>) -> Result<Datum, ValueError> {
    let mut room = Scratch::new();
    let v = argument_hot!(call, 0, T, room)?;
    let range = value::subvector_range(T::TYPE, v.dims(), call.i32(1), call.i32(2))?;
    let part = v.elements().get(range).unwrap_or_default();
    build_hot::<T, _>(call, part.len(), |out| {
        copy(part, out);
        Ok(())
    })
}

/// Elementwise sum. As the transition function of `sum` it adds to the transition value in place.
#[inline]
pub fn add<T: Element>(call: Call<'_>) -> Result<Datum, ValueError> {
    match call.change_transition_hot(add_in_place::<T>) {
        Some((state, result)) => result.map(|()| state),
        None => elementwise::<T>(call, T::add, |_, _, out| check_overflow(out)),
    }
}

fn add_in_place<T: Element>(state: &mut [u8], value: &[u8]) -> Result<(), ValueError> {
    let value = DenseView::<T>::new(value)?;
    DenseView::<T>::new(state)?.check_same_dims(&value)?;
    let mut room = [T::from_f32(0.0); 256];
    // the kernels read from one place and write to another
    for (sum, b) in DenseView::<T>::elements_mut(state)?.chunks_mut(256).zip(value.elements().chunks(256)) {
        copy(sum, &mut room);
        T::add(&room, b, sum);
        check_overflow(sum)?;
    }
    Ok(())
}

/// Elementwise difference.
#[inline]
pub fn sub<T: Element>(call: Call<'_>) -> Result<Datum, ValueError> {
    elementwise::<T>(call, T::sub, |_, _, out| check_overflow(out))
}

/// Elementwise product.
#[inline]
pub fn mul<T: Element>(call: Call<'_>) -> Result<Datum, ValueError> {
    elementwise::<T>(call, T::mul, |a, b, out| {
        let mut suspect = false;
        for ((r, a), b) in out.iter().zip(a).zip(b) {
            suspect |= r.is_infinite() | (r.is_zero() & !a.is_zero() & !b.is_zero());
        }
        if suspect { check_product(a, b, out) } else { Ok(()) }
    })
}

/// The first offence decides which error it is.
#[cold]
fn check_product<T: Element>(a: &[T], b: &[T], product: &[T]) -> Result<(), ValueError> {
    for ((r, a), b) in product.iter().zip(a).zip(b) {
        if r.is_infinite() {
            return Err(ValueError::Overflow);
        }
        if r.is_zero() && !a.is_zero() && !b.is_zero() {
            return Err(ValueError::Underflow);
        }
    }
    Ok(())
}

#[inline(always)]
fn elementwise<T: Element>(
    call: Call<'_>,
    kernel: impl FnOnce(&[T], &[T], &mut [T]),
    check: impl FnOnce(&[T], &[T], &[T]) -> Result<(), ValueError>,
) -> Result<Datum, ValueError> {
    let (mut room_a, mut room_b) = (Scratch::new(), Scratch::new());
    let a = argument_hot!(call, 0, T, room_a)?;
    let b = argument_hot!(call, 1, T, room_b)?;
    a.check_same_dims(&b)?;
    let (a, b) = (a.elements(), b.elements());
    build_hot::<T, _>(call, a.len(), |out| {
        kernel(a, b, out);
        check(a, b, out)
    })
}

/// One vector after the other.
#[inline]
pub fn concat<T: Element>(call: Call<'_>) -> Result<Datum, ValueError> {
    let (mut room_a, mut room_b) = (Scratch::new(), Scratch::new());
    let a = argument_hot!(call, 0, T, room_a)?;
    let b = argument_hot!(call, 1, T, room_b)?;
    value::check_dims(T::TYPE, a.dims() + b.dims())?;
    let (a, b) = (a.elements(), b.elements());
    build_hot::<T, _>(call, a.len() + b.len(), |out| {
        if let Some((first, second)) = out.split_at_mut_checked(a.len()) {
            copy(a, first);
            copy(b, second);
        }
        Ok(())
    })
}

/// The btree order.
#[inline]
pub fn compare<T: Element>(call: Call<'_>) -> Result<Ordering, ValueError> {
    let (mut room_a, mut room_b) = (Scratch::new(), Scratch::new());
    let a = argument_hot!(call, 0, T, room_a)?;
    let b = argument_hot!(call, 1, T, room_b)?;
    Ok(a.compare(&b))
}
