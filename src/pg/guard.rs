//! The border between Rust frames and the server's errors.
//!
//! The server raises an error by `longjmp` to the innermost handler, over whatever lies between. [`call`] is such a
//! handler round one call of the server: it turns the jump into a panic, which unwinds the Rust frames above and drops
//! what they hold. [`entry`] lies round the body of every function that the server calls: there the panic ends, and the
//! error goes on to the server's next handler. Together they are PG_TRY, PG_CATCH and PG_RE_THROW (src/include/utils/
//! elog.h) with destructors as the code in between. As with these, the error itself is not touched on its way: it stays
//! on the server's error stack (elog.c), with all its fields, in the encoding it was written in.
//!
//! Fatal errors do not pass here: the server leaves the process from within `errfinish`.
//!
//! An error that is caught here is raised again, always; to make one disappear a subtransaction has to be rolled back,
//! too ([`super::attempt`]). While it unwinds, destructors may call what cannot fail (releasing a lock, say). Should
//! such a call fail after all, there is no way to tell of two errors at once; the session ends.

use core::any::Any;
use core::cell::Cell;
use core::ffi::c_char;
use core::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use cee_scape::call_with_sigsetjmp;
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, panic::CaughtError};

use super::ereport;
use super::ffi;

/// The panic that carries a server error through Rust frames. The error lies on the server's error stack meanwhile.
struct ServerError;

/// Calls the server so that its errors unwind.
///
/// # Safety
/// `body` does nothing but call functions of the server, for each of which it keeps the contract: an error jumps over
/// its frames, so they hold nothing that needs dropping, and it does not panic. Only the backend's own thread may call
/// the server.
#[inline]
pub unsafe fn call<R>(body: impl FnOnce() -> R) -> R {
    debug_assert!(is_backend_thread());
    // SAFETY: these variables of the backend say where errors go and what is running. They are put back to what they
    // were before the call however it ends, so the jump buffer is known to the server only while this frame lives.
    // (Nothing that is read after the jump was changed since `call_with_sigsetjmp` began, except what it owns.)
    unsafe {
        let handler = pg_sys::PG_exception_stack;
        let context = pg_sys::error_context_stack;
        let memory = pg_sys::CurrentMemoryContext;
        let holdoff = (&raw const pg_sys::InterruptHoldoffCount).read_volatile();
        let cancel_holdoff = (&raw const pg_sys::QueryCancelHoldoffCount).read_volatile();
        let mut result = MaybeUninit::uninit();
        let jumped = call_with_sigsetjmp(false, |buffer| {
            pg_sys::PG_exception_stack = core::ptr::from_ref(buffer).cast_mut().cast();
            result.write(body());
            0
        });
        pg_sys::PG_exception_stack = handler;
        pg_sys::error_context_stack = context;
        if jumped == 0 {
            return result.assume_init();
        }
        pg_sys::CurrentMemoryContext = memory;
        // Raising has set them to zero. Locks that are let go of while frames unwind count them down.
        (&raw mut pg_sys::InterruptHoldoffCount).write_volatile(holdoff);
        (&raw mut pg_sys::QueryCancelHoldoffCount).write_volatile(cancel_holdoff);
        unwind()
    }
}

/// Whether a panic carries a server error, which lies on the server's error stack.
pub(super) fn is_server_error(payload: &(dyn Any + Send)) -> bool {
    payload.is::<ServerError>()
}

/// Goes on with the server error that was caught.
#[cold]
#[inline(never)]
fn unwind() -> ! {
    if std::thread::panicking() {
        // SAFETY: leaves the process; no frame is ever returned to.
        unsafe {
            ereport::exit(c"error while another error was being handled".as_ptr());
        }
    }
    // no panic hook: nothing is written, no backtrace taken
    resume_unwind(Box::new(ServerError))
}

/// Runs the body of a function that the server called, and raises what it panics with, once nothing of it is left.
///
/// # Safety
/// The caller was called by the server and holds nothing that needs dropping: an error jumps over its frames.
#[inline]
pub unsafe fn entry<R>(body: impl FnOnce() -> R) -> R {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        // SAFETY: the caller's contract.
        Err(payload) => unsafe { raise(payload) },
    }
}

/// Raises what a panic carried.
///
/// # Safety
/// As for [`entry`].
#[cold]
#[inline(never)]
unsafe fn raise(payload: Box<dyn Any + Send>) -> ! {
    // SAFETY: nothing needs dropping once the payload is gone. The server's own error is still on its error stack, and
    // interrupts are no longer held off, as after errfinish.
    unsafe {
        if payload.is::<ServerError>() {
            drop(payload);
            (&raw mut pg_sys::InterruptHoldoffCount).write_volatile(0);
            (&raw mut pg_sys::QueryCancelHoldoffCount).write_volatile(0);
            ffi::pg_re_throw()
        }
        let (code, text) = describe(&*payload);
        drop(payload);
        ereport::raise_text(code, text.as_ptr())
    }
}

