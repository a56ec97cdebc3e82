//! `extern_task! { … }` describes tasks whose body is in another program, so that they are called with types.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, ExprLit, Ident, Lit, LitStr, Result, ReturnType, Token, Type, Visibility};
use syn::{parenthesized, token};

use crate::calls::{self, CallArgument, CallForm, Calls, wire_ident};
use crate::function::{self, is_ours, last_word, owned};
use crate::options::{self, Options};

pub(crate) fn extern_task(items: TokenStream) -> TokenStream {
    match syn::parse2::<Stubs>(items) {
        Ok(Stubs(stubs)) => stubs.iter().map(|stub| stub.expand().unwrap_or_else(Error::into_compile_error)).collect(),
        Err(error) => error.into_compile_error(),
    }
}

struct Stubs(Vec<Stub>);

/// The description of one task.
struct Stub {
    attributes: Vec<Attribute>,
    vis: Visibility,
    ident: Ident,
    parameters: Vec<Parameter>,
    output: ReturnType,
}

struct Parameter {
    name: Ident,
    ty: Type,
    default: Option<Expr>,
    /// Whether it comes after the `*`, so that it is sent as a keyword argument.
    keyword_only: bool,
}

impl Parse for Stubs {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut stubs = Vec::new();
        while !input.is_empty() {
            stubs.push(input.parse()?);
        }
        Ok(Self(stubs))
    }
}

impl Parse for Stub {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        if input.peek(Token![async]) {
            return Err(input.error("whether a task is `async` is decided where its body is: write `fn` alone"));
        }
        input.parse::<Token![fn]>()?;
        let ident = input.parse()?;
        if input.peek(Token![<]) {
            return Err(input.error("a task cannot be generic: its name on the wire means one function"));
        }
        let inner;
        parenthesized!(inner in input);
        let parameters = parameters(&inner)?;
        let output = input.parse()?;
        if input.peek(token::Brace) {
            return Err(input.error("the body of this task is in another program: write `;` here"));
        }
        input.parse::<Token![;]>()?;
        Ok(Self { attributes, vis, ident, parameters, output })
    }
}

