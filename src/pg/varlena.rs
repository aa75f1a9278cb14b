//! Variable-length values (src/include/varatt.h): reading them in place, making new ones.

use core::mem::MaybeUninit;

use pgrx::pg_sys::{self, Datum, varlena};
use vector_kernels::{SHORT, kernels};

use super::{ffi, server, toast};

/// Bytes of the four-byte header.
pub const HEADER: usize = 4;

/// Bytes before a value in [`Scratch`]: what follows its first eight, the elements of a dense vector, is aligned.
const BEFORE: usize = 56;

/// Room for one value that is stored with a one-byte header (126 bytes at most), unpacked.
#[repr(C, align(64))]
pub struct Scratch([MaybeUninit<u8>; BEFORE + 8 + SHORT]);

impl Scratch {
    /// Uninitialised room; costs nothing.
    #[inline]
    pub fn new() -> Self {
        Scratch([const { MaybeUninit::uninit() }; BEFORE + 8 + SHORT])
    }

    /// The value with a one-byte header whose other bytes are `payload`, at most 126.
    #[inline(always)]
    fn unpack(&mut self, payload: &[u8]) -> &[u8] {
        let size = HEADER + payload.len();
        // SAFETY: 8 + SHORT bytes follow byte BEFORE, and are this function's alone. A value has at most 4 + 126, all
        // of which are written before the slice over them is made.
        unsafe {
            let value = self.0.as_mut_ptr().add(BEFORE).cast::<u8>();
            match payload.split_first_chunk() {
                // The header and the dimensions behind it are read as one word at once: a processor passes on what it
                // has just written only to a read of the same bytes, or some of them.
                Some((&first, rest)) => {
                    value.cast::<[u32; 2]>().write([header_4b(size), u32::from_ne_bytes(first)]);
                    let _ = kernels().copy_short(rest, &mut *value.add(8).cast());
                }
                None => {
                    value.cast::<u32>().write(header_4b(size));
                    core::ptr::copy_nonoverlapping(payload.as_ptr(), value.add(HEADER), payload.len());
                }
            }
            core::slice::from_raw_parts(value, size)
        }
    }
}

/// The bytes of a varlena that is neither compressed nor external and has a four-byte header.
///
/// # Safety
/// `datum` is such a varlena and outlives `'a`; nobody writes to it meanwhile.
#[inline]
pub unsafe fn whole<'a>(datum: *const varlena) -> &'a [u8] {
    // SAFETY: the caller's contract; the header holds the length of the whole value.
    unsafe {
        let size = size_4b(datum.cast::<u32>().read_unaligned()).max(HEADER);
        core::slice::from_raw_parts(datum.cast(), size)
    }
}

#[inline]
fn size_4b(header: u32) -> usize {
    (if cfg!(target_endian = "little") { header >> 2 } else { header & 0x3fff_ffff }) as usize
}

/// Plain, with a four-byte header; from the first byte.
#[inline]
fn is_4b_plain(first: u8) -> bool {
    if cfg!(target_endian = "little") { first & 0x03 == 0x00 } else { first & 0xc0 == 0x00 }
}

/// The bytes of a varlena that is plain and has a four-byte header; none of any other.
///
/// # Safety
/// `datum` is a varlena that outlives `'a`; nobody writes to it meanwhile.
pub unsafe fn plain<'a>(datum: *const varlena) -> Option<&'a [u8]> {
    // SAFETY: the caller's contract; the form is looked at before the length is believed.
    unsafe { is_4b_plain(datum.cast::<u8>().read()).then(|| whole(datum)) }
}

/// Plain, with a one-byte header: the value's size with the header. External values carry the tag byte
/// 0x01 (little-endian) or 0x80 (big-endian), which gives 0 here.
#[inline]
fn size_1b(first: u8) -> Option<usize> {
    let (short, size) = if cfg!(target_endian = "little") {
        (first & 0x01 == 0x01, first >> 1)
    } else {
        (first & 0x80 == 0x80, first & 0x7f)
    };
    (short && size > 0).then_some(usize::from(size))
}

/// A value that needs no fetching: plain, or short and then unpacked into `scratch`.
///
/// # Safety
/// `datum` is a varlena that outlives the result.
#[inline(always)]
unsafe fn inline_value(datum: *mut varlena, scratch: &mut Scratch) -> Option<&[u8]> {
    // SAFETY: a varlena has at least one byte. A plain one is used in place. A short one has `size` bytes, 1..=127.
    unsafe {
        let first = datum.cast::<u8>().read();
        if is_4b_plain(first) {
            return Some(whole(datum));
        }
        let payload = size_1b(first)? - 1;
        Some(scratch.unpack(core::slice::from_raw_parts(datum.cast::<u8>().add(1), payload)))
    }
}

/// The whole value, and the varlena that can be a result: itself unless it had to be fetched.
///
/// # Safety
/// `datum` is a varlena that outlives the bytes; a server error jumps over the caller's frames.
#[inline]
pub(super) unsafe fn kept_hot(datum: *mut varlena, scratch: &mut Scratch) -> (&[u8], *mut varlena) {
    // SAFETY: the caller's contract; what is fetched lives in the current memory context.
    unsafe {
        match inline_value(datum, scratch) {
            Some(bytes) => (bytes, datum),
            None => {
                let fetched = ffi::pg_detoast_datum(datum);
                (whole(fetched), fetched)
            }
        }
    }
}

/// Detoasts for a function called once per row.
///
/// # Safety
/// `fcinfo` is a live call whose argument `n` is the varlena `datum`, which outlives the result; the result does
/// not outlive the call. Where the value must be fetched or decompressed, a server error jumps over the
/// caller's frames.
#[inline]
pub unsafe fn detoast_hot(
    fcinfo: pg_sys::FunctionCallInfo,
    n: usize,
    datum: *mut varlena,
    scratch: &mut Scratch,
) -> &[u8] {
    // SAFETY: the caller's contract.
    unsafe { inline_value(datum, scratch).unwrap_or_else(|| fetch(fcinfo, n, datum)) }
}

