//! Raising errors: messages are bytes in the server's encoding, and a raised error leaves by `longjmp`.

use core::ffi::{CStr, c_char};

use pgrx::{PgSqlErrorCode, pg_sys};

use super::{ffi, guard, server};

/// A report whose texts live in the current memory context, so that raising it leaks nothing. It must stay
/// `Copy`: [`raise`] jumps away over the caller's frames.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    code: PgSqlErrorCode,
    message: *const c_char,
    detail: *const c_char,
    hint: *const c_char,
}

/// Copies `text` into the current memory context as a C string, cut at a NUL.
fn copy_text(text: &[u8]) -> *const c_char {
    let text = text.split(|&c| c == 0).next().unwrap_or_default();
    // SAFETY: `text` is readable for its length; pnstrdup copies that much and ends it with NUL.
    unsafe { server::pnstrdup(text.as_ptr().cast(), text.len()) }
}

/// Bytes of a literal that a message quotes, at most: any that somebody reads.
const QUOTED: usize = 8 << 10;

/// As much of a text in the server's encoding as a message quotes, whole characters.
pub fn quotable(text: &[u8]) -> &[u8] {
    if text.len() <= QUOTED {
        return text;
    }
    let length = text.len().min(i32::MAX as usize) as i32;
    // SAFETY: the text is readable for that length. Where it is not valid in the encoding the answer is some
    // length up to the limit all the same.
    let front = unsafe { server::pg_mbcliplen(text.as_ptr().cast(), length, QUOTED as i32) };
    text.get(..usize::try_from(front).unwrap_or_default()).unwrap_or_default()
}

impl Report {
    /// A report with a message and nothing else.
    pub fn new(code: PgSqlErrorCode, message: &[u8]) -> Self {
        Report { code, message: copy_text(message), detail: core::ptr::null(), hint: core::ptr::null() }
    }

    /// Adds a DETAIL line.
    pub fn detail(self, text: &str) -> Self {
        Report { detail: copy_text(text.as_bytes()), ..self }
    }

    /// Adds a HINT line.
    pub fn hint(self, text: &str) -> Self {
        Report { hint: copy_text(text.as_bytes()), ..self }
    }

    /// Fills the error that `errstart` or `errsave_start` began.
    fn fill(self) {
        const TEXT: *const c_char = c"%s".as_ptr();
        // SAFETY: an error is being built (callers); every text is a C string, and the format takes one.
        unsafe {
            ffi::errcode(self.code as i32);
            ffi::errmsg_internal(TEXT, self.message);
            if !self.detail.is_null() {
                ffi::errdetail_internal(TEXT, self.detail);
            }
            if !self.hint.is_null() {
                ffi::errhint(TEXT, self.hint);
            }
        }
    }
}

/// An error that can be raised. Consumes the error: what raises the report must own nothing else.
pub trait IntoReport {
    /// The report, its texts in the current memory context.
    fn into_report(self) -> Report;
}

const FILE: &CStr = c"vector";

/// Raises `report` at level ERROR.
///
/// # Safety
/// No frame between here and PostgreSQL's error handler may hold a value that needs dropping, since this jumps
/// over them: call it as the last thing in a function that PostgreSQL called.
#[cold]
#[inline(never)]
pub unsafe fn raise(report: Report) -> ! {
    // SAFETY: errstart, the parts, errfinish is the protocol of elog.c; at ERROR errstart always answers true
    // and errfinish does not return. `Report` is Copy, so nothing here is lost; the callers' frames are the
    // contract of this function.
    unsafe {
        if ffi::errstart(pgrx::PgLogLevel::ERROR as i32, core::ptr::null()) {
            report.fill();
            ffi::errfinish(FILE.as_ptr(), line!() as i32, c"raise".as_ptr());
        }
    }
    // errfinish(ERROR) does not come back
    std::process::abort()
}

/// Raises an error with a text of the caller's; for [`guard`].
///
/// # Safety
/// As for [`raise`]; `text` is a C string.
pub(super) unsafe fn raise_text(code: PgSqlErrorCode, text: *const c_char) -> ! {
    // SAFETY: the caller's contract; the text is copied before the frame that may hold it is left.
    unsafe { raise(Report { code, message: text, detail: core::ptr::null(), hint: core::ptr::null() }) }
}

/// Ends the session with a text; for [`guard`].
///
/// # Safety
/// `text` is a C string.
pub(super) unsafe fn exit(text: *const c_char) -> ! {
    let code = PgSqlErrorCode::ERRCODE_INTERNAL_ERROR;
    // SAFETY: as in `raise`; at FATAL errfinish leaves the process.
    unsafe {
        if ffi::errstart(pgrx::PgLogLevel::FATAL as i32, core::ptr::null()) {
            Report { code, message: text, detail: core::ptr::null(), hint: core::ptr::null() }.fill();
            ffi::errfinish(FILE.as_ptr(), line!() as i32, c"exit".as_ptr());
        }
    }
    std::process::abort()
}

/// Raises `report` so that frames in between unwind and may hold anything.
#[cold]
pub fn unwind(report: Report) -> ! {
    // SAFETY: between here and the boundary no frame holds anything.
    unsafe { guard::call(|| raise(report)) }
}

/// Sends `report` as a NOTICE.
pub fn notice(report: Report) {
    send(pgrx::PgLogLevel::NOTICE, report);
}

/// Sends `report` at level DEBUG1.
pub fn debug(report: Report) {
    send(pgrx::PgLogLevel::DEBUG1, report);
}

fn send(level: pgrx::PgLogLevel, report: Report) {
    // SAFETY: the protocol of elog.c, at a level that comes back; what it may raise is caught by the boundary and
    // unwinds. `Report` is Copy.
    unsafe {
        guard::call(|| {
            if ffi::errstart(level as i32, core::ptr::null()) {
                report.fill();
                ffi::errfinish(FILE.as_ptr(), line!() as i32, c"send".as_ptr());
            }
        });
    }
}

/// Hands `report` to the caller of an input function, when `context` is an ErrorSaveContext (PostgreSQL 16 and
/// later: `pg_input_is_valid`, `COPY … ON_ERROR`), else raises it.
///
/// # Safety
/// As for [`raise`]; `context` is the call's own context node or null.
#[cold]
#[inline(never)]
pub unsafe fn save_or_raise(context: *mut pg_sys::Node, report: Report) {
    #[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
    // SAFETY: errsave_start takes any node or null and raises when it is not an ErrorSaveContext; the protocol
    // and the frames are those of `raise`.
    unsafe {
        if ffi::errsave_start(context, core::ptr::null()) {
            report.fill();
            ffi::errsave_finish(context, FILE.as_ptr(), line!() as i32, c"save_or_raise".as_ptr());
        }
    }
    #[cfg(not(any(feature = "pg16", feature = "pg17", feature = "pg18")))]
    // SAFETY: the caller's contract is that of `raise`.
    unsafe {
        let _ = context;
        raise(report)
    }
}
