//! Values, their text and wire formats: what about vectors does not need PostgreSQL. Callers own memory,
//! interrupts and error reporting; this crate only looks at bytes and answers with values or a [`ValueError`].
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

pub mod advice;
pub mod error;
pub mod filter;
pub mod hnsw;
pub mod included;
pub mod ivf;
pub mod quant;
pub mod recall;
pub mod runs;
pub mod space;
pub mod storage;
pub mod testing;
pub mod text;
pub mod value;
pub mod wire;
pub mod work;

pub use error::{Kind, TextError, TypeName, ValueError};
pub use half::f16;
