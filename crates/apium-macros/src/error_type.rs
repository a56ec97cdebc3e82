//! `#[wire_error(py = "module.Class")]` names the Python class of an error type.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{Error, Generics, Ident, Item, LitStr, Result, Token};

pub(crate) fn wire_error(options: TokenStream, item: TokenStream) -> TokenStream {
    let hidden = expand(options, item.clone()).unwrap_or_else(Error::into_compile_error);
    quote!(#item #hidden)
}

fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let class = class(options)?;
    let item: Item = syn::parse2(item)?;
    let (ident, generics): (&Ident, &Generics) = match &item {
        Item::Struct(item) => (&item.ident, &item.generics),
        Item::Enum(item) => (&item.ident, &item.generics),
        other => return Err(Error::new(other.span(), "write `#[wire_error]` above a struct or an enum")),
    };
    if let Some(param) = generics.params.first() {
        return Err(Error::new(
            param.span(),
            "`#[wire_error]` cannot name the Python class of a generic type: it names the class of one type",
        ));
    }
    Ok(quote! {
        const _: () = {
            const fn is_error<E: ::core::error::Error + 'static>() {}
            is_error::<#ident>();
            ::apium::__private::inventory::submit! {
                ::apium::__private::WireErrorEntry { is: |error| error.is::<#ident>(), py: #class }
            }
        };
    })
}

fn class(options: TokenStream) -> Result<LitStr> {
    const WANTED: &str = "write the Python class, like `#[wire_error(py = \"builtins.ValueError\")]`";
    let parser = |input: syn::parse::ParseStream<'_>| {
        let key: Ident = input.parse()?;
        if key != "py" {
            return Err(Error::new(key.span(), WANTED));
        }
        input.parse::<Token![=]>()?;
        let class: LitStr = input.parse()?;
        input.parse::<Option<Token![,]>>()?;
        Ok(class)
    };
    let class = parser.parse2(options).map_err(|e| Error::new(e.span(), WANTED))?;
    let word = |word: &str| {
        !word.is_empty()
            && word.chars().all(|c| c.is_alphanumeric() || c == '_')
            && !word.starts_with(|c: char| c.is_ascii_digit())
    };
    match class.value().contains('.') && class.value().split('.').all(word) {
        true => Ok(class),
        false => {
            Err(Error::new(class.span(), "this is not a Python class with its module, like \"builtins.ValueError\""))
        }
    }
}
