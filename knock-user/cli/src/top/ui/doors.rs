//! The table of open doors.

use std::{iter, ops::Range};

use knockd_types::status::DoorStatus;

use super::plan::WIDE;
use crate::top::{text, verdict::Meaning};

/// The gap between two columns.
const GAP: usize = 2;

/// The width to which names are truncated before addresses are.
const LEAST: usize = 4;

/// The doors, and the columns of the table with their widths.
pub(super) struct Doors<'a> {
    doors: &'a [DoorStatus],
    columns: Vec<(Column, usize)>,
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

impl<'a> Doors<'a> {
    /// A table of `doors`, at most `room` columns wide.
    pub(super) fn new(doors: &'a [DoorStatus], room: u16) -> Self {
        Self {
            doors,
            columns: shrunk(columns(doors, room >= WIDE), room.into()),
        }
    }

    /// The number of doors, and how many are outside the visible range `seen`.
    pub(super) fn heading(&self, seen: &Range<usize>) -> String {
        let mut heading = format!("doors open: {}", self.doors.len());
        let below = self.doors.len().saturating_sub(seen.end);
        for (more, place) in [(seen.start, "above"), (below, "below")] {
            if more > 0 {
                heading += &format!(", {more} more {place}");
            }
        }
        heading
    }

    /// The columns' titles.
    pub(super) fn titles(&self) -> String {
        self.row(|column| column.title().to_owned())
    }

    /// A line for each door in the visible range `seen`.
    pub(super) fn lines(&self, seen: &Range<usize>) -> impl Iterator<Item = (String, Meaning)> {
        let doors = self.doors.iter().skip(seen.start).take(seen.len());
        doors.map(|door| (self.row(|column| column.of(door)), meaning(&door.state)))
    }

    fn row(&self, cell: impl Fn(Column) -> String) -> String {
        let mut line = String::new();
        for (column, width) in &self.columns {
            let cell = text::fit(&cell(*column), *width);
            let padding = GAP + width - text::width(&cell);
            line += &cell;
            line.extend(iter::repeat_n(' ', padding));
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// The columns that are not empty, with their natural widths.
fn columns(doors: &[DoorStatus], is_wide: bool) -> Vec<(Column, usize)> {
    Column::ALL
        .into_iter()
        .filter(|column| is_wide || !matches!(column, Column::Client | Column::Ports))
        .filter_map(|column| {
            let cells = doors.iter().map(|door| text::width(&column.of(door)));
            let widest = cells.max().filter(|width| *width > 0)?;
            Some((column, widest.max(text::width(column.title()))))
        })
        .collect()
}

/// `columns` shrunk to fit into `room`: names before addresses, the widest column first.
fn shrunk(mut columns: Vec<(Column, usize)>, room: usize) -> Vec<(Column, usize)> {
    let gaps = GAP * columns.len().saturating_sub(1);
    let taken: usize = columns.iter().map(|(_, width)| width).sum();
    let mut over = (taken + gaps).saturating_sub(room);
    let names = [Column::Door, Column::Client, Column::Ports];
    for shrinking in [&names[..], &[Column::Source]] {
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

fn meaning(state: &str) -> Meaning {
    match state {
        "open" => Meaning::Good,
        "opening" | "closing" => Meaning::Care,
        _ => Meaning::Bad,
    }
}
