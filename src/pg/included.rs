//! INCLUDE columns of an index: values of rows as the index keeps them ([`vector_index::included`]), and back. Where
//! the access method has no other way to give filter columns back, their values are kept with them.
//!
//! What is kept is an index tuple of these columns alone, as the server makes it (indextuple.c): values stored out of
//! line are fetched, long ones compressed. Reading it back is done here, with a look at every length: what is damaged
//! says so, and does not make the server read what is not there.

use core::ffi::{c_char, c_int};

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, Datum, FormData_pg_attribute, Oid, TupleDesc};
use vector_index::included::{HEAD, largest, size_of_values};
use vector_index::storage::page::{Damage, Tid};
use vector_index::work::memory::{OutOfMemory, resize};
use zerocopy::IntoBytes;

use super::am::Returned;
use super::attempt::catch;
use super::blocks::PAGE_SIZE;
use super::columns::RowColumns;
use super::ereport::Report;
use super::ffi;
use super::guard;
use super::memory;
use super::relation::{Rel, attribute};
use super::server;

/// Columns of an index, at most.
const MOST: usize = pg_sys::INDEX_MAX_KEYS as usize;
/// Of the word behind the TID of an index tuple (itup.h): whether there are NULLs.
const NULLS: u16 = 0x8000;
/// Bytes of the bits that say which, at most as many as columns.
const NULL_BYTES: usize = MOST.div_ceil(8);
/// What is wrong with values that are none of these columns.
const INVALID: Damage = Damage::at(0, "invalid included values");

/// The columns of an index of which it keeps the values of rows.
pub struct Included {
    /// whose they are
    index: Oid,
    /// the number of the first of them, from 0
    first: usize,
    count: usize,
    /// as the index's own, in the memory context that was current when this was made
    columns: TupleDesc,
}

/// Why a row's values cannot be kept.
#[derive(Debug)]
pub enum Refused {
    /// so many bytes are more than a page holds
    TooLarge(usize),
    /// no memory
    OutOfMemory,
}

impl Refused {
    /// The error for a row of an index.
    pub fn report(self, index: Rel<'_>) -> Report {
        match self {
            Refused::TooLarge(size) => {
                let name = index.name();
                // filter columns of ivfflat are kept with them
                let (columns, hint) = if index.key_columns() > 1 {
                    (
                        "filter and INCLUDE columns",
                        "Leave columns with large values, or INCLUDE, out of the index.",
                    )
                } else {
                    ("INCLUDE columns", "Leave columns with large values out of INCLUDE.")
                };
                let message = format!(
                    "{columns} of a row take {size} bytes, and at most {} of index \"{name}\"",
                    largest(PAGE_SIZE)
                );
                Report::new(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, message.as_bytes()).hint(hint)
            }
            Refused::OutOfMemory => memory::wanting(),
        }
    }
}

impl From<OutOfMemory> for Refused {
    fn from(_: OutOfMemory) -> Self {
        Refused::OutOfMemory
    }
}

impl Included {
    /// Those of an index; none when there are none. A server error unwinds.
    pub fn of(index: Rel<'_>) -> Option<Self> {
        Self::from(index, index.key_columns())
    }

    /// All behind the vector, of an index that has INCLUDE columns; none of another. A server error unwinds.
    pub fn with_filters(index: Rel<'_>) -> Option<Self> {
        if index.columns() > index.key_columns() { Self::from(index, 1) } else { None }
    }

    fn from(index: Rel<'_>, first: usize) -> Option<Self> {
        let count = index.columns().checked_sub(first).filter(|&count| count > 0)?;
        // SAFETY: the index is open, and has a column of each number.
        unsafe {
            let all = (*index.as_ptr()).rd_att;
            let columns = server::CreateTemplateTupleDesc(count as c_int);
            for n in 0..count {
                server::TupleDescCopyEntry(columns, n as i16 + 1, all, (first + n) as i16 + 1);
            }
            Some(Included { index: index.oid(), first, count, columns })
        }
    }

    /// Frees what [`Self::of`] took: rows of one statement share their memory.
    pub fn free(self) {
        // SAFETY: made by `of`, and given back once, as this takes it.
        unsafe { server::FreeTupleDesc(self.columns) };
    }

