//! The libraries for C and Python knock on the real daemon, with the examples of docs/library.md.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use knock_tests::{
    link::Pair,
    needs_bpf,
    privilege::granted,
    scene::{DATAGRAM_PORT, LAPTOP_KEY, PAIR_CONFIGURATION, SERVER_PUBLIC, Scene},
};

/// The folder of the project.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The folder that cargo builds the tests and the libraries into.
fn built() -> PathBuf {
    env::current_exe().unwrap().with_file_name("")
}

/// A file with the invitation of the client `laptop` for `host`.
fn invitation(folder: &Path, host: &str) -> PathBuf {
    let key = LAPTOP_KEY.strip_prefix("knock2:").unwrap();
    let server = format!("{host}:61000?server={SERVER_PUBLIC}&udp={DATAGRAM_PORT}");
    let path = folder.join("invitation");
    fs::write(&path, format!("knock://laptop@{server}&key={key}\n")).unwrap();
    path
}

/// Runs `program` on the client's host until it ends, and expects that the door has opened.
fn expect_to_open(scene: &Scene, program: &mut Command) {
    let output = program.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    scene.opened("ssh", Pair::CLIENT_V4.into()).unwrap();
}

#[test]
fn the_page_has_the_examples_as_they_are() {
    let page = fs::read_to_string(root().join("docs/library.md")).unwrap();
    for example in [
        "client/examples/knock.rs",
        "library/examples/knock.c",
        "python/examples/knock.py",
    ] {
        let text = fs::read_to_string(root().join("knock-user").join(example)).unwrap();
        assert!(
            page.contains(&text),
            "docs/library.md does not contain {example}"
        );
    }
}

#[test]
fn a_program_in_c_opens_a_door() {
    needs_bpf!();
    let library = built().join("libknock.so");
    if !granted(
        library.is_file(),
        "libknock.so: run `cargo build --package knock-ffi`",
    ) {
        return;
    }
    let scene = Scene::with(PAIR_CONFIGURATION).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("knock");
    let c = root().join("knock-user/library");
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(c.join("include"))
        .arg(c.join("examples/knock.c"))
        .arg("-o")
        .arg(&program)
        .arg(&library)
        .status()
        .unwrap();
    assert!(compiled.success(), "{compiled}");
    fs::copy(&library, folder.path().join("libknock.so.1")).unwrap();
    let file = invitation(folder.path(), &Pair::SERVER_V4.to_string());
    let mut command = scene.pair.client.command(&program);
    command
        .arg(file)
        .arg("ssh")
        .env("LD_LIBRARY_PATH", folder.path());
    expect_to_open(&scene, &mut command);
}

/// The wheel that `cargo xtask test` builds, if it is there. A build with counters has a folder of its
/// own below that with the wheel.
fn wheel() -> Option<PathBuf> {
    let test = env::current_exe().unwrap();
    let mut folders = test.ancestors().map(|folder| folder.join("wheels"));
    let wheels = fs::read_dir(folders.find(|folder| folder.is_dir())?).ok()?;
    let mut wheels = wheels.map(|entry| entry.unwrap().path());
    wheels.find(|path| path.extension().is_some_and(|kind| kind == "whl"))
}

/// A new environment of Python with the wheel in `folder`, of the Python that has made the wheel. Returns
/// its interpreter.
fn python(folder: &Path, wheel: &Path) -> PathBuf {
    let environment = folder.join("python");
    let target = wheel.parent().and_then(Path::parent).unwrap();
    let venv = Command::new(target.join("tools/maturin/bin/python"))
        .args(["-m", "venv"])
        .arg(&environment)
        .output()
        .unwrap();
    assert!(venv.status.success(), "{venv:?}");
    let python = environment.join("bin/python");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]);
    let installed = pip.arg(wheel).output().unwrap();
    assert!(installed.status.success(), "{installed:?}");
    python
}

#[test]
fn a_program_in_python_opens_a_door() {
    needs_bpf!();
    let wheel = wheel();
    if !granted(
        wheel.is_some(),
        "the wheel for Python: run `cargo xtask wheel`",
    ) {
        return;
    }
    let scene = Scene::with(PAIR_CONFIGURATION).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let python = python(folder.path(), &wheel.unwrap());
    let file = invitation(folder.path(), &Pair::SERVER_V4.to_string());
    let mut command = scene.pair.client.command(&python);
    command.arg(root().join("knock-user/python/examples/knock.py"));
    expect_to_open(&scene, command.arg(file).arg("ssh"));

    let attack = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library/attack.py");
    let attacked = scene
        .pair
        .client
        .command(&python)
        .arg(attack)
        .output()
        .unwrap();
    assert!(attacked.status.success(), "{attacked:?}");
}
