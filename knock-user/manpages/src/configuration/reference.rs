//! The key reference in docs/configuration.md.

use std::fmt::Write as _;

use super::keys::TABLES;

/// The section as Markdown: one table for each table of the configuration.
pub(crate) fn reference() -> String {
    let mut text = String::new();
    for table in TABLES {
        if !text.is_empty() {
            text.push('\n');
        }
        let heading = if table.header.is_empty() {
            "Top-level keys".to_owned()
        } else {
            format!("`{}`", table.header)
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "### {heading}\n");
        if !table.about.is_empty() {
            let _ = writeln!(text, "{}\n", table.about);
        }
        text.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
        for key in table.keys {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                key.name,
                key.values.description(),
                key.default.description(),
                key.meaning
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "<!-- generated: keys -->\n\n";
    const END: &str = "\n<!-- /generated -->";

    #[test]
    fn the_committed_reference_is_the_generated_one() {
        let page = include_str!("../../../../docs/configuration.md");
        let (_, rest) = page.split_once(BEGIN).unwrap();
        let (committed, _) = rest.split_once(END).unwrap();
        assert!(
            committed == reference(),
            "the key reference in docs/configuration.md is out of date: replace it with the output \
             of `cargo run -p knockd-manpages -- --configuration-reference`"
        );
    }

    #[test]
    fn no_text_breaks_a_table() {
        let keys = TABLES.iter().flat_map(|table| table.keys);
        for key in keys {
            for text in [
                key.meaning.to_owned(),
                key.values.description(),
                key.default.description(),
            ] {
                assert!(!text.contains(['|', '\n']), "{}: {text}", key.name);
            }
        }
    }
}
