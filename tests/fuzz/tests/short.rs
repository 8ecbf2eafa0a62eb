//! A short run of every target, without libFuzzer: the inputs in `corpus`, and random changes of them.
//!
//! It prints its random seed; `KNOCK_SEED` repeats a run with that seed. An input that makes a target
//! panic is written to a file, which `cargo run --package knock-fuzz -- TARGET FILE` repeats.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    env, fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
    time::Instant,
};

use fastrand::Rng;
use knock_fuzz::{TARGETS, Target, corpus, mutation};

/// The size of all corpora together, in bytes.
const MAX_CORPORA: u64 = 200 * 1024;

#[test]
fn no_input_makes_a_target_panic() {
    let seed = env::var("KNOCK_SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
    println!("KNOCK_SEED={seed}");
    for target in TARGETS {
        let start = Instant::now();
        let runs = run(target, seed);
        println!("{}: {runs} runs in {:.2?}", target.name, start.elapsed());
    }
}

/// Runs `target`, and returns how often.
fn run(target: &Target, seed: u64) -> u32 {
    // Of its own, so that a change of another target does not change it.
    let mut rng = Rng::with_seed(seed);
    let inputs = corpus::inputs(target.name).unwrap();
    assert!(!inputs.is_empty(), "{} has no corpus", target.name);
    for (path, input) in &inputs {
        attempt(target, input, path);
    }
    // Twice the longest, as in `cargo xtask fuzz`.
    let max_len = 2 * inputs.iter().map(|(_, input)| input.len()).max().unwrap();
    for _ in 0..target.short {
        let [(_, input), (_, other)] = [(); 2].map(|()| &inputs[rng.usize(..inputs.len())]);
        let input = mutation::changed(input, other, max_len, &mut rng);
        let file = format!("knock-fuzz-{}-{seed}", target.name);
        attempt(target, &input, &env::temp_dir().join(file));
    }
    target.short
}

/// Runs `target` with `input`, which is or will be in the file at `path`.
fn attempt(target: &Target, input: &[u8], path: &Path) {
    if catch_unwind(|| (target.run)(input)).is_err() {
        if !path.exists() {
            fs::write(path, input).unwrap();
        }
        let (name, path) = (target.name, path.display());
        panic!("{name}: repeat it with `cargo run --package knock-fuzz -- {name} {path}`");
    }
}

#[test]
fn every_corpus_belongs_to_a_target_and_all_are_small() {
    let mut size = 0;
    let root = corpus::folder("");
    for folder in fs::read_dir(&root).unwrap() {
        let folder: PathBuf = folder.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(TARGETS.iter().any(|target| target.name == name), "{name}");
        for file in fs::read_dir(&folder).unwrap() {
            size += file.unwrap().metadata().unwrap().len();
        }
    }
    assert!(size <= MAX_CORPORA, "{size} bytes");
}
