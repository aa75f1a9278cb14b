//! Values, text and binary formats, and index algorithms without PostgreSQL.
#![forbid(unsafe_code)]
