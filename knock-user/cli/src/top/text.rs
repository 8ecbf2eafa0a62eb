//! Makes text safe to show and fits it into the available width.

use std::{fmt::Write as _, time::Duration};

use knock_common::legible::escaped;
use ratatui::{buffer::Buffer, text::Span};

/// `text` with everything escaped that misleads: names and the output of commands must not control
/// the terminal.
#[must_use]
pub fn plain(text: &str) -> String {
    escaped(text).collect()
}

/// The width of `text` in columns.
#[must_use]
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// [`plain`] `text` in at most `room` columns. A truncated text ends with `…`.
#[must_use]
pub fn fit(text: &str, room: usize) -> String {
    let text = plain(text);
    if width(&text) <= room {
        return text;
    }
    let Some(room) = room.checked_sub(1) else {
        return String::new();
    };
    let mut fitting = String::new();
    let mut used = 0;
    for grapheme in Span::raw(&text).styled_graphemes(ratatui::style::Style::new()) {
        used += width(grapheme.symbol);
        if used > room {
            break;
        }
        fitting.push_str(grapheme.symbol);
    }
    fitting.push('…');
    fitting
}

/// A duration in its two largest units, such as `59m 03s`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    if days > 0 {
        format!("{days}d {:02}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h {:02}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m {:02}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

/// The time since `since`, formatted by [`duration`].
#[must_use]
pub fn ago(since: Duration, now: Duration) -> String {
    duration(now.saturating_sub(since).as_secs())
}

/// The lines of `buffer` without trailing blanks.
#[must_use]
pub fn lines(buffer: &Buffer) -> String {
    let mut text = String::new();
    let columns = usize::from(buffer.area.width).max(1);
    for row in buffer.content.chunks(columns) {
        let mut line = String::new();
        // The second cell of a wide character is an invisible blank.
        let mut hidden = 0;
        for cell in row {
            if hidden == 0 {
                line.push_str(cell.symbol());
                hidden = width(cell.symbol()).saturating_sub(1);
            } else {
                hidden -= 1;
            }
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_terminal_control_is_left() {
        assert_eq!(plain("ünïcödé 門"), "ünïcödé 門");
        assert_eq!(plain("a\u{1b}[2Jb\r\n\u{9b}c"), r"a\u{1b}[2Jb\r\n\u{9b}c");
        assert_eq!(plain("\u{202e}dlo\u{2066}"), r"\u{202e}dlo\u{2066}");
    }

    #[test]
    fn what_does_not_fit_ends_in_dots() {
        assert_eq!(fit("laptop", 6), "laptop");
        assert_eq!(fit("laptop", 5), "lapt…");
        assert_eq!(fit("laptop", 1), "…");
        assert_eq!(fit("laptop", 0), "");
        // Each character has two columns and is kept or removed as a whole.
        assert_eq!(fit("門門門", 4), "門…");
        assert_eq!(fit("\u{1b}[2J", 6), r"\u{1b…");
    }

    #[test]
    fn times_have_two_units() {
        assert_eq!(duration(0), "0s");
        assert_eq!(duration(59), "59s");
        assert_eq!(duration(63), "1m 03s");
        assert_eq!(duration(3600), "1h 00m");
        assert_eq!(duration(86399), "23h 59m");
        assert_eq!(duration(90_000), "1d 01h");
    }

    #[test]
    fn lines_have_no_blanks_at_their_ends() {
        let buffer = Buffer::with_lines(["a  b  ", "", "門x   "]);
        assert_eq!(lines(&buffer), "a  b\n\n門x\n");
    }
}
