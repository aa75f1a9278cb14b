//! One call of an SQL function: its arguments and its result.

use core::ffi::CStr;
use core::marker::PhantomData;

use pgrx::pg_sys::{self, Datum};

use super::toast::{
    self,
    last_row::{self, Measure},
};
use super::varlena::{self, NewVarlena, Scratch};
use super::{ffi, server};

/// The arguments of one call. Copying it is free; `'fc` ends with the call.
#[derive(Clone, Copy)]
pub struct Call<'fc> {
    fcinfo: pg_sys::FunctionCallInfo,
    lifetime: PhantomData<&'fc ()>,
}

impl<'fc> Call<'fc> {
    /// Wraps what fmgr passed.
    ///
    /// # Safety
    /// `fcinfo` is a live call from fmgr to a function that is strict or reads no arguments, and whose declared
    /// argument types are those that the body reads (sql/vector.sql says so; only a superuser can declare
    /// otherwise, as with any C function). `'fc` does not outlive the call. A body holds nothing that needs dropping
    /// while it calls a method whose name ends in `hot`.
    #[inline]
    pub unsafe fn new(fcinfo: pg_sys::FunctionCallInfo) -> Self {
        Call { fcinfo, lifetime: PhantomData }
    }

    /// The node that accompanies the call (an aggregate, an ErrorSaveContext), or null.
    pub fn context(&self) -> *mut pg_sys::Node {
        // SAFETY: `new`'s contract: fcinfo is live.
        unsafe { (*self.fcinfo).context }
    }

    /// The server's own pointer.
    pub(super) fn as_ptr(&self) -> pg_sys::FunctionCallInfo {
        self.fcinfo
    }

    /// Argument `n` as it came.
    #[inline]
    pub fn datum(&self, n: usize) -> Datum {
        // SAFETY: `new`'s contract: fcinfo is live and has the declared arguments, `n` among them.
        unsafe { (*(*self.fcinfo).args.as_ptr().add(n)).value }
    }

    /// Argument `n`, an integer.
    #[inline]
    pub fn i32(&self, n: usize) -> i32 {
        self.datum(n).value() as i32
    }

    /// Argument `n`, a float8.
    pub fn f64(&self, n: usize) -> f64 {
        f64::from_bits(self.datum(n).value() as u64)
    }

    /// Whether argument `n` is NULL.
    pub fn is_null(&self, n: usize) -> bool {
        // SAFETY: as in `datum`.
        unsafe { (*(*self.fcinfo).args.as_ptr().add(n)).isnull }
    }

    /// A jsonb for the result, parsed by the server from `text`, which is ASCII without a zero byte.
    pub fn jsonb(&self, text: &str) -> Datum {
        let text = text.replace('\0', "") + "\0";
        // SAFETY: jsonb_in takes a C string and looks at nothing else of its call; the result is in the current memory
        // context, apart from the text.
        unsafe {
            server::DirectFunctionCall1Coll(
                Some(ffi::jsonb_in),
                pg_sys::InvalidOid,
                Datum::from(text.as_ptr().cast_mut()),
            )
        }
    }

    /// Argument `n`, a boolean.
    pub fn bool(&self, n: usize) -> bool {
        // DatumGetBool looks at one byte
        self.datum(n).value() & 0xff != 0
    }

    /// Argument `n`, the OID of an object.
    pub fn oid(&self, n: usize) -> pg_sys::Oid {
        pg_sys::Oid::from(self.datum(n).value() as u32)
    }

