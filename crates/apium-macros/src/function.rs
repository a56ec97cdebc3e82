//! The function under `#[task]`: which of its parameters travel, and which functions cannot be tasks.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, FnArg, GenericArgument, Ident, ItemFn, Meta, Pat, PatType, Path, PathArguments, Result,
    ReturnType, Type,
};

/// The attributes of a parameter that `#[task]` reads.
pub(crate) const PARAMETER_ATTRIBUTES: [&str; 3] = ["default", "inject", "keyword"];

/// A function that can be a task.
pub(crate) struct Function {
    /// As written, without the [attributes](PARAMETER_ATTRIBUTES) of its parameters.
    pub(crate) item: ItemFn,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) output: Output,
}

/// A parameter, with the variable that holds its value in the expansion.
pub(crate) struct Parameter {
    pub(crate) variable: Ident,
    pub(crate) ty: Type,
    pub(crate) kind: Kind,
}

/// Where the value of a parameter comes from.
pub(crate) enum Kind {
    /// The context: a parameter of type `&Ctx` or `Ctx`.
    Context { by_reference: bool },
    /// The app: a parameter of type `State<T>`, or one with `#[inject]`.
    Injected,
    /// The caller, under this name. What comes after `Args`, or has `#[keyword]`, is given by its name alone.
    Wire { name: String, default: Option<Default>, keyword_only: bool },
    /// The caller, as further positional arguments: a parameter of type `Args`.
    VarArgs,
    /// The caller, as further keyword arguments: a parameter of type `Kwargs`.
    VarKwargs,
}

/// What a parameter is that the caller left out.
pub(crate) enum Default {
    /// `#[default]`
    OfType,
    /// `#[default(expr)]`
    Value(Expr),
}

/// What the function returns.
pub(crate) enum Output {
    /// A plain value; `None` for nothing.
    Plain(Option<Type>),
    /// `Result<T, E>` or `TaskResult<T>`, by the last word of the path.
    Result(Type),
}

impl Output {
    /// The type that the caller gets.
    pub(crate) fn tokens(&self) -> TokenStream {
        match self {
            Self::Plain(None) => quote!(()),
            Self::Plain(Some(ty)) | Self::Result(ty) => ty.to_token_stream(),
        }
    }
}

impl Function {
    pub(crate) fn parse(mut item: ItemFn) -> Result<Self> {
        check_signature(&item)?;
        let mut errors: Option<Error> = None;
        let mut parameters = Vec::new();
        for (index, arg) in item.sig.inputs.iter_mut().enumerate() {
            match parameter(arg, index) {
                Ok(mut parameter) => {
                    // As in Python, what comes after `*args` cannot be given by position.
                    let after_rest = parameters.iter().any(|before: &Parameter| matches!(before.kind, Kind::VarArgs));
                    if let Kind::Wire { keyword_only, .. } = &mut parameter.kind {
                        *keyword_only |= after_rest;
                    }
                    parameters.push(parameter);
                }
                Err(error) => match &mut errors {
                    Some(all) => all.combine(error),
                    None => errors = Some(error),
                },
            }
        }
        if let Some(errors) = errors {
            return Err(errors);
        }
        check_order(&parameters)?;
        let output = output(&item.sig.output);
        Ok(Self { item, parameters, output })
    }
}

