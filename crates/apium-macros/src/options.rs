//! The options of `#[task(…)]`: how they are parsed and checked.

use apium_options::kind::ValueKind;
use apium_options::option::{Attribute, OPTIONS, TaskOption};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Ident, LitStr, Path, Result, Token, Type, bracketed, parenthesized};

use crate::hint::hint;
use crate::value;

/// The options of one task.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    pub(crate) namespace: Option<LitStr>,
    pub(crate) aliases: Vec<LitStr>,
    /// Assignments `options.<field> = <value>;` to a `TaskOptions`.
    pub(crate) assignments: Vec<TokenStream>,
    /// The names of the options that are given.
    pub(crate) keys: Vec<Ident>,
    /// The hooks that are given, each with its function.
    pub(crate) hooks: Vec<(Ident, Path)>,
    /// The times that are given, by the names of their options.
    times: Vec<(&'static str, value::Time)>,
}

/// The options that are written by themselves, and not inside a list such as `retry_kwargs(…)`.
fn outer() -> impl Iterator<Item = (&'static TaskOption, Attribute)> {
    let of_attribute = OPTIONS.iter().filter_map(|option| Some((option, option.attribute?)));
    of_attribute.filter(|(_, attribute)| attribute.inside.is_none())
}

/// The options inside a list, each with its name there.
fn inside(list: &str) -> impl Iterator<Item = (&'static TaskOption, Attribute, &'static str)> {
    let of_lists = OPTIONS.iter().filter_map(|option| Some((option, option.attribute?)));
    of_lists.filter_map(move |(option, attribute)| {
        attribute.inside.filter(|(own, _)| *own == list).map(|(_, name)| (option, attribute, name))
    })
}

/// The names of the lists: `retry_kwargs`.
fn lists() -> impl Iterator<Item = &'static str> {
    let mut lists: Vec<&str> = OPTIONS.iter().filter_map(|option| Some(option.attribute?.inside?.0)).collect();
    lists.dedup();
    lists.into_iter()
}

/// The names of the hooks.
pub(crate) fn hooks() -> impl Iterator<Item = &'static str> {
    outer().filter(|(_, attribute)| attribute.kind == ValueKind::Hook).map(|(option, _)| option.name)
}

/// The names of the options that a caller decides.
pub(crate) fn of_callers() -> impl Iterator<Item = &'static str> {
    outer().filter(|(option, _)| option.callers_decide).map(|(option, _)| option.name)
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            let key: Ident = input.parse().map_err(|e| Error::new(e.span(), "write the name of an option here"))?;
            let word = key.to_string();
            if options.keys.contains(&key) {
                return Err(Error::new(key.span(), format!("the option `{word}` is given twice")));
            }
            options.option(&key, &word, input)?;
            options.keys.push(key);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        options.check()?;
        Ok(options)
    }
}

impl Options {
    /// Reads what follows the name of an option.
    fn option(&mut self, key: &Ident, word: &str, input: ParseStream<'_>) -> Result<()> {
        if lists().any(|list| list == word) {
            return self.list(word, input);
        }
        let Some((option, attribute)) = outer().find(|(option, _)| option.name == word) else {
            return Err(unknown(key, word));
        };
        match (attribute.kind, word) {
            (ValueKind::Hook, _) => {
                input.parse::<Token![=]>()?;
                let wrong = |e: Error| Error::new(e.span(), "write the name of an async function here");
                self.hooks.push((key.clone(), input.parse().map_err(wrong)?));
            }
            (kind, _) if option.declared => self.set(option.name, key, kind, input)?,
            (_, "name") => self.name = Some(value::text(input)?),
            (_, "namespace") => self.namespace = Some(value::text(input)?),
            (ValueKind::Texts, _) => self.aliases = aliases(input)?,
            _ => return Err(unknown(key, word)),
        }
        Ok(())
    }

