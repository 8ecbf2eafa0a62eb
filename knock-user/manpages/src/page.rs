//! The text of a manual page. Text between backticks is set in bold.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// Sections of a manual page, in the order in which they are added.
#[derive(Default)]
pub(crate) struct Page(Roff);

impl Page {
    /// A page with its title line.
    pub(crate) fn titled(title: &str, section: &str) -> Self {
        let mut page = Self::default();
        let source = concat!("knockd ", env!("CARGO_PKG_VERSION"));
        page.0.control("TH", [title, section, "", source, MANUAL]);
        page
    }

    pub(crate) fn section(&mut self, heading: &str) {
        self.0.control("SH", [heading]);
    }

    pub(crate) fn subsection(&mut self, heading: &str) {
        self.0.control("SS", []).text([roman(heading)]);
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        self.0.control("PP", []).text(inlines(text));
    }

    /// A term in bold, its value in italics, and its explanation.
    pub(crate) fn item(&mut self, term: &str, value: &str, text: &str) {
        let mut head = vec![bold(term)];
        if !value.is_empty() {
            head.extend([roman(" "), italic(value)]);
        }
        self.0.control("TP", []).text(head).text(inlines(text));
    }

    /// Preformatted lines.
    pub(crate) fn verbatim(&mut self, text: &str) {
        self.0.control("PP", []).control("nf", []);
        for line in text.lines() {
            self.0.text([roman(line)]);
        }
        self.0.control("fi", []);
    }

    pub(crate) fn see_also(&mut self, pages: &[(&str, &str)]) {
        self.section("SEE ALSO");
        let mut line = Vec::new();
        for (name, section) in pages {
            if !line.is_empty() {
                line.push(roman(", "));
            }
            line.extend([bold(*name), roman(format!("({section})"))]);
        }
        self.0.text(line);
        self.paragraph(concat!("<", env!("CARGO_PKG_REPOSITORY"), ">"));
    }

    pub(crate) fn render(&self) -> String {
        self.0.render()
    }
}

/// The name of the manual in the page header.
pub(crate) const MANUAL: &str = "knockd";

fn inlines(text: &str) -> Vec<Inline> {
    let pieces = text.split('`').enumerate();
    pieces
        .filter(|(_, piece)| !piece.is_empty())
        .map(|(index, piece)| {
            if index % 2 == 0 {
                roman(piece)
            } else {
                bold(piece)
            }
        })
        .collect()
}