fn check_signature(item: &ItemFn) -> Result<()> {
    let sig = &item.sig;
    if let Some(param) = sig.generics.params.first() {
        let text = "a task cannot be generic: its name on the wire means one function; write one task for each type";
        return Err(Error::new_spanned(param, text));
    }
    let refused: [(Option<Span>, &str); 4] = [
        (not_safe(&sig.safety), "a task cannot be `unsafe`: the worker calls it with any arguments that a message has"),
        (sig.constness.as_ref().map(Spanned::span), "a task cannot be `const`"),
        (sig.abi.as_ref().map(Spanned::span), "a task cannot have another ABI than Rust's"),
        (sig.variadic.as_ref().map(Spanned::span), "a task takes further arguments by a parameter of type `Args`"),
    ];
    match refused.into_iter().find_map(|(span, text)| span.map(|span| Error::new(span, text))) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn not_safe(safety: &syn::Safety) -> Option<Span> {
    (!matches!(safety, syn::Safety::Default)).then(|| safety.span())
}

fn parameter(arg: &mut FnArg, index: usize) -> Result<Parameter> {
    let arg = match arg {
        FnArg::Typed(arg) => arg,
        FnArg::Receiver(receiver) => {
            let text =
                "a task is a free function, without `self`; for a task with fields of its own write `impl Task for …`";
            return Err(Error::new_spanned(receiver, text));
        }
    };
    let attributes = take_attributes(&mut arg.attrs)?;
    let variable = format_ident!("__arg{index}");
    let kind = kind(arg, attributes)?;
    Ok(Parameter { variable, ty: (*arg.ty).clone(), kind })
}

fn kind(arg: &PatType, attributes: ParameterAttributes) -> Result<Kind> {
    let ParameterAttributes { inject, default, keyword } = attributes;
    let no_attributes = || match inject.or(default.as_ref().map(|(span, _)| *span)).or(keyword) {
        Some(span) => {
            Err(Error::new(span, "this attribute has no effect on a parameter that does not come from the caller"))
        }
        None => Ok(()),
    };
    if let Some((ty, by_reference)) = context(&arg.ty) {
        no_attributes()?;
        return match ty {
            Mutable::No => Ok(Kind::Context { by_reference }),
            Mutable::Yes => Err(Error::new_spanned(&arg.ty, "the context is shared: take it as `&Ctx`")),
        };
    }
    if last_word(&arg.ty).is_some_and(|word| word == "State") {
        no_attributes()?;
        return Ok(Kind::Injected);
    }
    owned(&arg.ty)?;
    if let Some(span) = inject {
        let refused = match (&default, keyword) {
            (Some(_), _) => "an injected parameter does not come from the caller: it cannot have a default",
            (None, Some(_)) => "an injected parameter does not come from the caller: it cannot be a keyword",
            (None, None) => return Ok(Kind::Injected),
        };
        return Err(Error::new(span, refused));
    }
    match last_word(&arg.ty) {
        Some(word) if word == "Args" => no_attributes().map(|()| Kind::VarArgs),
        Some(word) if word == "Kwargs" => no_attributes().map(|()| Kind::VarKwargs),
        _ => Ok(Kind::Wire {
            name: wire_name(&arg.pat)?,
            default: default.map(|(_, default)| default),
            keyword_only: keyword.is_some(),
        }),
    }
}

/// The name of a parameter, which is its keyword argument on the wire.
fn wire_name(pat: &Pat) -> Result<String> {
    use syn::ext::IdentExt;
    match pat {
        Pat::Ident(pat) if pat.subpat.is_none() && pat.by_ref.is_none() => Ok(pat.ident.unraw().to_string()),
        _ => {
            let text = "a task's parameter needs a name, since its name is the keyword argument on the wire; destructure it in the body";
            Err(Error::new_spanned(pat, text))
        }
    }
}

enum Mutable {
    Yes,
    No,
}

/// Whether a context is taken mutably and whether by reference, for `&Ctx`, `&mut Ctx` and `Ctx`; `None` for another
/// type.
fn context(ty: &Type) -> Option<(Mutable, bool)> {
    let is_ctx = |ty: &Type| last_word(ty).is_some_and(|word| word == "Ctx");
    match ty {
        Type::Reference(reference) if is_ctx(&reference.elem) => {
            Some((if reference.mutability.is_some() { Mutable::Yes } else { Mutable::No }, true))
        }
        _ if is_ctx(ty) => Some((Mutable::No, false)),
        _ => None,
    }
}

pub(crate) fn last_word(ty: &Type) -> Option<&Ident> {
    last_segment(ty).map(|segment| &segment.ident)
}

fn last_segment(ty: &Type) -> Option<&syn::PathSegment> {
    match ty {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last(),
        Type::Paren(inner) => last_segment(&inner.elem),
        Type::Group(inner) => last_segment(&inner.elem),
        _ => None,
    }
}

/// Refuses what cannot be read from a message: references, `impl Trait`.
pub(crate) fn owned(ty: &Type) -> Result<()> {
    match ty {
        Type::Reference(reference) => {
            let hint = match &*reference.elem {
                elem if last_word(elem).is_some_and(|word| word == "str") => "take a `String`",
                Type::Slice(_) => "take a `Vec`",
                _ => "take it by value",
            };
            Err(Error::new_spanned(
                ty,
                format!("a task owns its arguments, since they are read from a message: {hint}"),
            ))
        }
        Type::ImplTrait(_) => {
            Err(Error::new_spanned(ty, "a task cannot be generic: name the type that its argument is read as"))
        }
        _ => Ok(()),
    }
}

fn check_order(parameters: &[Parameter]) -> Result<()> {
    let mut collects: Option<&str> = None;
    let (mut optional, mut keywords) = (false, false);
    for Parameter { ty, kind, .. } in parameters {
        let refused = match kind {
            Kind::Wire { .. } if collects == Some("Kwargs") => {
                "`Kwargs` takes all further keyword arguments: put it after the other parameters"
            }
            Kind::Wire { keyword_only: true, .. } => {
                keywords = true;
                continue;
            }
            Kind::Wire { .. } if keywords => {
                "a parameter that is given by position cannot come after one with `#[keyword]`"
            }
            Kind::Wire { default: None, .. } if optional => {
                "a parameter without a default cannot come after one that has a default"
            }
            Kind::Wire { default, .. } => {
                optional |= default.is_some();
                continue;
            }
            Kind::VarArgs if collects.is_some() => "`Args` comes once, before `Kwargs`",
            Kind::VarArgs if keywords => {
                "`Args` comes before the parameters with `#[keyword]`; those after it need no attribute"
            }
            Kind::VarKwargs if collects == Some("Kwargs") => "`Kwargs` comes once",
            Kind::VarArgs => {
                collects = Some("Args");
                continue;
            }
            Kind::VarKwargs => {
                collects = Some("Kwargs");
                continue;
            }
            Kind::Context { .. } | Kind::Injected => continue,
        };
        return Err(Error::new_spanned(ty, refused));
    }
    Ok(())
}

/// What the attributes of a parameter say.
struct ParameterAttributes {
    inject: Option<Span>,
    default: Option<(Span, Default)>,
    keyword: Option<Span>,
}

/// Removes these attributes from a parameter, and returns what they say. Other attributes stay.
fn take_attributes(attrs: &mut Vec<Attribute>) -> Result<ParameterAttributes> {
    let mut taken = ParameterAttributes { inject: None, default: None, keyword: None };
    let mut failed = None;
    attrs.retain(|attr| match &attr.meta {
        meta if meta.path().is_ident("inject") => {
            taken.inject = Some(attr.span());
            false
        }
        Meta::Path(path) if path.is_ident("keyword") => {
            taken.keyword = Some(attr.span());
            false
        }
        meta if meta.path().is_ident("default") => {
            match default(meta) {
                Ok(default) => taken.default = Some((attr.span(), default)),
                Err(error) => failed = Some(error),
            }
            false
        }
        _ => true,
    });
    failed.map_or(Ok(taken), Err)
}

fn default(meta: &Meta) -> Result<Default> {
    match meta {
        Meta::Path(_) => Ok(Default::OfType),
        Meta::List(list) => list.parse_args().map(Default::Value),
        Meta::NameValue(pair) => Ok(Default::Value(pair.value.clone())),
    }
}

pub(crate) fn output(output: &ReturnType) -> Output {
    let ReturnType::Type(_, ty) = output else { return Output::Plain(None) };
    match last_segment(ty) {
        Some(segment) if segment.ident == "Result" || segment.ident == "TaskResult" => {
            Output::Result(first_type(&segment.arguments).unwrap_or_else(|| syn::parse_quote!(())))
        }
        _ => Output::Plain(Some((**ty).clone())),
    }
}

fn first_type(arguments: &PathArguments) -> Option<Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    })
}

/// Whether the path names this attribute of ours: `task` or `apium::task`.
pub(crate) fn is_ours(path: &Path, name: &str) -> bool {
    path.is_ident(name)
        || (path.segments.len() == 2
            && path.segments.first().is_some_and(|segment| segment.ident == "apium")
            && path.segments.last().is_some_and(|segment| segment.ident == name))
}
