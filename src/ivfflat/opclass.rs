//! Operator classes: which space an index lives in, by the identity of its distance function.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Datum;
use vector_index::ivf::scan::Unpack;
use vector_index::space::{AnySpace, Metric, ValueBuf, ValueKind, normalize};

use crate::error::Error;
use crate::fmgr;
use crate::pg::call::Call;
use crate::pg::relation::Rel;
use crate::pg::varlena;

/// Support function numbers. Clustering has a distance of its own, 3, which the first one decides.
const DISTANCE: u16 = 1;
const NORM: u16 = 2;
const CLUSTERING_NORM: u16 = 4;

/// Dimensions of an indexed `vector`, at most.
const MAX_DIMS: i32 = 2000;

/// What an index compares and how it keeps values.
#[derive(Clone, Copy, Debug)]
pub struct OpClass {
    /// the kind of value
    pub kind: ValueKind,
    /// how values compare
    pub metric: Metric,
    /// whether values are kept at unit length
    pub normalized: bool,
    /// whether clustering goes by the angle: centres are unit vectors
    pub spherical: bool,
}

impl OpClass {
    /// The operator class of an index.
    ///
    /// # Errors
    /// A distance function that is not this extension's, or not one for lists.
    pub fn of(index: Rel<'_>) -> Result<Self, Error> {
        let distance = index.support_function(DISTANCE).and_then(fmgr::distance_of);
        let normalized = index.support_function(NORM).is_some();
        let spherical = index.support_function(CLUSTERING_NORM).is_some();
        match distance {
            Some((kind @ (ValueKind::Vector | ValueKind::Halfvec), metric @ Metric::L2))
            | Some((kind @ ValueKind::Bit, metric @ Metric::Hamming))
                if !normalized && !spherical =>
            {
                Ok(OpClass { kind, metric, normalized, spherical })
            }
            Some((kind @ (ValueKind::Vector | ValueKind::Halfvec), metric @ Metric::InnerProduct))
                if spherical =>
            {
                Ok(OpClass { kind, metric, normalized, spherical })
            }
            _ => Err(Error::Message(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("operator class of index \"{}\" is not supported by ivfflat", index.name()),
            )),
        }
    }

    /// Most dimensions of an indexed column.
    pub fn max_dims(&self) -> i32 {
        match self.kind {
            ValueKind::Halfvec => MAX_DIMS * 2,
            ValueKind::Bit => MAX_DIMS * 32,
            _ => MAX_DIMS,
        }
    }

    /// The space of values of `dims` dimensions.
    pub fn space(&self, dims: u16) -> AnySpace {
        AnySpace::new(self.kind, self.metric, i32::from(dims))
    }

    /// The value of a row as the index keeps it, brought to unit length in `buffer` if need be. `None` when
    /// the index skips it.
    ///
    /// # Errors
    /// A value that cannot be indexed.
    pub fn form<'v>(&self, value: &'v [u8], buffer: &'v mut ValueBuf) -> Result<Option<&'v [u8]>, Error> {
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

/// The server's decompression.
pub struct Decompress;

impl Unpack for Decompress {
    fn unpack(&mut self, compressed: &[u8], out: &mut ValueBuf) -> bool {
        // the header of a compressed value: its own length and that of what it stands for
        const HEADER: usize = 8;
        compressed.len() > HEADER && varlena::decompress(compressed, |value| out.try_copy_from(value).is_ok())
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
