//! Divides the lines of the screen between its parts.

use crate::top::{rates::Count, view::View};

/// The lines of the head: daemon, interfaces and gate.
const HEAD: u16 = 3;

/// The width in columns from which optional columns are shown.
pub(super) const WIDE: u16 = 60;

/// The height from which the column titles and the help line are shown.
const TALL: u16 = 16;

/// The height from which the parts are separated by blank lines.
const AIRY: u16 = 20;

/// The maximum number of lines of a part. Further doors are only counted.
const MAX_HEIGHT: u16 = 8192;

/// The lines of each part of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Blank lines between two parts.
    pub(super) blank: u16,
    /// Lines for the doors, with heading and titles.
    pub(super) doors: u16,
    /// Whether the column titles are shown.
    pub(super) titles: bool,
    /// Lines for the verdicts, including the heading if there is more than one line.
    pub(super) verdicts: u16,
    /// Whether the last line shows the keys.
    pub(super) help: bool,
}

impl Plan {
    /// The plan for a screen of `height` lines. Doors have priority, but a third of the room is
    /// reserved for the last verdicts: they show why clients are refused.
    pub(super) fn of(view: &View, height: u16, keys: bool) -> Self {
        let is_tall = height >= TALL;
        let titles = is_tall && !view.doors().is_empty();
        let mut plan = Self {
            blank: u16::from(height >= AIRY),
            doors: 0,
            titles,
            verdicts: 0,
            help: keys && is_tall,
        };
        let room = height.saturating_sub(plan.height());
        let least = (room / 3).max(1).min(verdicts(view));
        plan.doors = doors(view, titles).min(room.saturating_sub(least));
        plan.verdicts = room.saturating_sub(plan.doors);
        plan
    }

    /// The plan for an unlimited height.
    pub(super) fn of_all(view: &View) -> Self {
        let titles = !view.doors().is_empty();
        Self {
            blank: 1,
            doors: doors(view, titles),
            titles,
            verdicts: verdicts(view),
            help: false,
        }
    }

    /// The total height.
    pub(super) fn height(&self) -> u16 {
        let rates = Count::ALL.map(|_| 1_u16).iter().sum::<u16>();
        let parts = [self.doors, self.verdicts, u16::from(self.help)];
        let fixed = HEAD + rates + 3 * self.blank;
        parts.into_iter().fold(fixed, u16::saturating_add)
    }

    /// The number of doors that are visible at the same time.
    pub(super) fn door_rows(&self) -> usize {
        usize::from(self.doors)
            .saturating_sub(1)
            .saturating_sub(usize::from(self.titles))
    }
}

fn doors(view: &View, titles: bool) -> u16 {
    lines(1 + usize::from(titles) + view.doors().len())
}

fn verdicts(view: &View) -> u16 {
    lines(1 + view.verdicts().len())
}

fn lines(count: usize) -> u16 {
    u16::try_from(count).map_or(MAX_HEIGHT, |lines| lines.min(MAX_HEIGHT))
}
