//! What can be wrong with a value. The texts are part of the SQL contract (pgvector 0.8): clients match them.

use core::fmt;
use std::ops::Range;

/// The SQL type an error speaks of; prints as its SQL name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeName {
    /// `vector`, f32 elements
    Vector,
    /// `halfvec`, IEEE binary16 elements
    Halfvec,
    /// `sparsevec`, f32 elements at i32 indices
    Sparsevec,
}

impl TypeName {
    /// The largest number of dimensions a value of this type may have.
    pub const fn max_dims(self) -> i32 {
        match self {
            TypeName::Vector | TypeName::Halfvec => crate::value::MAX_DIMS,
            TypeName::Sparsevec => crate::value::SPARSE_MAX_DIMS,
        }
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TypeName::Vector => "vector",
            TypeName::Halfvec => "halfvec",
            TypeName::Sparsevec => "sparsevec",
        })
    }
}

/// The class of an error; the extension maps each to one SQLSTATE (PostgreSQL's errcodes.txt).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 22000 data_exception
    DataException,
    /// 22P02 invalid_text_representation
    InvalidText,
    /// 22003 numeric_value_out_of_range
    OutOfRange,
    /// 54000 program_limit_exceeded
    LimitExceeded,
    /// 08P01 protocol_violation
    Protocol,
    /// XX001 data_corrupted: a stored value contradicts its own header
    Corrupted,
}

/// A value, or an operation on values, that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// Two operands of different dimensions.
    #[error("different {0} dimensions {1} and {2}")]
    DifferentDims(TypeName, i32, i32),
    /// Two bit strings of different lengths, in bits.
    #[error("different bit lengths {0} and {1}")]
    DifferentBits(u32, u32),
    /// A value that does not fit its column's type modifier.
    #[error("expected {expected} dimensions, not {actual}")]
    ExpectedDims {
        /// what the type modifier says
        expected: i32,
        /// what the value has
        actual: i32,
    },
    /// No dimensions at all.
    #[error("{0} must have at least 1 dimension")]
    TooFewDims(TypeName),
    /// More dimensions than the type can hold.
    #[error("{ty} cannot have more than {max} dimensions", ty = .0, max = .0.max_dims())]
    TooManyDims(TypeName),
    /// An element is NaN.
    #[error("NaN not allowed in {0}")]
    Nan(TypeName),
    /// An element is infinite.
    #[error("infinite value not allowed in {0}")]
    Infinite(TypeName),
    /// The reserved field of a binary message is set.
    #[error("expected unused to be 0, not {0}")]
    Unused(i32),
    /// A sparse vector with fewer than zero stored elements.
    #[error("sparsevec cannot have negative number of elements")]
    NegativeNnz,
    /// A sparse vector with too many stored elements.
    #[error("sparsevec cannot have more than {max} non-zero elements", max = crate::value::SPARSE_MAX_NNZ)]
    TooManyNnz,
    /// A sparse vector with more stored elements than dimensions.
    #[error("sparsevec cannot have more elements than dimensions")]
    NnzExceedsDims,
    /// A sparse index below 1 or above the dimensions (as SQL counts).
    #[error("sparsevec index out of bounds")]
    IndexOutOfBounds,
    /// Sparse indices that go down.
    #[error("sparsevec indices must be in ascending order")]
    IndexOrder,
    /// A sparse index that stands twice.
    #[error("sparsevec indices must not contain duplicates")]
    IndexDuplicate,
    /// A stored zero in a binary sparse vector.
    #[error("binary representation of sparsevec cannot contain zero values")]
    ZeroValue,
    /// A binary message that ends too early (PostgreSQL's own text, pqformat.c).
    #[error("insufficient data left in message")]
    Truncated,
    /// Arithmetic left the range of the element type (PostgreSQL's own text, float.c).
    #[error("value out of range: overflow")]
    Overflow,
    /// Arithmetic on non-zero elements gave zero (PostgreSQL's own text, float.c).
    #[error("value out of range: underflow")]
    Underflow,
    /// A finite number that half precision cannot hold.
    #[error("\"{text}\" is out of range for type halfvec", text = crate::text::f32_to_string(*.0))]
    HalfOutOfRange(f32),
    /// A stored value whose header and length do not agree.
    #[error("invalid {0} value: header and length do not agree")]
    Corrupted(TypeName),
    /// A stored `bit` value that is too short to hold its length.
    #[error("invalid bit value: too short")]
    CorruptedBits,
}

impl ValueError {
    /// The error's class.
    pub fn kind(&self) -> Kind {
        use ValueError::*;
        match self {
            TooManyDims(_) | TooManyNnz | NnzExceedsDims => Kind::LimitExceeded,
            Truncated => Kind::Protocol,
            Overflow | Underflow | HalfOutOfRange(_) => Kind::OutOfRange,
            Corrupted(_) | CorruptedBits => Kind::Corrupted,
            _ => Kind::DataException,
        }
    }
}

/// What is wrong with a text form. Texts may be in any server encoding, so messages are bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum TextError {
    /// Not the grammar of the type; `detail` says more where pgvector does.
    Syntax {
        /// the type that was read
        ty: TypeName,
        /// the DETAIL line
        detail: Option<&'static str>,
    },
    /// A number outside the element type's range; the bytes of the text that hold it.
    NumberOutOfRange {
        /// the type that was read
        ty: TypeName,
        /// where in the text the number stands
        at: Range<usize>,
    },
    /// The text is well formed, the value is not allowed.
    Value(ValueError),
}

impl From<ValueError> for TextError {
    fn from(e: ValueError) -> Self {
        TextError::Value(e)
    }
}

impl TextError {
    /// The error's class.
    pub fn kind(&self) -> Kind {
        match self {
            TextError::Syntax { .. } => Kind::InvalidText,
            TextError::NumberOutOfRange { .. } => Kind::OutOfRange,
            TextError::Value(e) => e.kind(),
        }
    }

    /// The message, given the text that was read. `front` gives the front of a text that is longer than a message
    /// should quote, cut where a character ends.
    pub fn message(&self, text: &[u8], front: impl Fn(&[u8]) -> &[u8]) -> Vec<u8> {
        let quoted = |text: &[u8]| {
            let front = front(text);
            let end: &[u8] = if front.len() < text.len() { b"...\"" } else { b"\"" };
            [b"\"", front, end].concat()
        };
        match self {
            TextError::Syntax { ty, .. } => {
                [format!("invalid input syntax for type {ty}: ").as_bytes(), &quoted(text)].concat()
            }
            TextError::NumberOutOfRange { ty, at } => {
                let number = text.get(at.clone()).unwrap_or_default();
                [&quoted(number), format!(" is out of range for type {ty}").as_bytes()].concat()
            }
            TextError::Value(e) => e.to_string().into_bytes(),
        }
    }

    /// The DETAIL line, if any.
    pub fn detail(&self) -> Option<&'static str> {
        match self {
            TextError::Syntax { detail, .. } => *detail,
            _ => None,
        }
    }
}