    /// Makes what the index keeps of a row's values, with its head, in `out`. A server error unwinds.
    ///
    /// # Errors
    /// Values too large, no memory.
    pub fn keep(&self, row: RowColumns<'_>, tid: Tid, out: &mut Vec<u64>) -> Result<(), Refused> {
        // SAFETY: values stay what they are.
        unsafe { self.form(row, tid, out, Some) }.map(|_| ())
    }

    /// The same, but `fetch` is shown each value that may be stored out of line; it may put another in its place, or
    /// say that the value is gone: then there is nothing to keep. Neither is there of another index's row.
    ///
    /// # Safety
    /// What `fetch` returns is a value of the same type.
    ///
    /// # Errors
    /// As for [`Self::keep`].
    pub unsafe fn form(
        &self,
        row: RowColumns<'_>,
        tid: Tid,
        out: &mut Vec<u64>,
        mut fetch: impl FnMut(Datum) -> Option<Datum>,
    ) -> Result<bool, Refused> {
        if row.index().oid() != self.index {
            return Ok(false);
        }
        let (mut values, mut nulls) = ([Datum::null(); MOST], [true; MOST]);
        for (n, (place, null)) in values.iter_mut().zip(&mut nulls).enumerate().take(self.count) {
            // SAFETY: the row has a value for each column, of its type.
            let Some(value) = (unsafe { row.get(self.first + n) }) else { continue };
            // SAFETY: there are as many columns.
            let is_varlena = unsafe { (*attribute(self.columns, n)).attlen == -1 };
            let Some(value) = (if is_varlena { fetch(value) } else { Some(value) }) else { return Ok(false) };
            (*place, *null) = (value, false);
        }
        let columns = self.columns;
        // SAFETY: as many values as columns. All that a failure leaves behind is memory of the current context.
        let formed = catch(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, || unsafe {
            server::index_form_tuple(columns, values.as_mut_ptr(), nulls.as_mut_ptr())
        });
        let tuple = formed.map_err(|caught| Refused::TooLarge(first_number(&caught.message)))?;
        // SAFETY: a tuple has as many bytes as it says, eight at least.
        unsafe {
            let size = usize::from((*tuple).t_info & pg_sys::INDEX_SIZE_MASK as u16);
            let bytes = core::slice::from_raw_parts(tuple.cast::<u8>().cast_const(), size);
            // (of a multiple of eight: the server aligns what it makes)
            out.clear();
            let kept = match size <= largest(PAGE_SIZE) {
                true => resize(out, size.div_ceil(8), 0).map_err(Refused::from),
                false => Err(Refused::TooLarge(size)),
            };
            if let Some(place) = out.as_mut_bytes().get_mut(..size) {
                place.copy_from_slice(bytes);
            }
            server::pfree(tuple.cast());
            kept?;
        }
        if let Some(place) = out.as_mut_bytes().first_chunk_mut() {
            *place = tid_bytes(tid);
        }
        Ok(true)
    }

    /// Whether two of what [`Self::form`] makes have the same values, however they are stored. A server error unwinds.
    ///
    /// # Errors
    /// Other bytes.
    pub fn are_same(&self, one: &[u8], other: &[u8]) -> Result<bool, Damage> {
        if one == other {
            return Ok(true);
        }
        let mut rows = [Returned::new(), Returned::new()];
        let [a, b] = &mut rows;
        self.set(one, a)?;
        self.set(other, b)?;
        Ok((0..self.count).all(|n| {
            // SAFETY: there are as many columns, of whose types the values are.
            unsafe {
                let column = &*attribute(self.columns, n);
                match (a.get(self.first + n), b.get(self.first + n)) {
                    (Some(a), Some(b)) => {
                        let (by_value, length) = (column.attbyval, c_int::from(column.attlen));
                        guard::call(|| ffi::datum_image_eq(a, b, by_value, length))
                    }
                    (a, b) => a.is_none() && b.is_none(),
                }
            }
        }))
    }

