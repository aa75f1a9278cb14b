//! Any bytes as stored values: a view is refused or safe to use.
#![no_main]

use vector_index::text::{print_sparse, sparse_text_size};
use vector_index::value::{HalfvecView, SparseView, VectorView};
use zerocopy::IntoBytes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // aligned as a varlena is
    let mut words = vec![0u64; bytes.len().div_ceil(8)];
    words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    let bytes = &words.as_bytes()[..bytes.len()];
    if let Ok(v) = VectorView::new(bytes) {
        assert_eq!(v.compare(&v), core::cmp::Ordering::Equal);
    }
    if let Ok(h) = HalfvecView::new(bytes) {
        assert_eq!(h.compare(&h), core::cmp::Ordering::Equal);
    }
    if let Ok(s) = SparseView::new(bytes) {
        assert_eq!(s.compare(&s), core::cmp::Ordering::Equal);
        let mut printed = vec![0; sparse_text_size(s.values().len())];
        print_sparse(&s, &mut printed);
    }
});
