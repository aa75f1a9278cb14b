//! Any text as a `halfvec`: never a panic, and what is read prints as text that reads as the same value.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| dense::<half::f16>(text));

#[path = "../shared/dense_text.rs"]
mod dense_text;
use dense_text::dense;
