//! The functions by which a task is called: `s`, `delay` and the others of the type beside a task's function.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Ident, Type, Visibility};

/// A parameter of the task that its caller gives.
pub(crate) struct CallArgument {
    /// Its name in the functions.
    pub(crate) name: Ident,
    /// The variable that holds it, with a name that no parameter has.
    pub(crate) variable: Ident,
    /// Its type in the functions.
    pub(crate) ty: TokenStream,
    /// How it travels.
    pub(crate) form: CallForm,
    /// The type that the task before gives it, where it is a positional argument.
    pub(crate) first: Option<TokenStream>,
    /// Whether a call may leave it out.
    pub(crate) optional: bool,
    /// The constant that says how it is written and read; see [`codec`].
    pub(crate) codec: Ident,
}

/// How an argument travels.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum CallForm {
    /// As a positional argument.
    Positional,
    /// As a keyword argument of this name, always.
    Keyword(String),
    /// As a keyword argument of this name, unless it is left out.
    Optional(String),
    /// Further positional arguments, Python's `*args`.
    VarArgs,
    /// Further keyword arguments, Python's `**kwargs`.
    VarKwargs,
}

impl CallArgument {
    /// The call of `ArgumentWriter` that adds it, as `.argument(&CODEC, &x)`.
    fn write(&self) -> TokenStream {
        let Self { variable, codec, .. } = self;
        match &self.form {
            CallForm::Positional => quote!(.argument(&#codec, &#variable)),
            CallForm::Keyword(name) => quote!(.keyword(&#codec, #name, &#variable)),
            CallForm::Optional(name) => quote!(.optional_keyword(&#codec, #name, #variable)),
            CallForm::VarArgs => quote!(.rest(#variable)),
            CallForm::VarKwargs => quote!(.keywords(#variable)),
        }
    }
}

/// The constant that says how the argument `index` is written and read. It alone names the bounds of the type, so that
/// a type that cannot travel is one error.
pub(crate) fn codec(index: usize) -> Ident {
    format_ident!("__APIUM_ARGUMENT_{index}")
}

/// The declaration of that constant.
pub(crate) fn declared_codec(index: usize, ty: &Type) -> TokenStream {
    let name = codec(index);
    // The span of the type alone: an error points at it.
    let made = quote_spanned!(ty.span()=> ::apium::__private::argument_codec::<#ty>());
    quote!(const #name: ::apium::__private::ArgumentCodec<#ty> = #made;)
}

/// The expression of a parameter in the definition of a task.
pub(crate) fn declared(name: &str, optional: bool, keyword_only: bool) -> TokenStream {
    let by_keyword = keyword_only.then(|| quote!(.by_keyword()));
    match optional {
        true => quote!(::apium::__private::Parameter::optional(#name)#by_keyword),
        false => quote!(::apium::__private::Parameter::required(#name)#by_keyword),
    }
}

/// A Rust identifier for a name on the wire. A keyword of Rust becomes a raw identifier.
pub(crate) fn wire_ident(name: &str) -> Ident {
    syn::parse_str(name).unwrap_or_else(|_| format_ident!("r#{name}"))
}

/// `impl ReadArguments`, which reads the arguments of a call as a tuple. `values` are the expressions that read them
/// from `__bound`.
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

/// What the functions of a task are made of.
pub(crate) struct Calls<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) vis: &'a Visibility,
    pub(crate) output: TokenStream,
    pub(crate) arguments: Vec<CallArgument>,
    /// The constructor of `Signature` that makes one of the definition.
    pub(crate) constructor: Ident,
}

/// The parameters of one function, and the expression that makes the call's arguments of them.
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
        let (partial, maps, required) = (self.partial(&docs), self.maps(&docs), self.required(&docs));
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
                #required
            }
        }
    }

    /// `s_required`, `si_required`, `delay_required` and `p_required`, for a task with arguments that a call may leave
    /// out.
    fn required(&self, docs: &Docs) -> Option<TokenStream> {
        let Self { vis, output, constructor, .. } = self;
        let required = |argument: &&CallArgument| !argument.optional;
        if self.arguments.iter().all(|argument| !argument.optional) {
            return None;
        }
        let PassedArguments { names, types, variables, arguments } = passed(self.arguments.iter().filter(required));
        let Docs { s_required, si_required, delay_required, p_required, .. } = docs;
        let partial = self.first().map(|(first, others)| {
            let PassedArguments { names, types, variables, arguments } = passed(others.iter().filter(required));
            quote! {
                #[doc = #p_required]
                #vis fn p_required(#(#names: #types),*) -> ::apium::__private::Signature<#first, #output> {
                    let (#(#variables,)*) = (#(#names,)*);
                    ::apium::__private::Signature::<(), #output>::#constructor(&__APIUM_DEFINITION, #arguments).cast()
                }
            }
        });
        Some(quote! {
            #[doc = #s_required]
            #vis fn s_required(#(#names: #types),*) -> ::apium::__private::Signature<(), #output> {
                let (#(#variables,)*) = (#(#names,)*);
                ::apium::__private::Signature::#constructor(&__APIUM_DEFINITION, #arguments)
            }

            #[doc = #si_required]
            #vis fn si_required(
                #(#names: #types),*
            ) -> ::apium::__private::Signature<::apium::__private::Anything, #output> {
                Self::s_required(#(#names),*).into_immutable()
            }

            #[doc = #delay_required]
            #vis fn delay_required(#(#names: #types),*) -> ::apium::__private::Call<#output> {
                ::apium::__private::Call::of(Self::s_required(#(#names),*))
            }

            #partial
        })
    }

    /// The type of the first argument, which the task before can give, and the other arguments. Further positional
    /// arguments take anything.
    fn first(&self) -> Option<(TokenStream, &[CallArgument])> {
        match self.arguments.split_first()? {
            (CallArgument { first: Some(first), .. }, others) => Some((first.clone(), others)),
            (CallArgument { form: CallForm::VarArgs, .. }, _) => {
                Some((quote!(::apium::__private::Anything), &self.arguments))
            }
            _ => None,
        }
    }

    /// `p`. A task that takes nothing by position has none.
    fn partial(&self, docs: &Docs) -> Option<TokenStream> {
        let Self { vis, output, constructor, .. } = self;
        let (first, others) = self.first()?;
        let PassedArguments { names, types, variables, arguments } = passed(others.iter());
        let doc = &docs.p;
        Some(quote! {
            #[doc = #doc]
            #vis fn p(#(#names: #types),*) -> ::apium::__private::Signature<#first, #output> {
                let (#(#variables,)*) = (#(#names,)*);
                ::apium::__private::Signature::<(), #output>::#constructor(&__APIUM_DEFINITION, #arguments).cast()
            }
        })
    }

    /// `map` for a task that needs one argument, `starmap` and `chunks` for one that needs positional arguments only.
    fn maps(&self, docs: &Docs) -> Option<TokenStream> {
        let Self { vis, output, .. } = self;
        let (first, others) = self.first()?;
        let Docs { map, starmap, chunks, .. } = docs;
        let list = quote!(::apium::__private::Signature<::apium::__private::Anything, ::std::vec::Vec<#output>>);
        let one_is_enough = others.iter().all(|argument| argument.optional) && self.arguments[0].first.is_some();
        let codec = &self.arguments[0].codec;
        let map = one_is_enough.then(|| {
            quote! {
                #[doc = #map]
                #vis fn map(items: impl ::core::iter::IntoIterator<Item = #first>) -> #list {
                    ::apium::__private::map_typed(&__APIUM_DEFINITION, &#codec, items)
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

/// The docs of the functions.
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
    s_required: String,
    si_required: String,
    delay_required: String,
    p_required: String,
}

impl Docs {
    fn of(ident: &str) -> Self {
        Self {
            name: format!("The registered name of the task `{ident}`."),
            s: format!("A signature of `{ident}` with these arguments: a call that is sent, grouped or linked later."),
            p: format!(
                "A signature of `{ident}` with these arguments after the first, which the task before it gives: \
                 `before | {ident}::p(…)`."
            ),
            si: format!("A signature of `{ident}` with these arguments that ignores what the task before it returns."),
            delay: format!("A call of `{ident}` with these arguments. Its methods give options; awaiting it sends it."),
            batch: format!("Many calls of `{ident}` that are published together. Each item is a tuple of arguments."),
            map: format!("One message that runs `{ident}` for each item, one after the other."),
            starmap: format!(
                "One message that runs `{ident}` for each item, a tuple of arguments, one after the other."
            ),
            chunks: format!("A group of messages that each run `{ident}` for `size` items, one after the other."),
            s_required: format!(
                "A signature of `{ident}` with the required arguments alone. The others are not sent, and take their \
                 defaults; `kwarg` adds one by its name."
            ),
            si_required: "As [`s_required`](Self::s_required), for a signature that ignores the result before it."
                .to_owned(),
            delay_required: format!("A call of `{ident}` with the required arguments alone."),
            p_required: format!(
                "A signature of `{ident}` with the required arguments after the first, which the task before it gives."
            ),
        }
    }
}
