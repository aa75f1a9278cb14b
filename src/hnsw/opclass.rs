//! Operator classes: which space an index lives in, by the identity of its distance function.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Datum;
use vector_index::hnsw::params::{MAX_DIMS, MAX_NNZ};
use vector_index::space::{AnySpace, Metric, ValueBuf, ValueKind, normalize};
use vector_index::value::SparseView;

use crate::error::Error;
use crate::fmgr;
use crate::pg::call::Call;
use crate::pg::relation::Rel;

/// Support function numbers.
const DISTANCE: u16 = 1;
const NORM: u16 = 2;

/// What an index compares and how it keeps values.
#[derive(Clone, Copy, Debug)]
pub struct OpClass {
    /// the kind of value
    pub kind: ValueKind,
    /// how values compare
    pub metric: Metric,
    /// whether values are kept at unit length
    pub normalized: bool,
}

impl OpClass {
    /// The operator class of an index.
    ///
    /// # Errors
    /// A distance function that is not this extension's.
    pub fn of(index: Rel<'_>) -> Result<Self, Error> {
        let Some((kind, metric)) = index.support_function(DISTANCE).and_then(fmgr::distance_of) else {
            return Err(Error::Message(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("operator class of index \"{}\" is not supported by hnsw", index.name()),
            ));
        };
        Ok(OpClass { kind, metric, normalized: index.support_function(NORM).is_some() })
    }

    /// Most dimensions of an indexed column.
    pub fn max_dims(&self) -> i32 {
        match self.kind {
            ValueKind::Vector => MAX_DIMS,
            ValueKind::Halfvec => MAX_DIMS * 2,
            ValueKind::Bit => MAX_DIMS * 32,
            ValueKind::Sparsevec => vector_index::value::SPARSE_MAX_DIMS,
        }
    }

    /// The space of values of `dims` dimensions.
    pub fn space(&self, dims: i32) -> AnySpace {
        AnySpace::new(self.kind, self.metric, dims)
    }

    /// The value of a row as the index keeps it, brought to unit length in `buffer` if need be. `None` when
    /// the index skips it.
    ///
    /// # Errors
    /// A value that cannot be indexed.
    pub fn form<'v>(&self, value: &'v [u8], buffer: &'v mut ValueBuf) -> Result<Option<&'v [u8]>, Error> {
        if self.kind == ValueKind::Sparsevec {
            let nnz = SparseView::new(value)?.values().len();
            if nnz > MAX_NNZ as usize {
                return Err(Error::Message(
                    PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                    format!("sparsevec cannot have more than {MAX_NNZ} non-zero elements for hnsw index"),
                ));
            }
        }
        if !self.normalized {
            return Ok(Some(value));
        }
        Ok(normalize(self.kind, value, buffer)?.then(|| buffer.bytes()))
    }

    /// A query as the index compares it, in `buffer`.
    ///
    /// # Errors
    /// A value that is none of the kind.
    pub fn form_query(&self, value: &[u8], buffer: &mut ValueBuf) -> Result<(), Error> {
        // a query without direction stays what it is: everything is equally near
        if !self.normalized || !normalize(self.kind, value, buffer)? {
            buffer.try_copy_from(value)?;
        }
        Ok(())
    }
}

/// The type support functions of the operator classes. Only pgvector's own access method calls them, for a struct of
/// its C code; here the distance function says all there is to know.
pub fn support(_: Call<'_>) -> Result<Datum, Error> {
    Err(Error::Fixed(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "type support functions are not called by this version of the extension",
    ))
}
