//! Any text as a `sparsevec`: never a panic, and what is read can be stored, printed and read again.
#![no_main]

use vector_index::text::{parse_sparse, print_sparse, sparse_text_size};
use vector_index::value::{SparseView, sparsevec_parts_mut, sparsevec_size};
use zerocopy::IntoBytes;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let parsed = match parse_sparse(text, -1) {
        Ok(parsed) => parsed,
        Err(error) => return assert!(!error.message(text, |text| text).is_empty()),
    };
    let nnz = parsed.elements.len();
    // u64 words keep the bytes aligned as a varlena is
    let mut words = vec![0u64; sparsevec_size(nnz).div_ceil(8)];
    let bytes = &mut words.as_mut_bytes()[..sparsevec_size(nnz)];
    let (indices, values) = sparsevec_parts_mut(bytes, parsed.dims).expect("the size is right");
    for (i, &(index, value)) in parsed.elements.iter().enumerate() {
        (indices[i], values[i]) = (index, value);
    }
    let view = SparseView::new(bytes).expect("just made");
    let mut printed = vec![0; sparse_text_size(nnz)];
    let len = print_sparse(&view, &mut printed);
    assert_eq!(parse_sparse(&printed[..len], parsed.dims), Ok(parsed));
});
