//! Storage parameters (reloptions) of access methods.

use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicU32, Ordering};

use pgrx::pg_sys::{self, Datum};

use super::relation::Rel;
use super::server;
use super::varlena;

/// One storage parameter: where it lies in the options struct, as an `i32`, and what it may be.
pub struct StorageParameter {
    /// its name
    pub name: &'static CStr,
    /// what it is, for the server's own messages
    pub description: &'static CStr,
    /// offset in the options struct
    pub offset: usize,
    /// its values
    pub values: Values,
}

/// What a storage parameter may be.
pub enum Values {
    /// a whole number: default, smallest, largest
    Int(i32, i32, i32),
    /// one of a few names
    Choice {
        /// the names and what they stand for
        choices: &'static [Choice],
        /// what stands for an absent one
        absent: i32,
        /// the names in words, for the DETAIL of an error
        detail: &'static CStr,
    },
}

impl Values {
    const fn default(&self) -> i32 {
        match *self {
            Values::Int(default, ..) => default,
            Values::Choice { absent, .. } => absent,
        }
    }
}

/// One of the names that a parameter may have. A list of them ends with [`Choice::END`].
#[repr(transparent)]
pub struct Choice(pg_sys::relopt_enum_elt_def);

// SAFETY: it points to a static text and is never written.
unsafe impl Sync for Choice {}

impl Choice {
    /// The end of a list.
    pub const END: Choice =
        Choice(pg_sys::relopt_enum_elt_def { string_val: core::ptr::null(), symbol_val: 0 });

    /// A name and what it stands for.
    pub const fn new(name: &'static CStr, value: i32) -> Self {
        Choice(pg_sys::relopt_enum_elt_def { string_val: name.as_ptr(), symbol_val: value })
    }
}

/// The storage parameters of one access method.
pub struct Options {
    kind: AtomicU32,
    options: &'static [StorageParameter],
    size: usize,
}

impl Options {
    /// Parameters that fill a `size`-byte struct whose first four bytes are a varlena header.
    pub const fn new(options: &'static [StorageParameter], size: usize) -> Self {
        Options { kind: AtomicU32::new(0), options, size }
    }

    /// Makes the parameters known to the server; from _PG_init.
    pub fn register(&self) {
        // SAFETY: texts are static; once per process.
        unsafe {
            let kind = server::add_reloption_kind();
            for option in self.options {
                match option.values {
                    Values::Int(default, min, max) => server::add_int_reloption(
                        kind as _,
                        option.name.as_ptr(),
                        option.description.as_ptr(),
                        default,
                        min,
                        max,
                        pg_sys::AccessExclusiveLock as c_int,
                    ),
                    // nothing but the next build asks for it
                    Values::Choice { choices, absent, detail } => {
                        assert!(choices.last().is_some_and(|end| end.0.string_val.is_null()));
                        server::add_enum_reloption(
                            kind as _,
                            option.name.as_ptr(),
                            option.description.as_ptr(),
                            choices.as_ptr().cast_mut().cast(),
                            absent,
                            detail.as_ptr(),
                            pg_sys::ShareUpdateExclusiveLock as c_int,
                        );
                    }
                }
            }
            self.kind.store(kind as u32, Ordering::Relaxed);
        }
    }

    /// The values of an index's options, in the order of the description; defaults where the index was made without
    /// any. The index is of the options' access method.
    pub fn of<const N: usize>(&self, index: Rel<'_>) -> [i32; N] {
        // SAFETY: rd_options is null or what `parse` made of this description.
        unsafe { self.values((*index.as_ptr()).rd_options) }
    }

    /// The values in what `parse` made, or null.
    ///
    /// # Safety
    /// `stored` is null or a varlena that [`Self::parse`] of the same description made.
    pub(super) unsafe fn values<const N: usize>(&self, stored: *mut pg_sys::bytea) -> [i32; N] {
        let mut values = [0; N];
        // SAFETY: the caller's contract: a varlena, whose size is looked at before its fields are read.
        unsafe {
            for (value, option) in values.iter_mut().zip(self.options) {
                *value = option.values.default();
                if !stored.is_null() && varlena::whole(stored.cast()).len() >= option.offset + 4 {
                    *value = stored.byte_add(option.offset).cast::<i32>().read_unaligned();
                }
            }
        }
        values
    }

    /// The amoptions callback's work: parses and checks.
    pub fn parse(&self, reloptions: Datum, validate: bool) -> *mut pg_sys::bytea {
        let table: Vec<pg_sys::relopt_parse_elt> = self
            .options
            .iter()
            .map(|option| pg_sys::relopt_parse_elt {
                optname: option.name.as_ptr().cast::<c_char>(),
                opttype: match option.values {
                    Values::Int(..) => pg_sys::relopt_type::RELOPT_TYPE_INT,
                    Values::Choice { .. } => pg_sys::relopt_type::RELOPT_TYPE_ENUM,
                },
                offset: option.offset as c_int,
                #[cfg(feature = "pg18")]
                isset_offset: 0,
            })
            .collect();
        // SAFETY: the table describes a struct of `size` bytes with its header first; the guarded call copies what it
        // needs.
        unsafe {
            server::build_reloptions(
                reloptions,
                validate,
                self.kind.load(Ordering::Relaxed) as _,
                self.size,
                table.as_ptr(),
                table.len() as c_int,
            )
            .cast()
        }
    }
}
