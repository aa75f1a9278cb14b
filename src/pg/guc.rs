//! Settings (GUC).

use core::ffi::{CStr, c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};

use pgrx::guc::GucSetting;
use pgrx::pg_sys;

use super::server;

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

/// Whether somebody has given a setting a value: a session, a role, a configuration file.
pub struct Given(AtomicBool);

impl Given {
    /// Nobody has.
    pub const fn new() -> Self {
        Given(AtomicBool::new(false))
    }

    /// Whether it is so now.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// An integer setting that tells whether somebody has given it a value.
///
/// `NOTE` is where that is noted. It comes as a type since the server's hooks carry nothing.
pub fn define_noted_int<N: Noted>(
    name: &'static CStr,
    description: &'static CStr,
    detail: Option<&'static CStr>,
    setting: &'static GucSetting<i32>,
    (default, min, max): (i32, i32, i32),
) {
    // SAFETY: as in `define_flagged_int`. The hooks follow the server's contract: the first leaves a note beside the
    // value, allocated as the server frees it, and the second reads it.
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
            0,
            Some(note_source),
            Some(take_note::<N>),
            None,
        );
    }
}

/// Where a setting notes whether somebody has given it a value.
pub trait Noted {
    /// The place.
    fn given() -> &'static Given;
}

/// The check hook: the value comes with a note when it is nobody's default. Without memory for it, it does not.
unsafe extern "C-unwind" fn note_source(
    _: *mut c_int,
    extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    if source > pg_sys::GucSource::PGC_S_DYNAMIC_DEFAULT {
        // SAFETY: the server frees what stands here, with the function that belongs to this one (guc.c, guc_free).
        unsafe { *extra = note() };
    }
    true
}

#[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
unsafe fn note() -> *mut c_void {
    // SAFETY: with this level it returns null where there is no memory, and raises nothing.
    unsafe { server::guc_malloc(pg_sys::LOG as c_int, 1) }
}

#[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
unsafe fn note() -> *mut c_void {
    unsafe extern "C" {
        fn malloc(size: usize) -> *mut c_void;
    }
    // SAFETY: the C library's; these versions free with its `free`.
    unsafe { malloc(1) }
}

/// The assign hook.
unsafe extern "C-unwind" fn take_note<N: Noted>(_: c_int, extra: *mut c_void) {
    N::given().0.store(!extra.is_null(), Ordering::Relaxed);
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

/// shared_buffers in bytes.
pub fn shared_buffers() -> u64 {
    // SAFETY: a plain variable, set at the server's start.
    unsafe { u64::try_from(pg_sys::NBuffers).unwrap_or(0) * u64::from(pg_sys::BLCKSZ) }
}

/// max_parallel_maintenance_workers.
pub fn maintenance_workers() -> u32 {
    // SAFETY: a plain variable of this backend.
    unsafe { u32::try_from(pg_sys::max_parallel_maintenance_workers).unwrap_or(0) }
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
