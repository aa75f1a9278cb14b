//! Filter columns of an index: what a column's value is inside it, and conditions on such values.
//!
//! A value is a *key* of eight bytes. Keys of ordered types of a fixed width are in the order of the values, and equal
//! only for equal ones; those of `numeric` are in the order of the values, but rounded; those of other types are
//! hashes; arrays have a bit for each element. Where keys do not say everything, rows that match are *candidates*, and
//! the executor looks at their values again.

mod packed;
mod program;

pub use packed::{MAX_PACKED, Packing, Packings, put_packed};
pub use program::{Kind, Operator, Program, gather};

use zerocopy::IntoBytes;

use crate::space::ValueBuf;
use crate::work::memory::OutOfMemory;

/// Bytes of a key.
pub const KEY_SIZE: usize = size_of::<u64>();
/// Filter columns of an index, at most.
pub const MAX_COLUMNS: usize = 8;
/// The key of NULL.
pub const NULL: u64 = u64::MAX;
/// The largest key of a value. The two largest of 64-bit integers share it.
pub const LAST: u64 = NULL - 1;

/// The key of a value by its number among those of its type, in their order.
#[inline]
pub const fn of_integer(value: i64) -> u64 {
    let key = value as u64 ^ 1 << 63;
    if key > LAST { LAST } else { key }
}

/// The number of [`of_integer`]; of [`LAST`], the smaller of the two that share it.
#[inline]
pub const fn to_integer(key: u64) -> i64 {
    (key ^ 1 << 63) as i64
}

/// The key of a floating-point number in PostgreSQL's order: NaN is equal to NaN and greater than all numbers, and
/// zeros are equal.
#[inline]
pub const fn of_float(value: f64) -> u64 {
    let bits = if value.is_nan() {
        0x7ff8 << 48
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    };
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// The key of a value with this hash.
#[inline]
pub const fn of_hash(hash: u64) -> u64 {
    if hash > LAST { LAST } else { hash }
}

/// What an element with this hash adds to the key of an array, which begins at 0: one of 63 bits, so that no array's
/// key is that of NULL.
#[inline]
pub const fn element_bit(hash: u64) -> u64 {
    1 << (hash % 63)
}

/// The key of an array of which nothing is known: it may have every element.
pub const ANY_ELEMENTS: u64 = u64::MAX >> 1;

/// Makes `item` a value of an index with the keys of its row behind it: what nodes are made of. They are equal when all
/// of it is.
///
/// # Errors
/// No memory.
pub fn put_item(value: &[u8], keys: &[u64], item: &mut ValueBuf) -> Result<(), OutOfMemory> {
    let bytes = item.try_reset(value.len() + keys.len() * KEY_SIZE)?;
    let (to, behind) = bytes.split_at_mut(value.len());
    to.copy_from_slice(value);
    behind.copy_from_slice(keys.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests;
