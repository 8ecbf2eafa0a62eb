//! The pages of the tests.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Output};

use knock_page::{Door, File, Written, hosted};
use knock_tests::{
    browser::Page,
    scene::{Scene, program},
};
use serde_json::Value;

/// The client `laptop`, whose key is in the invitation.
const INVITATION: &str = "knock://laptop@192.0.2.1:61000?server=OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI&key=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

const CONFIGURATION: &str = r#"
control_socket = "{folder}/knockd.sock"
state_dir = "{folder}/state"
server_key_file = "server.key"

[window]
verdict = "{verdict}"

[[client]]
name = "laptop"
public_key = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"

[[client]]
name = "phone"
protocol = "classic"
passphrase_file = "phone.passphrase"

[[door]]
name = "ssh"
sequence = [1, 2, 3, 4]
run = ["true"]
for = "1s"

[[door]]
name = "web"
open = ["tcp/8080"]
for = "1s"

[[door]]
name = "job"
run = ["true"]
for = "1s"

[gate]
protect = ["tcp/8080"]
"#;

/// What a page is written for.
#[derive(Clone, Copy)]
pub(crate) struct Data<'a> {
    pub(crate) invitation: &'a str,
    name: &'a str,
    door: &'a str,
}

impl Data<'_> {
    pub(crate) const PLAIN: Data<'static> = Data {
        invitation: INVITATION,
        name: "home",
        door: "web",
    };

    /// The server by its name.
    pub(crate) const NAMED: Data<'static> = Data {
        invitation: "knock://laptop@server.example.net:61000?server=OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI&key=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        name: "home",
        door: "web",
    };

    /// Every name is one that an attacker could choose.
    pub(crate) const HOSTILE: Data<'static> = Data {
        invitation: "knock://%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E@192.0.2.1:61000?server=OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI&key=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        name: "</script><img src=x onerror=alert(1)>",
        door: "</script><b>",
    };
}

/// The configuration of the daemon, with what happens to a SYN to the window.
pub(crate) fn configuration(verdict: &str) -> String {
    CONFIGURATION.replace("{verdict}", verdict)
}

/// The page for `data`, with `script` after its own.
pub(crate) fn written_with(data: &Data<'_>, script: &str) -> String {
    let doors = [Door {
        name: data.door.to_owned(),
        port: Some(8080),
    }];
    let invitation = data.invitation.parse().unwrap();
    let page = Written {
        name: data.name,
        invitation: &invitation,
        doors: &doors,
        port: None,
    };
    with_script(&page.to_html(), script)
}

/// A page on which nothing computes a knock, for one of these reasons.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lack {
    /// The browser has no WebAssembly, or it is switched off.
    WebAssembly,
    /// The browser is so old that it takes the policy for one that allows no WebAssembly.
    Permission,
    /// The module is damaged.
    Module,
}

impl Lack {
    pub(crate) const ALL: [Self; 3] = [Self::WebAssembly, Self::Permission, Self::Module];

    pub(crate) fn page(self) -> String {
        let page = written_with(&Data::PLAIN, include_str!("lacking.js"));
        let (part, other) = match self {
            Self::WebAssembly => (
                "<style>",
                "<script nonce=\"test\">delete globalThis.WebAssembly</script><style>",
            ),
            Self::Permission => ("'wasm-unsafe-eval'", ""),
            // Of the first bytes of every module, in base64.
            Self::Module => ("'AGFzbQ", "'AGFzbR"),
        };
        assert_eq!(page.matches(part).count(), 1, "{self:?}");
        // The script of the page is another one then, and the policy allows this one too.
        page.replace(part, other)
            .replace("<script>", "<script nonce=\"test\">")
    }
}

/// The files of the page without a key, below `/app/`.
pub(crate) fn hosted_pages() -> Vec<Page> {
    let page = |file: File| match file.name {
        "index.html" => Some(("/app/", file.content)),
        "worker.js" => Some(("/app/worker.js", file.content)),
        "icon.svg" => Some(("/app/icon.svg", file.content)),
        _ => None,
    };
    hosted().into_iter().filter_map(page).collect()
}

/// The same, with `script` after that of the page.
pub(crate) fn hosted_with(script: &str) -> Vec<Page> {
    let mut pages = hosted_pages();
    for (path, content) in &mut pages {
        if *path == "/app/" {
            *content = with_script(content, script);
        }
    }
    pages
}

/// The test of the vectors, with the vectors.
pub(crate) fn vectors_script() -> String {
    let vectors = include_str!("../../../knock-common/src/protocol/vectors.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let script = include_str!("vectors.js");
    format!("const VECTORS = {};\n{script}", vectors["syn"])
}

/// `page` with `script`, which its policy allows then, as it does reports and a frame with the page.
fn with_script(page: &str, script: &str) -> String {
    let report = include_str!("report.js");
    page.replace("script-src ", "frame-src 'self'; script-src 'nonce-test' ")
        .replace("connect-src ", "connect-src http://192.0.2.1:8000 ")
        .replace(
            "</body>",
            &format!("<script nonce=\"test\">{report}{script}</script></body>"),
        )
}

/// What `knock page` does with its file, and with standard output.
pub(crate) fn check_files(scene: &Scene) {
    let knock = |arguments: &[&str]| -> Output {
        let mut knock = scene.pair.client.command(program("knock").unwrap());
        knock.env("KNOCK_CONFIG_DIR", scene.files.path("profiles"));
        knock.args(arguments).output().unwrap()
    };
    assert!(
        knock(&["import", INVITATION, "--name", "home"])
            .status
            .success()
    );
    let file = scene.files.path("page.html");
    let path = file.to_str().unwrap();
    let arguments = ["page", "home", "--door", "web", "--output", path];
    let first = knock(&arguments);
    assert!(first.status.success(), "{first:?}");
    let said = String::from_utf8(first.stderr).unwrap();
    assert!(said.contains("whoever can read it can knock"), "{said}");
    assert!(first.stdout.is_empty());
    let html = fs::read_to_string(&file).unwrap();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o600
    );

    let again = knock(&arguments);
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(
        !again.status.success() && said.contains("exists already"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), html);

    let copied = knock(&["page", "--door", "web"]);
    assert_eq!(String::from_utf8(copied.stdout).unwrap(), html);
    assert!(!copied.stderr.is_empty());
}
