//! `bit` values (src/include/utils/varbit.h): varlena header, length in bits, then the bits, first bit highest.

use super::call::Call;
use pgrx::pg_sys::Datum;

const HEADER: usize = 8;

/// A `bit` value in place.
#[derive(Clone, Copy)]
pub struct BitsView<'a> {
    /// Length in bits.
    pub len: u32,
    /// The bits, eight a byte.
    pub bytes: &'a [u8],
}

impl<'a> BitsView<'a> {
    /// The view of a whole, uncompressed varlena; `None` when it is too short to hold its length.
    #[inline]
    pub fn new(varlena: &'a [u8]) -> Option<Self> {
        let len = varlena.get(4..)?.first_chunk::<4>()?;
        Some(BitsView { len: u32::from_ne_bytes(*len), bytes: varlena.get(HEADER..)? })
    }
}

/// A new `bit` value of `len` bits; `fill` writes its bytes, which are zero before.
#[inline]
pub fn build_hot(call: Call<'_>, len: usize, fill: impl FnOnce(&mut [u8])) -> Datum {
    let mut value = call.new_varlena_hot(HEADER + len.div_ceil(8));
    if let Some((header, bytes)) = value.bytes_mut().split_first_chunk_mut::<HEADER>() {
        if let Some(place) = header.last_chunk_mut() {
            *place = (len as u32).to_ne_bytes();
        }
        fill(bytes);
    }
    value.into_datum()
}
