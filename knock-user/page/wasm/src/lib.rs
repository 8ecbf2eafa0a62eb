//! The SYN knock for browsers whose own cryptography does not suffice: `knock-common`, as a WebAssembly
//! module that imports nothing. Time and random numbers come from the page.
//!
//! On other platforms it is a library without exports, for the tests. The build script of `knock-page`
//! compiles the module, and learns from [`FOLDER`] where it is.

#![cfg_attr(target_arch = "wasm32", no_std)]

#[cfg(all(feature = "module", target_arch = "wasm32"))]
mod exports;
#[cfg(feature = "module")]
pub mod knock;

/// The folder of this package.
pub const FOLDER: &str = env!("CARGO_MANIFEST_DIR");
