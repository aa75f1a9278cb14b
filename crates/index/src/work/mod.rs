//! What long work needs whatever it computes: threads, memory, runs of bytes outside memory, floats to sort by.

pub mod memory;
pub mod ordered;
pub mod runs;
pub mod workers;
