//! A Rust source with its comments and texts blanked out, and its tests told from its code. Lines and columns stay.

use crate::files::File;

/// A Rust file.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    file: &'a File,
    code: String,
    shipped: String,
    tests: String,
}

impl<'a> Source<'a> {
    /// Reads a file.
    pub(crate) fn new(file: &'a File) -> Self {
        let code = mask(&file.text);
        let (shipped, tests) = if is_test_path(&file.path) { (blank(&code), code.clone()) } else { split(&code) };
        Self { file, code, shipped, tests }
    }

    /// The path from the root.
    pub(crate) fn path(&self) -> &'a str {
        &self.file.path
    }

    /// The file as it is.
    pub(crate) fn file(&self) -> &'a File {
        self.file
    }

    /// The code, tests included, without comments and texts.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// The code without tests.
    pub(crate) fn shipped(&self) -> &str {
        &self.shipped
    }

    /// The tests alone.
    pub(crate) fn tests(&self) -> &str {
        &self.tests
    }
}

/// The number of the line on which byte `at` stands, counted from one.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The places where `word` stands in `code` as a whole word.
pub(crate) fn places<'t>(code: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

/// Whether `c` may stand in a name.
pub(crate) fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The place behind the bracket that closes the one at `open`.
pub(crate) fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

fn is_test_path(path: &str) -> bool {
    path.contains("/tests/") || path.starts_with("tests/") || path.contains("/benches/")
}

/// `text` with everything but the line ends made blank.
fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

/// Separates the items under `#[cfg(test)]` from the rest.
fn split(code: &str) -> (String, String) {
    let (mut shipped, mut tests, mut done) = (String::new(), String::new(), 0);
    for at in ["#[cfg(test)]", "#[cfg(all(test"].iter().flat_map(|mark| code.match_indices(mark)).map(|(at, _)| at) {
        if at < done {
            continue;
        }
        let attribute = closing(code, at + 1).unwrap_or(code.len());
        let end = item_end(code, attribute);
        shipped.push_str(&code[done..at]);
        shipped.push_str(&blank(&code[at..end]));
        tests.push_str(&blank(&code[done..at]));
        tests.push_str(&code[at..end]);
        done = end;
    }
    shipped.push_str(&code[done..]);
    tests.push_str(&blank(&code[done..]));
    (shipped, tests)
}

/// The end of the item that begins at `from`: its block, or its semicolon.
fn item_end(code: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(found) = code[at..].find(['{', ';', '(', '[']).map(|offset| at + offset) {
        match code.as_bytes()[found] {
            b';' => return found + 1,
            b'{' => return closing(code, found).unwrap_or(code.len()),
            _ => at = closing(code, found).unwrap_or(code.len()),
        }
    }
    code.len()
}

/// Blanks comments and the insides of texts and characters.
fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let before = out.chars().next_back();
        let skipped =
            comment(rest).or_else(|| raw_text(rest, before)).or_else(|| plain_text(rest)).or_else(|| character(rest));
        match skipped {
            Some(length) => {
                // Bytes are kept, so that places in the masked code are places in the file.
                out.extend(rest[..length].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
                rest = &rest[length..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
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

    fn squeezed(text: &str) -> String {
        mask(text).split_whitespace().collect::<Vec<_>>().join(" ")
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
        assert_eq!(mask(text).len(), text.len());
        assert_eq!(line_of(text, mask(text).find('x').unwrap()), 2);
    }

    #[test]
    fn tests_are_told_from_code() {
        let file = File {
            path: "crates/a/src/a.rs".to_owned(),
            text: "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n#[cfg(test)]\nuse x::c;\nfn d() {}\n"
                .to_owned(),
        };
        let source = Source::new(&file);
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(source.shipped()), "fn a() {} fn d() {}");
        assert_eq!(words(source.tests()), "#[cfg(test)] mod tests { fn b() {} } #[cfg(test)] use x::c;");
        assert_eq!(line_of(source.tests(), source.tests().find("fn b").unwrap()), 4);
    }

    #[test]
    fn a_file_of_tests_holds_nothing_else() {
        let file = File { path: "crates/a/tests/it/main.rs".to_owned(), text: "fn a() {}".to_owned() };
        assert_eq!(Source::new(&file).shipped().trim(), "");
    }
}
