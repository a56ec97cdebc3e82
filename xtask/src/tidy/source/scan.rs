//! Looks for words, names, lines and closing brackets in code whose comments and texts are blank.

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

/// The name that `code` begins with, after blanks; empty where there is none.
pub(crate) fn name_at(code: &str) -> &str {
    let code = code.trim_start();
    &code[..code.find(|c: char| !is_name(c)).unwrap_or(code.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_are_found_and_parts_of_words_are_not() {
        assert_eq!(places("mod module mod_ (mod)", "mod").collect::<Vec<_>>(), [0, 17]);
    }

    #[test]
    fn a_bracket_is_closed_by_its_own() {
        assert_eq!(closing("{ [a] }(b)", 0), Some(7));
        assert_eq!(closing("{ [a]", 0), None);
    }

    #[test]
    fn a_name_ends_where_no_name_may_go_on() {
        assert_eq!(name_at("  Seat<T>"), "Seat");
        assert_eq!(name_at("$name"), "");
    }
}