/// A C string of bounded length.
#[derive(Clone, Copy)]
struct Text {
    bytes: [u8; 512],
    length: usize,
}

impl Text {
    const EMPTY: Text = Text { bytes: [0; 512], length: 0 };

    fn as_ptr(&self) -> *const c_char {
        self.bytes.as_ptr().cast()
    }

    /// Adds what fits of `text`: whole characters, none of them NUL, and NUL stays behind the last one.
    fn push(&mut self, text: &str) {
        for c in text.chars().filter(|&c| c != '\0') {
            let end = self.length + c.len_utf8();
            match self.bytes.get_mut(self.length..end) {
                Some(room) if end < 512 => {
                    c.encode_utf8(room);
                    self.length = end;
                }
                _ => break,
            }
        }
    }
}

impl core::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.push(text);
        Ok(())
    }
}

/// What an error that a panic carried is to say. Allocates nothing.
fn describe(payload: &(dyn Any + Send)) -> (PgSqlErrorCode, Text) {
    let mut text = Text::EMPTY;
    // pgrx's own, should something of it be called without our guard
    if let Some(
        CaughtError::PostgresError(error)
        | CaughtError::ErrorReport(error)
        | CaughtError::RustPanic { ereport: error, .. },
    ) = payload.downcast_ref()
    {
        text.push(error.message());
        return (error.sql_error_code(), text);
    }
    text.push("internal error of vector: ");
    if let Some(message) = payload.downcast_ref::<&str>() {
        text.push(message);
    } else if let Some(message) = payload.downcast_ref::<String>() {
        text.push(message);
    } else {
        text.push("panic without a message");
    }
    let place = PLACE.replace(Text::EMPTY);
    if let Ok(place) = core::str::from_utf8(&place.bytes[..place.length])
        && !place.is_empty()
    {
        text.push(" (");
        text.push(place);
        text.push(")");
    }
    (PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, text)
}

std::thread_local! {
    /// Where this thread panicked last.
    static PLACE: Cell<Text> = const { Cell::new(Text::EMPTY) };
}

/// Takes over what is done at the moment of a panic: in the backend's own thread the place is noted for [`entry`], and
/// nothing written, neither to the log nor, as pgrx would, a backtrace into the error's DETAIL. Panics of other threads
/// are written to the log as ever. From `_PG_init`.
pub fn install_panic_hook() {
    if cfg!(feature = "pg_test") {
        // pgrx's test harness tells where an assertion failed by its own hook
        return;
    }
    // what pgrx put there when the library was loaded
    drop(std::panic::take_hook());
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !is_backend_thread() {
            default(info);
        } else if let Some(place) = info.location() {
            let mut text = Text::EMPTY;
            // the files of this project have relative names; of others, the directory says nothing
            let file = place.file();
            let file = if file.starts_with('/') { file.rsplit('/').next().unwrap_or(file) } else { file };
            // pushing cannot fail
            let _ = core::fmt::Write::write_fmt(&mut text, format_args!("{file}:{}", place.line()));
            PLACE.set(text);
        }
    }));
}

/// Whether this is the thread that the process began with.
fn is_backend_thread() -> bool {
    // SAFETY: both only answer.
    unsafe { libc::syscall(libc::SYS_gettid) == libc::c_long::from(libc::getpid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(payload: &(dyn Any + Send)) -> String {
        let (code, text) = describe(payload);
        assert_eq!(code, PgSqlErrorCode::ERRCODE_INTERNAL_ERROR);
        assert_eq!(text.bytes[text.length], 0);
        String::from_utf8(text.bytes[..text.length].to_vec()).unwrap_or_default()
    }

    #[test]
    fn panics_are_described_with_their_place() {
        assert_eq!(described(&"odd"), "internal error of vector: odd");
        assert_eq!(described(&String::from("o\0dd")), "internal error of vector: odd");
        assert_eq!(described(&7), "internal error of vector: panic without a message");
        let mut place = Text::EMPTY;
        place.push("src/lib.rs:7");
        PLACE.set(place);
        assert_eq!(described(&"odd"), "internal error of vector: odd (src/lib.rs:7)");
        assert_eq!(described(&"odd"), "internal error of vector: odd", "a place is used once");
    }

    #[test]
    fn long_texts_end_with_a_whole_character() {
        let text = described(&"\u{e9}".repeat(600));
        assert!(text.len() >= 510 && text.chars().skip(26).all(|c| c == '\u{e9}'), "{text}");
    }
}
