//! The C symbols that `pg_proc` rows name, with the names pgvector gives them: a catalog written by pgvector
//! finds every function here.
//!
//! `functions!` gives each symbol its version-1 info record and a body. Ordinary bodies run under a guard,
//! which turns a Rust panic into an SQL error and lets server errors unwind (`pg::guard`). Those under `hot` are called once per row and run bare. They must
//! not panic: their bodies look at slices through checked views, call kernels, fetch values stored out of line and
//! allocate their results. Both of these may raise a server error, which jumps over them: they own nothing that needs
//! dropping.

use pgrx::pg_sys::{Datum, FunctionCallInfo, Pg_finfo_record};

use crate::error::Error;
use crate::pg::call::{Call, Return};
use crate::pg::ereport::{self, IntoReport};
use crate::pg::guard;
use crate::types::{aggregate, bit, cast, dense, distance, sparse};
use crate::{hnsw, ivfflat};
use half::f16;
use vector_index::space::{Metric, ValueKind};

static VERSION_1: Pg_finfo_record = Pg_finfo_record { api_version: 1 };

/// Called by the server when it loads the library.
#[allow(non_snake_case)]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn _PG_init() {
    guard::install_panic_hook();
    // SAFETY: called by the server; nothing needs dropping.
    unsafe {
        guard::entry(|| {
            crate::pg::memory::make_reserve();
            hnsw::register();
            ivfflat::register();
        });
    }
}

