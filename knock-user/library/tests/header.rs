//! The header for C is that of the code.

use std::{env, fs, path::Path};

/// In the environment, writes the header instead of comparing it.
const WRITE: &str = "KNOCK_WRITE_HEADER";

#[test]
fn the_header_is_that_of_the_code() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in ["outcome.rs", "request.rs", "lib.rs"] {
        builder = builder.with_src(package.join("src").join(file));
    }
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    // A section of rustdoc, which says what a programmer of C knows.
    let header = without_safety(&String::from_utf8(header).unwrap());
    let path = package.join("include/knock.h");
    if env::var_os(WRITE).is_some() {
        fs::write(&path, &header).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == header,
        "include/knock.h is not that of the code: \
         write it with `{WRITE}=1 cargo test --package knock-ffi --test header`"
    );
}

/// The lines of `header` without the parts `# Safety` of comments.
fn without_safety(header: &str) -> String {
    let mut is_left_out = false;
    let mut lines: Vec<&str> = Vec::new();
    for line in header.lines() {
        let is_comment = line.starts_with("//");
        is_left_out = is_comment && (is_left_out || line == "// # Safety");
        if is_left_out {
            // The empty line before it.
            if lines.last() == Some(&"//") {
                lines.pop();
            }
        } else {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}
