//! `bit` values (src/include/utils/varbit.h): varlena header, length in bits, then the bits, first bit highest.

use super::varlena::NewVarlena;
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
pub fn build(len: usize, fill: impl FnOnce(&mut [u8])) -> Datum {
    let mut value = NewVarlena::zeroed(HEADER + len.div_ceil(8));
    let bytes = value.bytes_mut();
    bytes[4..HEADER].copy_from_slice(&(len as u32).to_ne_bytes());
    fill(&mut bytes[HEADER..]);
    value.into_datum()
}
