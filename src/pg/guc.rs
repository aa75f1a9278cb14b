//! Settings (GUC) and storage parameters (reloptions) of access methods.

use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicU32, Ordering};

use pgrx::guc::GucSetting;
use pgrx::pg_sys::{self, Datum};

use super::relation::Rel;
use super::server;
use super::varlena;

/// An integer setting that any user may change.
pub fn define_int(
    name: &'static CStr,
    description: &'static CStr,
    detail: Option<&'static CStr>,
    setting: &'static GucSetting<i32>,
    range: (i32, i32, i32),
) {
    define_flagged_int(name, description, detail, setting, range, 0);
}

fn define_flagged_int(
    name: &'static CStr,
    description: &'static CStr,
    detail: Option<&'static CStr>,
    setting: &'static GucSetting<i32>,
    (default, min, max): (i32, i32, i32),
    flags: c_int,
) {
    // SAFETY: texts and the variable are static; called from _PG_init, once per process.
    unsafe {
        server::DefineCustomIntVariable(
            name.as_ptr(),
            description.as_ptr(),
            detail.map_or(core::ptr::null(), CStr::as_ptr),
            setting.as_ptr(),
            default,
            min,
            max,
            pg_sys::GucContext::PGC_USERSET,
            flags,
            None,
            None,
            None,
        );
    }
}

/// An integer setting for tests, in no list of settings.
pub fn define_hidden_int(
    name: &'static CStr,
    description: &'static CStr,
    setting: &'static GucSetting<i32>,
    range: (i32, i32, i32),
) {
    let hidden = (pg_sys::GUC_NO_SHOW_ALL | pg_sys::GUC_NOT_IN_SAMPLE) as c_int;
    define_flagged_int(name, description, None, setting, range, hidden);
}

/// work_mem in bytes.
pub fn work_mem() -> usize {
    // SAFETY: a plain variable of this backend.
    kilobytes(unsafe { pg_sys::work_mem })
}

/// maintenance_work_mem in bytes.
pub fn maintenance_work_mem() -> usize {
    // SAFETY: a plain variable of this backend.
    kilobytes(unsafe { pg_sys::maintenance_work_mem })
}

fn kilobytes(setting: c_int) -> usize {
    // 2^31 kB fit 64 bits
    setting.max(0) as usize * 1024
}

/// A real-valued setting that any user may change.
pub fn define_real(
    name: &'static CStr,
    description: &'static CStr,
    setting: &'static GucSetting<f64>,
    (default, min, max): (f64, f64, f64),
) {
    // SAFETY: as in `define_flagged_int`.
    unsafe {
        server::DefineCustomRealVariable(
            name.as_ptr(),
            description.as_ptr(),
            core::ptr::null(),
            setting.as_ptr(),
            default,
            min,
            max,
            pg_sys::GucContext::PGC_USERSET,
            0,
            None,
            None,
            None,
        );
    }
}

/// The values of an enumerated setting, `N` of them and the end mark.
#[repr(transparent)]
pub struct Choices<const N: usize>([pg_sys::config_enum_entry; N]);

// SAFETY: the entries point to static texts and are never written.
unsafe impl<const N: usize> Sync for Choices<N> {}

/// An entry of [`Choices`].
pub const fn choice(name: &'static CStr, value: i32) -> pg_sys::config_enum_entry {
    pg_sys::config_enum_entry { name: name.as_ptr(), val: value, hidden: false }
}

/// The end mark of [`Choices`].
pub const fn no_choice() -> pg_sys::config_enum_entry {
    pg_sys::config_enum_entry { name: core::ptr::null(), val: 0, hidden: false }
}

impl<const N: usize> Choices<N> {
    /// The choices; the last entry must be [`no_choice`].
    pub const fn new(entries: [pg_sys::config_enum_entry; N]) -> Self {
        assert!(N > 0 && entries[N - 1].name.is_null());
        Choices(entries)
    }
}

/// An enumerated setting that any user may change.
pub fn define_enum<const N: usize>(
    name: &'static CStr,
    description: &'static CStr,
    setting: &'static GucSetting<i32>,
    default: i32,
    choices: &'static Choices<N>,
) {
    // SAFETY: as in `define_flagged_int`; the entries are static and end with the mark.
    unsafe {
        server::DefineCustomEnumVariable(
            name.as_ptr(),
            description.as_ptr(),
            core::ptr::null(),
            setting.as_ptr(),
            default,
            choices.0.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            0,
            None,
            None,
            None,
        );
    }
}

/// Says that no other settings begin with `prefix`.
pub fn reserve_prefix(prefix: &'static CStr) {
    // SAFETY: the text is static.
    unsafe {
        #[cfg(any(feature = "pg13", feature = "pg14"))]
        server::EmitWarningsOnPlaceholders(prefix.as_ptr());
        #[cfg(not(any(feature = "pg13", feature = "pg14")))]
        server::MarkGUCPrefixReserved(prefix.as_ptr());
    }
}

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
        // SAFETY: rd_options is null or what `parse` made of this description: a varlena, whose size is looked at before
        // its fields are read, and which lives as long as the index is open.
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
