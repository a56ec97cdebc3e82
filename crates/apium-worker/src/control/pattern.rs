//! Patterns of node names in requests: `glob` as Python's `fnmatch`, and `pcre` as its `re.match`, anchored at the
//! start.

use regex::RegexBuilder;

/// How large a compiled regular expression may be, in bytes.
const MOST_REGEX: usize = 1 << 20;

/// Whether a node name matches a pattern.
///
/// # Errors
/// A matcher that is neither `glob` nor `pcre`, or a regular expression that cannot be read. The text says so.
pub(crate) fn matches(node: &str, pattern: &str, matcher: &str) -> Result<bool, String> {
    match matcher {
        "glob" => Ok(glob(pattern, node)),
        "pcre" => {
            let anchored = format!(r"\A(?:{pattern})");
            let regex = RegexBuilder::new(&anchored).size_limit(MOST_REGEX).build();
            regex.map(|regex| regex.is_match(node)).map_err(|_| "its `pattern` is no regular expression".to_owned())
        }
        _ => Err("its `matcher` is neither `glob` nor `pcre`".to_owned()),
    }
}

/// Whether a text matches a pattern with `*`, `?`, `[seq]` and `[!seq]`. It takes at most the product of both lengths.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and up to where it reaches.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match one(&pattern[p..], text[t]) {
            Some(used) => (p, t) = (p + used, t + 1),
            None if pattern.get(p) == Some(&'*') => {
                star = Some((p, t));
                p += 1;
            }
            None => match star {
                Some((at, reached)) => {
                    star = Some((at, reached + 1));
                    (p, t) = (at + 1, reached + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// How many characters of the pattern match this one; `None` if they do not, or a star comes.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '*' => None,
        '?' => Some(1),
        '[' => match set(pattern) {
            Some((set, negated, used)) => (in_set(set, c) != negated).then_some(used),
            // Without its end it is a character as others.
            None => (c == '[').then_some(1),
        },
        other => (*other == c).then_some(1),
    }
}

/// The characters of a set, whether it is negated, and how long it is with its brackets.
fn set(pattern: &[char]) -> Option<(&[char], bool, usize)> {
    let negated = pattern.get(1) == Some(&'!');
    let from = 1 + usize::from(negated);
    // A bracket at the start is one of the set.
    let end = (from + 1..pattern.len()).find(|at| pattern[*at] == ']')?;
    Some((&pattern[from..end], negated, end + 1))
}

fn in_set(set: &[char], c: char) -> bool {
    let mut at = 0;
    while at < set.len() {
        if at + 2 < set.len() && set[at + 1] == '-' {
            if (set[at]..=set[at + 2]).contains(&c) {
                return true;
            }
            at += 3;
        } else {
            if set[at] == c {
                return true;
            }
            at += 1;
        }
    }
    false
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
