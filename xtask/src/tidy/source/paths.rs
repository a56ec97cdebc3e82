//! Reads the paths that a source mentions: `use crate::{a, b::C}`, and `crate::a::f()` in the middle of code.

use crate::tidy::source::scan::{closing, is_name, line_of, places};

/// A path as written, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mention {
    /// Its segments; the first is `crate`, `super`, `self` or a name.
    pub(crate) segments: Vec<String>,
    /// The modules written out in this file around the place.
    pub(crate) inside: Vec<String>,
    /// The line, counted from one.
    pub(crate) line: usize,
}

/// Every path in `code` that starts with `crate::`, `super::` or `self::`, or stands in a `use`.
pub(crate) fn mentions(code: &str) -> Vec<Mention> {
    let modules = inline_modules(code);
    let mut starts: Vec<usize> = Vec::new();
    for word in ["crate", "super", "self"] {
        starts.extend(places(code, word).filter(|&at| code[at + word.len()..].trim_start().starts_with("::")));
    }
    for at in places(code, "use") {
        let start = at + "use".len();
        let name = start + code[start..].len() - code[start..].trim_start().len();
        let named = |word: &str| code[name..].strip_prefix(word).is_some_and(|rest| !rest.starts_with(is_name));
        if !["crate", "super", "self"].iter().any(|word| named(word)) {
            starts.push(name);
        }
    }
    starts.sort_unstable();
    let mut found = Vec::new();
    for start in starts {
        // `$crate` belongs to whoever expands the macro, `pub(in crate::a)` imports nothing, and `a::self::b` is no
        // start.
        let before = code[..start].trim_end();
        if before.ends_with('$') || before.ends_with("(in") || before.ends_with("::") {
            continue;
        }
        let inside = modules.iter().filter(|(range, _)| range.contains(&start)).map(|(_, name)| name.clone()).collect();
        let mention = Mention { segments: Vec::new(), inside, line: line_of(code, start) };
        tree(&code[start..], &mention, &mut found);
    }
    found
}

/// Reads one path with its groups and returns what follows it.
fn tree<'t>(code: &'t str, so_far: &Mention, found: &mut Vec<Mention>) -> &'t str {
    let mut mention = so_far.clone();
    let mut rest = code.trim_start();
    loop {
        if let Some(mut group) = rest.strip_prefix('{') {
            loop {
                group = tree(group, &mention, found).trim_start();
                match group.strip_prefix(',') {
                    Some(next) if !next.trim_start().starts_with('}') => group = next,
                    _ => break,
                }
            }
            let group = group.trim_start_matches(',').trim_start();
            return group.strip_prefix('}').unwrap_or(group);
        }
        let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
        if end == 0 {
            break;
        }
        let name = &rest[..end];
        // `use a::{self, b}` names `a`.
        if name != "self" || mention.segments.is_empty() {
            mention.segments.push(name.to_owned());
        }
        rest = rest[end..].trim_start();
        match rest.strip_prefix("::") {
            Some(next) => rest = next.trim_start(),
            None => break,
        }
    }
    found.push(mention);
    let rest = rest.strip_prefix('*').unwrap_or(rest).trim_start();
    match rest.strip_prefix("as ") {
        Some(alias) => alias.trim_start().trim_start_matches(is_name),
        None => rest,
    }
}

/// The modules that are written out in a file, with where their blocks stand.
fn inline_modules(code: &str) -> Vec<(std::ops::Range<usize>, String)> {
    let modules = places(code, "mod").filter_map(|at| {
        let rest = code[at + 3..].trim_start();
        let name = &rest[..rest.find(|c: char| !is_name(c))?];
        let open = code.len() - rest.len() + name.len() + rest[name.len()..].find(|c: char| !c.is_whitespace())?;
        (!name.is_empty() && code[open..].starts_with('{')).then_some(())?;
        Some((open..closing(code, open)?, name.to_owned()))
    });
    modules.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(code: &str) -> Vec<String> {
        mentions(code).into_iter().map(|mention| mention.segments.join("::")).collect()
    }

    #[test]
    fn groups_and_aliases_are_spread_out() {
        assert_eq!(
            paths("use crate::{a, b::{C, D as E, self}, f::*};"),
            ["crate::a", "crate::b::C", "crate::b::D", "crate::b", "crate::f"]
        );
        assert_eq!(paths("use super::{\n a::B,\n c,\n};"), ["super::a::B", "super::c"]);
        assert_eq!(paths("pub use child::Name;"), ["child::Name"]);
    }

    #[test]
    fn paths_in_the_middle_of_code_count() {
        assert_eq!(paths("fn f() -> crate::a::T { super::b::g::<u8>() }"), ["crate::a::T", "super::b::g"]);
    }

    #[test]
    fn macros_and_visibility_do_not() {
        assert!(paths("$crate::a::b; pub(in crate::a) fn f(self) {} self.x; pub(crate) fn g() {}").is_empty());
    }

    #[test]
    fn modules_written_out_are_noticed() {
        let found = mentions("mod a { mod b { use super::c; } use super::d; }");
        let shown: Vec<_> = found.iter().map(|m| (m.segments.join("::"), m.inside.join("::"))).collect();
        assert_eq!(shown, [("super::c".to_owned(), "a::b".to_owned()), ("super::d".to_owned(), "a".to_owned())]);
    }
}
