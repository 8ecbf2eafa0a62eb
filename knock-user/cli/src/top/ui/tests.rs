//! Screens of many sizes, cell by cell where it matters.

use knockd_types::event::{Event, Notice};
use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::top::view::{
    Update,
    tests::{door, refusal, status},
};

const SECOND: Duration = Duration::from_secs(1);

fn draw(view: &mut View, width: u16, height: u16, palette: Palette) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let ui = Ui {
        now: 20 * SECOND,
        palette,
        keys: true,
    };
    terminal
        .draw(|frame| ui.render(view, frame.area(), frame.buffer_mut()))
        .unwrap();
    terminal.backend().buffer().clone()
}

fn lines(view: &mut View, width: u16, height: u16) -> Vec<String> {
    let text = text::lines(&draw(view, width, height, Palette::Colours));
    text.lines().map(str::to_owned).collect()
}

fn view_of(status: Status) -> View {
    let mut view = View::default();
    view.apply(Update::Status(status.into()), SECOND);
    view
}

fn with_doors(doors: u16) -> View {
    let mut status = status();
    status.doors = (0..doors).map(door).collect();
    view_of(status)
}

/// A daemon whose packets double each second, with a door and two verdicts.
fn busy() -> View {
    let mut view = view_of(status());
    for second in 2..9 {
        let mut status = status();
        status.uptime_seconds += second;
        status.kernel = [("knock".to_owned(), 1000 + (1 << second))].into();
        status.daemon.accepted = second / 8;
        view.apply(Update::Status(status.into()), Duration::from_secs(second));
    }
    view.apply(refusal(7), 9 * SECOND);
    view.apply(refusal(8), 9 * SECOND);
    view.apply(refusal(8), 9 * SECOND);
    view
}

fn colour_of(buffer: &Buffer, word: &str) -> Color {
    let text = text::lines(buffer);
    let (y, line) = text
        .lines()
        .enumerate()
        .find(|(_, line)| line.contains(word))
        .unwrap();
    let x = line[..line.find(word).unwrap()].chars().count();
    buffer.content[y * usize::from(buffer.area.width) + x].fg
}

#[test]
fn the_usual_terminal() {
    let shown = lines(&mut busy(), 80, 24);
    let blank = String::new;
    assert_eq!(
        shown[..16],
        [
            "knockd up 2h 03m, 4 knocks in progress, version 1.2.3, 0 tail subscribers".to_owned(),
            "on eth0 native, window 61000 to 61255".to_owned(),
            "gate enforces tcp/22, leases: 1".to_owned(),
            blank(),
            format!(
                "packets seen           128/s           1256 in all  {:>28}",
                "▁▂▄█"
            ),
            format!(
                "knocks accepted          1/s              1 in all  {:>28}",
                "█"
            ),
            "refused                  0/s              0 in all".to_owned(),
            "gate drops               0/s              0 in all".to_owned(),
            blank(),
            "doors open: 1".to_owned(),
            "door  client    source      ports   state  left".to_owned(),
            "ssh   client-1  198.51.0.1  tcp/22  open   59m 03s".to_owned(),
            blank(),
            "last verdicts (UTC)".to_owned(),
            "03:04:05 2 × refused 192.0.2.8: stale".to_owned(),
            "03:04:05 refused 192.0.2.7: stale".to_owned(),
        ]
    );
    assert!(shown[16..23].iter().all(String::is_empty));
    assert!(shown[23].starts_with("q quit"));
}

#[test]
fn a_small_terminal_has_the_most_important() {
    let shown = lines(&mut busy(), 40, 10);
    assert_eq!(shown[0], "knockd up 2h 03m, 4 knocks in progress,…");
    assert_eq!(shown[1], "on eth0 native, window 61000 to 61255");
    assert!(shown[3].starts_with("packets seen           128/s"));
    assert!(shown[3].ends_with("▂▄█"));
    assert_eq!(shown[7], "doors open: 1");
    assert_eq!(shown[8], "ssh   198.51.0.1  open   59m 03s");
    assert_eq!(shown[9], "03:04:05 2 × refused 192.0.2.8: stale");
}

#[test]
fn a_large_terminal_is_used() {
    let mut view = with_doors(500);
    for source in 0..100 {
        view.apply(refusal(source), SECOND);
    }
    let shown = lines(&mut view, 200, 60);
    let doors = shown.iter().filter(|line| line.contains("client-")).count();
    let verdicts = shown
        .iter()
        .filter(|line| line.contains("refused 1"))
        .count();
    assert_eq!((doors, verdicts), (31, 15));
    assert!(shown[59].starts_with("q quit"));
}

#[test]
fn one_that_is_too_small_says_so() {
    for (width, height) in [(39, 24), (80, 9), (26, 1), (8, 1), (1, 1)] {
        let shown = lines(&mut busy(), width, height);
        let expected = text::fit("too small: 40×10 at least", width.into());
        assert_eq!(shown[0], expected, "{width}×{height}");
        assert!(shown[1..].iter().all(String::is_empty));
    }
}

#[test]
fn every_size_can_be_drawn() {
    let mut long = status();
    long.doors = (0..100).map(door).collect();
    for (view, width) in [(&mut busy(), 1..=200), (&mut view_of(long), 1..=200)] {
        for (width, height) in width.zip((1..=60).cycle()) {
            draw(view, width, height, Palette::Colours);
        }
    }
    draw(&mut View::default(), 80, 24, Palette::Colours);
    draw(&mut View::default(), 0, 0, Palette::Colours);
}

