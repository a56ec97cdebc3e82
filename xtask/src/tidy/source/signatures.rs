//! The parts of a source that every user of its crate sees: signatures of what is `pub`, and the traits that types
//! have.

use crate::tidy::source::scan::{closing, is_name, name_at, places};

/// A piece of code that others see, and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature<'t> {
    /// The code, without bodies.
    pub(crate) text: &'t str,
    /// The byte at which it begins.
    pub(crate) at: usize,
}

/// The signatures in `code`: what is `pub` and no more than that, the variants of such enums, the functions of such
/// traits, the derives before them, and the heads of `impl Trait for Type`.
pub(crate) fn signatures(code: &str) -> Vec<Signature<'_>> {
    let mut found = Vec::new();
    for at in places(code, "pub") {
        let item = &code[at + "pub".len()..];
        if item.trim_start().starts_with('(') {
            continue;
        }
        let end = match name_at(item) {
            "use" | "mod" | "extern" => continue,
            "const" | "static" if name_at(&item.trim_start()["const".len()..]) != "fn" => {
                head_end(code, at, &['=', ';'])
            }
            "type" => head_end(code, at, &[';']),
            // The fields that others see have a `pub` of their own.
            "struct" => head_end(code, at, &['{', ';', '(']),
            "enum" => block_end(code, at),
            "trait" => {
                found.extend(methods(code, at));
                head_end(code, at, &['{'])
            }
            _ => head_end(code, at, &['{', ';', ',', ')', '}']),
        };
        found.push(Signature { text: &code[at..end], at });
        found.extend(derives(code, at));
    }
    for at in places(code, "impl") {
        let is_item = code[..at].trim_end().chars().next_back().is_none_or(|before| ";{}]".contains(before));
        let text = &code[at..head_end(code, at, &['{', ';'])];
        if is_item && places(text, "for").next().is_some() {
            found.push(Signature { text, at });
        }
    }
    found.sort_by_key(|signature| signature.at);
    found
}

/// The first of `ends` behind `at` that stands in no bracket, angle brackets included.
fn head_end(code: &str, at: usize, ends: &[char]) -> usize {
    let (mut depth, mut before) = (0_usize, ' ');
    for (offset, c) in code[at..].char_indices() {
        if depth == 0 && ends.contains(&c) && !(c == '=' && before == '=') {
            return at + offset;
        }
        match c {
            '(' | '[' | '<' => depth += 1,
            '{' if !ends.contains(&'{') => depth += 1,
            '>' if before == '-' || before == '=' => {}
            ')' | ']' | '>' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = c;
    }
    code.len()
}

/// The end of the block of the item at `at`.
fn block_end(code: &str, at: usize) -> usize {
    code[at..].find('{').and_then(|open| closing(code, at + open)).unwrap_or(code.len())
}

/// The heads of the functions and types in the trait at `at`.
fn methods(code: &str, at: usize) -> Vec<Signature<'_>> {
    let end = block_end(code, at);
    let start = at + code[at..end].find('{').unwrap_or(0);
    let items = ["fn", "type", "const"].into_iter().flat_map(|word| places(&code[start..end], word));
    let heads = items.map(|offset| {
        let at = start + offset;
        Signature { text: &code[at..head_end(code, at, &['{', ';'])], at }
    });
    heads.collect()
}

/// The derives that stand before the item at `at`.
fn derives(code: &str, at: usize) -> Vec<Signature<'_>> {
    let mut found = Vec::new();
    let mut before = code[..at].trim_end();
    while before.ends_with(']') {
        let Some(start) = before.rfind("#[") else { break };
        let attribute = &before[start..];
        if attribute["#[".len()..].starts_with("derive") && !attribute["#[derive".len()..].starts_with(is_name) {
            found.push(Signature { text: attribute, at: start });
        }
        before = before[..start].trim_end();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(code: &str) -> Vec<&str> {
        signatures(code).into_iter().map(|signature| signature.text.trim()).collect()
    }

    #[test]
    fn functions_fields_and_constants_are_seen_without_their_values() {
        assert_eq!(
            shown("pub async fn f<T: A<B, C>>(a: D) -> E<F> where T: G { h() }\nfn g() {}\npub(crate) fn i() {}"),
            ["pub async fn f<T: A<B, C>>(a: D) -> E<F> where T: G"]
        );
        assert_eq!(
            shown("pub struct S { pub a: B<C, D>, e: F, pub g: H }"),
            ["pub struct S", "pub a: B<C, D>", "pub g: H"]
        );
        assert_eq!(shown("pub struct T(pub A, B);"), ["pub struct T", "pub A"]);
        assert_eq!(shown("pub const A: B = c::d();\npub type E = F<G>;"), ["pub const A: B", "pub type E = F<G>"]);
    }

    #[test]
    fn enums_are_seen_whole_and_traits_by_their_heads() {
        assert_eq!(shown("pub enum E { A(B), C { d: F } }"), ["pub enum E { A(B), C { d: F } }"]);
        assert_eq!(
            shown("pub trait T: A { type B: C; fn f(&self) -> D { inner::g() } }"),
            ["pub trait T: A", "type B: C", "fn f(&self) -> D"]
        );
    }

    #[test]
    fn derives_and_implemented_traits_are_seen() {
        assert_eq!(shown("#[derive(A, B)]\n#[c]\npub struct S;"), ["#[derive(A, B)]", "pub struct S"]);
        assert_eq!(
            shown("impl<T> A<B> for S<T> { fn f() {} }\nimpl S {}\nfn g() -> impl H {}"),
            ["impl<T> A<B> for S<T>"]
        );
    }

    #[test]
    fn what_is_brought_in_is_no_signature() {
        assert!(shown("pub use a::B;\npub mod c;\nuse d::E;").is_empty());
    }
}
