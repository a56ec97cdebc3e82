//! What `#[task]` generates: the function as it was, a type of its name, a static definition.
//!
//! The expansion is small on purpose: it has no type for a task's arguments and no derive of serde. The function of the
//! definition reads one argument after the other, by index.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, Ident, ItemFn, LitStr, Result, Type};

use crate::calls::{self, CallArgument, CallForm, Calls, wire_ident};
use crate::function::{Default, Function, Kind, Output, PARAMETER_ATTRIBUTES, Parameter};
use crate::options::{self, Options};

/// Expands `#[task(options)] item`. After an error the function stays, so that one mistake makes one message.
pub(crate) fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    let function: ItemFn = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(_) => {
            let text = "write `#[task]` above a function; for a type of your own write `impl Task for …`";
            let error = Error::new(item.clone().into_iter().next().map_or_else(Span::call_site, |t| t.span()), text);
            let error = error.into_compile_error();
            return quote!(#error #item);
        }
    };
    let bare = without_our_attributes(function.clone());
    match expand(options, function) {
        Ok(expanded) => expanded,
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#error #bare)
        }
    }
}

fn without_our_attributes(mut function: ItemFn) -> ItemFn {
    for arg in &mut function.sig.inputs {
        if let syn::FnArg::Typed(arg) = arg {
            arg.attrs.retain(|attr| !PARAMETER_ATTRIBUTES.iter().any(|name| attr.path().is_ident(name)));
        }
    }
    function
}

fn expand(options: TokenStream, function: ItemFn) -> Result<TokenStream> {
    let options = options::parse(options)?;
    let function = Function::parse(function)?;
    let expansion = Expansion { options, function };
    let item = &expansion.function.item;
    let marker = expansion.marker();
    let hidden = expansion.hidden();
    Ok(quote! {
        #item
        #marker
        #hidden
    })
}

struct Expansion {
    options: Options,
    function: Function,
}

impl Expansion {
    fn ident(&self) -> &Ident {
        &self.function.item.sig.ident
    }

    /// The `#[cfg]`s of the function, which hold for all that is generated for it.
    fn cfgs(&self) -> Vec<&Attribute> {
        self.function.item.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect()
    }

    /// The parameters with names on the wire.
    fn wire(&self) -> impl Iterator<Item = &Parameter> {
        self.function.parameters.iter().filter(|parameter| matches!(parameter.kind, Kind::Wire { .. }))
    }

    /// The parameters that a caller gives, those of type `Args` and `Kwargs` too.
    fn arguments(&self) -> impl Iterator<Item = &Parameter> {
        let travels = |parameter: &&Parameter| !matches!(parameter.kind, Kind::Context { .. } | Kind::Injected);
        self.function.parameters.iter().filter(travels)
    }

    fn output(&self) -> TokenStream {
        self.function.output.tokens()
    }

    /// The type of the task. It has braces, so that the value namespace keeps the function alone.
    fn marker(&self) -> TokenStream {
        let (ident, vis, cfgs) = (self.ident(), &self.function.item.vis, self.cfgs());
        let doc = format!("The task of the function [`{ident}`](fn@{ident}): how it is called through a queue.");
        quote! {
            #(#cfgs)*
            #[doc = #doc]
            #[allow(non_camel_case_types, clippy::allow_attributes)]
            #vis struct #ident {}
        }
    }

    fn hidden(&self) -> TokenStream {
        let cfgs = self.cfgs();
        let (definition, run, calls, task_type) = (self.definition(), self.run(), self.calls(), self.task_type());
        let (read, codecs) = (self.read(), self.codecs());
        quote! {
            #(#cfgs)*
            #[allow(clippy::allow_attributes, clippy::all)]
            const _: () = {
                #(#codecs)*
                #definition
                #run
                #read
                #calls
                #task_type
                ::apium::__private::collect! { ::apium::__private::TaskEntry(&__APIUM_DEFINITION) }
            };
        }
    }

