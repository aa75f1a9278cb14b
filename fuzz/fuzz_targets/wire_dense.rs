//! Any message as a `vector` and as a `halfvec`: never a panic, and what is read is written back byte for byte.
#![no_main]

use half::f16;
use vector_index::wire::{
    Reader, WireElement, dense_message_size, read_dense_elements, read_dense_header, write_dense,
};

fn check<T: WireElement + Default>(message: &[u8]) {
    let mut reader = Reader::new(message);
    let Ok(dims) = read_dense_header::<T>(&mut reader, -1) else { return };
    let mut elements = vec![T::default(); dims];
    if read_dense_elements(&mut reader, &mut elements).is_ok() {
        let mut written = vec![0; dense_message_size::<T>(dims)];
        write_dense(&elements, &mut written);
        assert_eq!(written, message[..reader.consumed()]);
    }
}

libfuzzer_sys::fuzz_target!(|message: &[u8]| {
    check::<f32>(message);
    check::<f16>(message);
});
