//! `VECTOR_SIMD` caps the tier, seen from outside: the choice is made once per process, so each cap gets one.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used)]

use std::process::Command;
use vector_kernels::{available, kernels};

/// Run by the other test in a process of its own; says which tier was chosen.
#[test]
fn report() {
    println!("chosen={}", kernels().tier().name());
}

fn chosen_with(cap: Option<&str>) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "report", "--nocapture"]).env_remove("VECTOR_SIMD");
    if let Some(cap) = cap {
        child.env("VECTOR_SIMD", cap);
    }
    let output = String::from_utf8(child.output().unwrap().stdout).unwrap();
    let (_, after) = output.split_once("chosen=").unwrap();
    after.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn the_variable_caps_the_tier() {
    let best = available().last().unwrap().tier().name();
    assert_eq!(chosen_with(None), best);
    assert_eq!(chosen_with(Some("no such tier")), best);
    for k in available() {
        assert_eq!(chosen_with(Some(k.tier().name())), k.tier().name());
    }
}
