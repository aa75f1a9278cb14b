//! The round trip that the dense types share.

use vector_index::text::{TextElement, dense_capacity, dense_text_size, parse_dense, print_dense};

pub fn dense<T: TextElement + Default + PartialEq + core::fmt::Debug>(text: &[u8]) {
    let mut elements = vec![T::default(); dense_capacity(text)];
    match parse_dense(text, &mut elements) {
        Ok(dims) => {
            assert_eq!(dims, elements.len());
            let mut printed = vec![0; dense_text_size(dims)];
            let len = print_dense(&elements, &mut printed);
            let mut again = vec![T::default(); dense_capacity(&printed[..len])];
            assert_eq!(parse_dense(&printed[..len], &mut again), Ok(dims));
            assert_eq!(again, elements);
        }
        Err(error) => {
            assert!(!error.message(text, |text| text).is_empty());
        }
    }
}
