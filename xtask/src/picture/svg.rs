//! Lines of text as a terminal shows them, in SVG.

use std::fmt::Write as _;

/// A line, and how it is coloured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    style: Style,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Title,
    Command,
    Output,
    Admitted,
    Refused,
}

/// The colours of a picture.
pub(super) struct Palette {
    background: &'static str,
    border: &'static str,
    title: &'static str,
    command: &'static str,
    output: &'static str,
    admitted: &'static str,
    refused: &'static str,
}

pub(super) const LIGHT: Palette = Palette {
    background: "#ffffff",
    border: "#d0d7de",
    title: "#0550ae",
    command: "#1f2328",
    output: "#59636e",
    admitted: "#1a7f37",
    refused: "#cf222e",
};

pub(super) const DARK: Palette = Palette {
    background: "#0d1117",
    border: "#3d444d",
    title: "#79c0ff",
    command: "#f0f6fc",
    output: "#9198a1",
    admitted: "#56d364",
    refused: "#ff7b72",
};

/// In characters; longer lines are wrapped.
const COLUMNS: usize = 100;
/// How far the rest of a wrapped line is indented.
const INDENT: usize = 8;

// In pixels.
const CHARACTER_WIDTH: f32 = 7.9;
const FONT_SIZE: usize = 13;
const LINE_HEIGHT: usize = 19;
const STEP_GAP: usize = 8;
const MARGIN: usize = 18;
const BAR_HEIGHT: usize = 34;

impl Line {
    pub(super) fn new(style: Style, text: String) -> Self {
        Self { style, text }
    }
}

/// A window with `title` above `lines`.
pub(super) fn draw(title: &str, lines: &[Line], palette: &Palette) -> String {
    let mut body = String::new();
    let mut y = BAR_HEIGHT + MARGIN;
    let mut last = Style::Title;
    for line in lines {
        if line.style == Style::Title && last != Style::Title {
            y += STEP_GAP;
        }
        last = line.style;
        for row in wrap(&line.text) {
            let (colour, weight) = palette.of(line.style);
            let _ = writeln!(
                body,
                "<text x=\"{MARGIN}\" y=\"{y}\" fill=\"{colour}\"{weight}>{}</text>",
                escape(&row)
            );
            y += LINE_HEIGHT;
        }
    }
    let height = y + MARGIN - LINE_HEIGHT / 2;
    frame(title, &body, height, palette)
}

fn frame(title: &str, body: &str, height: usize, palette: &Palette) -> String {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some hundred pixels"
    )]
    let width = (COLUMNS as f32 * CHARACTER_WIDTH) as usize + 2 * MARGIN;
    let Palette {
        background,
        border,
        output,
        ..
    } = palette;
    let title = escape(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\" xml:space=\"preserve\" \
         font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" \
         font-size=\"{FONT_SIZE}\">\n\
         <title>{title}</title>\n\
         <style>text {{ white-space: pre; }}</style>\n\
         <rect x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\" fill=\"{background}\" stroke=\"{border}\"/>\n\
         <path d=\"M0.5 {BAR_HEIGHT}H{width}\" stroke=\"{border}\"/>\n\
         <text x=\"{MARGIN}\" y=\"22\" fill=\"{output}\">$ {title}</text>\n\
         {body}</svg>\n",
        width - 1,
        height - 1,
    )
}

impl Palette {
    fn of(&self, style: Style) -> (&str, &str) {
        match style {
            Style::Title => (self.title, " font-weight=\"bold\""),
            Style::Command => (self.command, ""),
            Style::Output => (self.output, ""),
            Style::Admitted => (self.admitted, ""),
            Style::Refused => (self.refused, ""),
        }
    }
}

/// `text` in rows of at most [`COLUMNS`] characters, broken between words.
fn wrap(text: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut words = text.split(' ');
    let mut row = words.next().unwrap_or_default().to_owned();
    for word in words {
        let fits = row.chars().count() + 1 + word.chars().count() <= COLUMNS;
        if fits || row.trim().is_empty() {
            row.push(' ');
        } else {
            rows.push(std::mem::replace(&mut row, " ".repeat(INDENT)));
        }
        row.push_str(word);
    }
    rows.push(row);
    rows
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_wrapped_between_words() {
        let text = format!("    {} {}", "a".repeat(60), "b".repeat(60));
        let rows = wrap(&text);
        assert_eq!(rows.len(), 2);
        assert!(rows[0].starts_with("    a") && rows[1].starts_with("        b"));
        assert_eq!(wrap("    $ short line"), ["    $ short line"]);
        assert_eq!(wrap("Title here"), ["Title here"]);
    }

    #[test]
    fn text_is_escaped() {
        let lines = [Line::new(Style::Output, "<a> & \"b\"".to_owned())];
        let picture = draw("x", &lines, &LIGHT);
        assert!(picture.contains(">&lt;a&gt; &amp; \"b\"</text>"));
    }
}
