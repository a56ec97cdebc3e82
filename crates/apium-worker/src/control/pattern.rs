//! Patterns of node names in requests: `glob` as Python's `fnmatch`, and `pcre` as its `re.match`, anchored at the
//! start.

use apium_app::config::route_table::glob_regex;
use regex_lite::RegexBuilder;

/// How large a compiled regular expression may be, in bytes.
const MOST_REGEX: usize = 1 << 20;

/// Whether a node name matches a pattern.
///
/// # Errors
/// A matcher that is neither `glob` nor `pcre`, or a pattern that cannot be read. The text says so.
pub(crate) fn matches(node: &str, pattern: &str, matcher: &str) -> Result<bool, String> {
    let regex = match matcher {
        "glob" => glob_regex(pattern),
        "pcre" => format!(r"\A(?:{pattern})"),
        _ => return Err("its `matcher` is neither `glob` nor `pcre`".to_owned()),
    };
    let regex = RegexBuilder::new(&regex).size_limit(MOST_REGEX).build();
    regex.map(|regex| regex.is_match(node)).map_err(|_| "its `pattern` cannot be read".to_owned())
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_python() {
        for (matcher, pattern, node, wanted) in [
            ("glob", "*@*", "w1@wirespec", true),
            ("glob", "w?@*", "w1@h", true),
            ("glob", "w?@*", "w12@h", false),
            ("glob", "w[0-3]@h", "w2@h", true),
            ("glob", "w[!0-3]@h", "w2@h", false),
            ("glob", "w[]x]@h", "w]@h", true),
            ("glob", "w[1@h", "w[1@h", true),
            ("glob", "*a*b*c", "xxaxxbxxaxxc", true),
            ("glob", "*a*b*c", "xxaxxbxxaxx", false),
            ("glob", "W1@h", "w1@h", false),
            ("glob", "", "", true),
            ("glob", "**", "x", true),
            ("pcre", "^nomatch", "w1@h", false),
            ("pcre", "w\\d", "w1@h", true),
            ("pcre", "1@h", "w1@h", false),
            ("pcre", "a|w1", "w1@h", true),
        ] {
            assert_eq!(matches(node, pattern, matcher), Ok(wanted), "{matcher} {pattern} {node}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_an_error() {
        for (matcher, pattern) in [("pcre", "("), ("pcre", "(?=x)"), ("pcre", "a{1000}{1000}{1000}"), ("re", "x")] {
            assert!(matches("w1@h", pattern, matcher).is_err(), "{matcher} {pattern}");
        }
    }
}