    /// Sets the values of these columns in a row, which stay in `bytes`, aligned as they were made: what
    /// [`Self::form`] made.
    ///
    /// # Errors
    /// Other bytes.
    pub fn set(&self, bytes: &[u8], row: &mut Returned) -> Result<(), Damage> {
        let info = bytes.get(HEAD - 2..HEAD).and_then(|info| info.first_chunk());
        let has_nulls = info.is_some_and(|info| u16::from_ne_bytes(*info) & NULLS != 0);
        if size_of_values(bytes) != bytes.len() || bytes.len() < HEAD {
            return Err(INVALID);
        }
        let bits = if has_nulls { bytes.get(HEAD..HEAD + NULL_BYTES).ok_or(INVALID)? } else { &[] };
        let start = if has_nulls { (HEAD + NULL_BYTES).next_multiple_of(8) } else { HEAD };
        let data = bytes.get(start..).ok_or(INVALID)?;
        let mut at = 0;
        for n in 0..self.count {
            // a bit says that there is a value (att_isnull, tupmacs.h)
            if has_nulls && bits.get(n / 8).is_none_or(|byte| byte >> (n % 8) & 1 == 0) {
                continue;
            }
            // SAFETY: there are as many columns.
            let column = unsafe { &*attribute(self.columns, n) };
            at = begin(column, data, at).ok_or(INVALID)?;
            let size = size_at(column, data.get(at..).ok_or(INVALID)?).ok_or(INVALID)?;
            let value = data.get(at..at + size).ok_or(INVALID)?;
            at += size;
            row.set(self.first + n, datum(column, value).ok_or(INVALID)?);
        }
        Ok(())
    }
}

/// A TID as the server has it, in the same bytes.
fn tid_bytes(tid: Tid) -> [u8; 6] {
    let mut bytes = [0; 6];
    bytes.copy_from_slice(tid.as_bytes());
    bytes
}

/// The first number in a message of the server's, which is the size that is too large.
fn first_number(message: &[u8]) -> usize {
    let digits = message.iter().skip_while(|byte| !byte.is_ascii_digit());
    digits
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0usize, |number, byte| number.saturating_mul(10).saturating_add(usize::from(byte - b'0')))
}

/// Where a value begins that comes next in the data, at `at` or behind (att_align_pointer, tupmacs.h).
fn begin(column: &FormData_pg_attribute, data: &[u8], at: usize) -> Option<usize> {
    // a short varlena is not aligned, and what is skipped before another is zero
    if column.attlen == -1 && *data.get(at)? != 0 {
        return Some(at);
    }
    let alignment = match column.attalign as u8 {
        b'c' => 1,
        b's' => 2,
        b'i' => 4,
        _ => 8,
    };
    Some(at.next_multiple_of(alignment))
}

/// The size of the value that the data begins with.
fn size_at(column: &FormData_pg_attribute, data: &[u8]) -> Option<usize> {
    match column.attlen {
        -1 => {
            let first = *data.first()?;
            // varatt.h: of one byte, or of four, of which the lowest two bits (or the highest) are no part of the size
            let little = cfg!(target_endian = "little");
            let short = if little { first & 1 == 1 } else { first & 0x80 != 0 };
            if short {
                let size = if little { first >> 1 } else { first & 0x7f };
                // none is out of line
                return (size > 0).then_some(usize::from(size));
            }
            let word = u32::from_ne_bytes(*data.first_chunk()?);
            let size = if little { word >> 2 } else { word & 0x3fff_ffff };
            let compressed = if little { word & 2 != 0 } else { word & 0x4000_0000 != 0 };
            // a compressed one says its own size behind that
            let least = if compressed { 8 } else { 4 };
            Some(size as usize).filter(|&size| size >= least)
        }
        -2 => Some(data.iter().position(|&byte| byte == 0)? + 1),
        size => usize::try_from(size).ok(),
    }
}

/// The value in these bytes (fetch_att, tupmacs.h), which stay.
fn datum(column: &FormData_pg_attribute, value: &[u8]) -> Option<Datum> {
    if !column.attbyval {
        return Some(Datum::from(value.as_ptr()));
    }
    Some(match value.len() {
        1 => Datum::from(*value.first()? as c_char as isize),
        2 => Datum::from(i16::from_ne_bytes(*value.first_chunk()?)),
        4 => Datum::from(i32::from_ne_bytes(*value.first_chunk()?)),
        8 => Datum::from(i64::from_ne_bytes(*value.first_chunk()?)),
        _ => return None,
    })
}
