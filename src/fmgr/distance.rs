//! Distance functions by their addresses.

use pgrx::pg_sys::{Datum, FunctionCallInfo};
use vector_index::space::{Metric, ValueKind};

/// Declares functions of `symbols.rs` once more, to compare addresses with: an operator class whose support function
/// is ours gets the kernel behind it instead of calls through fmgr. That these are our own addresses, even where
/// another library of the backend exports the same names, is the linker's doing: see build.rs.
macro_rules! distances {
    ($($symbol:ident => $kind:ident $metric:ident;)*) => {
        unsafe extern "C-unwind" {
            $(fn $symbol(fcinfo: FunctionCallInfo) -> Datum;)*
        }

        /// What the distance function at an address compares, and how; `None` when it is not one of ours.
        pub fn distance_of(address: usize) -> Option<(ValueKind, Metric)> {
            $(if address == $symbol as *const () as usize {
                return Some((ValueKind::$kind, Metric::$metric));
            })*
            None
        }
    };
}

distances! {
    vector_l2_squared_distance => Vector L2;
    vector_negative_inner_product => Vector InnerProduct;
    l1_distance => Vector L1;
    halfvec_l2_squared_distance => Halfvec L2;
    halfvec_negative_inner_product => Halfvec InnerProduct;
    halfvec_l1_distance => Halfvec L1;
    sparsevec_l2_squared_distance => Sparsevec L2;
    sparsevec_negative_inner_product => Sparsevec InnerProduct;
    sparsevec_l1_distance => Sparsevec L1;
    hamming_distance => Bit Hamming;
    jaccard_distance => Bit Jaccard;
}
