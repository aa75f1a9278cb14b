//! Queries of a function's own (SPI). Texts are bytes in the server's encoding, as names come from there and go back.

use core::ffi::{CStr, c_char, c_int, c_long};
use std::ffi::CString;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, Datum, Oid};

use super::server;

/// Why a query cannot be run; a server error is none of these: it unwinds.
#[derive(Debug)]
pub struct SpiError {
    /// the SQLSTATE
    pub code: PgSqlErrorCode,
    /// in words
    pub message: String,
}

fn failed(what: &str, result: c_int) -> SpiError {
    SpiError {
        code: PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        message: format!("{what} failed with SPI code {result}"),
    }
}

fn c_string(sql: &[u8]) -> Result<CString, SpiError> {
    CString::new(sql).map_err(|_| SpiError {
        code: PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        message: "statement with a zero byte".into(),
    })
}

/// A connection to the session's own executor; closed when dropped. While it lives, memory of the server that is
/// allocated is freed with it.
pub struct Spi(());

/// A row of a result.
pub struct Row {
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
}

/// A value for a statement's parameter, whole, in memory that lives as long as the connection.
#[derive(Clone, Copy, Debug)]
pub struct Value(Datum);

impl Value {
    pub(super) const fn datum(self) -> Datum {
        self.0
    }
}

/// A prepared statement with at most one parameter.
pub struct Prepared<'s> {
    plan: pg_sys::SPIPlanPtr,
    spi: &'s Spi,
}

/// The rows of a statement, freed when dropped.
struct Results {
    table: *mut pg_sys::SPITupleTable,
    rows: usize,
}

impl Drop for Results {
    fn drop(&mut self) {
        // while a server error unwinds, the connection's memory goes as a whole
        if !self.table.is_null() && !std::thread::panicking() {
            // SAFETY: the table is of the statement that made it, and is freed once.
            unsafe { server::SPI_freetuptable(self.table) };
        }
    }
}

impl Results {
    /// Takes over what the statement just executed left in SPI's variables.
    fn take() -> Self {
        // SAFETY: variables of this backend, which SPI set for the statement just executed.
        unsafe {
            let table = pg_sys::SPI_tuptable;
            pg_sys::SPI_tuptable = core::ptr::null_mut();
            let rows = if table.is_null() { 0 } else { pg_sys::SPI_processed };
            Results { table, rows: usize::try_from(rows).unwrap_or(0) }
        }
    }

    fn row(&self, n: usize) -> Row {
        // SAFETY: `n` is less than the number of rows (callers), each of which has a tuple.
        unsafe { Row { tuple: *(*self.table).vals.add(n), descriptor: (*self.table).tupdesc } }
    }

    fn each<E>(&self, mut look: impl FnMut(&Row) -> Result<(), E>) -> Result<(), E> {
        (0..self.rows).try_for_each(|n| look(&self.row(n)))
    }
}

impl Row {
    /// Column `n` (from 0) as its output function prints it; `None` for NULL.
    pub fn text(&self, n: usize) -> Option<Vec<u8>> {
        // SAFETY: tuple and descriptor are of one result; the function answers null for NULL or a column that is not
        // there, else a C string in the current memory context.
        unsafe {
            let text = server::SPI_getvalue(self.tuple, self.descriptor, column(n));
            if text.is_null() {
                return None;
            }
            let bytes = CStr::from_ptr(text).to_bytes().into();
            server::pfree(text.cast());
            Some(bytes)
        }
    }

    /// Column `n`, a number in its text form; `None` for NULL and for what is none.
    pub fn number<T: core::str::FromStr>(&self, n: usize) -> Option<T> {
        core::str::from_utf8(&self.text(n)?).ok()?.parse().ok()
    }

    /// Column `n`, an `oid` in its text form; `InvalidOid` for NULL.
    pub fn oid(&self, n: usize) -> Oid {
        self.number::<u32>(n).map_or(pg_sys::InvalidOid, Oid::from)
    }

