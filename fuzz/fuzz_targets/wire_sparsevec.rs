//! Any message as a `sparsevec`: never a panic, and what is read is written back byte for byte.
#![no_main]

use vector_index::wire::{
    Reader, read_sparse_elements, read_sparse_header, sparse_message_size, write_sparse,
};

libfuzzer_sys::fuzz_target!(|message: &[u8]| {
    let mut reader = Reader::new(message);
    let Ok((dims, nnz)) = read_sparse_header(&mut reader, -1) else { return };
    let (mut indices, mut values) = (vec![0; nnz], vec![0.0; nnz]);
    if read_sparse_elements(&mut reader, dims, &mut indices, &mut values).is_ok() {
        assert!(indices.is_sorted_by(|a, b| a < b));
        let mut written = vec![0; sparse_message_size(nnz)];
        write_sparse(dims, &indices, &values, &mut written);
        assert_eq!(written, message[..reader.consumed()]);
    }
});
