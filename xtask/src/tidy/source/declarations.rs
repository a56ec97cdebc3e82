//! The names that a source declares: inline modules, types, traits, functions, variants and fields.

use std::ops::Range;

use crate::tidy::source::scan::{closing, is_name, line_of, name_at, places};

/// What is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A module written out in the file; one in a file of its own has the file's name.
    Module,
    /// A struct, an enum, or another name for a type.
    Type,
    /// A trait.
    Trait,
    /// A function or a method.
    Function,
    /// A variant of an enum.
    Variant,
    /// A field that others see.
    Field,
}

impl Kind {
    /// What a message calls it.
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Type => "type",
            Self::Trait => "trait",
            Self::Function => "function",
            Self::Variant => "variant",
            Self::Field => "field",
        }
    }
}

/// A name and where it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declaration {
    /// What is declared.
    pub(crate) kind: Kind,
    /// Its name.
    pub(crate) name: String,
    /// Whether other files see it: it is `pub` in some way, or a method of a trait that is.
    pub(crate) shared: bool,
    /// The line, counted from one.
    pub(crate) line: usize,
}

/// Every name that `code` declares; comments and texts are blank in it.
pub(crate) fn declarations(code: &str) -> Vec<Declaration> {
    let traits = shared_traits(code);
    let mut found = Vec::new();
    for (keyword, kind) in KEYWORDS {
        for at in places(code, keyword) {
            let name = name_at(&code[at + keyword.len()..]);
            let in_file = *kind == Kind::Module && !block_follows(code, at + keyword.len(), name);
            if name.is_empty() || in_file {
                continue;
            }
            let of_trait = *kind == Kind::Function && traits.iter().any(|block| block.contains(&at));
            let shared = of_trait || is_shared(code, at);
            found.push(Declaration { kind: *kind, name: name.to_owned(), shared, line: line_of(code, at) });
            if *keyword == "enum" {
                found.extend(variants(code, at, shared));
            }
        }
    }
    found.extend(fields(code));
    found.sort_by_key(|declaration| declaration.line);
    found
}

const KEYWORDS: &[(&str, Kind)] = &[
    ("mod", Kind::Module),
    ("struct", Kind::Type),
    ("enum", Kind::Type),
    ("type", Kind::Type),
    ("trait", Kind::Trait),
    ("fn", Kind::Function),
];

/// Whether the block of `name` stands behind it.
fn block_follows(code: &str, from: usize, name: &str) -> bool {
    code[from..].trim_start().strip_prefix(name).is_some_and(|behind| behind.trim_start().starts_with('{'))
}

/// Whether the item whose keyword stands at `at` is `pub`, `pub(crate)` or the like.
fn is_shared(code: &str, at: usize) -> bool {
    let mut before = code[..at].trim_end();
    for modifier in ["extern", "unsafe", "async", "const", "default"] {
        before = word_before(before, modifier).unwrap_or(before).trim_end();
    }
    if let Some(inside) = before.strip_suffix(')') {
        before = inside.rsplit_once('(').map_or("", |(outside, _)| outside.trim_end());
    }
    word_before(before, "pub").is_some()
}

/// What stands before `word`, which must be the last word of `text`.
fn word_before<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    text.strip_suffix(word).filter(|before| !before.ends_with(is_name))
}

/// The blocks of the traits that others see.
fn shared_traits(code: &str) -> Vec<Range<usize>> {
    let shared = places(code, "trait").filter(|&at| is_shared(code, at));
    shared.filter_map(|at| block(code, at)).collect()
}

/// The block of the item whose keyword stands at `at`, without its brackets.
fn block(code: &str, at: usize) -> Option<Range<usize>> {
    let open = at + code[at..].find(['{', ';'])?;
    code[open..].starts_with('{').then_some(())?;
    Some(open + 1..closing(code, open)? - 1)
}