    /// Column `n`, a boolean; false for NULL.
    pub fn bool(&self, n: usize) -> bool {
        self.text(n).as_deref() == Some(b"t")
    }

    /// Column `n`, a float8; `None` for NULL.
    pub fn float8(&self, n: usize) -> Option<f64> {
        let mut null = true;
        // SAFETY: as in `text`; a float8 is passed by value.
        let datum = unsafe { server::SPI_getbinval(self.tuple, self.descriptor, column(n), &raw mut null) };
        (!null).then(|| f64::from_bits(datum.value() as u64))
    }

    /// Shows column `n`, a varlena, fetched from where it is stored; not NULL.
    pub fn with_value(&self, n: usize, look: impl FnOnce(Value)) {
        let mut null = true;
        // SAFETY: as in `text`; the caller's column is a varlena. What is fetched is this function's own, and is freed
        // once nobody sees it any more; should `look` unwind, the connection's memory goes as a whole.
        unsafe {
            let datum = server::SPI_getbinval(self.tuple, self.descriptor, column(n), &raw mut null);
            if null {
                return;
            }
            let stored: *mut pg_sys::varlena = datum.cast_mut_ptr();
            let value = server::pg_detoast_datum(stored);
            look(Value(Datum::from(value)));
            if value != stored {
                server::pfree(value.cast());
            }
        }
    }

    /// Column `n`, a varlena, fetched from where it is stored; `None` for NULL.
    pub fn value(&self, n: usize) -> Option<Value> {
        let mut null = true;
        // SAFETY: as in `text`; the caller's column is a varlena, which is copied to the current memory
        // context: that of the connection.
        unsafe {
            let datum = server::SPI_getbinval(self.tuple, self.descriptor, column(n), &raw mut null);
            if null {
                return None;
            }
            Some(Value(Datum::from(server::pg_detoast_datum_copy(datum.cast_mut_ptr()))))
        }
    }
}

fn column(n: usize) -> c_int {
    // a result has at most 1664 columns
    n as c_int + 1
}

impl Spi {
    /// Connects.
    ///
    /// # Errors
    /// SPI says no.
    pub fn connect() -> Result<Self, SpiError> {
        // SAFETY: may be called in any transaction.
        match unsafe { server::SPI_connect() } {
            result if result == pg_sys::SPI_OK_CONNECT as c_int => Ok(Spi(())),
            result => Err(failed("SPI_connect", result)),
        }
    }

    /// Runs a query under the caller's snapshot, and shows `look` its rows.
    ///
    /// # Errors
    /// SPI's, or those of `look`.
    pub fn query<E: From<SpiError>>(
        &self,
        sql: &[u8],
        look: impl FnMut(&Row) -> Result<(), E>,
    ) -> Result<(), E> {
        self.execute(sql, true)?.each(look)
    }

    /// Runs a query under the caller's snapshot, and shows `look` its rows as they come, some at a time.
    ///
    /// # Errors
    /// SPI's, or those of `look`.
    pub fn stream<E: From<SpiError>>(
        &self,
        sql: &[u8],
        mut look: impl FnMut(&Row) -> Result<(), E>,
    ) -> Result<(), E> {
        const ROWS: c_long = 100;
        let sql = c_string(sql)?;
        // SAFETY: connected; the text outlives the call. Plan and portal are of this connection: should `look` fail, or
        // unwind, they end with it.
        let portal = unsafe {
            let plan = server::SPI_prepare(sql.as_ptr(), 0, core::ptr::null_mut());
            if plan.is_null() {
                return Err(failed("SPI_prepare", pg_sys::SPI_result).into());
            }
            server::SPI_cursor_open(core::ptr::null(), plan, core::ptr::null_mut(), core::ptr::null(), true)
        };
        loop {
            // SAFETY: the portal is open.
            unsafe { server::SPI_cursor_fetch(portal, true, ROWS) };
            let rows = Results::take();
            if rows.rows == 0 {
                break;
            }
            rows.each(&mut look)?;
        }
        // SAFETY: the portal is open, and not used any more.
        unsafe { server::SPI_cursor_close(portal) };
        Ok(())
    }