fn parameters(input: ParseStream<'_>) -> Result<Vec<Parameter>> {
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut keyword_only = false;
    while !input.is_empty() {
        if input.peek(Token![*]) {
            let star = input.parse::<Token![*]>()?;
            if std::mem::replace(&mut keyword_only, true) {
                return Err(Error::new(star.span(), "`*` comes once: what comes after it is sent by keyword"));
            }
        } else {
            let parameter = parameter(input, keyword_only, &parameters)?;
            // As in Python, what comes after `*args` cannot be given by position.
            keyword_only |= is(&parameter.ty, "Args");
            parameters.push(parameter);
        }
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(parameters)
}

fn parameter(input: ParseStream<'_>, keyword_only: bool, before: &[Parameter]) -> Result<Parameter> {
    let wrong =
        |span: Span| Error::new(span, "write a parameter here: its name in the other program, `:`, and its type");
    if !input.peek(Ident::peek_any) || input.peek(Token![self]) {
        return Err(wrong(input.span()));
    }
    let name = input.call(Ident::parse_any)?;
    input.parse::<Token![:]>().map_err(|_| wrong(name.span()))?;
    let ty: Type = input.parse()?;
    owned(&ty)?;
    if is(&ty, "Ctx") || is(&ty, "State") {
        let text = "a caller does not give the context or the state: leave this parameter out";
        return Err(Error::new_spanned(&ty, text));
    }
    let default = match input.parse::<Option<Token![=]>>()? {
        Some(_) => Some(input.parse::<Expr>()?),
        None => None,
    };
    let optional_before = before.iter().any(|before| before.default.is_some() && !before.keyword_only);
    if optional_before && default.is_none() && !keyword_only && !is(&ty, "Kwargs") {
        let text = match is(&ty, "Args") {
            true => "further positional arguments cannot come after a parameter that may be left out",
            false => "a parameter without a default cannot come after one that has a default",
        };
        return Err(Error::new_spanned(&ty, text));
    }
    Ok(Parameter { name, ty, default, keyword_only })
}

/// Whether it is the type of Python's `*args` or `**kwargs`.
fn collects(ty: &Type) -> bool {
    is(ty, "Args") || is(ty, "Kwargs")
}

fn is(ty: &Type, name: &str) -> bool {
    last_word(ty).is_some_and(|word| word == name)
}

impl Parameter {
    fn argument(&self, index: usize) -> CallArgument {
        let Self { name, ty, default, keyword_only } = self;
        let wire = name.unraw().to_string();
        let bare = ty.to_token_stream();
        let optional = default.is_some() || collects(ty);
        let first = (!keyword_only && !collects(ty)).then(|| bare.clone());
        let (form, ty) = match () {
            () if is(ty, "Args") => (CallForm::VarArgs, bare),
            () if is(ty, "Kwargs") => (CallForm::VarKwargs, bare),
            () if default.is_some() => {
                (CallForm::Optional(wire.clone()), quote_spanned!(ty.span()=> ::apium::__private::Keyword<#bare>))
            }
            () if *keyword_only => (CallForm::Keyword(wire.clone()), bare),
            () => (CallForm::Positional, bare),
        };
        let (variable, codec) = (format_ident!("__arg{index}"), calls::codec(index));
        CallArgument { name: wire_ident(&wire), variable, ty, form, first, optional, codec }
    }

    /// A function that is never called. It checks that the default is a value of the type.
    fn checked_default(&self) -> Option<TokenStream> {
        let (default, ty) = (self.default.as_ref()?, &self.ty);
        let into = match default {
            Expr::Lit(ExprLit { lit: Lit::Str(_), .. }) => quote_spanned!(default.span()=> .into()),
            _ => quote!(),
        };
        Some(quote_spanned!(default.span()=> const _: fn() -> #ty = || #default #into;))
    }

    fn declared(&self) -> Option<TokenStream> {
        let name = self.name.unraw().to_string();
        let optional = self.default.is_some();
        (!collects(&self.ty)).then(|| calls::declared(&name, optional, self.keyword_only))
    }
}

impl Stub {
    fn expand(&self) -> Result<TokenStream> {
        let options = self.options()?;
        let (ident, vis) = (&self.ident, &self.vis);
        let others: Vec<&Attribute> = self.attributes.iter().filter(|attr| !is_ours(attr.path(), "task")).collect();
        let cfgs = others.iter().filter(|attr| attr.path().is_ident("cfg"));
        let definition = self.definition(&options);
        let arguments = self.parameters.iter().enumerate().map(|(index, parameter)| parameter.argument(index));
        let output = function::output(&self.output).tokens();
        let calls =
            Calls { ident, vis, output, arguments: arguments.collect(), constructor: format_ident!("of_extern") };
        let calls = calls.expand();
        let read = self.read();
        let codecs = self.parameters.iter().enumerate().filter(|(_, parameter)| !collects(&parameter.ty));
        let codecs = codecs.map(|(index, parameter)| calls::declared_codec(index, &parameter.ty));
        let defaults = self.parameters.iter().filter_map(Parameter::checked_default);
        let doc = format!("The task `{}`, whose body is in another program: how it is called.", ident.unraw());
        Ok(quote! {
            #(#others)*
            #[doc = #doc]
            #[allow(non_camel_case_types, clippy::allow_attributes)]
            #vis struct #ident {}

            #(#cfgs)*
            #[allow(clippy::allow_attributes, clippy::all)]
            const _: () = {
                #(#codecs)*
                #definition
                #calls
                #read
                #(#defaults)*
            };
        })
    }

    /// The implementation that reads the arguments of a call.
    fn read(&self) -> TokenStream {
        let mut index = 0_usize;
        let arguments = self.parameters.iter().enumerate().map(|(argument, parameter)| {
            let CallArgument { ty, form, codec, .. } = parameter.argument(argument);
            let at = index;
            index += usize::from(!collects(&parameter.ty));
            let value = match form {
                CallForm::VarArgs => quote!(__bound.rest()),
                CallForm::VarKwargs => quote!(__bound.keywords()),
                CallForm::Optional(_) => quote!(__bound.keyword(&#codec, #at)?),
                CallForm::Positional | CallForm::Keyword(_) => quote!(__bound.required(&#codec, #at)?),
            };
            (ty, value)
        });
        let (types, values): (Vec<TokenStream>, Vec<TokenStream>) = arguments.unzip();
        calls::read_arguments(&self.ident, types, index, &quote!(&__APIUM_DEFINITION.parameters), &values)
    }

    fn options(&self) -> Result<Options> {
        let mut tasks = self.attributes.iter().filter(|attr| is_ours(attr.path(), "task"));
        let unnamed = "give the task the name that it has in its own program: `#[task(name = \"ml.tasks.embed\")]`";
        let Some(attr) = tasks.next() else { return Err(Error::new(self.ident.span(), unnamed)) };
        if let Some(second) = tasks.next() {
            return Err(Error::new_spanned(second, "a task takes one `#[task(…)]`"));
        }
        let tokens = match &attr.meta {
            syn::Meta::List(list) => list.tokens.clone(),
            _ => TokenStream::new(),
        };
        let options = options::parse(tokens)?;
        if let Some(key) = options.keys.iter().find(|key| !options::of_callers().any(|option| *key == option)) {
            let allowed = options::of_callers().collect::<Vec<_>>().join(", ");
            let text = format!("`{key}` is set where the body of the task is; the options here are {allowed}");
            return Err(Error::new(key.span(), text));
        }
        match (&options.name, &options.namespace) {
            (None, None) => Err(Error::new_spanned(attr, unnamed)),
            _ => Ok(options),
        }
    }

    fn definition(&self, options: &Options) -> TokenStream {
        let function = self.ident.unraw().to_string();
        let name = match (&options.name, &options.namespace) {
            (Some(name), _) => name.clone(),
            (None, Some(namespace)) => LitStr::new(&format!("{}.{function}", namespace.value()), namespace.span()),
            (None, None) => LitStr::new(&function, self.ident.span()),
        };
        let assignments = &options.assignments;
        let named = self.parameters.iter().filter_map(Parameter::declared);
        let has = |word: &str| self.parameters.iter().any(|parameter| is(&parameter.ty, word));
        let (var_args, var_kwargs) = (has("Args"), has("Kwargs"));
        quote! {
            const __APIUM_TASK: &str = #name;
            static __APIUM_DEFINITION: ::apium::__private::TaskDef = ::apium::__private::TaskDef {
                name: __APIUM_TASK,
                aliases: &[],
                parameters: ::apium::__private::ParameterList {
                    function: #function,
                    named: &[#(#named),*],
                    var_args: #var_args,
                    var_kwargs: #var_kwargs,
                },
                options: || {
                    #[allow(unused_mut)]
                    let mut options = ::apium::__private::TaskOptions::NEW;
                    #(#assignments)*
                    options
                },
                hooks: ::apium::__private::Hooks::NONE,
                needs: &[],
                takes_ctx: false,
                run: ::apium::__private::TaskFn::Blocking(::apium::__private::extern_body),
                location: ::core::concat!(::core::file!(), ":", ::core::line!()),
            };
        }
    }
}
