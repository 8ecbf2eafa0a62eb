//! Runs one target: under libFuzzer if `cargo xtask fuzz` builds it, else once for each file.
//!
//! ```text
//! cargo run --package knock-fuzz -- TARGET FILE…
//! ```

#![expect(unexpected_cfgs, reason = "`cargo xtask fuzz` sets `fuzzing`")]
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // A constant, so that the linker leaves out the code of all other targets. libFuzzer looks at
    // the counters of the whole program after each input.
    const TARGET: knock_fuzz::Target = knock_fuzz::named(env!("KNOCK_FUZZ_TARGET"));
    (TARGET.run)(input);
});

#[cfg(not(fuzzing))]
fn main() -> anyhow::Result<()> {
    use std::{env, fs};

    use anyhow::Context as _;

    let mut arguments = env::args().skip(1);
    let name = arguments.next().context("usage: knock-fuzz TARGET FILE…")?;
    let target = knock_fuzz::TARGETS
        .iter()
        .find(|target| target.name == name)
        .with_context(|| format!("there is no target {name}"))?;
    for file in arguments {
        let input = fs::read(&file).with_context(|| file.clone())?;
        println!("{name}: {file}, {} bytes", input.len());
        (target.run)(&input);
    }
    Ok(())
}