    /// Runs a statement that may change something.
    ///
    /// # Errors
    /// SPI's.
    pub fn run(&self, sql: &[u8]) -> Result<(), SpiError> {
        self.execute(sql, false).map(drop)
    }

    fn execute(&self, sql: &[u8], read_only: bool) -> Result<Results, SpiError> {
        let sql = c_string(sql)?;
        // SAFETY: connected; the text outlives the call.
        let result = unsafe { server::SPI_execute(sql.as_ptr(), read_only, 0) };
        let rows = Results::take();
        if result < 0 { Err(failed("SPI_execute", result)) } else { Ok(rows) }
    }

    /// The first column of the first row of `EXPLAIN` of a query with a parameter, or nothing.
    ///
    /// # Errors
    /// SPI's.
    pub fn explain(&self, sql: &[u8], kind: Oid, value: Value) -> Result<Vec<u8>, SpiError> {
        let sql = c_string(sql)?;
        let (mut kinds, mut values) = ([kind], [value.0]);
        // SAFETY: connected; the arrays have an element for the one parameter and outlive the call. EXPLAIN is
        // a utility command, which SPI does not take for one that only reads.
        let result = unsafe {
            server::SPI_execute_with_args(
                sql.as_ptr(),
                1,
                kinds.as_mut_ptr(),
                values.as_mut_ptr(),
                core::ptr::null(),
                false,
                0,
            )
        };
        let rows = Results::take();
        if result < 0 {
            return Err(failed("EXPLAIN", result));
        }
        Ok(if rows.rows > 0 { rows.row(0).text(0).unwrap_or_default() } else { Vec::new() })
    }

    /// Prepares a query with one parameter of type `kind`.
    ///
    /// # Errors
    /// SPI's.
    pub fn prepare(&self, sql: &[u8], kind: Oid) -> Result<Prepared<'_>, SpiError> {
        let sql = c_string(sql)?;
        let mut kinds = [kind];
        // SAFETY: connected; the text and the array outlive the call. The plan is freed with the connection.
        let plan = unsafe { server::SPI_prepare(sql.as_ptr(), 1, kinds.as_mut_ptr()) };
        if plan.is_null() {
            // SAFETY: a variable of this backend.
            return Err(failed("SPI_prepare", unsafe { pg_sys::SPI_result }));
        }
        Ok(Prepared { plan, spi: self })
    }
}

impl Drop for Spi {
    fn drop(&mut self) {
        // A server error that unwinds ends the (sub)transaction, which cleans up.
        if !std::thread::panicking() {
            // SAFETY: connected.
            unsafe { server::SPI_finish() };
        }
    }
}

impl Prepared<'_> {
    /// Runs it with a value for its parameter, under the caller's snapshot. `look` is told each row once all are there;
    /// what is returned is the time until then.
    ///
    /// # Errors
    /// SPI's.
    pub fn run(&self, value: Value, mut look: impl FnMut(&Row)) -> Result<core::time::Duration, SpiError> {
        let _ = self.spi;
        let (mut values, nulls) = ([value.0], [b' ' as c_char, 0]);
        let began = std::time::Instant::now();
        // SAFETY: the plan is of this connection and has one parameter, of the type that the caller prepared it for.
        let result = unsafe {
            server::SPI_execute_plan(self.plan, values.as_mut_ptr(), nulls.as_ptr(), true, 0 as c_long)
        };
        let (took, rows) = (began.elapsed(), Results::take());
        if result < 0 {
            return Err(failed("SPI_execute_plan", result));
        }
        for n in 0..rows.rows {
            look(&rows.row(n));
        }
        Ok(took)
    }
}
