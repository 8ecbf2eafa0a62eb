//! What a page tells its readers to do.

use std::{fs, path::Path};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

/// A page of docs/howto.
pub(crate) struct Page {
    name: &'static str,
    text: String,
}

impl Page {
    pub(crate) fn read(name: &'static str) -> Self {
        let path = Path::new(DOCS).join("howto").join(name);
        Self {
            name,
            text: fs::read_to_string(path.with_extension("md")).unwrap(),
        }
    }

    /// The first sample of `language` below `heading`.
    #[track_caller]
    pub(crate) fn sample(&self, heading: &str, language: &str) -> String {
        let (name, heading) = (self.name, format!("\n## {heading}\n"));
        let section = self.text.split_once(&heading).map(|(_, rest)| rest);
        let section = section.unwrap_or_else(|| panic!("{name} has no{heading}"));
        let section = section.split("\n## ").next().unwrap();
        let sample = section.split_once(&format!("```{language}\n"));
        let (_, sample) = sample.unwrap_or_else(|| panic!("{name} has no {language} in{heading}"));
        sample.split("```").next().unwrap().to_owned()
    }

    /// The same for a sample of shell commands, which the test runs as root.
    #[track_caller]
    pub(crate) fn commands(&self, heading: &str) -> String {
        self.sample(heading, "sh").replace("sudo ", "")
    }

    /// The example with the page's name, which contains the configuration below `heading`.
    #[track_caller]
    pub(crate) fn example(&self, heading: &str) -> String {
        let path = Path::new(DOCS).join("examples").join(self.name);
        let example = fs::read_to_string(path.with_extension("toml")).unwrap();
        let shown = self.sample(heading, "toml");
        assert!(
            example.contains(shown.trim_end()),
            "the example differs from the page {}",
            self.name
        );
        example
    }
}