    /// Argument `n`, a cstring.
    pub fn text(&self, n: usize) -> &'fc [u8] {
        // SAFETY: a cstring argument points to a NUL-ended string that lives as long as the call.
        unsafe { CStr::from_ptr(self.datum(n).cast_mut_ptr()) }.to_bytes()
    }

    /// Argument `n`, a varlena, whole: detoasted, with a four-byte header, 4-byte aligned.
    pub fn varlena(&self, n: usize) -> &'fc [u8] {
        // SAFETY: the argument is a varlena (`new`); the guarded detoast leaves a value in the argument's own
        // memory or in the current memory context, both of which outlive the call.
        unsafe { varlena::whole(server::pg_detoast_datum(self.datum(n).cast_mut_ptr())) }
    }

    /// As [`Self::varlena`], for functions called once per row: no guard, and a value stored with a short
    /// header is unpacked into `scratch` instead of into allocated memory.
    ///
    /// Detoasting can raise a server error, which jumps over the calling function: `new` makes that its caller's
    /// promise, and the `hot` functions of symbols.rs are the ones that keep it.
    #[inline]
    pub fn varlena_hot<'s>(&self, n: usize, scratch: &'s mut Scratch) -> &'s [u8]
    where
        'fc: 's,
    {
        // SAFETY: the argument is a varlena (`new`) that outlives `'s`, and the body may be jumped over (`new`).
        unsafe { varlena::detoast_hot(self.fcinfo, n, self.datum(n).cast_mut_ptr(), scratch) }
    }

    /// The distance of two varlenas, the arguments, where a scan has told it that has just returned the first one's
    /// row.
    #[inline(always)]
    pub fn known_distance(&self, measure: Measure) -> Option<f64> {
        let value = self.datum(0).cast_mut_ptr();
        // SAFETY: both arguments are varlenas (`new`).
        unsafe {
            if !toast::is_out_of_line(value) {
                return None;
            }
            last_row::distance(measure, value, self.datum(1).cast_mut_ptr())
        }
    }

    /// As [`Self::varlena_hot`], but only the first `bytes` bytes after the header are sure to be there.
    #[inline]
    pub fn varlena_prefix_hot<'s>(&self, n: usize, bytes: i32, scratch: &'s mut Scratch) -> &'s [u8]
    where
        'fc: 's,
    {
        // SAFETY: the argument is a varlena (`new`) that outlives `'s`, and the body may be jumped over (`new`).
        unsafe { varlena::detoast_prefix_hot(self.datum(n).cast_mut_ptr(), bytes, scratch) }
    }

    /// As [`Self::varlena_hot`], with the value as a result: the argument itself unless it had to be fetched.
    #[inline]
    pub fn kept_hot<'s>(&self, n: usize, scratch: &'s mut Scratch) -> (&'s [u8], Datum)
    where
        'fc: 's,
    {
        // SAFETY: the argument is a varlena (`new`) that outlives `'s`, and the body may be jumped over (`new`).
        let (bytes, kept) = unsafe { varlena::kept_hot(self.datum(n).cast_mut_ptr(), scratch) };
        (bytes, Datum::from(kept))
    }

    /// A new value of `size` bytes, header included, for the result.
    #[inline]
    pub fn new_varlena_hot(&self, size: usize) -> NewVarlena {
        // SAFETY: the body may be jumped over (`new`).
        unsafe { NewVarlena::zeroed_hot(size) }
    }

    /// A bytea of so many bytes for the result, which are zero until `fill` writes them.
    #[inline]
    pub fn bytea_hot(&self, payload: usize, fill: impl FnOnce(&mut [u8])) -> Datum {
        let mut value = self.new_varlena_hot(varlena::HEADER + payload);
        if let Some((_, bytes)) = value.bytes_mut().split_at_mut_checked(varlena::HEADER) {
            fill(bytes);
        }
        value.into_datum()
    }

    /// A cstring of at most `capacity` bytes for the result; `fill` writes it (without NUL) and returns its length.
    #[inline]
    pub fn cstring_hot(&self, capacity: usize, fill: impl FnOnce(&mut [u8]) -> usize) -> Datum {
        // SAFETY: the body may be jumped over (`new`).
        unsafe { varlena::cstring_hot(capacity, fill) }
    }

    /// Changes the transition value in argument 0 of an aggregate in place, with argument 1, another varlena:
    /// answers the value's datum and what `change` answered. `None`, and nothing done, when the function is called
    /// as an ordinary one, or when the transition value is not in its plain form.
    ///
    /// PostgreSQL lets a transition function do this (xaggr.sgml): the value belongs to the aggregate alone.
    /// `change` is a plain function, so that nothing can reach the value while it is being changed.
    #[inline]
    pub fn change_transition_hot<R>(&self, change: fn(&mut [u8], &[u8]) -> R) -> Option<(Datum, R)> {
        if self.context().is_null() {
            return None;
        }
        // SAFETY: fcinfo is live; a null second argument is allowed.
        if unsafe { ffi::AggCheckCallContext(self.fcinfo, core::ptr::null_mut()) } == 0 {
            return None;
        }
        let mut room = Scratch::new();
        let (state, input) = (self.datum(0), self.varlena_hot(1, &mut room));
        if core::ptr::eq(state.cast_mut_ptr::<u8>(), input.as_ptr()) {
            return None;
        }
        // SAFETY: the argument is a varlena that nodeAgg (or nodeWindowAgg) made for this aggregate in its own
        // context, apart from any input. The mutable view of it ends with `change`, which is given the only other
        // value it can see, and that one lies elsewhere.
        let result = change(unsafe { varlena::plain_mut(state.cast_mut_ptr()) }?, input);
        Some((state, result))
    }

    /// The unread part of the message in argument 0 of a receive function.
    pub fn message(&self) -> &'fc [u8] {
        // SAFETY: argument 0 of a receive function is a StringInfo whose cursor lies within its len bytes.
        unsafe {
            let buffer: *const pg_sys::StringInfoData = self.datum(0).cast_mut_ptr();
            let (len, cursor) = ((*buffer).len.max(0) as usize, (*buffer).cursor.max(0) as usize);
            let unread = len.saturating_sub(cursor);
            core::slice::from_raw_parts((*buffer).data.add(len - unread).cast(), unread)
        }
    }

    /// Marks `bytes` of [`Self::message`] as read.
    pub fn advance_message(&self, bytes: usize) {
        // SAFETY: as in `message`; no slice reaches the cursor field itself.
        unsafe {
            let buffer: *mut pg_sys::StringInfoData = self.datum(0).cast_mut_ptr();
            (*buffer).cursor += bytes as i32;
        }
    }

    /// Makes the result NULL.
    pub fn set_null(&self) {
        // SAFETY: `new`'s contract: fcinfo is live, and no reference into it is held.
        unsafe { (*self.fcinfo).isnull = true }
    }
}

