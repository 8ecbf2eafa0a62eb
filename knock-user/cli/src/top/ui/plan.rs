//! Who gets how many of the screen's lines.

use crate::top::{rates::Count, view::View};

/// The daemon, its interfaces and its gate.
const HEAD: u16 = 3;

/// From this height on there are titles over the doors and a line about keys.
const TALL: u16 = 16;

/// From this height on there is air between the parts.
const AIRY: u16 = 20;

/// The most lines that anything is printed in. The doors beyond are counted.
const MAX_HEIGHT: u16 = 8192;

/// The lines of each part of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Between two parts.
    pub(super) blank: u16,
    /// Of the doors, with heading and titles.
    pub(super) doors: u16,
    /// Whether the doors have titles.
    pub(super) titles: bool,
    /// Of the verdicts, with their heading if there is more than one line.
    pub(super) verdicts: u16,
    /// Whether the last line tells the keys.
    pub(super) help: bool,
}

impl Plan {
    /// For a screen of `height` lines. The doors come first, but not with all of them: without
    /// the last verdicts nobody sees why somebody is not let in.
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

    /// For as many lines as it takes.
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

    /// All lines together.
    pub(super) fn height(&self) -> u16 {
        let rates = Count::ALL.map(|_| 1_u16).iter().sum::<u16>();
        let parts = [self.doors, self.verdicts, u16::from(self.help)];
        let fixed = HEAD + rates + 3 * self.blank;
        parts.into_iter().fold(fixed, u16::saturating_add)
    }

    /// The doors that are seen at the same time.
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
