//! A picture of the demo for the README and the book: what a run prints, as a terminal shows it.
//!
//! Times, paths and keys differ from run to run. They are left out, so that the picture only
//! changes when the demo does.

mod svg;

use std::{env, fs, path::Path, process::Command};

use anyhow::{Result, ensure};

use self::svg::{DARK, LIGHT, Line, Style};
use crate::workspace::{Workspace, output};

/// What is shown of a step of the demo.
enum Shown {
    Nothing,
    /// The lines that contain one of these texts.
    Only(&'static [&'static str]),
}

/// The steps that are not shown in full, by the start of their titles.
const SHORTENED: &[(&str, Shown)] = &[
    ("The server's firewall", Shown::Only(&["$ "])),
    ("The daemon starts", Shown::Only(&["$ ", "attached to"])),
    (
        "`knockd tail` shows",
        Shown::Only(&["kernel: SYN", " accepted ", "command run"]),
    ),
    ("`knockd status`", Shown::Nothing),
    ("Without firewall rules", Shown::Nothing),
    ("The client knocks again", Shown::Only(&["$ "])),
    (
        "With [gate]",
        Shown::Only(&["[gate]", "protect", "$ ", "no answer"]),
    ),
    ("The namespaces", Shown::Nothing),
];

/// More lines are hard to take in.
const MAX_LINES: usize = 60;

/// One step of the demo.
#[derive(Debug, PartialEq)]
struct Step<'a> {
    title: Vec<&'a str>,
    lines: Vec<&'a str>,
}

/// Runs the demo, and writes the pictures for a light and a dark background.
pub(crate) fn record(workspace: &Workspace) -> Result<()> {
    println!("running the demo");
    let text = output(Command::new(env::current_exe()?).arg("demo"))?;
    let lines = shown(&text, workspace)?;
    for (name, palette) in [("demo-light.svg", LIGHT), ("demo-dark.svg", DARK)] {
        let path = workspace.docs().join(name);
        fs::create_dir_all(workspace.docs())?;
        fs::write(&path, svg::draw("cargo xtask demo", &lines, &palette))?;
        println!("{}", workspace.relative(&path).display());
    }
    Ok(())
}

fn shown(text: &str, workspace: &Workspace) -> Result<Vec<Line>> {
    let steps = steps(text);
    for (title, _) in SHORTENED {
        ensure!(
            steps.iter().any(|step| step.title[0].starts_with(title)),
            "the demo has no step {title:?}: adapt the picture"
        );
    }
    let lines: Vec<_> = steps
        .iter()
        .flat_map(|step| shown_of(step, workspace))
        .collect();
    ensure!(
        lines.len() <= MAX_LINES,
        "{} lines are too many for the picture: shorten more steps",
        lines.len()
    );
    Ok(lines)
}

/// The steps in the demo's output, which empty lines separate. What setup prints before is none.
fn steps(text: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut after_empty = false;
    for line in text.lines() {
        if line.trim().is_empty() {
            // An empty line within the output of a program is indented.
            after_empty |= line.is_empty();
            continue;
        }
        if after_empty {
            steps.push(Step {
                title: Vec::new(),
                lines: Vec::new(),
            });
            after_empty = false;
        }
        if let Some(step) = steps.last_mut() {
            let is_title = !line.starts_with(' ') && step.lines.is_empty();
            match is_title {
                true => step.title.push(line),
                false => step.lines.push(line),
            }
        }
    }
    steps.retain(|step| !step.title.is_empty());
    steps
}

