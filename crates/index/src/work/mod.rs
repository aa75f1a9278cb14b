//! What long work needs whatever it computes: threads and memory.

pub mod memory;
pub mod workers;