/// The variants of the enum whose keyword stands at `at`.
fn variants(code: &str, at: usize, shared: bool) -> Vec<Declaration> {
    let Some(block) = block(code, at) else { return Vec::new() };
    let mut found = Vec::new();
    for part in split_by_commas(code, block) {
        let mut start = part.start;
        while let Some(attribute) = code[start..part.end].trim_start().strip_prefix('#') {
            let open = part.end - attribute.len();
            let Some(end) = closing(code, open) else { break };
            start = end;
        }
        let name = name_at(&code[start..part.end]);
        if !name.is_empty() {
            let blanks = code[start..].len() - code[start..].trim_start().len();
            let line = line_of(code, start + blanks);
            found.push(Declaration { kind: Kind::Variant, name: name.to_owned(), shared, line });
        }
    }
    found
}

/// The parts of `block` between commas that stand in no bracket.
fn split_by_commas(code: &str, block: Range<usize>) -> Vec<Range<usize>> {
    let (mut parts, mut start, mut at) = (Vec::new(), block.start, block.start);
    while let Some(found) = code[at..block.end].find([',', '{', '(', '[']).map(|offset| at + offset) {
        if code.as_bytes()[found] == b',' {
            parts.push(start..found);
            start = found + 1;
            at = start;
        } else {
            at = closing(code, found).unwrap_or(block.end);
        }
    }
    parts.push(start..block.end);
    parts
}

/// The fields that others see.
fn fields(code: &str) -> Vec<Declaration> {
    let fields = places(code, "pub").filter_map(|at| {
        let behind = code[at + "pub".len()..].trim_start();
        let behind = match behind.strip_prefix('(') {
            Some(inside) => inside.split_once(')')?.1,
            None => behind,
        };
        let name = name_at(behind);
        let colon = behind.trim_start()[name.len()..].trim_start();
        let is_field = !name.is_empty() && colon.starts_with(':') && !colon.starts_with("::");
        is_field.then(|| Declaration {
            kind: Kind::Field,
            name: name.to_owned(),
            shared: true,
            line: line_of(code, at),
        })
    });
    fields.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `kind name` of everything in `code`, with a `+` where others see it.
    fn shown(code: &str) -> Vec<String> {
        let shown = |d: Declaration| format!("{} {}{}", d.kind.shown(), d.name, if d.shared { "+" } else { "" });
        declarations(code).into_iter().map(shown).collect()
    }

    #[test]
    fn types_traits_and_functions_are_found_with_who_sees_them() {
        assert_eq!(shown("struct A;\npub enum B {}\npub(crate) type C<T> = T;"), ["type A", "type B+", "type C+"]);
        assert_eq!(shown("fn a() {}\npub(in crate::x) const unsafe fn b() {}"), ["function a", "function b+"]);
        assert_eq!(shown("pub async fn a() {}\nlet f: fn(u8) = (pub_) fn b"), ["function a+", "function b"]);
    }

    #[test]
    fn methods_of_a_trait_are_seen_as_the_trait_is() {
        let body = "{\n fn a();\n fn b() {} }";
        assert_eq!(shown(&format!("pub trait T {body}")), ["trait T+", "function a+", "function b+"]);
        assert_eq!(shown(&format!("trait T {body}")), ["trait T", "function a", "function b"]);
        assert_eq!(shown(&format!("impl T for S {body}")), ["function a", "function b"]);
    }

    #[test]
    fn only_a_module_written_out_is_declared_here() {
        assert_eq!(shown("mod a;\nmod b { }\npub mod c;"), ["module b"]);
    }

    #[test]
    fn variants_are_told_from_what_they_hold() {
        let code = "enum E<T> {\n #[default(x, y)]\n #[z]\n A,\n B { c: D, e: F },\n G(H<I, J>),\n K = 3,\n}";
        let found = declarations(code);
        let names: Vec<_> = found.iter().map(|d| (d.name.as_str(), d.line)).collect();
        assert_eq!(names, [("E", 1), ("A", 4), ("B", 5), ("G", 6), ("K", 7)]);
    }

    #[test]
    fn fields_are_found_where_others_see_them() {
        assert_eq!(
            shown("struct S {\n a: B,\n pub c: D,\n pub(crate) e: F }\nstruct T(pub crate::G);"),
            ["type S", "field c+", "field e+", "type T"]
        );
    }
}
