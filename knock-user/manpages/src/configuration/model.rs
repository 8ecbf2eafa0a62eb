//! The description of a key: its values, its default and its meaning.

/// A table of the file. The keys before the first table form a table without a header.
pub(super) struct Table {
    /// The header as in the file. Empty for the keys before the first table.
    pub(super) header: &'static str,
    pub(super) about: &'static str,
    pub(super) keys: &'static [Key],
}

pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) values: Values,
    pub(super) default: Default,
    pub(super) meaning: &'static str,
}

/// The valid values of a key. A test checks all of this against the parser, except for prose.
pub(super) enum Values {
    /// A duration, such as `30s`.
    Duration {
        least: &'static str,
        most: &'static str,
        whole_seconds: bool,
    },
    /// An integer. Without `most`, the limit is that of TOML.
    Number { least: i64, most: Option<i64> },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// Anything else, with examples of valid and invalid TOML values.
    #[cfg_attr(not(test), expect(dead_code, reason = "samples are for the test"))]
    Other {
        what: &'static str,
        right: &'static [&'static str],
        wrong: &'static [&'static str],
    },
}

/// What applies if the key is missing.
pub(super) enum Default {
    /// The key is required.
    Required,
    /// This value, in TOML.
    Value(&'static str),
    /// No value. The text describes the effect.
    None(&'static str),
}

impl Values {
    /// The values as a phrase with a capital letter.
    pub(super) fn description(&self) -> String {
        match self {
            Self::Duration {
                least,
                most,
                whole_seconds,
            } => {
                let unit = if *whole_seconds {
                    ", in whole seconds"
                } else {
                    ""
                };
                format!("A duration from `{least}` to `{most}`{unit}")
            }
            Self::Number {
                least,
                most: Some(most),
            } => format!("A number from {least} to {most}"),
            Self::Number { least, most: None } => format!("A number of at least {least}"),
            Self::Choice(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
                words.join(" or ")
            }
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Other { what, .. } => (*what).to_owned(),
        }
    }
}

impl Default {
    /// The default as a sentence.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Required => "Required.".to_owned(),
            Self::Value(_) | Self::None(_) => format!("Default: {}.", self.description()),
        }
    }

    /// The default as a phrase.
    pub(super) fn description(&self) -> String {
        match self {
            Self::Required => "required".to_owned(),
            Self::Value(value) => format!("`{value}`"),
            Self::None(effect) => (*effect).to_owned(),
        }
    }
}
