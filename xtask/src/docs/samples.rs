//! Code samples: those in a language with a parser at hand are parsed.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::{
    page::{Page, Sample},
    problem::Problem,
};

/// In the info string, behind the language: the sample is not for a parser.
const IGNORE: &str = "ignore";

/// How mdBook includes a file.
const INCLUDE: (&str, &str) = ("{{#include ", "}}");

/// Returns how many samples of `page` were parsed, and what is wrong in them.
pub(super) fn check(page: &Page) -> Result<(usize, Vec<Problem>)> {
    let mut checked = 0;
    let mut errors = Vec::new();
    for sample in &page.samples {
        let mut words = sample.info.split([',', ' ']);
        let language = words.next().unwrap_or_default();
        if words.any(|word| word == IGNORE) {
            continue;
        }
        let Some(outcome) = parse(language, &included(page, sample)?)? else {
            continue;
        };
        checked += 1;
        if let Err(text) = outcome {
            errors.push(Problem {
                path: page.path.clone(),
                line: sample.line,
                text: format!("{language} sample: {}", text.trim_end()),
            });
        }
    }
    Ok((checked, errors))
}

/// The sample's text with the files that it includes.
fn included(page: &Page, sample: &Sample) -> Result<String> {
    let mut text = sample.text.clone();
    while let Some((before, rest)) = text.split_once(INCLUDE.0)
        && let Some((name, after)) = rest.split_once(INCLUDE.1)
    {
        let path = page.path.with_file_name("").join(name.trim());
        let file =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        text = format!("{before}{file}{after}");
    }
    Ok(text)
}

/// Whether `text` can be parsed; nothing for a language that has no parser here.
fn parse(language: &str, text: &str) -> Result<Option<Result<(), String>>> {
    Ok(Some(match language {
        "toml" => text
            .parse::<toml::Table>()
            .map(drop)
            .map_err(|e| e.to_string()),
        "json" => serde_json::from_str::<serde_json::Value>(text)
            .map(drop)
            .map_err(|e| e.to_string()),
        "ini" | "systemd" => parse_unit(text),
        "sh" => parse_shell("sh", text)?,
        "bash" => parse_shell("bash", text)?,
        _ => return Ok(None),
    }))
}

fn parse_shell(shell: &str, text: &str) -> Result<Result<(), String>> {
    let mut child = Command::new(shell)
        .arg("-n")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {shell}"))?;
    // Closed with the end of the statement, which is the end of the script.
    child
        .stdin
        .take()
        .context("standard input is a pipe")?
        .write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    Ok(match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    })
}

/// Sections, assignments and comments, as in a unit file of systemd.
fn parse_unit(text: &str) -> Result<(), String> {
    let mut continued = false;
    for line in text.lines().map(str::trim) {
        let is_section = line.starts_with('[') && line.ends_with(']');
        let is_comment = line.is_empty() || line.starts_with(['#', ';']);
        if !(continued || is_section || is_comment || line.contains('=')) {
            return Err(format!("neither section nor assignment: {line}"));
        }
        continued = line.ends_with('\\');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str) -> (usize, Vec<String>) {
        let page = Page::parse("page.md".into(), text);
        let (checked, errors) = check(&page).unwrap();
        let errors = errors.into_iter();
        (
            checked,
            errors.map(|e| format!("{}: {}", e.line, e.text)).collect(),
        )
    }

    #[test]
    fn samples_are_parsed_by_their_language() {
        let good = "```toml\na = 1\n```\n```sh\nif true; then echo; fi\n```\n```json\n{}\n```\n\
                    ```ini\n[Unit]\nA=b \\\n  c\n```\n```text\n= {\n```\n";
        assert_eq!(check_text(good), (4, Vec::new()));
        for (language, text) in [
            ("toml", "a ="),
            ("sh", "if true; then"),
            ("json", "{"),
            ("ini", "word"),
        ] {
            let (checked, errors) = check_text(&format!("\n```{language}\n{text}\n```\n"));
            assert_eq!((checked, errors.len()), (1, 1), "{language}");
            assert!(errors[0].starts_with(&format!("2: {language} sample: ")));
        }
    }

    #[test]
    fn a_sample_can_be_left_out() {
        assert_eq!(check_text("```toml,ignore\na =\n```\n"), (0, Vec::new()));
    }
}
