//! Parts a Rust file into code, comments and texts. Every byte keeps its place; where a part has nothing, it is blank.

use crate::tidy::source::scan::is_name;

/// A file in three parts of the same length.
#[derive(Debug)]
pub(crate) struct Masked {
    /// Neither comments nor texts nor characters.
    pub(crate) code: String,
    /// Comments and documentation, with what opens them.
    pub(crate) comments: String,
    /// Texts with their quotes.
    pub(crate) texts: String,
}

/// Parts a file.
pub(crate) fn mask(text: &str) -> Masked {
    let mut masked = Masked { code: String::new(), comments: String::new(), texts: String::new() };
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let before = masked.code.chars().next_back();
        let (length, part) = if let Some(length) = comment(rest) {
            (length, &mut masked.comments)
        } else if let Some(length) = raw_text(rest, before).or_else(|| plain_text(rest)) {
            (length, &mut masked.texts)
        } else if let Some(length) = character(rest) {
            // A character belongs to no part.
            (length, &mut String::new())
        } else {
            (c.len_utf8(), &mut masked.code)
        };
        part.push_str(&rest[..length]);
        let end = text.len() - rest.len() + length;
        for part in [&mut masked.code, &mut masked.comments, &mut masked.texts] {
            if part.len() < end {
                part.push_str(&blank(&rest[..length]));
            }
        }
        rest = &rest[length..];
    }
    masked
}

/// `text` with everything but the line ends made blank, byte for byte.
pub(crate) fn blank(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

/// The length of the comment that `rest` begins with.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += 1;
        }
    }
    Some(rest.len())
}

/// The length of the raw text that `rest` begins with: `r"…"`, `r#"…"#`, `br"…"`.
fn raw_text(rest: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(is_name) {
        return None;
    }
    let prefix = if rest.starts_with('r') {
        1
    } else if rest.starts_with("br") || rest.starts_with("cr") {
        2
    } else {
        return None;
    };
    let hashes = rest[prefix..].bytes().take_while(|&byte| byte == b'#').count();
    let open = prefix + hashes;
    if !rest[open..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    Some(rest[open + 1..].find(&end).map_or(rest.len(), |at| open + 1 + at + end.len()))
}

/// The length of the text that `rest` begins with.
fn plain_text(rest: &str) -> Option<usize> {
    rest.starts_with('"').then(|| {
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|&(_, c)| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        end.map_or(rest.len(), |(at, _)| at + 1)
    })
}

/// The length of the character that `rest` begins with; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    if first == '\\' {
        return inside[2..].find('\'').map(|at| 1 + 2 + at + 1);
    }
    inside[first.len_utf8()..].starts_with('\'').then(|| 1 + first.len_utf8() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::scan::line_of;

    fn squeezed(text: &str) -> String {
        mask(text).code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_texts_are_blanked() {
        assert_eq!(squeezed("a /* b /* c */ d */ e // f\ng"), "a e g");
        assert_eq!(squeezed(r#"a("b \" c", d)"#), "a( , d)");
        assert_eq!(squeezed("a(r#\"b \" c\"#, d)"), "a( , d)");
        assert_eq!(squeezed(r"a('x', '\'', '\u{1F600}', &'static str)"), "a( , , , &'static str)");
        assert_eq!(squeezed("for r in bar\"x\""), "for r in bar");
    }

    #[test]
    fn places_and_lines_stay() {
        let text = "\"ä\n\" x";
        assert_eq!(mask(text).code.len(), text.len());
        assert_eq!(line_of(text, mask(text).code.find('x').unwrap()), 2);
    }

    #[test]
    fn comments_and_texts_are_parts_of_their_own() {
        let masked = mask("a // ä \"b\"\nc(\"// d\", 'e')");
        let words = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&masked.code), "a c( , )");
        assert_eq!(words(&masked.comments), "// ä \"b\"");
        assert_eq!(words(&masked.texts), "\"// d\"");
        assert_eq!(masked.texts.len(), masked.comments.len());
    }
}
