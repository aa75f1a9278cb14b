//! The text forms: `[1,2,3]` for dense vectors, `{1:1.5,3:2}/5` for sparse ones.
//!
//! Numbers are read as C's `strtof` reads them and printed as PostgreSQL prints a float4, so that text written
//! by any pgvector reads the same here and the other way round.

mod integer;
mod number;
mod parse;
mod print;
mod shortest;

pub use number::parse_prefix;
pub use parse::{SparseText, TextElement, dense_capacity, parse_dense, parse_sparse};
pub use print::{dense_text_size, print_dense, print_sparse, sparse_text_size};
pub use shortest::{F32_ROOM, MAX_F32_TEXT, f32_to_string, print_f32};
