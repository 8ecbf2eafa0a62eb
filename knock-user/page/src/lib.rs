//! The page that lets a browser knock, as one file of HTML without anything from the network.
//!
//! [`Written`] is the page for one client, with its key in it. [`hosted`] is the page without a key,
//! which stores invitations in the browser: it is a part of the book. Both are the same HTML, style and
//! script, from the folder `page`; what differs is the data and the content security policy.

mod policy;
mod template;

use std::fmt::Write as _;

use knockd_credentials::invitation::Invitation;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use self::policy::Policy;

const HTML: &str = include_str!("../page/index.html");
const STYLE: &str = include_str!("../page/style.css");
const WORKER: &str = include_str!("../page/worker.js");
const MANIFEST: &str = include_str!("../page/manifest.webmanifest");
const ICON: &str = include_str!("../page/icon.svg");

/// The module of the package `knock-page-wasm`, in base64.
const MODULE: &str = include_str!(concat!(env!("OUT_DIR"), "/module.base64"));

/// The parts of the script. Each uses only those before it.
const SCRIPT: &[&str] = &[
    "'use strict';\n",
    include_str!("../page/script/bytes.js"),
    include_str!("../page/script/invitation.js"),
    include_str!("../page/script/webcrypto.js"),
    "const MODULE = '",
    MODULE,
    "';\n",
    include_str!("../page/script/module.js"),
    include_str!("../page/script/protocol.js"),
    include_str!("../page/script/ways.js"),
    include_str!("../page/script/knocking.js"),
    include_str!("../page/script/store.js"),
    include_str!("../page/script/camera.js"),
    include_str!("../page/script/view.js"),
    include_str!("../page/script/main.js"),
];

/// What the head of the page without a key names besides.
const HOSTED_HEAD: &str = "<link rel=\"manifest\" href=\"manifest.webmanifest\">\n\
                           <link rel=\"icon\" href=\"icon.svg\">\n";

/// A page for one client.
#[derive(Debug)]
pub struct Written<'a> {
    /// What the page is called.
    pub name: &'a str,
    /// The server and the key. Without a key, the page says that it is of no use.
    pub invitation: &'a Invitation,
    /// The doors to choose from. If there is none, the page asks for the name.
    pub doors: &'a [Door],
    /// The TCP port that shows that a door is open, if it is the same for all.
    pub port: Option<u16>,
}

/// A door of the server.
#[derive(Clone, Debug, Serialize)]
pub struct Door {
    /// Its name.
    pub name: String,
    /// The TCP port that shows that it is open.
    pub port: Option<u16>,
}

/// One file of the page without a key.
#[derive(Debug)]
pub struct File {
    /// Its name in the folder of the page.
    pub name: &'static str,
    /// What it contains.
    pub content: String,
}

/// The data in a page for one client.
#[derive(Serialize)]
struct Data<'a> {
    name: &'a str,
    invitation: &'a str,
    doors: &'a [Door],
    port: Option<u16>,
}

impl Written<'_> {
    /// The page. It contains the client's key: whoever can read it can knock.
    #[must_use]
    pub fn to_html(&self) -> Zeroizing<String> {
        let uri = self.invitation.to_uri();
        let data = Data {
            name: self.name,
            invitation: &uri,
            doors: self.doors,
            port: self.port,
        };
        // Text and numbers always have a form in JSON.
        let json = Zeroizing::new(serde_json::to_string(&data).unwrap_or_default());
        let connects = policy::connects_to(self.invitation.host.as_str());
        Zeroizing::new(html(&in_script(&json), "", &Policy::Written { connects }))
    }
}

/// The files of the page without a key, an offline web app. They belong into one folder of a web
/// server, which should use https.
#[must_use]
pub fn hosted() -> Vec<File> {
    let page = html("null", HOSTED_HEAD, &Policy::Hosted);
    // Browsers compare the worker byte by byte to see whether there is a new version.
    let digest = Sha256::digest(page.as_bytes());
    let version = digest.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    let worker = template::fill(WORKER, &[("{version}", &version)]);
    [
        ("index.html", page),
        ("worker.js", worker),
        ("manifest.webmanifest", MANIFEST.to_owned()),
        ("icon.svg", ICON.to_owned()),
    ]
    .map(|(name, content)| File { name, content })
    .into()
}

/// The page with `data`, which is JSON for a script element, and `head`.
fn html(data: &str, head: &str, policy: &Policy) -> String {
    let script = SCRIPT.concat();
    template::fill(
        HTML,
        &[
            ("{policy}", &policy.text(&script, STYLE)),
            ("{head}", head),
            ("{style}", STYLE),
            ("{data}", data),
            ("{script}", &script),
        ],
    )
}

/// `json` so that no browser sees the end of a script or a comment in it. The characters can occur in
/// texts of JSON only, where an escape means the same.
fn in_script(json: &str) -> Zeroizing<String> {
    // Room for the whole text, because growing it would leave part of the key in memory.
    let mut safe = Zeroizing::new(String::with_capacity(json.len() * 6));
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                // Writing to a string cannot fail.
                let _ = write!(safe, "\\u{:04x}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests;
