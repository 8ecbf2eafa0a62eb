//! Draws the view. All text from the daemon passes through [`text::fit`].

mod doors;
mod plan;

use std::{env, time::Duration};

use knockd_types::status::{GateStatus, Status};
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
    widgets::{RenderDirection, Sparkline, Widget as _},
};

use self::{
    doors::Doors,
    plan::{Plan, WIDE},
};
use crate::top::{rates::Count, text, verdict::Meaning, view::View};

/// The minimum width in columns.
pub const LEAST_WIDTH: u16 = 40;

/// The minimum height in lines.
pub const LEAST_HEIGHT: u16 = 10;

/// The widths of a rate's name, its value, and the total, in columns.
const NAME: usize = 15;
const RATE: usize = 11;
const TOTAL: usize = 15;

/// How a meaning is displayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    /// Green, yellow and red.
    Colours,
    /// No colours; bold for errors.
    Plain,
}

impl Palette {
    /// Colours, unless `NO_COLOR` is set and not empty (<https://no-color.org>).
    #[must_use]
    pub fn from_env() -> Self {
        if env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            Self::Plain
        } else {
            Self::Colours
        }
    }

    fn style(self, meaning: Meaning) -> Style {
        let colour = match meaning {
            Meaning::Nothing => return Style::new(),
            Meaning::Good => Color::Green,
            Meaning::Care => Color::Yellow,
            Meaning::Bad => Color::Red,
        };
        match (self, meaning) {
            (Self::Colours, _) => Style::new().fg(colour),
            (Self::Plain, Meaning::Bad) => Style::new().add_modifier(Modifier::BOLD),
            (Self::Plain, _) => Style::new(),
        }
    }
}

/// Parameters of a drawing.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    /// The current time on the view's clock.
    pub now: Duration,
    /// The colours.
    pub palette: Palette,
    /// Whether to show the help line with the keys.
    pub keys: bool,
}

/// The height of the complete `view` in lines.
#[must_use]
pub fn height(view: &View) -> u16 {
    Plan::of_all(view).height()
}

impl Ui {
    /// Draws `view` in `area` and clamps its scroll position.
    pub fn render(&self, view: &mut View, area: Rect, buffer: &mut Buffer) {
        let mut page = Page {
            area,
            row: 0,
            buffer,
        };
        if area.width < LEAST_WIDTH || area.height < LEAST_HEIGHT {
            let least = format!("too small: {LEAST_WIDTH}×{LEAST_HEIGHT} at least");
            page.line(&least, Style::new());
            return;
        }
        let plan = Plan::of(view, area.height, self.keys);
        self.head(view, &mut page);
        page.skip(plan.blank);
        for count in Count::ALL {
            self.rate(view, count, &mut page);
        }
        page.skip(plan.blank);
        self.doors(view, &plan, &mut page);
        page.skip(plan.blank);
        self.verdicts(view, plan.verdicts, &mut page);
        if plan.help {
            page.row = area.height - 1;
            let keys = "q quit   ↑ ↓ PgUp PgDn Home End scroll the doors";
            page.line(keys, Style::new().add_modifier(Modifier::DIM));
        }
    }

    fn head(&self, view: &View, page: &mut Page<'_>) {
        let status = view.status();
        match (view.unanswered(), status) {
            (Some((why, updated)), _) => {
                let ago = text::ago(updated, self.now);
                let bad = self.palette.style(Meaning::Bad);
                page.line(
                    &format!("knockd {why}; showing data from {ago} ago, reconnecting"),
                    bad.add_modifier(Modifier::REVERSED),
                );
            }
            (None, Some(status)) => page.line(&title(status), heading()),
            (None, None) => page.line("knockd", heading()),
        }
        let Some(status) = status else {
            return;
        };
        page.line(&interfaces(status), Style::new());
        let (gate, meaning) = status
            .gate
            .as_ref()
            .map_or_else(|| ("no gate".to_owned(), Meaning::Nothing), gate);
        page.line(&gate, self.palette.style(meaning));
    }

