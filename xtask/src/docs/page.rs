//! One Markdown file: its links, the anchors that it has, and its code samples.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) path: PathBuf,
    pub(super) links: Vec<Link>,
    pub(super) anchors: BTreeSet<String>,
    pub(super) samples: Vec<Sample>,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) line: usize,
    pub(super) to: String,
}

/// A fenced code block.
#[derive(Debug)]
pub(super) struct Sample {
    /// The line of the opening fence.
    pub(super) line: usize,
    /// What follows the opening fence.
    pub(super) info: String,
    pub(super) text: String,
}

impl Page {
    pub(super) fn read(path: PathBuf) -> Result<Self> {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self::parse(path, &text))
    }

    pub(super) fn parse(path: PathBuf, text: &str) -> Self {
        let mut page = Self {
            path,
            ..Self::default()
        };
        let mut slugs = Slugs::default();
        let mut heading: Option<(Option<String>, String)> = None;
        let mut in_sample = false;
        let options = Options::ENABLE_TABLES
            | Options::ENABLE_FOOTNOTES
            | Options::ENABLE_HEADING_ATTRIBUTES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_TASKLISTS;
        for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
            let line = 1 + text[..range.start].matches('\n').count();
            match event {
                Event::Start(Tag::Heading { id, .. }) => {
                    heading = Some((id.map(|id| id.to_string()), String::new()));
                }
                Event::End(TagEnd::Heading(_)) => {
                    if let Some((id, title)) = heading.take() {
                        page.anchors.insert(id.unwrap_or_else(|| slugs.of(&title)));
                    }
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    let to = dest_url.to_string();
                    page.links.push(Link { line, to });
                }
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    in_sample = true;
                    page.samples.push(Sample {
                        line,
                        info: info.to_string(),
                        text: String::new(),
                    });
                }
                Event::Html(html) | Event::InlineHtml(html) => page.add_html(line, &html),
                Event::End(TagEnd::CodeBlock) => in_sample = false,
                Event::Text(text) | Event::Code(text) => {
                    if let Some((_, title)) = &mut heading {
                        title.push_str(&text);
                    } else if in_sample && let Some(sample) = page.samples.last_mut() {
                        sample.text.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        page
    }

    /// Whether a heading has this title.
    pub(super) fn has_heading(&self, title: &str) -> bool {
        self.anchors.contains(&Slugs::default().of(title))
    }

    fn add_html(&mut self, line: usize, html: &str) {
        self.anchors.extend(attribute(html, "id"));
        self.anchors.extend(attribute(html, "name"));
        for name in ["href", "src", "srcset"] {
            let links = attribute(html, name).map(|to| Link { line, to });
            self.links.extend(links);
        }
    }
}

/// The values of the attribute `name` in `html`.
fn attribute<'a>(html: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    html.split([' ', '\n', '\t']).filter_map(move |word| {
        let value = word.strip_prefix(name)?.strip_prefix("=\"")?;
        Some(value.split('"').next()?.to_owned())
    })
}

/// The anchors of headings, as GitHub and mdBook both make them.
#[derive(Default)]
struct Slugs(BTreeMap<String, usize>);

impl Slugs {
    fn of(&mut self, title: &str) -> String {
        let slug: String = title
            .trim()
            .chars()
            .filter_map(|letter| match letter {
                ' ' => Some('-'),
                '-' | '_' => Some(letter),
                _ => letter
                    .is_alphanumeric()
                    .then(|| letter.to_ascii_lowercase()),
            })
            .collect();
        let count = self.0.entry(slug.clone()).or_default();
        *count += 1;
        match *count {
            1 => slug,
            count => format!("{slug}-{}", count - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page::parse("page.md".into(), text)
    }

    #[test]
    fn headings_have_anchors() {
        let page = page("# The `[gate]` table\n## Two\n## Two\n## Own {#mine}\n<a id=\"x\"></a>\n");
        let anchors: Vec<_> = page.anchors.iter().map(String::as_str).collect();
        assert_eq!(anchors, ["mine", "the-gate-table", "two", "two-1", "x"]);
    }

    #[test]
    fn links_and_samples_have_lines() {
        let page = page("[a](b.md)\n\n![c](d.svg)\n\n```toml\nx = 1\n```\n\n`code`\n");
        let links: Vec<_> = page.links.iter().map(|l| (l.line, l.to.as_str())).collect();
        assert_eq!(links, [(1, "b.md"), (3, "d.svg")]);
        let [sample] = &page.samples[..] else {
            panic!("{page:?}");
        };
        assert_eq!((sample.line, sample.info.as_str()), (5, "toml"));
        assert_eq!(sample.text, "x = 1\n");
    }
}
