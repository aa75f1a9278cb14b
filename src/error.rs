//! Errors of the extension and their way into PostgreSQL: the one place that knows SQLSTATEs.

use pgrx::PgSqlErrorCode;
use vector_index::storage::page::{BlockError, Cause, Corruption};
use vector_index::work::memory::OutOfMemory;
use vector_index::{Kind, TextError, ValueError};

use crate::pg::ereport::{self, IntoReport, Report};
use crate::pg::inspect::InspectError;
use crate::pg::spi::SpiError;

/// Why an SQL function fails.
#[derive(Debug)]
pub enum Error {
    /// The value, or the operation on it, is not allowed.
    Value(ValueError),
    /// The text form is wrong; owns its message because it quotes the text, which may be in any encoding.
    Text(Box<TextReport>),
    /// A condition with a fixed text.
    Fixed(PgSqlErrorCode, &'static str),
    /// A condition with a text of its own.
    Message(PgSqlErrorCode, String),
    /// The same, and what to do about it.
    Hinted(PgSqlErrorCode, String, &'static str),
    /// `FUNCTION: expected state array`, when an aggregate's support function is called by hand.
    StateArray(&'static str),
    /// One that is made already.
    Report(Box<Report>),
    /// A page of an index is not what it should be.
    Corrupted(Box<CorruptIndex>),
}

/// A [`TextError`] together with the text it is about.
#[derive(Debug)]
pub struct TextReport {
    kind: Kind,
    message: Vec<u8>,
    detail: Option<&'static str>,
}

/// Damage in an index, with the index's name.
#[derive(Debug)]
pub struct CorruptIndex {
    /// the access method
    pub method: &'static str,
    /// the index
    pub index: String,
    /// what is wrong, and where
    pub corruption: Corruption,
}

impl CorruptIndex {
    fn into_report(self) -> Report {
        let CorruptIndex { method, index, corruption } = self;
        let code = PgSqlErrorCode::ERRCODE_INDEX_CORRUPTED;
        if corruption.block == 0 {
            // the text of pgvector
            let detail = format!("Index \"{index}\" has {corruption}.");
            return Report::new(code, format!("{method} index is not valid").as_bytes()).detail(&detail);
        }
        let message = format!("index \"{index}\" has {corruption}");
        Report::new(code, message.as_bytes()).hint("Rebuild it with REINDEX.")
    }
}

impl From<ValueError> for Error {
    #[inline]
    fn from(e: ValueError) -> Self {
        Error::Value(e)
    }
}

impl From<OutOfMemory> for Error {
    fn from(OutOfMemory: OutOfMemory) -> Self {
        Error::Fixed(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory")
    }
}

impl From<InspectError> for Error {
    fn from(refused: InspectError) -> Self {
        match refused.hint {
            Some(hint) => Error::Hinted(refused.code, refused.message, hint),
            None => Error::Message(refused.code, refused.message),
        }
    }
}

impl From<SpiError> for Error {
    fn from(failed: SpiError) -> Self {
        Error::Message(failed.code, failed.message)
    }
}

impl Error {
    /// The error for what an access method met in an index.
    #[cold]
    pub fn of_index(method: &'static str, index: String, error: BlockError) -> Self {
        match error.cause() {
            Cause::Damage => Error::Corrupted(Box::new(CorruptIndex { method, index, corruption: error })),
            Cause::OutOfMemory => Error::Fixed(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory"),
            Cause::Internal => Error::Message(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                format!("{method} index \"{index}\": {error}"),
            ),
        }
    }

    /// The error for `text`, which could not be read.
    pub fn text(error: &TextError, text: &[u8]) -> Self {
        Error::Text(Box::new(TextReport {
            kind: error.kind(),
            message: error.message(text, ereport::quotable),
            detail: error.detail(),
        }))
    }
}

impl IntoReport for Error {
    fn into_report(self) -> Report {
        match self {
            Error::Value(e) => Report::new(sqlstate(e.kind()), e.to_string().as_bytes()),
            Error::Text(t) => {
                let report = Report::new(sqlstate(t.kind), &t.message);
                match t.detail {
                    Some(detail) => report.detail(detail),
                    None => report,
                }
            }
            Error::Fixed(code, message) => Report::new(code, message.as_bytes()),
            Error::Message(code, message) => Report::new(code, message.as_bytes()),
            Error::Hinted(code, message, hint) => Report::new(code, message.as_bytes()).hint(hint),
            Error::StateArray(function) => Report::new(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                format!("{function}: expected state array").as_bytes(),
            ),
            Error::Report(report) => *report,
            Error::Corrupted(corrupt) => corrupt.into_report(),
        }
    }
}

fn sqlstate(kind: Kind) -> PgSqlErrorCode {
    match kind {
        Kind::DataException => PgSqlErrorCode::ERRCODE_DATA_EXCEPTION,
        Kind::InvalidText => PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION,
        Kind::OutOfRange => PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
        Kind::LimitExceeded => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        Kind::Protocol => PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION,
        Kind::Corrupted => PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vector_index::storage::page::PageError;

    fn of(error: PageError) -> Error {
        Error::of_index("hnsw", "i".to_owned(), error.on(3))
    }

    #[test]
    fn damage_want_of_memory_and_mistakes_are_told_apart() {
        assert!(matches!(of(PageError::at(7, "no item")), Error::Corrupted(_)));
        assert!(matches!(
            of(PageError::OUT_OF_MEMORY),
            Error::Fixed(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory")
        ));
        // damage that only reads alike
        assert!(matches!(of(PageError::at(0, "out of memory")), Error::Corrupted(_)));
        let text = "hnsw index \"i\": no such state (block 3)";
        let internal = of(PageError::internal("no such state"));
        assert!(
            matches!(internal, Error::Message(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, ref message) if message == text)
        );
    }
}
