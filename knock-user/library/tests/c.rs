//! Programs in C and C++ that use the library, linked with the shared and with the static one.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use knock_client::knock_common::protocol::identity::{Owner, PrivateKey, PublicKey};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    syn: Vec<Vector>,
    datagram: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    client_private: String,
    client: Option<String>,
    server_public: String,
    door: String,
    unix_ms: u64,
    lease_seconds: u32,
    source: Option<String>,
    random: Option<u8>,
    base: Option<u16>,
    ports: Option<Vec<u16>>,
    address: Option<String>,
    for_other: Option<bool>,
    ephemeral_private: Option<String>,
    datagram: Option<String>,
}

/// How a program is compiled and linked.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Shared,
    Static,
    SharedCpp,
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the libraries: that of this test.
fn libraries() -> PathBuf {
    env::current_exe().unwrap().with_file_name("")
}

/// A compiled program, and the folder that it is in.
struct Program(tempfile::TempDir);

impl Program {
    fn compile(source: &str, kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut compile = Command::new(match kind {
            Kind::SharedCpp => "c++",
            _ => "cc",
        });
        compile.args(["-Wall", "-Wextra", "-Werror"]);
        match kind {
            Kind::SharedCpp => {
                compile.args(["-std=c++11", "-Wno-missing-field-initializers", "-x", "c++"])
            }
            _ => compile.args(["-std=c11", "-D_POSIX_C_SOURCE=200809L"]),
        };
        compile.arg("-I").arg(package().join("include"));
        compile.arg(package().join(source)).args(["-x", "none"]);
        match kind {
            Kind::Static => {
                compile.arg(libraries().join("libknock.a"));
                // What `rustc --print native-static-libs` names.
                compile.args(["-lgcc_s", "-lutil", "-lrt", "-lm", "-ldl"]);
            }
            Kind::Shared | Kind::SharedCpp => {
                compile.arg("-L").arg(libraries()).arg("-lknock");
            }
        }
        compile
            .arg("-lpthread")
            .arg("-o")
            .arg(folder.path().join("program"));
        let output = compile.output().unwrap();
        assert!(output.status.success(), "{kind:?}: {output:?}");
        // The name that the dynamic linker looks for.
        let name = format!("libknock.so.{}", knock::knock_abi_version());
        fs::copy(libraries().join("libknock.so"), folder.path().join(name)).unwrap();
        Self(folder)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(self.0.path().join("program"))
            .args(arguments)
            .env("LD_LIBRARY_PATH", self.0.path())
            .output()
            .unwrap()
    }

    fn printed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn bytes(hex: &str) -> [u8; 32] {
    std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
}

/// The line of a key file with these private bytes.
fn key(hex: &str) -> String {
    let key = PrivateKey::new(bytes(hex));
    key.key_file_text(Owner::Client).to_string()
}

/// The text of a public key.
fn public(hex: &str) -> String {
    PublicKey(bytes(hex)).to_string()
}

fn check_vectors(program: &Program) {
    let vectors = package().join("../../knock-common/src/protocol/vectors.json");
    let vectors: Vectors = serde_json::from_str(&fs::read_to_string(vectors).unwrap()).unwrap();
    let mut checked = 0;
    for vector in vectors.syn.iter().filter(|vector| vector.client.is_none()) {
        checked += 1;
        let printed = program.printed(&[
            "ports",
            &key(&vector.client_private),
            &public(&vector.server_public),
            &vector.door,
            vector.source.as_deref().unwrap_or_default(),
            &lease(vector.lease_seconds, u16::MAX.into()).to_string(),
            &vector.unix_ms.to_string(),
            &vector.random.unwrap().to_string(),
            &vector.base.unwrap().to_string(),
        ]);
        let ports: Vec<u16> = printed
            .split_whitespace()
            .map(|port| port.parse().unwrap())
            .collect();
        assert_eq!(Some(ports), vector.ports);
    }
    let own = |vector: &&Vector| vector.for_other != Some(true);
    for vector in vectors.datagram.iter().filter(own) {
        checked += 1;
        let printed = program.printed(&[
            "datagram",
            &key(&vector.client_private),
            &public(&vector.server_public),
            &vector.door,
            vector.address.as_deref().unwrap_or_default(),
            &lease(vector.lease_seconds, u32::MAX).to_string(),
            &vector.unix_ms.to_string(),
            vector.ephemeral_private.as_deref().unwrap(),
        ]);
        assert_eq!(Some(printed), vector.datagram);
    }
    assert!(checked >= 6, "{checked}");
}

/// The lease for the library, where all bits of the knock's number mean that the door is to be closed.
fn lease(seconds: u32, close: u32) -> u32 {
    if seconds == close { u32::MAX } else { seconds }
}

/// Whether this machine has a compiler for C++. In CI it has to.
fn has_cpp() -> bool {
    let has = Command::new("c++").arg("--version").output().is_ok();
    assert!(has || env::var_os("CI").is_none(), "there is no c++");
    if !has {
        eprintln!("skipped: C++, for which there is no compiler here (g++)");
    }
    has
}

#[test]
fn programs_make_the_knocks_of_the_vectors_and_survive_hostile_arguments() {
    let cpp = has_cpp().then_some(Kind::SharedCpp);
    for kind in [Kind::Shared, Kind::Static].into_iter().chain(cpp) {
        let program = Program::compile("tests/c/knock_test.c", kind);
        check_vectors(&program);
        let output = program.run(&[]);
        assert!(output.status.success(), "{kind:?}: {output:?}");
    }
}

#[test]
fn the_example_knocks() {
    let program = Program::compile("examples/knock.c", Kind::Shared);
    let invitation = program.0.path().join("invitation");
    let text = "knock://laptop@127.0.0.1:61000?server=OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI\
                &udp=62201&key=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    fs::write(&invitation, text).unwrap();
    let path = invitation.to_str().unwrap();
    assert_eq!(
        program.printed(&[path, "ssh"]),
        "knocked: try the door now\n"
    );
    fs::write(&invitation, text.replace("knock:", "knack:")).unwrap();
    let output = program.run(&[path, "ssh"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("invitation: an invitation looks like"),
        "{error}"
    );
}
