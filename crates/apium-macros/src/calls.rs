//! How a task is called: the functions of the type beside it.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Ident, Visibility};

/// A parameter that the caller gives.
pub(crate) struct CallArgument {
    /// Its name in the functions.
    pub(crate) name: Ident,
    /// A name that is like no other.
    pub(crate) variable: Ident,
    /// The type of the parameter of the functions.
    pub(crate) ty: TokenStream,
    pub(crate) form: CallForm,
    /// What it takes from the task before, where that can give it by position.
    pub(crate) first: Option<TokenStream>,
    /// Whether a call may leave it out.
    pub(crate) optional: bool,
}

/// How it travels.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum CallForm {
    /// As a positional argument.
    Positional,
    /// As a keyword argument of this name, always.
    Keyword(String),
    /// As a keyword argument of this name, if it is given.
    Optional(String),
    /// Further positional arguments.
    VarArgs,
    /// Further keyword arguments.
    Keywords,
}

impl CallArgument {
    /// `.arg(&x)` and its like, of the writer of arguments.
    fn write(&self) -> TokenStream {
        let variable = &self.variable;
        match &self.form {
            CallForm::Positional => quote_spanned!(self.ty.span()=> .arg(&#variable)),
            CallForm::Keyword(name) => quote_spanned!(self.ty.span()=> .keyword(#name, &#variable)),
            CallForm::Optional(name) => quote_spanned!(self.ty.span()=> .optional_keyword(#name, #variable)),
            CallForm::VarArgs => quote!(.rest(#variable)),
            CallForm::Keywords => quote!(.keywords(#variable)),
        }
    }
}

/// `syn`'s own words and Rust's keywords become raw names.
pub(crate) fn wire_ident(name: &str) -> Ident {
    syn::parse_str(name).unwrap_or_else(|_| format_ident!("r#{name}"))
}

/// `impl ReadArguments`: the arguments of a call, read as a tuple of what a caller gives. `values` read them out of
/// `__bound`.
pub(crate) fn read_arguments(
    ident: &Ident,
    types: Vec<TokenStream>,
    count: usize,
    parameters: &TokenStream,
    values: &[TokenStream],
) -> TokenStream {
    quote! {
        impl ::apium::__private::ReadArguments for #ident {
            const NAME: &'static str = __APIUM_TASK;
            type Args = (#(#types,)*);

            fn read(__ctx: &::apium::__private::Ctx) -> ::apium::__private::TaskResult<Self::Args> {
                let __bound = ::apium::__private::Bound::<'_, #count>::of(#parameters, __ctx)?;
                ::core::result::Result::Ok((#(#values,)*))
            }
        }
    }
}

/// What the functions are made of.
pub(crate) struct Calls<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) vis: &'a Visibility,
    pub(crate) output: TokenStream,
    pub(crate) arguments: Vec<CallArgument>,
    /// What of `Signature` makes one of the definition.
    pub(crate) constructor: Ident,
}

/// Parameters of one of the functions, and what they become.
struct PassedArguments {
    names: Vec<Ident>,
    types: Vec<TokenStream>,
    variables: Vec<Ident>,
    arguments: TokenStream,
}

fn passed<'a>(arguments: impl Iterator<Item = &'a CallArgument>) -> PassedArguments {
    let arguments: Vec<&CallArgument> = arguments.collect();
    let count = arguments.iter().filter(|argument| argument.form == CallForm::Positional).count();
    let writes = arguments.iter().map(|argument| argument.write());
    PassedArguments {
        names: arguments.iter().map(|argument| argument.name.clone()).collect(),
        types: arguments.iter().map(|argument| argument.ty.clone()).collect(),
        variables: arguments.iter().map(|argument| argument.variable.clone()).collect(),
        arguments: quote!(::apium::__private::ArgumentWriter::new(#count)#(#writes)*.finish()),
    }
}

impl Calls<'_> {
    pub(crate) fn expand(&self) -> TokenStream {
        let Self { ident, vis, output, constructor, .. } = self;
        let PassedArguments { names, types, variables, arguments } = passed(self.arguments.iter());
        let docs = Docs::of(&ident.to_string());
        let Docs { name, s, si, delay, batch, .. } = &docs;
        let (partial, maps) = (self.partial(&docs), self.maps(&docs));
        quote! {
            #[allow(dead_code, clippy::too_many_arguments)]
            impl #ident {
                #[doc = #name]
                #vis const NAME: &'static str = __APIUM_TASK;

                #[doc = #s]
                #vis fn s(#(#names: #types),*) -> ::apium::__private::Signature<(), #output> {
                    let (#(#variables,)*) = (#(#names,)*);
                    ::apium::__private::Signature::#constructor(&__APIUM_DEFINITION, #arguments)
                }

                #[doc = #si]
                #vis fn si(
                    #(#names: #types),*
                ) -> ::apium::__private::Signature<::apium::__private::Anything, #output> {
                    Self::s(#(#names),*).into_immutable()
                }

                #[doc = #delay]
                #vis fn delay(#(#names: #types),*) -> ::apium::__private::Call<#output> {
                    ::apium::__private::Call::of(Self::s(#(#names),*))
                }

                #[doc = #batch]
                #vis fn batch(
                    calls: impl ::core::iter::IntoIterator<Item = (#(#types,)*)>,
                ) -> ::apium::__private::Batch<#output> {
                    ::apium::__private::Batch::of(
                        ::core::iter::IntoIterator::into_iter(calls).map(|(#(#variables,)*)| Self::s(#(#variables),*)),
                    )
                }

                #partial
                #maps
            }
        }
    }

    /// The parameter that the task before can give, and those that are left. Further positional arguments take
    /// anything.
    fn first(&self) -> Option<(TokenStream, &[CallArgument])> {
        match self.arguments.split_first()? {
            (CallArgument { first: Some(first), .. }, rest) => Some((first.clone(), rest)),
            (CallArgument { form: CallForm::VarArgs, .. }, _) => {
                Some((quote!(::apium::__private::Anything), &self.arguments))
            }
            _ => None,
        }
    }

    /// `p`; a task that takes nothing by position has none.
    fn partial(&self, docs: &Docs) -> Option<TokenStream> {
        let Self { vis, output, constructor, .. } = self;
        let (first, rest) = self.first()?;
        let PassedArguments { names, types, variables, arguments } = passed(rest.iter());
        let doc = &docs.p;
        Some(quote! {
            #[doc = #doc]
            #vis fn p(#(#names: #types),*) -> ::apium::__private::Signature<#first, #output> {
                let (#(#variables,)*) = (#(#names,)*);
                ::apium::__private::Signature::<(), #output>::#constructor(&__APIUM_DEFINITION, #arguments).cast()
            }
        })
    }

    /// `map` where one argument is enough, `starmap` and `chunks` where arguments by position are.
    fn maps(&self, docs: &Docs) -> Option<TokenStream> {
        let Self { vis, output, .. } = self;
        let (first, rest) = self.first()?;
        let Docs { map, starmap, chunks, .. } = docs;
        let list = quote!(::apium::__private::Signature<::apium::__private::Anything, ::std::vec::Vec<#output>>);
        let one_is_enough = rest.iter().all(|argument| argument.optional) && self.arguments[0].first.is_some();
        let map = one_is_enough.then(|| {
            quote! {
                #[doc = #map]
                #vis fn map(items: impl ::core::iter::IntoIterator<Item = #first>) -> #list {
                    ::apium::__private::map(&__APIUM_DEFINITION, items)
                }
            }
        });
        let by_position = |argument: &&CallArgument| matches!(argument.form, CallForm::Positional | CallForm::VarArgs);
        let PassedArguments { types, variables, arguments, .. } = passed(self.arguments.iter().filter(by_position));
        if types.is_empty() || self.arguments.iter().any(|argument| !by_position(&argument) && !argument.optional) {
            return map;
        }
        Some(quote! {
            #map

            #[doc = #starmap]
            #vis fn starmap(items: impl ::core::iter::IntoIterator<Item = (#(#types,)*)>) -> #list {
                ::apium::__private::starmap(
                    &__APIUM_DEFINITION,
                    ::core::iter::IntoIterator::into_iter(items).map(|(#(#variables,)*)| #arguments),
                )
            }

            #[doc = #chunks]
            #vis fn chunks(
                items: impl ::core::iter::IntoIterator<Item = (#(#types,)*)>,
                size: usize,
            ) -> ::apium::__private::Group<::apium::__private::Anything, ::std::vec::Vec<#output>> {
                ::apium::__private::chunks(
                    &__APIUM_DEFINITION,
                    ::core::iter::IntoIterator::into_iter(items).map(|(#(#variables,)*)| #arguments),
                    size,
                )
            }
        })
    }
}

/// The texts of the generated items' docs.
struct Docs {
    name: String,
    s: String,
    p: String,
    si: String,
    delay: String,
    batch: String,
    map: String,
    starmap: String,
    chunks: String,
}

impl Docs {
    fn of(ident: &str) -> Self {
        Self {
            name: format!("The registered name of the task `{ident}`."),
            s: format!("A signature of `{ident}` with these arguments: a call to be sent, grouped or linked later."),
            p: format!(
                "A signature of `{ident}` with these arguments behind the first, which the task before it gives: \
                 `before | {ident}::p(…)`."
            ),
            si: format!("A signature of `{ident}` with these arguments that ignores what the task before it returns."),
            delay: format!("A call of `{ident}` with these arguments. Options are chained; awaiting it sends it."),
            batch: format!("Many calls of `{ident}`, published together; each item is a tuple of arguments."),
            map: format!("One message that runs `{ident}` for each item, one after the other."),
            starmap: format!(
                "One message that runs `{ident}` for each item, a tuple of arguments, one after the other."
            ),
            chunks: format!("A group of messages that each run `{ident}` for `size` items, one after the other."),
        }
    }
}
