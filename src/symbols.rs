//! The C symbols that `pg_proc` rows name, with the names pgvector gives them: a catalog written by pgvector
//! finds every function here.

use half::f16;

use crate::fmgr::{functions, on_load};
use crate::types::{aggregate, bit, cast, dense, distance, sparse};
use crate::{hnsw, info, ivfflat, opclass, pg};

on_load! {{
    pg::memory::make_reserve();
    hnsw::register();
    ivfflat::register();
    pg::alter::watch(&[hnsw::WATCHED, ivfflat::WATCHED]);
    pg::toast::last_row::watch();
    #[cfg(feature = "fault_points")]
    pg::faults::register();
}}

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
    hnsw_halfvec_support => opclass::support;
    hnsw_bit_support => opclass::support;
    hnsw_sparsevec_support => opclass::support;
    vector_index_info => info::info::info;
    vector_index_facts => info::info::facts;
    vector_index_prewarm => info::info::prewarm;
    vector_index_recall => info::recall::recall;
    vector_index_tune => info::tune::tune;
    vector_advice => info::advice::advice;
    vector_advice_apply => info::advice::apply;
    ivfflathandler => ivfflat::handler;
    ivfflat_check => ivfflat::check::check;
    ivfflat_halfvec_support => opclass::support;
    ivfflat_bit_support => opclass::support;
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
