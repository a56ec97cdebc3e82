//! The options of `#[task(…)]`.

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
    /// The names of all options that are given.
    pub(crate) given: Vec<Ident>,
    /// Hooks by name.
    pub(crate) hooks: Vec<(Ident, Path)>,
    hard: Option<value::Time>,
    soft: Option<value::Time>,
}

const FLAGS: [&str; 9] = [
    "acks_late",
    "acks_on_failure",
    "acks_on_timeout",
    "reject_on_worker_lost",
    "track_started",
    "ignore_result",
    "store_errors_even_if_ignored",
    "retry_jitter",
    "trail",
];
const TEXTS: [&str; 4] = ["serializer", "compression", "queue", "backend"];
const TIMES: [&str; 5] = ["time_limit", "soft_time_limit", "expires", "default_retry_delay", "retry_backoff_max"];
const ERRORS: [&str; 3] = ["autoretry_for", "dont_autoretry_for", "throws"];
pub(crate) const HOOKS: [&str; 5] = ["before_start", "on_success", "on_failure", "on_retry", "after_return"];
const OTHERS: [&str; 9] = [
    "name",
    "namespace",
    "aliases",
    "priority",
    "rate_limit",
    "max_retries",
    "retry_backoff",
    "retry_kwargs",
    "resultrepr_maxsize",
];

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            let key: Ident = input.parse().map_err(|e| Error::new(e.span(), "write the name of an option here"))?;
            let word = key.to_string();
            if options.given.contains(&key) {
                return Err(Error::new(key.span(), format!("the option `{word}` is given twice")));
            }
            options.option(&key, &word, input)?;
            options.given.push(key);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        options.check()?;
        Ok(options)
    }
}

impl Options {
    fn option(&mut self, key: &Ident, word: &str, input: ParseStream<'_>) -> Result<()> {
        match word {
            _ if FLAGS.contains(&word) => {
                let on = value::flag(input)?;
                self.set(key, quote!(#on));
            }
            _ if TEXTS.contains(&word) => {
                let text = value::text(input)?;
                self.set(key, quote!(::std::borrow::Cow::Borrowed(#text)));
            }
            _ if TIMES.contains(&word) => self.time(key, word, input)?,
            _ if ERRORS.contains(&word) => self.errors(key, input)?,
            _ if HOOKS.contains(&word) => {
                input.parse::<Token![=]>()?;
                let wrong = |e: Error| Error::new(e.span(), "write the name of an async function here");
                self.hooks.push((key.clone(), input.parse().map_err(wrong)?));
            }
            "name" => self.name = Some(value::text(input)?),
            "namespace" => self.namespace = Some(value::text(input)?),
            "aliases" => self.aliases = aliases(input)?,
            "priority" => {
                let priority = value::number(input, 255)? as u8;
                self.set(key, quote!(#priority));
            }
            "rate_limit" => {
                let limit = value::rate_limit(input)?;
                self.set(key, quote!(::std::borrow::Cow::Borrowed(#limit)));
            }
            "max_retries" => {
                let limit = option(value::number_or_none(input)?);
                self.set(key, limit);
            }
            "resultrepr_maxsize" => {
                let size = value::number(input, u32::MAX)? as usize;
                self.set(key, quote!(#size));
            }
            "retry_backoff" => {
                let backoff = backoff(input)?;
                self.set(key, backoff);
            }
            "retry_kwargs" => self.retry_kwargs(input)?,
            _ => return Err(unknown(key, word)),
        }
        Ok(())
    }

    fn set(&mut self, key: &Ident, value: TokenStream) {
        self.assignments.push(quote!(options.#key = ::core::option::Option::Some(#value);));
    }

    fn time(&mut self, key: &Ident, word: &str, input: ParseStream<'_>) -> Result<()> {
        let time = value::time(input)?;
        match word {
            "time_limit" => self.hard = Some(time),
            "soft_time_limit" => self.soft = Some(time),
            _ => {}
        }
        self.set(key, time.tokens());
        Ok(())
    }

    fn errors(&mut self, key: &Ident, input: ParseStream<'_>) -> Result<()> {
        let matchers = matchers(input)?;
        self.assignments.push(quote! {
            options.#key = ::std::borrow::Cow::Borrowed({
                const MATCHERS: &[::apium::__private::ErrorMatcher] = &[#(#matchers),*];
                MATCHERS
            });
        });
        Ok(())
    }

    fn retry_kwargs(&mut self, input: ParseStream<'_>) -> Result<()> {
        const KNOWN: [&str; 2] = ["max_retries", "countdown"];
        let inner;
        parenthesized!(inner in input);
        while !inner.is_empty() {
            let key: Ident = inner.parse()?;
            match key.to_string().as_str() {
                "max_retries" => {
                    let limit = option(value::number_or_none(&inner)?);
                    self.set(&Ident::new("retry_kwargs_max_retries", key.span()), limit);
                }
                "countdown" => {
                    let time = value::time(&inner)?.tokens();
                    self.set(&Ident::new("retry_kwargs_countdown", key.span()), time);
                }
                other => {
                    let text = format!("`retry_kwargs` has no `{other}`; {}", hint(other, &KNOWN));
                    return Err(Error::new(key.span(), text));
                }
            }
            if !inner.is_empty() {
                inner.parse::<Token![,]>()?;
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if let (Some(hard), Some(soft)) = (self.hard, self.soft)
            && soft.nanos > hard.nanos
        {
            return Err(Error::new(soft.span, "the soft time limit is above the hard one: it must come first"));
        }
        if let (Some(_), Some(namespace)) = (&self.name, &self.namespace) {
            let text = "a task with a `name` has no use for a `namespace`: the name is the whole name";
            return Err(Error::new(namespace.span(), text));
        }
        let mut known: Vec<String> = self.name.iter().map(LitStr::value).collect();
        for alias in &self.aliases {
            if known.contains(&alias.value()) {
                let text = format!("the task answers to \"{}\" already", alias.value());
                return Err(Error::new(alias.span(), text));
            }
            known.push(alias.value());
        }
        Ok(())
    }
}

fn unknown(key: &Ident, word: &str) -> Error {
    if word == "bind" {
        let text = "a task has no option `bind`: it takes its context by a parameter of type `&Ctx`";
        return Error::new(key.span(), text);
    }
    let known: Vec<&str> =
        OTHERS.iter().chain(&FLAGS).chain(&TEXTS).chain(&TIMES).chain(&ERRORS).chain(&HOOKS).copied().collect();
    Error::new(key.span(), format!("a task has no option `{word}`; {}", hint(word, &known)))
}

fn option(value: Option<u32>) -> TokenStream {
    match value {
        Some(number) => quote!(::core::option::Option::Some(#number)),
        None => quote!(::core::option::Option::None),
    }
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

/// `retry_backoff` alone and `= true` are the factor 1, `= false` is off.
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

/// `(any)` or `(Type, other::Type)`.
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

/// The options, or none where the attribute stands alone.
pub(crate) fn parse(tokens: TokenStream) -> Result<Options> {
    syn::parse2(tokens).map_err(|error| {
        // An error at the very end of the options points at the attribute.
        let mut error = error;
        if error.to_string().starts_with("unexpected end of input") {
            error = Error::new(Span::call_site(), "the last option of this task is not complete");
        }
        error
    })
}
