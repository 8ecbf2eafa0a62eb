//! Values that keys of several tables have.

use super::super::model::Values;

pub(super) const NAME: Values = Values::Other {
    what: "A string of 1 to 64 bytes without control characters",
    right: &["\"a\"", "\"Büro 1\""],
    wrong: &["\"\"", "\"a\\nb\"", "1"],
};

pub(super) const LEASE: Values = Values::Duration {
    least: "1s",
    most: "365days",
    whole_seconds: true,
};

pub(super) const PATH: Values = Values::Other {
    what: "A path",
    right: &["\"/srv/knockd\""],
    wrong: &["1"],
};

pub(super) const USER: Values = Values::Other {
    what: "A user of this host",
    right: &["\"nobody\""],
    wrong: &["\"nobody here\"", "1"],
};
