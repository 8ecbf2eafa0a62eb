//! The table of open doors.

use crate::daemon::{
    control::DoorStatus,
    top::{text, verdict::Meaning},
};

use super::WIDE;

/// Between two columns.
const GAP: usize = 2;

/// What a name is cut down to before an address loses anything.
const LEAST: usize = 4;

/// The doors, and which of them are seen.
pub(super) struct Doors<'a> {
    /// All of them.
    pub(super) doors: &'a [DoorStatus],
    /// The first that is seen.
    pub(super) first: usize,
    /// How many are seen.
    pub(super) rows: usize,
    /// The columns that there are.
    pub(super) room: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Door,
    Client,
    Source,
    Ports,
    State,
    Left,
}

impl Column {
    const ALL: [Self; 6] = [
        Self::Door,
        Self::Client,
        Self::Source,
        Self::Ports,
        Self::State,
        Self::Left,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Door => "door",
            Self::Client => "client",
            Self::Source => "source",
            Self::Ports => "ports",
            Self::State => "state",
            Self::Left => "left",
        }
    }

    fn of(self, door: &DoorStatus) -> String {
        match self {
            Self::Door => text::plain(&door.door),
            Self::Client => text::plain(&door.client),
            Self::Source => door.source.to_string(),
            Self::Ports => text::plain(&door.ports.join(",")),
            Self::State => text::plain(&door.state),
            Self::Left => text::duration(door.seconds_left),
        }
    }
}

impl Doors<'_> {
    /// How many there are, and how many are not seen.
    pub(super) fn heading(&self) -> String {
        let mut heading = format!("doors open: {}", self.doors.len());
        let below = self
            .doors
            .len()
            .saturating_sub(self.first)
            .saturating_sub(self.rows);
        for (more, place) in [(self.first, "above"), (below, "below")] {
            if more > 0 {
                heading += &format!(", {more} more {place}");
            }
        }
        heading
    }

    /// The columns' titles.
    pub(super) fn titles(&self) -> String {
        let cells = self.columns().into_iter();
        row(cells.map(|(column, width)| (column.title().to_owned(), width)))
    }

    /// A line for each door that is seen.
    pub(super) fn lines(&self) -> impl Iterator<Item = (String, Meaning)> {
        let columns = self.columns();
        let seen = self.doors.iter().skip(self.first).take(self.rows);
        seen.map(move |door| {
            let cells = columns.iter();
            let line = row(cells.map(|(column, width)| (column.of(door), *width)));
            (line, meaning(&door.state))
        })
    }

    /// The columns that have something to say, and their widths. Where there is no room for
    /// all of it, names are cut before addresses.
    fn columns(&self) -> Vec<(Column, usize)> {
        let room = usize::from(self.room);
        let mut columns: Vec<_> = Column::ALL
            .into_iter()
            .filter(|column| self.room >= WIDE || !matches!(column, Column::Client | Column::Ports))
            .filter_map(|column| {
                let cells = self.doors.iter().map(|door| text::width(&column.of(door)));
                let widest = cells.max().filter(|width| *width > 0)?;
                Some((column, widest.max(text::width(column.title()))))
            })
            .collect();
        let gaps = GAP * columns.len().saturating_sub(1);
        let taken: usize = columns.iter().map(|(_, width)| width).sum();
        let mut over = (taken + gaps).saturating_sub(room);
        for shrinking in [
            &[Column::Door, Column::Client, Column::Ports][..],
            &[Column::Source],
        ] {
            while over > 0 {
                let widest = columns
                    .iter_mut()
                    .filter(|(column, width)| shrinking.contains(column) && *width > LEAST)
                    .max_by_key(|(_, width)| *width);
                let Some((_, width)) = widest else {
                    break;
                };
                *width -= 1;
                over -= 1;
            }
        }
        columns
    }
}

fn row(cells: impl Iterator<Item = (String, usize)>) -> String {
    let mut line = String::new();
    for (cell, width) in cells {
        let cell = text::fit(&cell, width);
        let padding = GAP + width - text::width(&cell);
        line += &cell;
        line.extend(std::iter::repeat_n(' ', padding));
    }
    line.truncate(line.trim_end().len());
    line
}

fn meaning(state: &str) -> Meaning {
    match state {
        "open" => Meaning::Good,
        "opening" | "closing" => Meaning::Care,
        _ => Meaning::Bad,
    }
}
