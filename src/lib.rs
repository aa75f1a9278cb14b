//! `CREATE EXTENSION vector`: the part that knows PostgreSQL. Kernels are in `vector-kernels`, values and
//! their formats in `vector-index`; here are the C symbols, the types' SQL functions and the access methods.
#![deny(unsafe_code)]

mod check;
mod error;
mod filters;
#[allow(unsafe_code)]
mod fmgr;
mod hnsw;
mod info;
mod ivfflat;
mod layout;
mod opclass;
#[allow(unsafe_code)]
mod pg;
#[allow(unsafe_code)]
mod symbols;
mod types;

#[cfg(any(test, feature = "pg_test"))]
mod tests;

pgrx::pg_module_magic!(name, version);

pgrx::extension_sql_file!("../sql/vector.sql", name = "install", bootstrap);

#[cfg(test)]
pub mod pg_test {
    //! What `cargo pgrx test` asks for before it starts a server.

    /// Nothing to set up.
    pub fn setup(_options: Vec<&str>) {}

    /// No settings beyond PostgreSQL's own.
    #[must_use]
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec![]
    }
}
