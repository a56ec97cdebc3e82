//! `#[task_module(namespace = "…")]` gives the names of a module's tasks a prefix.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Item, ItemMod, LitStr, Meta, Result, Token};

use crate::function::is_ours;

pub(crate) fn task_module(options: TokenStream, item: TokenStream) -> TokenStream {
    match expand(options, item.clone()) {
        Ok(expanded) => expanded,
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#error #item)
        }
    }
}

fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let namespace = namespace(options)?;
    let mut module: ItemMod = syn::parse2(item)
        .map_err(|e| Error::new(e.span(), "write `#[task_module]` above a module with its body: `mod tasks { … }`"))?;
    let span = module.span();
    let Some((_, items)) = &mut module.content else {
        return Err(Error::new(span, "`#[task_module]` needs the module's body here: `mod tasks { … }`"));
    };
    for item in items {
        if let Item::Fn(function) = item {
            for attr in function.attrs.iter_mut().filter(|attr| is_ours(attr.path(), "task")) {
                add_namespace(attr, &namespace)?;
            }
        }
    }
    Ok(module.into_token_stream())
}

fn namespace(options: TokenStream) -> Result<LitStr> {
    const WANTED: &str = "write the prefix of the names, like `#[task_module(namespace = \"proj.tasks\")]`";
    let parser = |input: syn::parse::ParseStream<'_>| {
        let key: syn::Ident = input.parse()?;
        if key != "namespace" {
            return Err(Error::new(key.span(), WANTED));
        }
        input.parse::<Token![=]>()?;
        let namespace: LitStr = input.parse()?;
        input.parse::<Option<Token![,]>>()?;
        Ok(namespace)
    };
    let namespace = parser.parse2(options).map_err(|e| Error::new(e.span(), WANTED))?;
    match namespace.value().is_empty() || namespace.value().starts_with('.') || namespace.value().ends_with('.') {
        true => Err(Error::new(namespace.span(), "a namespace is names with dots between them")),
        false => Ok(namespace),
    }
}

/// Adds `namespace = …` to `#[task]` or `#[task(…)]`, unless the task has a name or a namespace itself.
fn add_namespace(attr: &mut Attribute, namespace: &LitStr) -> Result<()> {
    let path = attr.path().clone();
    let options = match &attr.meta {
        Meta::Path(_) => TokenStream::new(),
        Meta::List(list) => list.tokens.clone(),
        Meta::NameValue(pair) => return Err(Error::new(pair.span(), "write options in parentheses: `#[task(…)]`")),
    };
    if names_itself(&options) {
        return Ok(());
    }
    let comma = (!options.is_empty()).then(|| quote!(,));
    attr.meta = syn::parse_quote!(#path(namespace = #namespace #comma #options));
    Ok(())
}

/// Whether `name = …` or `namespace = …` is among the options, at the outer level.
fn names_itself(options: &TokenStream) -> bool {
    let words: Vec<String> = options.clone().into_iter().map(|token| token.to_string()).collect();
    words
        .windows(2)
        .any(|pair| matches!(pair, [word, equals] if (word == "name" || word == "namespace") && equals == "="))
}
