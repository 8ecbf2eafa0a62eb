//! Parses the other knockd's configuration like that daemon: see its knockd(1), and
//! `parseconfig()` in version 0.8, the version in Debian 12 and later.

use std::path::Path;

use anyhow::Result;

use crate::import::lines::{self, Invalid, Mistakes, decoded, is_space};

/// The length of a line that its `fgets()` reads. The rest would become another line.
const MAX_LINE_LEN: usize = 4094;

/// More doors than any real configuration. Leaves enough of the 65536 door tags.
const MAX_DOORS: usize = 1024;

/// The parsed file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// The directives of every `[options]`.
    pub(super) options: Vec<Directive>,
    /// The other sections in file order. Sections with the same name are separate doors.
    pub(super) doors: Vec<Section>,
}

/// A section that is a door.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// The line number of the header, from 1.
    pub(super) line: usize,
    /// The text between the brackets.
    pub(super) name: String,
    /// The section's directives.
    pub(super) directives: Vec<Directive>,
}

/// `key = value`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Directive {
    /// The line number, from 1.
    pub(super) line: usize,
    /// In lower case: keys are case-insensitive.
    pub(super) key: String,
    /// The value; empty if there is none.
    pub(super) value: String,
    /// Whether the line is UTF-8. If not, it was read as Latin-1.
    pub(super) is_utf8: bool,
}

impl Source {
    /// Reads the configuration at `path`.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, or has invalid lines.
    pub(super) fn load(path: &Path) -> Result<Self> {
        Self::parse(&lines::read(path)?).map_err(|mistakes| {
            let file = path.display().to_string();
            Mistakes { file, mistakes }.into()
        })
    }

    /// Parses `bytes`.
    ///
    /// # Errors
    ///
    /// Returns an error with the number of every invalid line, from 1, and the reason.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let mut source = Self::default();
        let mut mistakes = Vec::new();
        let mut section = None;
        for (number, line) in lines::numbered(bytes) {
            if let Err(mistake) = source.line(number, line, &mut section) {
                mistakes.push((number, mistake));
            }
        }
        if mistakes.is_empty() {
            Ok(source)
        } else {
            Err(mistakes)
        }
    }

    /// Parses a line. `section` is the current section.
    fn line(
        &mut self,
        number: usize,
        bytes: &[u8],
        section: &mut Option<Place>,
    ) -> Result<(), &'static str> {
        if bytes.len() > MAX_LINE_LEN {
            return Err("the line is so long that the other knockd would split it");
        }
        if bytes.contains(&0) {
            return Err("the line contains a NUL byte");
        }
        let (text, is_utf8) = decoded(bytes);
        let text = trimmed(&text);
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        if let Some(name) = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            *section = Some(self.section(number, name)?);
            return Ok(());
        }
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (trimmed(key).to_ascii_lowercase(), trimmed(value)),
            None if text.eq_ignore_ascii_case("usesyslog") => ("usesyslog".into(), ""),
            None => return Err("this is neither `key = value` nor [section]"),
        };
        let directives = match section {
            Some(Place::Options) => Some(&mut self.options),
            Some(Place::Door) => self.doors.last_mut().map(|door| &mut door.directives),
            None => None,
        };
        directives
            .ok_or("a directive has to be in a [section]")?
            .push(Directive {
                line: number,
                key,
                value: value.to_owned(),
                is_utf8,
            });
        Ok(())
    }

    /// Starts the section called `name`.
    fn section(&mut self, line: usize, name: &str) -> Result<Place, &'static str> {
        if name.is_empty() {
            return Err("the section has no name");
        }
        // The other knockd compares this name case-sensitively.
        if name == "options" {
            return Ok(Place::Options);
        }
        if self.doors.len() == MAX_DOORS {
            return Err("there are more than 1024 sections: is it the right file?");
        }
        self.doors.push(Section {
            line,
            name: name.to_owned(),
            directives: Vec::new(),
        });
        Ok(Place::Door)
    }
}