    /// The constants from which the task's name is computed, and the expression of the name.
    fn name(&self) -> (TokenStream, TokenStream) {
        let ident = self.ident().to_string();
        let ident = ident.strip_prefix("r#").unwrap_or(&ident);
        if let Some(name) = &self.options.name {
            return (quote!(), quote!(#name));
        }
        if let Some(namespace) = &self.options.namespace {
            let name = LitStr::new(&format!("{}.{ident}", namespace.value()), namespace.span());
            return (quote!(), quote!(#name));
        }
        let consts = quote! {
            const __APIUM_PATH: &str = ::core::concat!(::core::module_path!(), "::", #ident);
            const __APIUM_NAME: [u8; ::apium::__private::dotted_length(__APIUM_PATH)] =
                ::apium::__private::dotted(__APIUM_PATH);
        };
        (consts, quote!(::apium::__private::text(&__APIUM_NAME)))
    }

    fn definition(&self) -> TokenStream {
        let (name_consts, name) = self.name();
        let Options { aliases, assignments, .. } = &self.options;
        let parameters = self.parameter_list();
        let hooks = self.hooks();
        let needs = self.function.parameters.iter().filter(|p| matches!(p.kind, Kind::Injected)).map(|parameter| {
            let ty = &parameter.ty;
            quote_spanned!(ty.span()=> <#ty as ::apium::__private::FromContext>::NEED)
        });
        let takes_ctx = self.function.parameters.iter().any(|p| matches!(p.kind, Kind::Context { .. }));
        let kind = match self.is_async() {
            true => quote!(Async),
            false => quote!(Blocking),
        };
        let options = match assignments.is_empty() {
            true => quote!(|| ::apium::__private::TaskOptions::NEW),
            false => quote!(|| {
                let mut options = ::apium::__private::TaskOptions::NEW;
                #(#assignments)*
                options
            }),
        };
        quote! {
            #name_consts
            const __APIUM_TASK: &str = #name;
            static __APIUM_PARAMETERS: ::apium::__private::ParameterList = #parameters;
            static __APIUM_DEFINITION: ::apium::__private::TaskDef = ::apium::__private::TaskDef {
                name: __APIUM_TASK,
                aliases: &[#(#aliases),*],
                parameters: __APIUM_PARAMETERS,
                options: #options,
                hooks: #hooks,
                needs: &[#(#needs),*],
                takes_ctx: #takes_ctx,
                run: ::apium::__private::TaskFn::#kind(__apium_run),
                location: ::core::concat!(::core::file!(), ":", ::core::line!()),
            };
        }
    }

    fn parameter_list(&self) -> TokenStream {
        let function = self.ident().to_string();
        let named = self.wire().map(|parameter| match &parameter.kind {
            Kind::Wire { name, default, keyword_only } => calls::declared(name, default.is_some(), *keyword_only),
            _ => quote!(),
        });
        let has = |test: fn(&Kind) -> bool| self.function.parameters.iter().any(|parameter| test(&parameter.kind));
        let var_args = has(|kind| matches!(kind, Kind::VarArgs));
        let var_kwargs = has(|kind| matches!(kind, Kind::VarKwargs));
        quote! {
            ::apium::__private::ParameterList {
                function: #function,
                named: &[#(#named),*],
                var_args: #var_args,
                var_kwargs: #var_kwargs,
            }
        }
    }

    fn hooks(&self) -> TokenStream {
        if self.options.hooks.is_empty() {
            return quote!(::apium::__private::Hooks::NONE);
        }
        let hook = |name: &str| {
            let Some((hook, path)) = self.options.hooks.iter().find(|(hook, _)| hook == name) else {
                let hook = format_ident!("{name}");
                return quote!(#hook: ::core::option::Option::None);
            };
            if name == "on_replace" {
                return quote_spanned! {path.span()=>
                    on_replace: ::core::option::Option::Some(|ctx, what| {
                        ::std::boxed::Box::pin(async move {
                            let with = ::apium::__private::Signature::from_wire(&what)?;
                            ::apium::__private::IntoReplacement::into_replacement(#path(&ctx, with).await)
                        })
                    })
                };
            }
            let argument = match name {
                "before_start" => quote!(),
                "on_retry" => quote!(what.as_ref()),
                _ => quote!(&what),
            };
            let unused = (name == "before_start").then(|| quote!(let () = what;));
            quote_spanned! {path.span()=>
                #hook: ::core::option::Option::Some(|ctx, what| {
                    #unused
                    ::std::boxed::Box::pin(async move {
                        ::apium::__private::IntoHookResult::into_hook_result(#path(&ctx, #argument).await)
                    })
                })
            }
        };
        let fields = options::hooks().map(hook);
        quote!(::apium::__private::Hooks { #(#fields),* })
    }

    fn is_async(&self) -> bool {
        self.function.item.sig.asyncness.is_some()
    }

    /// The function of the definition: it reads the arguments, calls the task's function and encodes the result.
    fn run(&self) -> TokenStream {
        let ident = self.ident();
        let variables: Vec<&Ident> = self.arguments().map(|parameter| &parameter.variable).collect();
        let injected = self.function.parameters.iter().filter(|p| matches!(p.kind, Kind::Injected)).map(|parameter| {
            let Parameter { variable, ty, .. } = parameter;
            quote_spanned! {ty.span()=>
                let #variable = <#ty as ::apium::__private::FromContext>::from_context(&__ctx)?;
            }
        });
        let passed = self.function.parameters.iter().map(|parameter| match &parameter.kind {
            Kind::Context { by_reference: true } => quote!(&__ctx),
            Kind::Context { by_reference: false } => quote!(::core::clone::Clone::clone(&__ctx)),
            _ => parameter.variable.to_token_stream(),
        });
        let wait = self.is_async().then(|| quote!(.await));
        let fallible = matches!(self.function.output, Output::Result(_)).then(|| quote!(?));
        let span = self.function.item.sig.output.span();
        let call = quote_spanned!(span=> #ident(#(#passed),*) #wait #fallible);
        let body = quote! {
            let (#(#variables,)*) = <#ident as ::apium::__private::ReadArguments>::read(&__ctx)?;
            #(#injected)*
            let __value = #call;
        };
        // The span of the type alone: an error of a type that cannot be written points at it.
        let output = match &self.function.output {
            Output::Plain(Some(ty)) | Output::Result(ty) => ty.span(),
            Output::Plain(None) => span,
        };
        let encode = quote_spanned!(output=> ::apium::__private::encode(__value));
        match self.is_async() {
            true => quote! {
                fn __apium_run(
                    __ctx: ::apium::__private::Ctx,
                ) -> ::apium::__private::BoxFuture<'static, ::apium::__private::TaskResult<::apium::__private::Json>> {
                    ::std::boxed::Box::pin(async move {
                        #body
                        #encode
                    })
                }
            },
            false => quote! {
                fn __apium_run(
                    __ctx: ::apium::__private::Ctx,
                ) -> ::apium::__private::TaskResult<::apium::__private::Json> {
                    #body
                    #encode
                }
            },
        }
    }

    /// The constants that say how each argument is written and read.
    fn codecs(&self) -> impl Iterator<Item = TokenStream> {
        let arguments = self.arguments().enumerate();
        let wire = arguments.filter(|(_, parameter)| matches!(parameter.kind, Kind::Wire { .. }));
        wire.map(|(index, parameter)| calls::declared_codec(index, &parameter.ty))
    }

    /// The implementation that reads the arguments of a call.
    fn read(&self) -> TokenStream {
        let count = self.wire().count();
        let mut index = 0_usize;
        let mut values = Vec::new();
        for (argument, Parameter { ty, kind, .. }) in self.arguments().enumerate() {
            let (span, codec) = (ty.span(), calls::codec(argument));
            values.push(match kind {
                Kind::VarArgs => quote!(__bound.rest()),
                Kind::VarKwargs => quote!(__bound.keywords()),
                Kind::Wire { default, .. } => {
                    let at = index;
                    index += 1;
                    match default {
                        None => quote!(__bound.required(&#codec, #at)?),
                        Some(Default::OfType) => quote_spanned! {span=>
                            __bound.optional(&#codec, #at, <#ty as ::core::default::Default>::default)?
                        },
                        Some(Default::Value(value)) => quote_spanned! {span=>
                            __bound.optional(&#codec, #at, || #value)?
                        },
                    }
                }
                Kind::Context { .. } | Kind::Injected => continue,
            });
        }
        let ident = self.ident();
        let types = self.arguments().map(|parameter| parameter.ty.to_token_stream()).collect();
        calls::read_arguments(ident, types, count, &quote!(&__APIUM_PARAMETERS), &values)
    }

    /// `NAME`, `s`, `p`, `si`, `delay`, `batch`, `map`, `starmap`, `chunks`.
    fn calls(&self) -> TokenStream {
        let arguments = self.arguments().enumerate().map(|(index, Parameter { variable, ty, kind })| {
            let ty = ty.to_token_stream();
            let (name, form, first, optional) = match kind {
                Kind::Wire { name, default: Some(_), keyword_only: true } => {
                    (name.as_str(), CallForm::Optional(name.clone()), None, true)
                }
                Kind::Wire { name, default: None, keyword_only: true } => {
                    (name.as_str(), CallForm::Keyword(name.clone()), None, false)
                }
                Kind::Wire { name, default, .. } => {
                    (name.as_str(), CallForm::Positional, Some(ty.clone()), default.is_some())
                }
                Kind::VarArgs => ("args", CallForm::VarArgs, None, true),
                _ => ("kwargs", CallForm::VarKwargs, None, true),
            };
            let ty = match form {
                CallForm::Optional(_) => quote_spanned!(ty.span()=> ::apium::__private::Keyword<#ty>),
                _ => ty,
            };
            let codec = calls::codec(index);
            CallArgument { name: wire_ident(name), variable: variable.clone(), ty, form, first, optional, codec }
        });
        let calls = Calls {
            ident: self.ident(),
            vis: &self.function.item.vis,
            output: self.output(),
            arguments: arguments.collect(),
            constructor: format_ident!("of_def"),
        };
        calls.expand()
    }

    fn task_type(&self) -> TokenStream {
        let (ident, output) = (self.ident(), self.output());
        let types: Vec<&Type> = self.arguments().map(|parameter| &parameter.ty).collect();
        quote! {
            impl ::apium::__private::TaskType for #ident {
                type Output = #output;
                type Args = (#(#types,)*);

                fn def() -> &'static ::apium::__private::TaskDef {
                    &__APIUM_DEFINITION
                }
            }
        }
    }
}
