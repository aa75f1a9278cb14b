//! Binds the library's own functions at link time.
//!
//! Every backend loads its libraries into one namespace, in which the first definition of a symbol wins, and the names
//! that pgvector chose for its functions are plain ones: `hamming_distance`, `l1_distance`. Another library that was
//! loaded earlier and has one of them must not take the place of ours where this library speaks of its own functions
//! (`fmgr::distance_of` compares their addresses). Mach-O has a namespace per library and needs nothing.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |name| std::env::var(name).unwrap_or_default();
    if target("CARGO_CFG_TARGET_FAMILY") == "unix" && target("CARGO_CFG_TARGET_VENDOR") != "apple" {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-Bsymbolic-functions");
    }
}
