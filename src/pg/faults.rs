//! Steps of long operations at which a test stops, fails or kills them (feature `fault_points`; never in
//! shipped builds).
//!
//! `vector.fault_point`, for superusers, holds rules, one or more, separated by commas: `point:action` or
//! `point:action:n` for the n-th time only that the point is reached after the setting was made. A point that ends with
//! `*` means all that begin so. Actions:
//!
//! - `error` raises SQLSTATE 58000 (system_error);
//! - `kill` ends the process at once, as kill -9 from outside would;
//! - `wait` waits while somebody else holds the advisory lock ([`WAIT_KEY`], the process's own number), the
//!   next time that of `WAIT_KEY + 1`, and so on in turn. Whoever wants to stop a session takes the first lock
//!   alone, sees the session wait for it in `pg_locks`, and reads in `pg_stat_activity` where (in place of its
//!   query). Releasing it lets the session go on; taking the other one before makes sure that it stops again.
//!   The wait can be cancelled.

use core::ffi::{CStr, c_char, c_void};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use pgrx::{PgSqlErrorCode, pg_sys};

use super::ereport::{self, Report};
use super::server;

/// The first key of the advisory lock that `wait` waits for the first time.
pub const WAIT_KEY: u32 = 0x0FA1;

/// Rules counted at most; those behind them count from their beginning for ever.
const MOST_RULES: usize = 8;

static SETTING: AtomicPtr<c_char> = AtomicPtr::new(core::ptr::null_mut());
/// how often each rule's point was reached
static REACHED: [AtomicU32; MOST_RULES] = [const { AtomicU32::new(0) }; MOST_RULES];
/// how often the process has waited since the setting was made
static WAITS: AtomicU32 = AtomicU32::new(0);

/// Makes the setting known; from _PG_init.
pub fn register() {
    let flags = (pg_sys::GUC_NO_SHOW_ALL | pg_sys::GUC_NOT_IN_SAMPLE) as i32;
    // SAFETY: texts and the variable are static; called once per process.
    unsafe {
        server::DefineCustomStringVariable(
            c"vector.fault_point".as_ptr(),
            c"Steps at which a test stops, fails or kills an operation".as_ptr(),
            core::ptr::null(),
            SETTING.as_ptr(),
            c"".as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            flags,
            Some(check),
            Some(assign),
            None,
        );
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Error,
    Kill,
    Wait,
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule<'r> {
    point: &'r str,
    action: Action,
    /// the only time that counts, or every time
    nth: Option<u32>,
}

impl<'r> Rule<'r> {
    fn parse(text: &'r str) -> Option<Rule<'r>> {
        let mut parts = text.trim().split(':');
        let point = parts.next().filter(|point| !point.is_empty())?;
        let action = match parts.next()? {
            "error" => Action::Error,
            "kill" => Action::Kill,
            "wait" => Action::Wait,
            _ => return None,
        };
        let nth = match parts.next() {
            Some(number) => Some(number.parse().ok().filter(|&number| number > 0)?),
            None => None,
        };
        parts.next().is_none().then_some(Rule { point, action, nth })
    }

    fn names(&self, point: &str) -> bool {
        match self.point.strip_suffix('*') {
            Some(beginning) => point.starts_with(beginning),
            None => self.point == point,
        }
    }
}

fn rules(setting: &str) -> impl Iterator<Item = &str> {
    setting.split(',').filter(|rule| !rule.trim().is_empty())
}

/// The setting's value.
///
/// # Safety
/// `value` is null or a C string that lives for `'a`.
unsafe fn text<'a>(value: *const c_char) -> Option<&'a str> {
    if value.is_null() {
        return Some("");
    }
    // SAFETY: the caller's contract.
    unsafe { CStr::from_ptr(value) }.to_str().ok()
}

unsafe extern "C-unwind" fn check(
    new: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: the server passes the address of the new value, a C string or null.
    unsafe { text(*new) }.is_some_and(|text| rules(text).all(|rule| Rule::parse(rule).is_some()))
}

unsafe extern "C-unwind" fn assign(_new: *const c_char, _extra: *mut c_void) {
    for reached in &REACHED {
        reached.store(0, Ordering::Relaxed);
    }
    WAITS.store(0, Ordering::Relaxed);
}

/// Does what the setting wants done at `point`. No lock on a buffer is held.
#[inline]
pub fn reach(point: &'static str) {
    let setting = SETTING.load(Ordering::Relaxed);
    // SAFETY: null or the server's copy of the setting, which lives until the setting changes: not while a function of
    // this backend runs that does not serve statements.
    let Some(setting) = (unsafe { text(setting) }) else { return };
    if !setting.is_empty() {
        follow(setting, point);
    }
}

fn follow(setting: &str, point: &'static str) {
    let mut wanted = None;
    for (number, rule) in rules(setting).filter_map(Rule::parse).enumerate() {
        if !rule.names(point) {
            continue;
        }
        let times = REACHED.get(number).map_or(1, |reached| reached.fetch_add(1, Ordering::Relaxed) + 1);
        if rule.nth.is_none_or(|nth| nth == times) {
            wanted = wanted.or(Some(rule.action));
        }
    }
    match wanted {
        Some(Action::Error) => {
            let message = format!("stopped at {point}");
            ereport::unwind(Report::new(PgSqlErrorCode::ERRCODE_SYSTEM_ERROR, message.as_bytes()))
        }
        Some(Action::Kill) => kill(),
        Some(Action::Wait) => wait(point),
        None => {}
    }
}

fn kill() {
    // SAFETY: kill takes numbers only; SIGKILL cannot be held up.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

fn wait(point: &str) {
    let mut shown = [0_u8; 64];
    let length = point.len().min(shown.len() - 1);
    if let (Some(to), Some(from)) = (shown.get_mut(..length), point.as_bytes().get(..length)) {
        to.copy_from_slice(from);
    }
    let turn = WAITS.fetch_add(1, Ordering::Relaxed) & 1;
    // SAFETY: plain variables of this backend; the text ends with NUL; a lock of the session on a tag that belongs to
    // users, taken and released at once. All guarded: a cancel unwinds.
    unsafe {
        server::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, shown.as_ptr().cast());
        // SET_LOCKTAG_ADVISORY (src/include/storage/lock.h) for two keys of four bytes
        let tag = pg_sys::LOCKTAG {
            locktag_field1: pg_sys::MyDatabaseId.into(),
            locktag_field2: WAIT_KEY + turn,
            locktag_field3: pg_sys::MyProcPid as u32,
            locktag_field4: 2,
            locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
            locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
        };
        let share = pg_sys::ShareLock as pg_sys::LOCKMODE;
        server::LockAcquire(&tag, share, true, false);
        server::LockRelease(&tag, share, true);
    }
}
