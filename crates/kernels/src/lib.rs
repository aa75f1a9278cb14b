//! Distance and conversion kernels (placeholder, being written).