/// # Safety
/// As for [`detoast_hot`].
#[inline(never)]
unsafe fn fetch<'s>(fcinfo: pg_sys::FunctionCallInfo, n: usize, datum: *mut varlena) -> &'s [u8] {
    // SAFETY: the caller's contract; what PostgreSQL fetches lives in the current memory context.
    unsafe { toast::fetch(fcinfo, n, datum).unwrap_or_else(|| whole(ffi::pg_detoast_datum(datum))) }
}

/// As [`detoast_hot`], fetching no more than `bytes` bytes of a value stored out of line.
///
/// # Safety
/// `datum` is a varlena that outlives the result; a server error jumps over the caller's frames.
#[inline]
pub unsafe fn detoast_prefix_hot(datum: *mut varlena, bytes: i32, scratch: &mut Scratch) -> &[u8] {
    // SAFETY: the caller's contract; what is fetched lives in the current memory context.
    unsafe {
        inline_value(datum, scratch).unwrap_or_else(|| whole(ffi::pg_detoast_datum_slice(datum, 0, bytes)))
    }
}

/// Decompresses a value that is compressed in place and shows it whole to `look`.
///
/// `compressed` must be all of such a value: the server believes its header.
pub fn decompress<R>(compressed: &[u8], look: impl FnOnce(&[u8]) -> R) -> R {
    // SAFETY: the bytes are a varlena whose header says that it is compressed in place (callers have looked), of the
    // length that the header gives. Decompression checks what it reads, and makes the value in the current memory
    // context, where it is freed after the look.
    unsafe {
        let value = server::pg_detoast_datum(compressed.as_ptr().cast_mut().cast());
        let result = look(whole(value));
        if !core::ptr::eq(value.cast::<u8>(), compressed.as_ptr()) {
            server::pfree(value.cast());
        }
        result
    }
}

/// The bytes of a plain varlena with a four-byte header, to be changed in place; `None` for any other form.
///
/// # Safety
/// `datum` is a varlena that outlives `'a`, and nobody else reads or writes it meanwhile.
pub unsafe fn plain_mut<'a>(datum: *mut varlena) -> Option<&'a mut [u8]> {
    // SAFETY: the caller's contract; the form is looked at before the length is believed.
    unsafe {
        if !is_4b_plain(datum.cast::<u8>().read()) {
            return None;
        }
        let size = size_4b(datum.cast::<u32>().read_unaligned()).max(HEADER);
        Some(core::slice::from_raw_parts_mut(datum.cast(), size))
    }
}

/// The four-byte header of a plain value of `size` bytes.
#[inline]
pub fn header_4b(size: usize) -> u32 {
    if cfg!(target_endian = "little") { (size as u32) << 2 } else { size as u32 & 0x3fff_ffff }
}

/// The four-byte header of a value that is compressed in place, of `size` bytes.
pub fn header_4b_compressed(size: usize) -> u32 {
    if cfg!(target_endian = "little") { header_4b(size) | 2 } else { header_4b(size) | 1 << 30 }
}

/// A new value in the current memory context, zeroed, its header set. Aligned to 8 bytes.
pub struct NewVarlena {
    bytes: &'static mut [u8],
}

impl NewVarlena {
    /// Allocates `size` bytes, header included.
    pub fn zeroed(size: usize) -> Self {
        let size = size.max(HEADER);
        // SAFETY: palloc0 gives `size` zeroed bytes, MAXALIGNed, or raises. They live until their memory
        // context is reset, which does not happen while a function that made them runs; the reference does
        // not leave this value other than bounded by `&mut self`.
        let bytes = unsafe { core::slice::from_raw_parts_mut(server::palloc0(size).cast::<u8>(), size) };
        bytes[..HEADER].copy_from_slice(&header_4b(size).to_ne_bytes());
        NewVarlena { bytes }
    }

    /// As [`Self::zeroed`], without the guard.
    ///
    /// # Safety
    /// A server error (no memory) jumps over the caller's frames.
    #[inline]
    pub(super) unsafe fn zeroed_hot(size: usize) -> Self {
        let size = size.max(HEADER);
        // SAFETY: as in `zeroed`, but for the jump, which the caller allows.
        let bytes = unsafe { core::slice::from_raw_parts_mut(ffi::palloc0(size).cast::<u8>(), size) };
        if let Some(header) = bytes.first_chunk_mut() {
            *header = header_4b(size).to_ne_bytes();
        }
        NewVarlena { bytes }
    }

    /// All bytes, header first.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// The value as a function's result.
    pub fn into_datum(self) -> Datum {
        Datum::from(self.bytes.as_mut_ptr())
    }
}

/// A cstring of at most `capacity` bytes; `fill` writes it (without NUL) and returns its length.
///
/// # Safety
/// A server error (no memory) jumps over the caller's frames.
#[inline]
pub(super) unsafe fn cstring_hot(capacity: usize, fill: impl FnOnce(&mut [u8]) -> usize) -> Datum {
    // SAFETY: palloc gives `capacity + 1` bytes or raises, which the caller allows. They are written before they are
    // read as a slice of initialised bytes, and NUL ends the text that `fill` wrote.
    unsafe {
        let start = ffi::palloc(capacity + 1).cast::<u8>();
        start.write_bytes(0, capacity + 1);
        let len = fill(core::slice::from_raw_parts_mut(start, capacity)).min(capacity);
        start.add(len).write(0);
        Datum::from(start)
    }
}
