//! Gives the shared library its name for the dynamic linker.

use std::env;

/// The number of `knock_abi_version`. A program keeps running with a library of the same number.
const ABI: u32 = 1;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=KNOCK_ABI={ABI}");
    // Other systems have no such name, or another way to set it.
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux" || os == "android") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libknock.so.{ABI}");
    }
}
