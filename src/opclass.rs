//! Operator classes of both access methods: which space an index lives in, by the identity of its distance function,
//! and values as an index keeps them.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Datum;
use vector_index::hnsw::params::MAX_NNZ;
use vector_index::space::{AnySpace, Metric, ValueBuf, ValueKind, has_direction, normalize};
use vector_index::value::SparseView;

use crate::error::Error;
use crate::fmgr::distance_of;
use crate::pg::am::AccessMethod;
use crate::pg::call::Call;
use crate::pg::relation::Rel;
use crate::pg::toast::last_row::Measure;

/// Support function numbers. Clustering has a distance of its own, 3, which the first one decides.
const DISTANCE: u16 = 1;
const NORM: u16 = 2;
const CLUSTERING_NORM: u16 = 4;

/// An access method for vectors.
pub trait VectorMethod: AccessMethod {
    /// Whether there are indexes of this operator class.
    fn takes(op: &OpClass) -> bool;
}

/// What an index compares and how it keeps values.
#[derive(Clone, Copy, Debug)]
pub struct OpClass {
    /// the kind of value
    pub kind: ValueKind,
    /// how values compare
    pub metric: Metric,
    /// whether values compare by their angle, in the space of the metric at unit length
    pub normalized: bool,
    /// whether they then stand as they were given all the same, in a space of angles
    pub keeps_lengths: bool,
    /// whether clustering goes by the angle: centres are unit vectors
    pub spherical: bool,
}

impl OpClass {
    /// The operator class of an index of `A`.
    ///
    /// # Errors
    /// A distance function that is not this extension's, or not one for this access method.
    pub fn of<A: VectorMethod>(index: Rel<'_>) -> Result<Self, Error> {
        let has = |number| number <= A::SUPPORT_FUNCTIONS && index.support_function(number).is_some();
        let op = index.support_function(DISTANCE).and_then(distance_of).map(|(kind, metric)| OpClass {
            kind,
            metric,
            normalized: has(NORM),
            keeps_lengths: false,
            spherical: has(CLUSTERING_NORM),
        });
        op.filter(A::takes).ok_or_else(|| {
            Error::Message(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("operator class of index \"{}\" is not supported by {}", index.name(), A::NAME),
            )
        })
    }

    /// The same for pages where values stand as they were given.
    pub const fn keeping_lengths(self, keeps_lengths: bool) -> Self {
        OpClass { keeps_lengths, ..self }
    }

    /// Whether values are brought to unit length.
    pub const fn is_unit(&self) -> bool {
        self.normalized && !self.keeps_lengths
    }

    /// The space of values of `dims` dimensions.
    pub fn space(&self, dims: i32) -> AnySpace {
        let by_angle = self.normalized && self.keeps_lengths;
        let angles = by_angle.then(|| AnySpace::by_angle(self.kind, dims)).flatten();
        angles.unwrap_or_else(|| AnySpace::new(self.kind, self.metric, dims))
    }

    /// What its operator computes, where an index compares values as they were given.
    pub fn measure(&self) -> Option<Measure> {
        let dense = matches!(self.kind, ValueKind::Vector | ValueKind::Halfvec);
        match self.metric {
            _ if !dense || self.is_unit() => None,
            Metric::L2 if !self.normalized => Some(Measure::L2),
            Metric::InnerProduct if self.normalized => Some(Measure::Cosine),
            Metric::InnerProduct => Some(Measure::NegativeInnerProduct),
            _ => None,
        }
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
        if self.keeps_lengths {
            return Ok(has_direction(self.kind, value)?.then_some(value));
        }
        Ok(normalize(self.kind, value, buffer)?.then(|| buffer.bytes()))
    }

    /// A query as the index compares it, in `buffer`.
    ///
    /// # Errors
    /// A value that is none of the kind.
    pub fn form_query(&self, value: &[u8], buffer: &mut ValueBuf) -> Result<(), Error> {
        // a query without direction stays what it is: everything is equally near
        if !self.is_unit() || !normalize(self.kind, value, buffer)? {
            buffer.try_copy_from(value)?;
        }
        Ok(())
    }
}

/// The type support functions of the operator classes. Only pgvector's own access methods call them, for a struct of
/// its C code; here the distance function says all there is to know.
pub fn support(_: Call<'_>) -> Result<Datum, Error> {
    Err(Error::Fixed(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "type support functions are not called by this version of the extension",
    ))
}
