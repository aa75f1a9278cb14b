//! Values that a memory context owns. A server error jumps over Rust frames and drops nothing in them; the context that
//! was current ends with the transaction or the query, and what it owns is dropped then.

use core::ffi::c_void;
use core::ptr::null_mut;

use pgrx::pg_sys;

use super::{guard, server};

/// Where the context finds the value: in the context itself, with its callback.
#[repr(C)]
pub struct Owned<T> {
    callback: pg_sys::MemoryContextCallback,
    /// from `Box::into_raw`, or null
    value: *mut T,
}

impl<T> Owned<T> {
    /// Gives the current memory context a value to own. Returns where it is: valid until the context ends.
    pub fn give(value: T) -> *mut Self {
        // SAFETY: zero is a valid value of each field (no function, no value). The callback lives as long as the
        // context that calls it.
        unsafe {
            let owned: *mut Self = server::palloc0(size_of::<Self>()).cast();
            (*owned).callback.func = Some(drop_of::<T>);
            (*owned).callback.arg = owned.cast();
            server::MemoryContextRegisterResetCallback(
                pg_sys::CurrentMemoryContext,
                &raw mut (*owned).callback,
            );
            (*owned).value = Box::into_raw(Box::new(value));
            owned
        }
    }

    /// The value, unless it was dropped.
    ///
    /// # Safety
    /// `owned` is null or comes from `give`, of a context that has not ended; nobody else uses the value meanwhile.
    pub unsafe fn value<'a>(owned: *mut Self) -> Option<&'a mut T> {
        // SAFETY: the caller's contract.
        unsafe { owned.as_ref().and_then(|owned| owned.value.as_mut()) }
    }

    /// Drops the value before the context ends.
    ///
    /// # Safety
    /// As for `value`.
    pub unsafe fn end(owned: *mut Self) {
        // SAFETY: the caller's contract; a value that is there came from a box, and is taken out once.
        unsafe {
            if let Some(owned) = owned.as_mut() {
                let value = core::mem::replace(&mut owned.value, null_mut());
                if !value.is_null() {
                    drop(Box::from_raw(value));
                }
            }
        }
    }
}

/// The context ends.
unsafe extern "C-unwind" fn drop_of<T>(owned: *mut c_void) {
    // SAFETY: `give` registered it with its own address; nothing runs in a context that ends.
    unsafe { guard::entry(|| Owned::<T>::end(owned.cast())) }
}

/// Runs `body` with a value that is dropped afterwards, also when an error leaves `body` by a jump.
pub fn with<T, R>(value: T, body: impl FnOnce(&mut T) -> R) -> R {
    let owned = Owned::give(value);
    // SAFETY: nobody ends the context under a function that runs in it, and only this one knows the value.
    unsafe {
        // given a value just now
        let value = &mut *(*owned).value;
        let result = body(value);
        Owned::end(owned);
        result
    }
}
