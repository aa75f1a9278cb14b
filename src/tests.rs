//! Tests that need a backend.
