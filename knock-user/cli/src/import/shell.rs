//! What a shell makes of a command line: nothing but words, or more than that.
//!
//! The other knockd pastes the address into the text, and gives it to `/bin/sh`. Here a command is
//! an argv; where a shell is needed all the same, it finds the address in a variable.

use std::{iter::Peekable, str::Chars};

use thiserror::Error;

/// What stands for the address, in the other knockd's commands and in ours.
pub(super) const ADDRESS: &str = "%IP%";

/// Stands for [`ADDRESS`] while text is taken apart. The source has no NUL.
pub(super) const MARK: char = '\0';

/// Bare, each of them asks for more than words: operators, expansions, globs, comments, and
/// braces, which some shells expand.
const SPECIAL: &str = ";&|<>()$`*?[]{}~#";

/// Words that are no programs where a command begins: POSIX's reserved words and special
/// built-ins, and the built-ins that could not do their work in another process.
const SHELL_WORDS: &[&str] = &[
    "!", ".", ":", "[[", "alias", "bg", "break", "case", "cd", "command", "continue", "do", "done",
    "elif", "else", "esac", "eval", "exec", "exit", "export", "fg", "fi", "for", "function",
    "getopts", "hash", "if", "jobs", "local", "read", "readonly", "return", "select", "set",
    "shift", "source", "then", "time", "times", "trap", "type", "ulimit", "umask", "unalias",
    "unset", "until", "wait", "while",
];

/// Why the address cannot get into a command by a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    /// A quote, a bracket or a backslash is left over.
    #[error("its quotes, brackets or backslashes do not match, so no shell runs it as it is meant")]
    Unbalanced,
    /// Text in which a variable would stand for something else than the address.
    #[error(
        "%IP% stands in `…`, ${{…}}, or quotes in quotes, where no variable can safely take its place"
    )]
    Unclear,
}

/// The words of `text`, if a shell would see nothing but words in it and run the first.
/// [`MARK`] stands for the address.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let text = text.replace(ADDRESS, &MARK.to_string());
    if !is_plain(&text) {
        return None;
    }
    let words = shlex::split(&text)?;
    let program = words.first()?;
    let is_program =
        !program.is_empty() && !program.contains('=') && !SHELL_WORDS.contains(&&program[..]);
    is_program.then_some(words)
}

/// Whether nothing in `text` asks for more than a split into words.
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

/// `text` for `sh -c`, where the variable `KNOCK_IP` stands for the address. In `text` that is
/// [`ADDRESS`] or [`MARK`].
///
/// # Errors
///
/// [`Refusal`]. Text without the address is only refused where nothing else can be said of it.
pub(super) fn script(text: &str) -> Result<String, Refusal> {
    let text = text.replace(ADDRESS, &MARK.to_string());
    // In a `case`, a pattern ends in a bracket that nothing opened: where `$(` ends is unclear.
    let rewritten = if text.contains("case") && text.contains("$(") {
        Err(Refusal::Unclear)
    } else {
        Rewriter::new(&text).rewrite()
    };
    match rewritten {
        Err(Refusal::Unclear) if !text.contains(MARK) => Ok(text),
        rewritten => rewritten,
    }
}

/// What the text is inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    /// `(…)` and `$(…)`, where quoting begins anew.
    Parenthesis,
    /// `"…"`
    Quotes,
    /// `${…}`
    Brace,
    /// `` `…` ``
    Backticks,
}

/// Goes through shell text once, and writes it again with the variable in the marks' places.
struct Rewriter<'a> {
    rest: Peekable<Chars<'a>>,
    written: String,
    /// The innermost last; none is the command itself.
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
                // Quotes in braces mean one thing or another, by what is around them.
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

    /// The variable, so quoted that nothing around it is part of its name and nothing in it is
    /// taken apart.
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

    /// What stands behind a backslash.
    fn escaped(&mut self) -> Result<(), Refusal> {
        if self.contexts.contains(&Context::Backticks) {
            return Err(Refusal::Unclear);
        }
        let quoted = self.contexts.last() == Some(&Context::Quotes);
        match self.rest.next() {
            None => Err(Refusal::Unbalanced),
            // An address begins with nothing that a backslash changes: in quotes the backslash
            // stays, elsewhere it goes.
            Some(MARK) => {
                self.written.push_str(if quoted { r"\\" } else { "" });
                self.address()
            }
            // The rest of a word, or a comment?
            Some(_) if self.rest.peek() == Some(&'#') => Err(Refusal::Unclear),
            Some(c) => {
                self.written.extend(['\\', c]);
                Ok(())
            }
        }
    }

    /// What stands behind a dollar sign.
    fn expansion(&mut self) -> Result<(), Refusal> {
        self.written.push('$');
        let quoted = self.contexts.last() == Some(&Context::Quotes);
        let opened = match self.rest.peek() {
            Some('(') => Context::Parenthesis,
            Some('{') => Context::Brace,
            // Quotes that not every shell has.
            Some('\'' | '"') if !quoted => return Err(Refusal::Unclear),
            // `$#` and `$$` are names.
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

    /// The name of a variable, of which pasted text would have become a part.
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

    /// `'…'`, in which nothing is special. The address leaves and enters it again.
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
    /// Behind the end of a bracket or a `` ` `` that could be as well.
    fn is_at_word(&self) -> Result<bool, Refusal> {
        match self.written.chars().next_back() {
            None | Some(' ' | '\t' | ';' | '&' | '|' | '<' | '>' | '(') => Ok(true),
            Some(')' | '`') => Err(Refusal::Unclear),
            Some(_) => Ok(false),
        }
    }

    /// A `#`, and the rest if that is a comment, which says nothing and is left out.
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
