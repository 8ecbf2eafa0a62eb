//! Tests of keys, and of frames for pipes.

use clap::Parser;

use super::*;
use crate::top::view::tests::{door, refusal, status};

fn key(code: KeyCode) -> Input {
    Input::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn q_escape_and_control_c_quit_and_nothing_else_does() {
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for input in [
        key(KeyCode::Char('q')),
        key(KeyCode::Esc),
        Input::Key(control_c),
    ] {
        assert!(is_quit(&input), "{input:?}");
    }
    for input in [
        key(KeyCode::Char('c')),
        key(KeyCode::Enter),
        Input::Resize(80, 24),
        Input::Paste("q".into()),
    ] {
        assert!(!is_quit(&input), "{input:?}");
    }
}

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
}

#[test]
fn only_a_printed_frame_has_a_width_of_its_own() {
    let options = |arguments: &str| {
        let arguments = ["top"].into_iter().chain(arguments.split_whitespace());
        CommandLine::try_parse_from(arguments).map(|line| line.options)
    };
    assert_eq!(options("--once --width 40").unwrap().width, Some(40));
    assert!(options("--once --width 39").is_err());
    assert!(options("--width 40").is_err());
    assert!(!options("").unwrap().once);
}

#[test]
fn a_frame_has_every_door_and_verdict_and_no_more() {
    let mut many = status();
    many.doors = (0..500).map(door).collect();
    let mut view = View::default();
    view.apply(Update::Status(many.into()), monotonic());
    view.apply(refusal(7), monotonic());
    let text = frame(&mut view, 80);
    assert!(text.contains("doors open: 500\n"), "{text}");
    assert_eq!(text.matches("client-").count(), 500);
    assert!(text.ends_with("03:04:05 refused 192.0.2.7: stale\n"));
    assert!(!text.contains("quit"));
}
