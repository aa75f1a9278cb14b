//! Invariants of built graphs.
