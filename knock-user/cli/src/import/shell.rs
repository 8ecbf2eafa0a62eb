//! Analyses shell commands: plain words become an argv, other commands stay shell scripts.
//!
//! The knockd by Judd Vinet inserts the address into the text and passes it to `/bin/sh`. In
//! knockd.toml a command is an argv. Where a shell is needed, it reads the address from a variable.

use std::{iter::Peekable, str::Chars};

use thiserror::Error;

/// The placeholder for the address in knockd.toml.
pub(super) const ADDRESS: &str = "%IP%";

/// Represents the address during the analysis. The source contains no NUL.
pub(super) const MARK: char = '\0';

/// Characters that need a shell if they are not quoted: operators, expansions, globs, comments,
/// and braces, which some shells expand.
const SPECIAL: &str = ";&|<>()$`*?[]{}~#";

/// Words that are not programs at the start of a command: POSIX reserved words and special
/// built-ins, and built-ins that have no effect in another process.
const SHELL_WORDS: &[&str] = &[
    "!", ".", ":", "[[", "alias", "bg", "break", "case", "cd", "command", "continue", "do", "done",
    "elif", "else", "esac", "eval", "exec", "exit", "export", "fg", "fi", "for", "function",
    "getopts", "hash", "if", "jobs", "local", "read", "readonly", "return", "select", "set",
    "shift", "source", "then", "time", "times", "trap", "type", "ulimit", "umask", "unalias",
    "unset", "until", "wait", "while",
];

/// Why the address in a command cannot be replaced by a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    /// A quote, a bracket or a backslash has no counterpart.
    #[error("its quotes, brackets or backslashes do not match")]
    Unbalanced,
    /// The variable could expand to something other than the address here.
    #[error(
        "the address is inside `…`, ${{…}}, or nested quotes, where a variable cannot safely replace it"
    )]
    Unclear,
}

/// The words of `text`, if a shell would only split it into words and run the first one.
/// [`MARK`] represents the address.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    if !is_plain(text) {
        return None;
    }
    let words = shlex::split(text)?;
    let program = words.first()?;
    let is_program =
        !program.is_empty() && !program.contains('=') && !SHELL_WORDS.contains(&&program[..]);
    is_program.then_some(words)
}

/// Whether `text` needs no more than a split into words.
fn is_plain(text: &str) -> bool {
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None | Some('"'), '\\') => {
                chars.next();
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, c) if SPECIAL.contains(c) => return false,
            (Some('"'), '$' | '`') => return false,
            _ => {}
        }
    }
    true
}

/// `text` as a script for `sh -c`, with the address ([`MARK`]) replaced by the variable `KNOCK_IP`.
///
/// # Errors
///
/// Returns an error if the address cannot be replaced safely. Text without the address is only
/// refused if it is unbalanced.
pub(super) fn script(text: &str) -> Result<String, Refusal> {
    // A `case` pattern ends with an unmatched parenthesis, so the end of `$(` is unclear.
    let rewritten = if text.contains("case") && text.contains("$(") {
        Err(Refusal::Unclear)
    } else {
        Rewriter::new(text).rewrite()
    };
    match rewritten {
        Err(Refusal::Unclear) if !text.contains(MARK) => Ok(text.to_owned()),
        rewritten => rewritten,
    }
}

/// A syntactic context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    /// `(…)` and `$(…)`, where quoting starts afresh.
    Parenthesis,
    /// `"…"`
    Quotes,
    /// `${…}`
    Brace,
    /// `` `…` ``
    Backticks,
}

/// Copies shell text and replaces each mark by the variable, in one pass.
struct Rewriter<'a> {
    rest: Peekable<Chars<'a>>,
    written: String,
    /// The innermost context is last. Empty at the top level of the command.
    contexts: Vec<Context>,
}

