//! Storage parameters (reloptions) of access methods.

use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicU32, Ordering};

use pgrx::pg_sys::{self, Datum};

use super::relation::Rel;
use super::server;
use super::varlena;

/// One integer storage parameter: where it lies in the options struct, and its limits.
pub struct IntOption {
    /// its name
    pub name: &'static CStr,
    /// what it is, for the server's own messages
    pub description: &'static CStr,
    /// offset in the options struct
    pub offset: usize,
    /// default, smallest, largest
    pub range: (i32, i32, i32),
}

/// The storage parameters of one access method.
pub struct Options {
    kind: AtomicU32,
    options: &'static [IntOption],
    size: usize,
}

impl Options {
    /// Parameters that fill a `size`-byte struct whose first four bytes are a varlena header.
    pub const fn new(options: &'static [IntOption], size: usize) -> Self {
        Options { kind: AtomicU32::new(0), options, size }
    }

    /// Makes the parameters known to the server; from _PG_init.
    pub fn register(&self) {
        // SAFETY: texts are static; once per process.
        unsafe {
            let kind = server::add_reloption_kind();
            for option in self.options {
                let (default, min, max) = option.range;
                server::add_int_reloption(
                    kind as _,
                    option.name.as_ptr(),
                    option.description.as_ptr(),
                    default,
                    min,
                    max,
                    pg_sys::AccessExclusiveLock as c_int,
                );
            }
            self.kind.store(kind as u32, Ordering::Relaxed);
        }
    }

    /// The values of an index's options, in the order of the description; defaults where the index was made without
    /// any. The index is of the options' access method.
    pub fn of<const N: usize>(&self, index: Rel<'_>) -> [i32; N] {
        let mut values = [0; N];
        // SAFETY: rd_options is null or what `parse` made of this description: a varlena, whose size is looked
        // at before its fields are read, and which lives as long as the index is open.
        unsafe {
            let options = (*index.as_ptr()).rd_options;
            for (value, option) in values.iter_mut().zip(self.options) {
                *value = option.range.0;
                if !options.is_null() && varlena::whole(options.cast()).len() >= option.offset + 4 {
                    *value = options.byte_add(option.offset).cast::<i32>().read_unaligned();
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
                opttype: pg_sys::relopt_type::RELOPT_TYPE_INT,
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