#[test]
fn many_doors_are_counted_and_moved_through() {
    let mut view = with_doors(500);
    let shown = lines(&mut view, 80, 24);
    let heading = shown.iter().position(|l| l.starts_with("doors")).unwrap();
    assert_eq!(shown[heading], "doors open: 500, 490 more below");
    assert!(shown[heading + 2].contains("client-0 "));
    view.first_door = 10;
    let shown = lines(&mut view, 80, 24);
    assert_eq!(
        shown[heading],
        "doors open: 500, 10 more above, 480 more below"
    );
    assert!(shown[heading + 2].contains("client-10 "));
    view.first_door = usize::MAX;
    let shown = lines(&mut view, 80, 24);
    assert_eq!(shown[heading], "doors open: 500, 490 more above");
    assert!(shown[heading + 11].contains("client-499 "));
    // The position is clamped, so that one step back has an effect.
    assert_eq!(view.first_door, 490);
}

#[test]
fn long_names_leave_the_address_whole() {
    let mut status = status();
    let door = &mut status.doors[0];
    door.door = "d".repeat(64);
    door.client = "門".repeat(21);
    door.source = "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap();
    door.state = "close failed".into();
    let mut view = view_of(status);
    let wide = lines(&mut view, 200, 24).join("\n");
    assert!(
        wide.contains(&"d".repeat(64)) && wide.contains(&"門".repeat(21)),
        "{wide}"
    );
    for width in [60, 80] {
        let shown = lines(&mut view, width, 24).join("\n");
        assert!(shown.contains("ddd…") && shown.contains("門…"), "{shown}");
        assert!(shown.contains("close failed  59m 03s"), "{shown}");
        assert_eq!(
            shown.contains("2001:db8:1111:2222:3333:4444:5555:6666"),
            width == 80,
            "{shown}"
        );
    }
}

#[test]
fn no_field_moves_the_terminals_cursor() {
    let evil = "\u{1b}[2J\u{9b}1m\r\n\u{202e}";
    let mut status = status();
    status.version = evil.into();
    status.listening = evil.into();
    status.attachments[0].interface = evil.into();
    let gate = status.gate.as_mut().unwrap();
    gate.mode = evil.into();
    gate.protect = vec![evil.into()];
    let door = &mut status.doors[0];
    door.door = evil.into();
    door.client = evil.into();
    door.ports = vec![evil.into()];
    door.state = evil.into();
    let mut view = view_of(status.clone());
    status.attachments.clear();
    let mut lines_only = view_of(status);
    for view in [&mut view, &mut lines_only] {
        view.apply(Update::Unanswered(evil.into()), SECOND);
        view.apply(
            Update::Notice(Notice {
                time: evil.repeat(3),
                event: Event::Trouble {
                    message: evil.into(),
                },
            }),
            SECOND,
        );
        let buffer = draw(view, 200, 60, Palette::Colours);
        let symbols: String = buffer
            .content
            .iter()
            .map(ratatui::buffer::Cell::symbol)
            .collect();
        assert!(!symbols.contains(|c: char| c.is_control() || c == '\u{202e}'));
        // Reason, interface, gate twice, door four times, verdict twice: all fields are shown.
        assert!(symbols.matches(r"\u{9b}").count() >= 9, "{symbols}");
    }
}

#[test]
fn a_silent_daemon_is_seen_at_once() {
    let mut view = busy();
    view.apply(Update::Unanswered("has stopped".into()), 19 * SECOND);
    view.apply(Update::Unsubscribed, 19 * SECOND);
    let shown = lines(&mut view, 80, 24);
    assert_eq!(
        shown[0],
        "knockd has stopped; showing data from 12s ago, reconnecting"
    );
    assert!(shown[11].starts_with("ssh"));
    assert!(shown.contains(&"last verdicts (UTC), not connected".to_owned()));
    let buffer = draw(&mut view, 80, 24, Palette::Colours);
    assert_eq!(colour_of(&buffer, "knockd"), Color::Red);
    assert!(buffer.content[0].modifier.contains(Modifier::REVERSED));
}

#[test]
fn colours_mean_something_or_are_not_there() {
    let mut status = status();
    status.doors.push(door(2));
    status.doors[1].state = "close failed".into();
    status.gate.as_mut().unwrap().mode = "observe".into();
    let mut view = view_of(status);
    view.apply(refusal(7), SECOND);
    let buffer = draw(&mut view, 80, 24, Palette::Colours);
    for (word, colour) in [
        ("client-1", Color::Green),
        ("client-2", Color::Red),
        ("gate only observes", Color::Yellow),
        ("refused 192", Color::Yellow),
        ("packets seen", Color::Reset),
        ("gate would drop", Color::Reset),
    ] {
        assert_eq!(colour_of(&buffer, word), colour, "{word}");
    }
    let plain = draw(&mut view, 80, 24, Palette::Plain);
    assert!(
        plain
            .content
            .iter()
            .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
    );
    assert_eq!(text::lines(&plain), text::lines(&buffer));
}

#[test]
fn a_daemon_without_gate_and_interfaces() {
    let mut status = status();
    status.attachments.clear();
    status.listening = "lines from -".into();
    status.gate = None;
    status.doors.clear();
    let shown = lines(&mut view_of(status), 80, 24);
    assert_eq!(shown[1], "on lines from -, window 61000 to 61255");
    assert_eq!(shown[2], "no gate");
    assert!(shown.contains(&"doors open: 0".to_owned()));
}