fn shown_of(step: &Step, workspace: &Workspace) -> Vec<Line> {
    let shortened = SHORTENED
        .iter()
        .find(|(title, _)| step.title[0].starts_with(title));
    let only = match shortened {
        Some((_, Shown::Nothing)) => return Vec::new(),
        Some((_, Shown::Only(texts))) => Some(texts),
        None => None,
    };
    let mut lines: Vec<_> = (step.title.iter())
        .map(|title| Line::new(Style::Title, (*title).to_owned()))
        .collect();
    for line in &step.lines {
        let is_shown = |text: &&str| line.contains(text);
        if only.is_none_or(|only| only.iter().any(is_shown)) {
            let text = lasting(line, workspace);
            let line = Line::new(style_of(&text), text);
            // The SYNs of a knock, without what differs, are all the same.
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

/// `line` without what differs from run to run and from machine to machine.
fn lasting(line: &str, workspace: &Workspace) -> String {
    let words: Vec<_> = line
        .trim()
        .split(' ')
        .filter(|word| !is_time(word))
        .map(|word| without_folder(word, workspace))
        .collect();
    let mut text = words.join(" ").trim_start().to_owned();
    for (event, rest) in [
        ("kernel: SYN", " port … to window + …"),
        ("kernel: datagram", " port …"),
    ] {
        if let Some(at) = text.find(event) {
            let source = text[at..].split(" port ").next().unwrap_or_default();
            text = format!("{source}{rest}");
        }
    }
    // The keys are new in each run.
    if let Some((invitation, _keys)) = text.split_once("?server=") {
        text = format!("{invitation}?server=…&key=…'");
    }
    if text.starts_with("public_key = ") {
        text = "public_key = \"…\"".to_owned();
    }
    format!("    {text}")
}

fn is_time(word: &str) -> bool {
    word.starts_with("20") && word.contains('T') && word.ends_with('Z')
}

/// `word` without the folders of this project and of the demo.
fn without_folder(word: &str, workspace: &Workspace) -> String {
    let path = Path::new(word);
    let is_own = path.starts_with(&workspace.root)
        || path.starts_with(&workspace.target)
        || path.components().any(|part| {
            part.as_os_str()
                .to_string_lossy()
                .starts_with("knockd-demo-")
        });
    match path.file_name() {
        Some(name) if is_own => name.to_string_lossy().into_owned(),
        _ => word.to_owned(),
    }
}

fn style_of(text: &str) -> Style {
    let contains = |texts: &[&str]| texts.iter().any(|word| text.contains(word));
    if text.trim_start().starts_with("$ ") {
        Style::Command
    } else if contains(&["no answer", "refused "]) {
        Style::Refused
    } else if contains(&["is connected", "accepted ", " answers", "still works"]) {
        Style::Admitted
    } else {
        Style::Output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> Workspace {
        Workspace::built_in(Path::new("/build/target"))
    }

    #[test]
    fn steps_have_titles_and_lines() {
        let text =
            "eBPF toolchain: x\n\nOne:\n    $ a\nfrom a\n    \n    b\n\nTwo\nlines:\n    c\n";
        let steps = steps(text);
        assert_eq!(steps[0].title, ["One:"]);
        assert_eq!(steps[0].lines, ["    $ a", "from a", "    b"]);
        assert_eq!(steps[1].title, ["Two", "lines:"]);
    }

    #[test]
    fn what_differs_from_run_to_run_is_left_out() {
        let lasting = |line| lasting(line, &workspace());
        assert_eq!(
            lasting("    $ /build/target/debug/knockd --config /tmp/knockd-demo-x1/knockd.toml"),
            "    $ knockd --config knockd.toml"
        );
        assert_eq!(
            lasting("    2026-11-28T17:52:11.2Z kernel: SYN from 192.0.2.2 port 5 to window + 7"),
            "    kernel: SYN from 192.0.2.2 port … to window + …"
        );
        assert_eq!(
            lasting("    2026-11-28T17:52:11.2Z kernel: datagram from 192.0.2.2 port 5"),
            "    kernel: datagram from 192.0.2.2 port …"
        );
        assert_eq!(
            lasting("    public_key = \"secret\""),
            "    public_key = \"…\""
        );
        assert_eq!(
            lasting("    knock import 'knock://laptop@192.0.2.1:61000?server=public&key=secret'"),
            "    knock import 'knock://laptop@192.0.2.1:61000?server=…&key=…'"
        );
    }
}