    fn rate(&self, view: &View, count: Count, page: &mut Page<'_>) {
        let rates = view.rates();
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |n| n.to_string());
        let mut line = format!(
            "{:NAME$}{:>RATE$}/s",
            name(count, view.status()),
            number(rates.current(count))
        );
        if page.area.width >= WIDE {
            line += &format!("{:>TOTAL$} in all", number(rates.total(count)));
        }
        line += "  ";
        let used = text::width(&line);
        let row = page.next();
        page.line(&line, Style::new());
        let (Some(row), Ok(used)) = (row, u16::try_from(used)) else {
            return;
        };
        let line = Rect {
            x: row.x.saturating_add(used),
            width: row.width.saturating_sub(used),
            ..row
        };
        Sparkline::default()
            .data(rates.newest_first(count).take(usize::from(line.width)))
            .direction(RenderDirection::RightToLeft)
            .render(line, page.buffer);
    }

    fn doors(&self, view: &mut View, plan: &Plan, page: &mut Page<'_>) {
        let last = view.doors().len().saturating_sub(plan.door_rows());
        view.first_door = view.first_door.min(last);
        let doors = Doors::new(view.doors(), page.area.width);
        let seen = view.first_door..view.first_door.saturating_add(plan.door_rows());
        page.line(&doors.heading(&seen), heading());
        if plan.titles {
            page.line(&doors.titles(), Style::new().add_modifier(Modifier::DIM));
        }
        for (line, meaning) in doors.lines(&seen) {
            page.line(&line, self.palette.style(meaning));
        }
    }

    fn verdicts(&self, view: &View, rows: u16, page: &mut Page<'_>) {
        let mut rows = usize::from(rows);
        let what = match (view.is_following(), view.verdicts().is_empty()) {
            (true, false) => "last verdicts (UTC)",
            (true, true) => "no verdict yet",
            (false, false) => "last verdicts (UTC), not connected",
            (false, true) => "no verdicts: not connected",
        };
        if rows > 1 || view.verdicts().is_empty() {
            page.line(what, heading());
            rows = rows.saturating_sub(1);
        }
        for verdict in view.verdicts().iter().take(rows) {
            let times = match verdict.times {
                1 => String::new(),
                times => format!("{times} × "),
            };
            page.line(
                &format!("{} {times}{}", verdict.time, verdict.text),
                self.palette.style(verdict.meaning),
            );
        }
    }
}

fn heading() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn title(status: &Status) -> String {
    format!(
        "knockd up {}, {} knocks in progress, version {}, {} tail subscribers",
        text::duration(status.uptime_seconds),
        status.sources_in_progress,
        status.version,
        status.tails
    )
}

fn interfaces(status: &Status) -> String {
    let attachments = &status.attachments;
    let names: Vec<_> = attachments
        .iter()
        .map(|attachment| format!("{} {}", attachment.interface, attachment.mode))
        .collect();
    let names = if names.is_empty() {
        status.listening.clone()
    } else {
        names.join(", ")
    };
    let absent: Vec<_> = status
        .awaited
        .iter()
        .chain(status.refused.iter().map(|refusal| &refusal.interface))
        .map(|interface| format!(", not on {interface}"))
        .collect();
    let last = u32::from(status.window_base) + 255;
    format!(
        "on {names}{}, window {} to {last}",
        absent.concat(),
        status.window_base
    )
}

fn gate(gate: &GateStatus) -> (String, Meaning) {
    let (does, mut meaning) = match gate.mode.as_str() {
        "enforce" => ("enforces".to_owned(), Meaning::Nothing),
        "observe" => ("only observes".to_owned(), Meaning::Care),
        other => (other.to_owned(), Meaning::Care),
    };
    let mut line = format!(
        "gate {does} {}, leases: {}",
        gate.protect.join(", "),
        gate.leases
    );
    if !gate.outlives_daemon {
        line += ", ends with the daemon";
        meaning = Meaning::Care;
    }
    (line, meaning)
}

/// The label of a rate. A gate in observe mode counts what it would drop.
fn name(count: Count, status: Option<&Status>) -> &'static str {
    let gate = status.and_then(|status| status.gate.as_ref());
    match count {
        Count::Packets => "packets seen",
        Count::Accepted => "knocks accepted",
        Count::Refused => "refused",
        Count::GateDrops if gate.is_some_and(|gate| gate.mode == "observe") => "gate would drop",
        Count::GateDrops => "gate drops",
    }
}

/// Writes lines from the top of an area. Lines below its end are dropped.
struct Page<'a> {
    area: Rect,
    row: u16,
    buffer: &'a mut Buffer,
}

impl Page<'_> {
    /// The area of the next line, if there is room.
    fn next(&self) -> Option<Rect> {
        (self.row < self.area.height).then(|| Rect {
            y: self.area.y + self.row,
            height: 1,
            ..self.area
        })
    }

    fn line(&mut self, line: &str, style: Style) {
        if let Some(row) = self.next() {
            let line = text::fit(line, row.width.into());
            self.buffer.set_string(row.x, row.y, line, style);
            self.row += 1;
        }
    }

    fn skip(&mut self, rows: u16) {
        self.row = self.row.saturating_add(rows);
    }
}

#[cfg(test)]
mod tests;
