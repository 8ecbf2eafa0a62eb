//! Commands with placeholders: an argv that runs without a shell.

use std::net::IpAddr;

use knockd_types::command::Command;
use serde::Deserialize;
use thiserror::Error;

/// The values of the placeholders when a door opens or closes.
#[derive(Clone, Copy, Debug)]
pub struct Expansion<'a> {
    /// `%IP%`: the source address of the knock.
    pub source: IpAddr,
    /// `%DOOR%`: the door's name.
    pub door: &'a str,
    /// `%CLIENT%`: the client's name.
    pub client: &'a str,
    /// `%FOR%`: how long the door stays open, in seconds.
    pub seconds: u64,
}

impl Expansion<'_> {
    fn value(&self, placeholder: Placeholder) -> String {
        match placeholder {
            Placeholder::Ip => self.source.to_string(),
            Placeholder::Door => self.door.to_owned(),
            Placeholder::Client => self.client.to_owned(),
            Placeholder::For => self.seconds.to_string(),
        }
    }
}

/// An argv whose arguments may contain `%IP%`, `%DOOR%`, `%CLIENT%`, `%FOR%`, and `%%` for a
/// percent sign.
///
/// A value is substituted inside its argument. It never splits the argument in two.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Template {
    program: Argument,
    arguments: Vec<Argument>,
}

type Argument = Vec<Piece>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Placeholder(Placeholder),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Ip,
    Door,
    Client,
    For,
}

impl Placeholder {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Ip, "IP", "KNOCK_IP"),
        (Self::Door, "DOOR", "KNOCK_DOOR"),
        (Self::Client, "CLIENT", "KNOCK_CLIENT"),
        (Self::For, "FOR", "KNOCK_FOR"),
    ];
}

/// Why an argv is not a valid template.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// The argv has no program.
    #[error("a command needs at least a program")]
    Empty,
    /// An argument contains a NUL byte, which `execve` cannot pass on.
    #[error("an argument contains a NUL byte: remove it")]
    Nul,
    /// The text between two percent signs is not a placeholder.
    #[error(
        "unknown placeholder `%{0}%`: use %IP%, %DOOR%, %CLIENT%, %FOR%, or %% for a percent sign"
    )]
    Unknown(String),
    /// A percent sign has no counterpart.
    #[error("a `%` begins a placeholder that does not end: write %% for a percent sign")]
    Unterminated,
}

impl Template {
    /// The program, if it contains no placeholder.
    #[must_use]
    pub fn program(&self) -> Option<&str> {
        match &self.program[..] {
            [Piece::Text(program)] => Some(program),
            _ => None,
        }
    }

    /// The command for one opening or closing, with knockd's own user and group.
    #[must_use]
    pub fn expand(&self, expansion: &Expansion<'_>) -> Command {
        let argument = |argument: &Argument| {
            argument
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.clone(),
                    Piece::Placeholder(placeholder) => expansion.value(*placeholder),
                })
                .collect()
        };
        Command {
            program: argument(&self.program),
            arguments: self.arguments.iter().map(argument).collect(),
            environment: Placeholder::ALL
                .map(|(placeholder, _, variable)| (variable, expansion.value(placeholder)))
                .into(),
            account: None,
        }
    }
}

impl TryFrom<Vec<String>> for Template {
    type Error = TemplateError;

    fn try_from(argv: Vec<String>) -> Result<Self, TemplateError> {
        let mut arguments = argv.iter().map(|text| parse(text));
        let program = arguments.next().ok_or(TemplateError::Empty)??;
        if program.is_empty() {
            return Err(TemplateError::Empty);
        }
        let arguments = arguments.collect::<Result<_, _>>()?;
        Ok(Self { program, arguments })
    }
}

fn parse(text: &str) -> Result<Argument, TemplateError> {
    if text.contains('\0') {
        return Err(TemplateError::Nul);
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        let (name, after) = after.split_once('%').ok_or(TemplateError::Unterminated)?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(if name.is_empty() {
            Piece::Text("%".into())
        } else {
            Placeholder::ALL
                .iter()
                .find(|(_, known, _)| *known == name)
                .map(|(placeholder, ..)| Piece::Placeholder(*placeholder))
                .ok_or_else(|| TemplateError::Unknown(name.to_owned()))?
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(argv: &[&str]) -> Result<Template, TemplateError> {
        Template::try_from(argv.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn expansion() -> Expansion<'static> {
        Expansion {
            source: "2001:db8::7".parse().unwrap(),
            door: "a door; rm -rf /",
            client: "$(laptop)",
            seconds: 30,
        }
    }

    #[test]
    fn values_stay_inside_their_argument() {
        let template = template(&["/bin/x", "%IP%", "--for=%FOR%s", "%DOOR%/%CLIENT%", "100%%"]);
        let command = template.unwrap().expand(&expansion());
        assert_eq!(command.program, "/bin/x");
        assert_eq!(
            command.arguments,
            [
                "2001:db8::7",
                "--for=30s",
                "a door; rm -rf //$(laptop)",
                "100%"
            ]
        );
        assert_eq!(
            command.environment,
            [
                ("KNOCK_IP", "2001:db8::7".to_owned()),
                ("KNOCK_DOOR", "a door; rm -rf /".to_owned()),
                ("KNOCK_CLIENT", "$(laptop)".to_owned()),
                ("KNOCK_FOR", "30".to_owned()),
            ]
        );
    }

    #[test]
    fn refuses_what_it_cannot_expand() {
        assert_eq!(template(&[]), Err(TemplateError::Empty));
        assert_eq!(template(&[""]), Err(TemplateError::Empty));
        assert_eq!(template(&["x", "a\0b"]), Err(TemplateError::Nul));
        assert_eq!(
            template(&["x", "%ip%"]),
            Err(TemplateError::Unknown("ip".into()))
        );
        assert_eq!(template(&["date", "+%s"]), Err(TemplateError::Unterminated));
    }

    proptest! {
        #[test]
        fn text_without_percent_is_taken_as_it_is(text in "[^%\0]{1,40}") {
            let command = template(&["x", &text]).unwrap().expand(&expansion());
            prop_assert_eq!(command.arguments, [text]);
        }

        #[test]
        fn never_panics(text: String) {
            let _ = parse(&text);
        }
    }
}
