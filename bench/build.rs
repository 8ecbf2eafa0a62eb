//! Tells where knock-user's build script has left the programs for the kernel.

use std::env;

fn main() {
    if let Ok(objects) = env::var("DEP_KNOCK_XDP_OBJECTS") {
        println!("cargo::rustc-env=XDP_OBJECTS={objects}");
    }
}