/// What a function's body may answer.
pub trait Return {
    /// The result as a Datum; sets NULL through `call`.
    fn into_datum(self, call: Call<'_>) -> Datum;
}

impl Return for Datum {
    #[inline]
    fn into_datum(self, _: Call<'_>) -> Datum {
        self
    }
}

impl Return for f64 {
    #[inline]
    fn into_datum(self, _: Call<'_>) -> Datum {
        Datum::from(self.to_bits())
    }
}

impl Return for i64 {
    #[inline]
    fn into_datum(self, _: Call<'_>) -> Datum {
        Datum::from(self)
    }
}

impl Return for () {
    #[inline]
    fn into_datum(self, _: Call<'_>) -> Datum {
        Datum::from(0usize)
    }
}

impl Return for i32 {
    #[inline]
    fn into_datum(self, _: Call<'_>) -> Datum {
        Datum::from(self)
    }
}

impl Return for bool {
    #[inline]
    fn into_datum(self, _: Call<'_>) -> Datum {
        Datum::from(self)
    }
}

impl<T: Return> Return for Option<T> {
    fn into_datum(self, call: Call<'_>) -> Datum {
        match self {
            Some(value) => value.into_datum(call),
            None => {
                call.set_null();
                Datum::from(0usize)
            }
        }
    }
}
