//! `#[wire_error(py = "module.Class")]` names the Python class of an error type, and the arguments of its exceptions.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, Generics, Ident, Item, LitStr, Result, Token};

pub(crate) fn wire_error(options: TokenStream, item: TokenStream) -> TokenStream {
    let hidden = expand(options, item.clone()).unwrap_or_else(Error::into_compile_error);
    quote!(#item #hidden)
}

fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let WireClass { class, args } = syn::parse2(options)?;
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
    let (method, entry) = match args {
        None => (quote!(), quote!(::core::option::Option::None)),
        Some(args) => {
            // A method, so that the expression may say `self`.
            let method = quote_spanned! {args.span()=>
                trait WireArgs {
                    fn wire_args(&self) -> ::apium::__private::ProtocolResult<::apium::__private::Json>;
                }

                impl WireArgs for #ident {
                    fn wire_args(&self) -> ::apium::__private::ProtocolResult<::apium::__private::Json> {
                        ::apium::__private::Json::from_serialize(&#args)
                    }
                }
            };
            let entry = quote!(::core::option::Option::Some(|error| {
                error.downcast_ref::<#ident>().map(WireArgs::wire_args)
            }));
            (method, entry)
        }
    };
    Ok(quote! {
        const _: () = {
            const fn is_error<E: ::core::error::Error + 'static>() {}
            is_error::<#ident>();
            #method
            impl ::apium::__private::WireError for #ident {
                const ENTRY: ::apium::__private::WireErrorEntry = ::apium::__private::WireErrorEntry {
                    is: |error| error.is::<#ident>(),
                    py: #class,
                    args: #entry,
                };
            }
            ::apium::__private::collect! { <#ident as ::apium::__private::WireError>::ENTRY }
        };
    })
}

/// `py = "module.Class"`, and the arguments of the exception: `args = (self.code, &self.text)`.
struct WireClass {
    class: LitStr,
    args: Option<Expr>,
}

impl Parse for WireClass {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let wanted = |error: Error| Error::new(error.span(), WANTED);
        let key: Ident = input.parse().map_err(wanted)?;
        if key != "py" {
            return Err(Error::new(key.span(), WANTED));
        }
        input.parse::<Token![=]>().map_err(wanted)?;
        let class = class(input.parse().map_err(wanted)?)?;
        input.parse::<Option<Token![,]>>()?;
        if input.is_empty() {
            return Ok(Self { class, args: None });
        }
        let key: Ident = input.parse().map_err(wanted)?;
        if key != "args" {
            return Err(Error::new(key.span(), WANTED));
        }
        input.parse::<Token![=]>().map_err(wanted)?;
        let args: Expr = input.parse()?;
        input.parse::<Option<Token![,]>>()?;
        Ok(Self { class, args: Some(args) })
    }
}

const WANTED: &str = "write the Python class, like `#[wire_error(py = \"builtins.ValueError\")]`, and the arguments of \
                      the exception where they are not its text alone: `args = (self.code, &self.text)`";

fn class(class: LitStr) -> Result<LitStr> {
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