impl<'a> Rewriter<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text.chars().peekable(),
            written: String::new(),
            contexts: Vec::new(),
        }
    }

    fn rewrite(mut self) -> Result<String, Refusal> {
        while let Some(c) = self.rest.next() {
            let innermost = self.contexts.last().copied();
            match (innermost, c) {
                (_, MARK) => self.address()?,
                (_, '\\') => self.escaped()?,
                (_, '$') => self.expansion()?,
                (Some(Context::Quotes), '"') => self.close(c),
                (Some(Context::Brace), '}') => self.close(c),
                (Some(Context::Parenthesis), ')') => self.close(c),
                (Some(Context::Backticks), '`') => self.close(c),
                // The meaning of quotes in braces depends on the surrounding context.
                (Some(Context::Brace), '"' | '\'') => return Err(Refusal::Unclear),
                (Some(Context::Parenthesis), '(') => self.open(Context::Parenthesis, c),
                (Some(Context::Quotes), '\'' | '#') => self.written.push(c),
                (_, '"') => self.open(Context::Quotes, c),
                (_, '`') if self.contexts.contains(&Context::Backticks) => {
                    return Err(Refusal::Unclear);
                }
                (_, '`') => self.open(Context::Backticks, c),
                (_, '\'') => self.single_quotes()?,
                (_, '#') => self.comment()?,
                _ => self.written.push(c),
            }
        }
        if self.contexts.is_empty() {
            Ok(self.written)
        } else {
            Err(Refusal::Unbalanced)
        }
    }

    fn open(&mut self, context: Context, c: char) {
        self.contexts.push(context);
        self.written.push(c);
    }

    fn close(&mut self, c: char) {
        self.contexts.pop();
        self.written.push(c);
    }

    /// Writes the variable, quoted so that no adjacent text becomes part of its name and its
    /// value is not split.
    fn address(&mut self) -> Result<(), Refusal> {
        let is_unclear = |context| matches!(context, &Context::Brace | &Context::Backticks);
        if self.contexts.iter().any(is_unclear) {
            return Err(Refusal::Unclear);
        }
        let quoted = self.contexts.last() == Some(&Context::Quotes);
        self.written.push_str(if quoted {
            "${KNOCK_IP}"
        } else {
            "\"$KNOCK_IP\""
        });
        Ok(())
    }

    /// Handles the text after a backslash.
    fn escaped(&mut self) -> Result<(), Refusal> {
        if self.contexts.contains(&Context::Backticks) {
            return Err(Refusal::Unclear);
        }
        let quoted = self.contexts.last() == Some(&Context::Quotes);
        match self.rest.next() {
            None => Err(Refusal::Unbalanced),
            // A backslash does not change the first character of an address: inside quotes the
            // backslash remains, elsewhere the shell removes it.
            Some(MARK) => {
                self.written.push_str(if quoted { r"\\" } else { "" });
                self.address()
            }
            // The `#` may continue a word or start a comment.
            Some(_) if self.rest.peek() == Some(&'#') => Err(Refusal::Unclear),
            Some(c) => {
                self.written.extend(['\\', c]);
                Ok(())
            }
        }
    }

    /// Handles the text after a dollar sign.
    fn expansion(&mut self) -> Result<(), Refusal> {
        self.written.push('$');
        let quoted = self.contexts.last() == Some(&Context::Quotes);
        let opened = match self.rest.peek() {
            Some('(') => Context::Parenthesis,
            Some('{') => Context::Brace,
            // Not every shell has these quotes.
            Some('\'' | '"') if !quoted => return Err(Refusal::Unclear),
            // `$#` and `$$` are special parameters.
            Some('#' | '$') => {
                self.written.extend(self.rest.next());
                return Ok(());
            }
            _ => return self.name(),
        };
        self.contexts.push(opened);
        self.written.extend(self.rest.next());
        Ok(())
    }

    /// Copies the name of a variable. An address directly after it is unclear: the inserted text
    /// would be part of the name.
    fn name(&mut self) -> Result<(), Refusal> {
        let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        while let Some(c) = self.rest.next_if(is_name) {
            self.written.push(c);
        }
        match self.rest.peek() {
            Some(&MARK) => Err(Refusal::Unclear),
            _ => Ok(()),
        }
    }

    /// Copies `'…'`, in which nothing is special. For the address the quotes are closed and
    /// opened again.
    fn single_quotes(&mut self) -> Result<(), Refusal> {
        self.written.push('\'');
        while let Some(c) = self.rest.next() {
            if c == MARK {
                self.written.push('\'');
                self.address()?;
                self.written.push('\'');
                continue;
            }
            self.written.push(c);
            if c == '\'' {
                return Ok(());
            }
        }
        Err(Refusal::Unbalanced)
    }

    /// Whether a word begins here.
    ///
    /// # Errors
    ///
    /// Returns an error after a closing parenthesis or `` ` ``, where this is unclear.
    fn is_at_word(&self) -> Result<bool, Refusal> {
        match self.written.chars().next_back() {
            None | Some(' ' | '\t' | ';' | '&' | '|' | '<' | '>' | '(') => Ok(true),
            Some(')' | '`') => Err(Refusal::Unclear),
            Some(_) => Ok(false),
        }
    }

    /// Handles a `#`. A comment at the top level is dropped.
    fn comment(&mut self) -> Result<(), Refusal> {
        if !self.is_at_word()? {
            self.written.push('#');
            return Ok(());
        }
        if !self.contexts.is_empty() {
            return Err(Refusal::Unclear);
        }
        self.rest.by_ref().for_each(drop);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