/// The current section.
enum Place {
    Options,
    /// The last of the doors.
    Door,
}

/// `text` without leading and trailing white space.
fn trimmed(text: &str) -> &str {
    text.trim_matches(is_space)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::import::lines::MAX_MISTAKES;

    fn parse(text: &str) -> Source {
        Source::parse(text.as_bytes()).unwrap()
    }

    fn mistake(bytes: &[u8]) -> (usize, &'static str) {
        Source::parse(bytes).unwrap_err()[0]
    }

    fn directive(line: usize, key: &str, value: &str) -> Directive {
        Directive {
            line,
            key: key.into(),
            value: value.into(),
            is_utf8: true,
        }
    }

    #[test]
    fn blanks_case_and_line_ends_say_nothing() {
        let source =
            parse("\u{feff}# a comment\r\n \t[options]\r\n\tUseSyslog\r\n\r\nLOGFILE=/a b \r\n");
        assert_eq!(
            source.options,
            [
                directive(3, "usesyslog", ""),
                directive(5, "logfile", "/a b")
            ]
        );
        assert_eq!(source.doors, []);
    }

    #[test]
    fn only_the_first_equals_sign_ends_the_key_and_only_a_first_hash_is_a_comment() {
        let source = parse("[a]\ncommand = x --y=1 # not a comment\n  # one\n");
        let expected = directive(2, "command", "x --y=1 # not a comment");
        assert_eq!(source.doors[0].directives, [expected]);
    }

    #[test]
    fn sections_of_one_name_are_two_doors_and_options_are_joined() {
        let source = parse("[a]\nx=1\n[options]\no=1\n[ a ]\nx=2\n[options]\np=1\n[Options]\n");
        let names: Vec<_> = source.doors.iter().map(|door| &door.name[..]).collect();
        assert_eq!(names, ["a", " a ", "Options"]);
        assert_eq!(source.doors[1].directives, [directive(6, "x", "2")]);
        assert_eq!(source.options.len(), 2);
    }

    #[test]
    fn a_line_that_is_not_utf8_is_latin_1() {
        let source = Source::parse(b"# \xe9\n[a]\ncommand = say caf\xe9\n").unwrap();
        let directive = &source.doors[0].directives[0];
        assert_eq!(directive.value, "say café");
        assert!(!directive.is_utf8);
    }

    #[test]
    fn what_is_nothing_is_told_with_its_line() {
        assert_eq!(mistake(b"\nlogfile = x\n").0, 2);
        assert_eq!(mistake(b"[a]\n\nnonsense\n").0, 3);
        assert_eq!(
            mistake(b"[a\n").1,
            "this is neither `key = value` nor [section]"
        );
        assert_eq!(mistake(b"[]\n").1, "the section has no name");
        assert_eq!(mistake(b"[a]\nx = \0\n").1, "the line contains a NUL byte");
        let long = format!("[a]\nx = {}\n", "y".repeat(MAX_LINE_LEN));
        assert_eq!(mistake(long.as_bytes()).0, 2);
        let exact = format!("[a]\nx={}\n", "y".repeat(MAX_LINE_LEN - 2));
        assert_eq!(parse(&exact).doors.len(), 1);
        assert_eq!(
            mistake("[a]\n".repeat(MAX_DOORS + 1).as_bytes()).0,
            MAX_DOORS + 1
        );
    }

    #[test]
    fn a_file_of_another_kind_is_told_once_and_not_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("knockd.conf");
        std::fs::write(&path, "nonsense\n".repeat(1000)).unwrap();
        let message = Source::load(&path).unwrap_err().to_string();
        assert_eq!(message.lines().count(), MAX_MISTAKES + 1);
        assert!(message.contains("knockd.conf:10: "), "{message}");
        assert!(message.ends_with("and 990 more"), "{message}");
        std::fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
        let message = Source::load(&path).unwrap_err().to_string();
        assert!(message.contains("larger than 1048576 bytes"), "{message}");
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = Source::parse(&bytes);
        }
    }
}
