//! Which of its page layouts an index is built with: the storage parameter `layout`, and the setting that decides where
//! it is absent. What an index *is* stands in its meta page.

use core::ffi::CStr;

use pgrx::PgSqlErrorCode;

use crate::pg::ereport::{self, Report};
use crate::pg::guc::{self, Choices};
use crate::pg::reloptions::{Choice, StorageParameter, Values};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// whichever suits
    Auto,
    /// the layout that only this extension knows
    Own,
    /// that one where there is one
    PreferOwn,
    /// pgvector's
    Pgvector,
}

const ABSENT: i32 = 0;
const AUTO: i32 = 1;
const OWN: i32 = 2;
const PGVECTOR: i32 = 3;

/// The setting's value where nobody set it.
pub const DEFAULT: i32 = AUTO;

impl Wanted {
    /// What the parameter says, or, where it is absent, the setting.
    pub const fn new(parameter: i32, setting: i32) -> Self {
        match (parameter, setting) {
            (AUTO, _) | (ABSENT, AUTO) => Wanted::Auto,
            (OWN, _) => Wanted::Own,
            (ABSENT, OWN) => Wanted::PreferOwn,
            _ => Wanted::Pgvector,
        }
    }

    /// Its name, where the own layout is called `own`.
    pub const fn name(self, own: &'static str) -> &'static str {
        match self {
            Wanted::Auto => "auto",
            Wanted::Own | Wanted::PreferOwn => own,
            Wanted::Pgvector => "pgvector",
        }
    }
}

/// The names of the layouts of an access method whose own one is called `own`, for [`parameter`].
pub const fn names(own: &'static CStr) -> [Choice; 4] {
    [Choice::new(c"auto", AUTO), Choice::new(own, OWN), Choice::new(c"pgvector", PGVECTOR), Choice::END]
}

/// The same for the setting.
pub const fn settings(own: &'static CStr) -> Choices<4> {
    Choices::new([
        guc::choice(c"auto", AUTO),
        guc::choice(own, OWN),
        guc::choice(c"pgvector", PGVECTOR),
        guc::no_choice(),
    ])
}

/// The storage parameter, at an offset of the options struct. `detail` names all of `names` in words.
pub const fn parameter(
    offset: usize,
    names: &'static [Choice; 4],
    detail: &'static CStr,
) -> StorageParameter {
    StorageParameter {
        name: c"layout",
        description: c"Page layout",
        offset,
        values: Values::Choice { choices: names, absent: ABSENT, detail },
    }
}

/// Tells whoever altered the parameter that the index stays what it is.
pub fn tell_unchanged(index: &str, present: &str) {
    tell(&format!("index \"{index}\" keeps its layout, {present}, until it is rebuilt"));
}

/// The same in other words.
pub fn tell(message: &str) {
    ereport::notice(
        Report::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message.as_bytes())
            .hint("Use REINDEX INDEX CONCURRENTLY."),
    );
}