    /// Reads a value, and assigns it to the option of that name. Errors of the compiler about it point at `key`.
    fn set(&mut self, name: &'static str, key: &Ident, kind: ValueKind, input: ParseStream<'_>) -> Result<()> {
        let field = Ident::new(name, key.span());
        let value = match kind {
            ValueKind::Flag => {
                let on = value::flag(input)?;
                quote!(#on)
            }
            ValueKind::Text | ValueKind::Rate => {
                let text = if kind == ValueKind::Rate { value::rate_limit(input)? } else { value::text(input)? };
                quote!(::std::borrow::Cow::Borrowed(#text))
            }
            ValueKind::Time => {
                let time = value::time(input)?;
                self.times.push((name, time));
                time.tokens()
            }
            ValueKind::Priority => value::priority(input)?,
            ValueKind::Isolation => value::isolation(input)?,
            ValueKind::Count => {
                let number = value::number(input, u32::MAX)? as usize;
                quote!(#number)
            }
            ValueKind::Limit => match value::number_or_none(input)? {
                Some(number) => quote!(::core::option::Option::Some(#number)),
                None => quote!(::core::option::Option::None),
            },
            ValueKind::Backoff => backoff(input)?,
            ValueKind::Errors => {
                let matchers = matchers(input)?;
                self.assignments.push(quote! {
                    options.#field = ::std::borrow::Cow::Borrowed({
                        const MATCHERS: &[::apium::__private::ErrorMatcher] = &[#(#matchers),*];
                        MATCHERS
                    });
                });
                return Ok(());
            }
            ValueKind::Texts | ValueKind::Hook => return Err(Error::new(key.span(), "this option takes no value")),
        };
        self.assignments.push(quote!(options.#field = ::core::option::Option::Some(#value);));
        Ok(())
    }

    /// Options in parentheses: `retry_kwargs(max_retries = 5)`.
    fn list(&mut self, list: &str, input: ParseStream<'_>) -> Result<()> {
        let inner;
        parenthesized!(inner in input);
        while !inner.is_empty() {
            let key: Ident = inner.parse()?;
            let Some((option, attribute, _)) = inside(list).find(|(.., name)| key == name) else {
                let names: Vec<&str> = inside(list).map(|(.., name)| name).collect();
                let text = format!("`{list}` has no `{key}`; {}", hint(&key.to_string(), &names));
                return Err(Error::new(key.span(), text));
            };
            self.set(option.name, &key, attribute.kind, &inner)?;
            if !inner.is_empty() {
                inner.parse::<Token![,]>()?;
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let time = |name: &str| self.times.iter().find(|(own, _)| *own == name).map(|(_, time)| time);
        if let (Some(hard), Some(soft)) = (time("time_limit"), time("soft_time_limit"))
            && soft.nanos > hard.nanos
        {
            return Err(Error::new(
                soft.span,
                "the soft time limit is longer than the hard one: it must be reached first",
            ));
        }
        if let (Some(_), Some(namespace)) = (&self.name, &self.namespace) {
            let text = "a task with a `name` takes no `namespace`: `name` is the full name";
            return Err(Error::new(namespace.span(), text));
        }
        let mut names: Vec<String> = self.name.iter().map(LitStr::value).collect();
        for alias in &self.aliases {
            if names.contains(&alias.value()) {
                let text = format!("the task has the name \"{}\" already", alias.value());
                return Err(Error::new(alias.span(), text));
            }
            names.push(alias.value());
        }
        Ok(())
    }
}

fn unknown(key: &Ident, word: &str) -> Error {
    if word == "bind" {
        let text = "a task has no option `bind`: it gets its context by a parameter of type `&Ctx`";
        return Error::new(key.span(), text);
    }
    let names: Vec<&str> = outer().map(|(option, _)| option.name).chain(lists()).collect();
    Error::new(key.span(), format!("a task has no option `{word}`; {}", hint(word, &names)))
}

fn aliases(input: ParseStream<'_>) -> Result<Vec<LitStr>> {
    const ALIASES: &str = "write a list of names here, like `aliases = [\"mail.send_v1\"]`";
    input.parse::<Token![=]>()?;
    if !input.peek(syn::token::Bracket) {
        return Err(Error::new(input.span(), ALIASES));
    }
    let inner;
    bracketed!(inner in input);
    let wrong = |e: Error| Error::new(e.span(), ALIASES);
    Ok(Punctuated::<LitStr, Token![,]>::parse_terminated(&inner).map_err(wrong)?.into_iter().collect())
}

/// Reads `retry_backoff`. Alone and with `= true` its factor is 1; `= false` switches it off.
fn backoff(input: ParseStream<'_>) -> Result<TokenStream> {
    let exponential = |factor: u32| quote!(::apium::__private::Backoff::Exponential(#factor));
    let ahead = input.fork();
    if ahead.parse::<Token![=]>().is_ok() && ahead.peek(syn::LitInt) {
        return Ok(exponential(value::number(input, u32::MAX)?.max(1)));
    }
    let wrong = |e: Error| Error::new(e.span(), "write a factor in whole seconds here, `true` or `false`");
    Ok(match value::flag(input).map_err(wrong)? {
        true => exponential(1),
        false => quote!(::apium::__private::Backoff::Off),
    })
}

/// Reads error types in parentheses: `(any)` or `(Type, other::Type)`.
fn matchers(input: ParseStream<'_>) -> Result<Vec<TokenStream>> {
    const TYPES: &str = "write error types here, like `(std::io::Error, BadAddress)`, or `(any)`";
    let span = input.span();
    if !input.peek(syn::token::Paren) {
        return Err(Error::new(span, TYPES));
    }
    let inner;
    parenthesized!(inner in input);
    let wrong = |e: Error| Error::new(e.span(), TYPES);
    let types = Punctuated::<Type, Token![,]>::parse_terminated(&inner).map_err(wrong)?;
    if types.is_empty() {
        return Err(Error::new(span, TYPES));
    }
    types.iter().map(matcher).collect()
}

fn matcher(ty: &Type) -> Result<TokenStream> {
    let Type::Path(path) = ty else {
        return Err(Error::new(ty.span(), "write the path of an error type here"));
    };
    if path.path.is_ident("any") {
        return Ok(quote!(::apium::__private::ErrorMatcher::ANY));
    }
    let name = ty.to_token_stream().to_string().replace(' ', "");
    Ok(quote_spanned!(ty.span()=> ::apium::__private::ErrorMatcher::of::<#ty>(#name)))
}

/// The options; none for an attribute without parentheses.
pub(crate) fn parse(tokens: TokenStream) -> Result<Options> {
    syn::parse2(tokens).map_err(|error| {
        // The end of the options has no span, so the error points at the attribute.
        let mut error = error;
        if error.to_string().starts_with("unexpected end of input") {
            error = Error::new(Span::call_site(), "the last option of this task is not complete");
        }
        error
    })
}
