//! SQL arrays (src/include/utils/array.h): reading one-dimensional ones in place, making them.

use pgrx::pg_sys::{self, Datum, Oid};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::call::Call;
use super::{ffi, server};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(C)]
struct Header {
    varlena: u32,
    ndim: i32,
    dataoffset: i32,
    elemtype: u32,
}

/// Header and the dimension and lower bound of a one-dimensional array without NULLs; its data follows.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header1 {
    header: Header,
    dim: i32,
    lower_bound: i32,
}

const _: () = assert!(size_of::<Header1>() == 24 && size_of::<Header>() == size_of::<pg_sys::ArrayType>());

/// A detoasted array.
#[derive(Clone, Copy)]
pub struct Array<'a> {
    bytes: &'a [u8],
    header: Header,
}

impl<'a> Array<'a> {
    /// Argument `n` of a call; `None` when the value is too short to be an array.
    pub fn argument(call: Call<'a>, n: usize) -> Option<Self> {
        Self::new(call.varlena(n))
    }

    /// An array in place.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let (header, _) = Header::read_from_prefix(bytes).ok()?;
        Some(Array { bytes, header })
    }

    /// Number of dimensions; 0 for an empty array.
    pub fn ndim(&self) -> i32 {
        self.header.ndim
    }

    /// The element type.
    pub fn element_type(&self) -> Oid {
        Oid::from(self.header.elemtype)
    }

    /// Elements of an array of at most one dimension.
    pub fn len(&self) -> usize {
        if self.header.ndim != 1 {
            return 0;
        }
        let dim = self.bytes.get(16..20).and_then(|b| i32::read_from_bytes(b).ok());
        dim.and_then(|d| usize::try_from(d).ok()).unwrap_or(0)
    }

    /// The array has a null bitmap (which may still hold no NULL).
    pub fn has_null_bitmap(&self) -> bool {
        self.header.dataoffset != 0
    }

    /// At least one element is NULL.
    pub fn contains_nulls(&self) -> bool {
        // SAFETY: the bytes are a whole detoasted array; the function only reads.
        self.has_null_bitmap()
            && unsafe { server::array_contains_nulls(self.bytes.as_ptr().cast_mut().cast()) }
    }

    /// The elements in place, for a type of fixed width without NULLs; `None` if they are not there.
    pub fn elements<T: FromBytes + Immutable + KnownLayout>(&self) -> Option<&'a [T]> {
        let count = self.len();
        let offset = if self.has_null_bitmap() {
            usize::try_from(self.header.dataoffset).ok()?
        } else {
            (16 + 8 * self.header.ndim.max(0) as usize).next_multiple_of(8)
        };
        if count == 0 {
            return Some(&[]);
        }
        let data = self.bytes.get(offset..)?;
        <[T]>::ref_from_prefix_with_elems(data, count).ok().map(|(elements, _)| elements)
    }

    /// The elements of a numeric array without NULLs as f32, each converted by PostgreSQL (which raises when
    /// one is out of range).
    pub fn numerics_to_f32(&self) -> impl Iterator<Item = f32> + use<> {
        let mut values: *mut Datum = core::ptr::null_mut();
        let mut count = 0;
        // SAFETY: the bytes are a whole detoasted numeric[] without NULLs; numeric is a varlena of alignment
        // 'i'. The result array has `count` datums that point into the array, and lives in the current memory
        // context.
        let values = unsafe {
            server::deconstruct_array(
                self.bytes.as_ptr().cast_mut().cast(),
                pg_sys::NUMERICOID,
                -1,
                false,
                b'i' as core::ffi::c_char,
                &raw mut values,
                core::ptr::null_mut(),
                &raw mut count,
            );
            let count = usize::try_from(count).unwrap_or(0);
            if count == 0 { &[][..] } else { core::slice::from_raw_parts(values, count) }
        };
        values.iter().map(|&datum| {
            // SAFETY: `datum` is a numeric, the one argument of numeric_float4, which looks at nothing else of its call
            // and returns a float4: the lower half of a datum.
            let float =
                unsafe { server::DirectFunctionCall1Coll(Some(ffi::numeric_float4), Oid::INVALID, datum) };
            f32::from_bits(float.value() as u32)
        })
    }
}

/// A new one-dimensional array of a fixed-width type without NULLs.
#[inline]
pub fn build_hot<T: IntoBytes + FromBytes + KnownLayout>(
    call: Call<'_>,
    element_type: Oid,
    len: usize,
    fill: impl FnOnce(&mut [T]),
) -> Datum {
    let mut value = call.new_varlena_hot(size_of::<Header1>() + len * size_of::<T>());
    if let Ok((header, data)) = Header1::mut_from_prefix(value.bytes_mut()) {
        header.header.ndim = 1;
        header.header.elemtype = element_type.to_u32();
        header.dim = len as i32;
        header.lower_bound = 1;
        if let Ok(data) = <[T]>::mut_from_bytes(data) {
            fill(data);
        }
    }
    value.into_datum()
}

/// The elements of a one-dimensional float8 array without NULLs, to be changed in place.
pub fn float8_mut(bytes: &mut [u8]) -> Option<&mut [f64]> {
    let (header, data) = Header1::mut_from_prefix(bytes).ok()?;
    let plain = header.header.ndim == 1
        && header.header.dataoffset == 0
        && header.header.elemtype == pg_sys::FLOAT8OID.to_u32();
    let data = <[f64]>::mut_from_bytes(data).ok()?;
    (plain && usize::try_from(header.dim) == Ok(data.len())).then_some(data)
}

/// The integers of a typmod array (`cstring[]`), the first two of them, for no type here has more than one; raises
/// PostgreSQL's own errors.
pub fn typmods(call: Call<'_>) -> Vec<i32> {
    let bytes = call.varlena(0);
    let mut count = 0;
    // SAFETY: argument 0 of a typmod input function is a cstring[]; the result has `count` integers in the
    // current memory context.
    unsafe {
        let values = server::ArrayGetIntegerTypmods(bytes.as_ptr().cast_mut().cast(), &raw mut count);
        let count = usize::try_from(count).unwrap_or(0).min(2);
        if count == 0 { vec![] } else { core::slice::from_raw_parts(values, count).to_vec() }
    }
}