/// An ordinary function: guarded, errors raised after the guard has returned.
///
/// # Safety
/// As for [`Call::new`].
unsafe fn guarded<R: Return>(fcinfo: FunctionCallInfo, body: fn(Call<'_>) -> Result<R, Error>) -> Datum {
    // SAFETY: the caller's contract; the closure owns nothing.
    let result = unsafe {
        guard::entry(move || {
            let call = Call::new(fcinfo);
            body(call).map(|value| value.into_datum(call)).map_err(Error::into_report)
        })
    };
    match result {
        Ok(datum) => datum,
        // SAFETY: this frame and those up to fmgr hold only Copy values.
        Err(report) => unsafe { ereport::raise(report) },
    }
}

/// An input function: its errors may be saved instead of raised.
///
/// # Safety
/// As for [`Call::new`].
unsafe fn input(fcinfo: FunctionCallInfo, body: fn(Call<'_>) -> Result<Datum, Error>) -> Datum {
    // SAFETY: the caller's contract; the closure owns nothing.
    let (result, context) = unsafe {
        guard::entry(move || {
            let call = Call::new(fcinfo);
            (body(call).map_err(Error::into_report), call.context())
        })
    };
    match result {
        Ok(datum) => datum,
        Err(report) => {
            // SAFETY: this frame and those up to fmgr hold only Copy values; the context is the call's own.
            unsafe { ereport::save_or_raise(context, report) };
            Datum::from(0usize)
        }
    }
}

/// A function called once per row.
///
/// # Safety
/// As for [`Call::new`]; `body` must not panic and must hold nothing that needs dropping while it reads its
/// arguments.
#[inline(always)]
unsafe fn hot<R: Return>(
    fcinfo: FunctionCallInfo,
    body: impl FnOnce(Call<'_>) -> Result<R, vector_index::ValueError>,
) -> Datum {
    // SAFETY: the caller's contract.
    let call = unsafe { Call::new(fcinfo) };
    match body(call) {
        Ok(value) => value.into_datum(call),
        // SAFETY: a ValueError and a Call are Copy; nothing is alive that needs dropping.
        Err(error) => unsafe { raise_value(error) },
    }
}

/// # Safety
/// As for [`ereport::raise`].
#[cold]
#[inline(never)]
unsafe fn raise_value(error: vector_index::ValueError) -> ! {
    // SAFETY: into_report can only fail to allocate, which the guard turns into an error; the report is Copy.
    unsafe {
        let report = guard::entry(move || Error::from(error).into_report());
        ereport::raise(report)
    }
}

macro_rules! functions {
    ($how:ident: $($symbol:ident => $body:expr;)*) => { $(
        const _: () = {
            #[unsafe(export_name = concat!("pg_finfo_", stringify!($symbol)))]
            extern "C-unwind" fn finfo() -> &'static Pg_finfo_record {
                &VERSION_1
            }

            #[unsafe(export_name = stringify!($symbol))]
            unsafe extern "C-unwind" fn entry(fcinfo: FunctionCallInfo) -> Datum {
                // SAFETY: fmgr passes a live call of the function that sql/vector.sql declares for this symbol.
                unsafe { $how(fcinfo, $body) }
            }
        };
    )* };
}

/// Declares functions of the list below once more, to compare addresses with: an operator class whose support function
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

functions! { input:
    vector_in => dense::input::<f32>;
    halfvec_in => dense::input::<f16>;
    sparsevec_in => sparse::input;
}

functions! { guarded:
    vector_out => dense::output::<f32>;
    vector_send => dense::send::<f32>;
    vector_recv => dense::receive::<f32>;
    vector_typmod_in => dense::typmod_in::<f32>;

    halfvec_out => dense::output::<f16>;
    halfvec_send => dense::send::<f16>;
    halfvec_recv => dense::receive::<f16>;
    halfvec_typmod_in => dense::typmod_in::<f16>;

    sparsevec_out => sparse::output;
    sparsevec_send => sparse::send;
    sparsevec_recv => sparse::receive;
    sparsevec_typmod_in => sparse::typmod_in;

    array_to_vector => cast::array_to_dense::<f32>;
    array_to_halfvec => cast::array_to_dense::<f16>;
    array_to_sparsevec => cast::array_to_sparse;

    vector_accum => aggregate::accumulate::<f32>;
    halfvec_accum => aggregate::accumulate::<f16>;
    vector_combine => aggregate::combine;
    vector_avg => aggregate::average::<f32>;
    halfvec_avg => aggregate::average::<f16>;

    hnswhandler => hnsw::handler;
    hnsw_check => hnsw::check::check;
    hnsw_halfvec_support => hnsw::opclass::support;
    hnsw_bit_support => hnsw::opclass::support;
    hnsw_sparsevec_support => hnsw::opclass::support;
    ivfflathandler => ivfflat::handler;
    ivfflat_check => ivfflat::check::check;
    ivfflat_halfvec_support => ivfflat::support;
    ivfflat_bit_support => ivfflat::support;
}

functions! { hot:
    vector_norm => dense::norm::<f32>;
    l2_normalize => dense::l2_normalize::<f32>;
    binary_quantize => dense::binary_quantize::<f32>;
    subvector => dense::subvector::<f32>;
    vector_add => dense::add::<f32>;
    vector_sub => dense::sub::<f32>;
    vector_mul => dense::mul::<f32>;
    vector_concat => dense::concat::<f32>;

    halfvec_l2_norm => dense::norm::<f16>;
    halfvec_l2_normalize => dense::l2_normalize::<f16>;
    halfvec_binary_quantize => dense::binary_quantize::<f16>;
    halfvec_subvector => dense::subvector::<f16>;
    halfvec_add => dense::add::<f16>;
    halfvec_sub => dense::sub::<f16>;
    halfvec_mul => dense::mul::<f16>;
    halfvec_concat => dense::concat::<f16>;

    sparsevec_l2_norm => sparse::norm;
    sparsevec_l2_normalize => sparse::l2_normalize;

    vector => cast::dense_typmod::<f32>;
    halfvec => cast::dense_typmod::<f16>;
    sparsevec => cast::sparse_typmod;
    vector_to_float4 => cast::dense_to_float4::<f32>;
    halfvec_to_float4 => cast::dense_to_float4::<f16>;
    vector_to_halfvec => cast::vector_to_halfvec;
    halfvec_to_vector => cast::halfvec_to_vector;
    vector_to_sparsevec => cast::dense_to_sparse::<f32>;
    halfvec_to_sparsevec => cast::dense_to_sparse::<f16>;
    sparsevec_to_vector => cast::sparse_to_dense::<f32>;
    sparsevec_to_halfvec => cast::sparse_to_dense::<f16>;

    l2_distance => distance::l2::<f32>;
    vector_l2_squared_distance => distance::l2_squared::<f32>;
    inner_product => distance::inner_product::<f32>;
    vector_negative_inner_product => distance::negative_inner_product::<f32>;
    cosine_distance => distance::cosine::<f32>;
    vector_spherical_distance => distance::spherical::<f32>;
    l1_distance => distance::l1::<f32>;

    halfvec_l2_distance => distance::l2::<f16>;
    halfvec_l2_squared_distance => distance::l2_squared::<f16>;
    halfvec_inner_product => distance::inner_product::<f16>;
    halfvec_negative_inner_product => distance::negative_inner_product::<f16>;
    halfvec_cosine_distance => distance::cosine::<f16>;
    halfvec_spherical_distance => distance::spherical::<f16>;
    halfvec_l1_distance => distance::l1::<f16>;

    sparsevec_l2_distance => distance::sparse_l2;
    sparsevec_l2_squared_distance => distance::sparse_l2_squared;
    sparsevec_inner_product => distance::sparse_inner_product;
    sparsevec_negative_inner_product => distance::sparse_negative_inner_product;
    sparsevec_cosine_distance => distance::sparse_cosine;
    sparsevec_l1_distance => distance::sparse_l1;

    hamming_distance => bit::hamming_distance;
    jaccard_distance => bit::jaccard_distance;

    vector_dims => dense::dims::<f32>;
    halfvec_vector_dims => dense::dims::<f16>;

    vector_lt => |call| dense::compare::<f32>(call).map(|o| o.is_lt());
    vector_le => |call| dense::compare::<f32>(call).map(|o| o.is_le());
    vector_eq => |call| dense::compare::<f32>(call).map(|o| o.is_eq());
    vector_ne => |call| dense::compare::<f32>(call).map(|o| o.is_ne());
    vector_ge => |call| dense::compare::<f32>(call).map(|o| o.is_ge());
    vector_gt => |call| dense::compare::<f32>(call).map(|o| o.is_gt());
    vector_cmp => |call| dense::compare::<f32>(call).map(|o| o as i32);

    halfvec_lt => |call| dense::compare::<f16>(call).map(|o| o.is_lt());
    halfvec_le => |call| dense::compare::<f16>(call).map(|o| o.is_le());
    halfvec_eq => |call| dense::compare::<f16>(call).map(|o| o.is_eq());
    halfvec_ne => |call| dense::compare::<f16>(call).map(|o| o.is_ne());
    halfvec_ge => |call| dense::compare::<f16>(call).map(|o| o.is_ge());
    halfvec_gt => |call| dense::compare::<f16>(call).map(|o| o.is_gt());
    halfvec_cmp => |call| dense::compare::<f16>(call).map(|o| o as i32);

    sparsevec_lt => |call| sparse::compare(call).map(|o| o.is_lt());
    sparsevec_le => |call| sparse::compare(call).map(|o| o.is_le());
    sparsevec_eq => |call| sparse::compare(call).map(|o| o.is_eq());
    sparsevec_ne => |call| sparse::compare(call).map(|o| o.is_ne());
    sparsevec_ge => |call| sparse::compare(call).map(|o| o.is_ge());
    sparsevec_gt => |call| sparse::compare(call).map(|o| o.is_gt());
    sparsevec_cmp => |call| sparse::compare(call).map(|o| o as i32);
}
