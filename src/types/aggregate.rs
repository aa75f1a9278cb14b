//! `avg`: the transition value is float8[], the number of values first, then the sum of each dimension.
//! (`sum` uses the `+` operator's function.)

use pgrx::pg_sys::{self, Datum};
use vector_index::ValueError;
use vector_index::value::{DenseView, check_dims, check_element, check_expected_dims};

use super::element::{Element, argument_hot, build_hot};
use crate::error::Error;
use crate::pg::array::{self, Array};
use crate::pg::call::Call;
use crate::pg::varlena::Scratch;

/// A transition value: count and sums.
struct State<'a> {
    count: f64,
    sums: &'a [f64],
}

impl<'a> State<'a> {
    /// Argument `n`; fails when it is not a transition value (someone called `function` by hand).
    fn argument(call: Call<'a>, n: usize, function: &'static str) -> Result<Self, Error> {
        let state = || {
            let array = Array::argument(call, n)?;
            let plain =
                array.ndim() == 1 && !array.has_null_bitmap() && array.element_type() == pg_sys::FLOAT8OID;
            let (count, sums) = array.elements::<f64>().filter(|_| plain)?.split_first()?;
            Some(State { count: *count, sums })
        };
        state().ok_or(Error::StateArray(function))
    }

    /// Dimensions of the sums: 0 before the first value.
    fn dims(&self) -> i32 {
        self.sums.len() as i32
    }
}

/// A new transition value; fails when a sum overflows.
fn build_state(call: Call<'_>, count: f64, sums: impl ExactSizeIterator<Item = f64>) -> Result<Datum, Error> {
    let mut overflow = false;
    let datum = array::build_hot::<f64>(call, pg_sys::FLOAT8OID, sums.len() + 1, |out| {
        if let Some((first, rest)) = out.split_first_mut() {
            *first = count;
            for (slot, sum) in rest.iter_mut().zip(sums) {
                overflow |= sum.is_infinite();
                *slot = sum;
            }
        }
    });
    if overflow { Err(ValueError::Overflow.into()) } else { Ok(datum) }
}

/// Transition function: (state, value). Within an aggregate the state is changed in place.
pub fn accumulate<T: Element>(call: Call<'_>) -> Result<Datum, Error> {
    if let Some((state, changed)) = call.change_transition_hot(accumulate_in_place::<T>)
        && changed?
    {
        return Ok(state);
    }
    let state = State::argument(call, 0, T::ACCUM)?;
    let mut room = Scratch::new();
    let value = argument_hot!(call, 1, T, room)?;
    let count = state.count + 1.0;
    let elements = value.elements().iter().map(|x| f64::from(x.to_f32()));
    if state.sums.is_empty() {
        return build_state(call, count, elements);
    }
    check_expected_dims(state.dims(), value.dims())?;
    build_state(call, count, state.sums.iter().zip(elements).map(|(sum, x)| sum + x))
}

/// False, and nothing done, when the state has no dimensions yet or is no state.
fn accumulate_in_place<T: Element>(state: &mut [u8], value: &[u8]) -> Result<bool, Error> {
    let Some((count, sums)) = array::float8_mut(state).and_then(|state| state.split_first_mut()) else {
        return Ok(false);
    };
    if sums.is_empty() {
        return Ok(false);
    }
    let value = DenseView::<T>::new(value)?;
    check_expected_dims(sums.len() as i32, value.dims())?;
    let mut overflow = false;
    for (sum, x) in sums.iter_mut().zip(value.elements()) {
        *sum += f64::from(x.to_f32());
        overflow |= sum.is_infinite();
    }
    *count += 1.0;
    if overflow { Err(ValueError::Overflow.into()) } else { Ok(true) }
}

/// Combine function, for `vector` and `halfvec`: a state without values adds nothing.
pub fn combine(call: Call<'_>) -> Result<Datum, Error> {
    const NAME: &str = "vector_combine";
    let a = State::argument(call, 0, NAME)?;
    let b = State::argument(call, 1, NAME)?;
    let count = a.count + b.count;
    let ty = vector_index::TypeName::Vector;
    match (a.sums.is_empty(), b.sums.is_empty()) {
        (true, true) => build_state(call, count, [].into_iter()),
        (true, false) => {
            check_dims(ty, b.dims())?;
            copy_state(call, count, b.sums)
        }
        (false, true) => {
            check_dims(ty, a.dims())?;
            copy_state(call, count, a.sums)
        }
        (false, false) => {
            check_dims(ty, a.dims())?;
            check_expected_dims(a.dims(), b.dims())?;
            build_state(call, count, a.sums.iter().zip(b.sums).map(|(a, b)| a + b))
        }
    }
}

/// A state with other sums as they are, infinite or not.
fn copy_state(call: Call<'_>, count: f64, sums: &[f64]) -> Result<Datum, Error> {
    Ok(array::build_hot::<f64>(call, pg_sys::FLOAT8OID, sums.len() + 1, |out| {
        if let Some((first, rest)) = out.split_first_mut() {
            *first = count;
            rest.copy_from_slice(sums);
        }
    }))
}

/// Final function: NULL without values.
pub fn average<T: Element>(call: Call<'_>) -> Result<Option<Datum>, Error> {
    let state = State::argument(call, 0, T::AVG)?;
    if state.count == 0.0 {
        return Ok(None);
    }
    check_dims(T::TYPE, state.dims())?;
    build_hot::<T, Error>(call, state.sums.len(), |out| {
        for (slot, sum) in out.iter_mut().zip(state.sums) {
            let mean = (sum / state.count) as f32;
            *slot = T::convert(mean)?;
            check_element(T::TYPE, mean)?;
        }
        Ok(())
    })
    .map(Some)
}
