//! Fills templates.

/// `template` with each marker replaced by its value. Values are not looked at, so that a name cannot
/// contain a marker.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let room = template.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>();
    // Room for the whole text, because growing it would leave part of a key in memory.
    let mut filled = String::with_capacity(room);
    let mut rest = template;
    while let Some((at, marker, value)) = first(rest, values) {
        filled.push_str(&rest[..at]);
        filled.push_str(value);
        rest = &rest[at + marker.len()..];
    }
    filled.push_str(rest);
    filled
}

/// The first marker in `text`, its place and its value.
fn first<'a>(text: &str, values: &[(&'a str, &'a str)]) -> Option<(usize, &'a str, &'a str)> {
    values
        .iter()
        .filter_map(|(marker, value)| Some((text.find(marker)?, *marker, *value)))
        .min_by_key(|(at, ..)| *at)
}
