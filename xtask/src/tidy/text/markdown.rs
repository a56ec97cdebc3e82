//! What a document says in Markdown: its links, and the anchors of its headings.

use std::collections::BTreeSet;

/// The targets of the links of a document, each with its line, counted from one. Code has no links.
pub(crate) fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (line, text) in prose(text) {
        // A code span may go on in the next line, but it ends with its paragraph.
        in_code &= !text.trim().is_empty();
        let mut written = String::new();
        for (i, part) in text.split('`').enumerate() {
            in_code ^= i > 0;
            if !in_code {
                written.push_str(part);
            }
        }
        let targets = written.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        found.extend(targets.map(|target| (line, target.to_owned())));
    }
    found
}

/// The anchors of the headings of a document, as GitHub names them: of several equal headings, the second one has `-1`
/// behind its name.
pub(crate) fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let Some(heading) = heading(line) else { continue };
        let anchor = anchor(heading);
        let mut name = anchor.clone();
        for again in 1.. {
            if anchors.insert(name) {
                break;
            }
            name = format!("{anchor}-{again}");
        }
    }
    anchors
}

/// The lines outside of blocks of code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(i, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        (!is_fence && !in_code).then_some((i + 1, line))
    })
}

/// What a line says, if it is a heading.
fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    let is_heading = (1..=6).contains(&level) && text.starts_with(' ');
    is_heading.then(|| text.trim())
}

/// The anchor of a heading: small letters, digits, hyphens and underscores of what a reader sees, and a hyphen for each
/// blank.
fn anchor(heading: &str) -> String {
    let mut seen = String::new();
    for (i, part) in heading.split("](").enumerate() {
        // The target of a link is not seen.
        seen.push_str(if i == 0 { part } else { part.split_once(')').map_or("", |(_, rest)| rest) });
    }
    let kept = seen.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(text: &str) -> Vec<String> {
        links(text).into_iter().map(|(_, target)| target).collect()
    }

    #[test]
    fn links_are_found_with_their_lines() {
        let text = "[a](x.md) and [`b`](y.md#z)\n\n| [c\nd](#e \"title\") |\n";
        let found: Vec<_> = links(text).into_iter().map(|(line, target)| format!("{line} {target}")).collect();
        assert_eq!(found, ["1 x.md", "1 y.md#z", "4 #e"]);
    }

    #[test]
    fn code_has_no_links() {
        assert_eq!(targets("`[a](x)` [b](y) `c[0](z)`"), ["y"]);
        assert_eq!(targets("a `span [a](x)\nthat goes](y) on` [b](z)"), ["z"]);
        assert_eq!(targets("an open ` span\n\n[a](x)"), ["x"]);
        assert_eq!(targets("```rust\nf[0](x)\n```\n[a](y)"), ["y"]);
    }

    #[test]
    fn an_anchor_is_made_as_github_does_it() {
        for (heading, expected) in [
            ("How to shard", "how-to-shard"),
            ("`rpc://`", "rpc"),
            ("Asking: `inspect`", "asking-inspect"),
            ("As many slots as there is work for", "as-many-slots-as-there-is-work-for"),
            ("Rust & Python, 5.7", "rust--python-57"),
            ("a_b-c", "a_b-c"),
            ("See [the table](x.md#y), too", "see-the-table-too"),
            ("Größe", "größe"),
        ] {
            assert_eq!(anchor(heading), expected);
        }
    }

    #[test]
    fn headings_outside_of_code_have_anchors() {
        let text = "# One\n\n## Two\n#no\n####### seven\n```sh\n# three\n```\n";
        assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn equal_headings_are_numbered() {
        let found = anchors("# A\n# A\n# A-1\n# A\n");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "a-1", "a-1-1", "a-2"]);
    }
}
