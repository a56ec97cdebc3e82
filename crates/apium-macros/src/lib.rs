//! The attributes that make tasks out of functions. They are documented where users meet them: in the crate `apium`.

mod calls;
mod docs;
mod error_type;
mod expand;
mod extern_task;
mod function;
mod hint;
mod module;
mod options;
mod value;

use proc_macro::TokenStream;

use crate::docs::option_table;

/// Makes a task out of a function.
///
/// The function stays callable as it is. Beside it stands a type of the same name, so that one `use` brings both:
///
/// - `add(2, 2)` calls the function here and now, without a message;
/// - `add::delay(2, 2)` is a call that is sent when awaited, `add::batch([(1, 1), (2, 2)])` many calls at once,
///   `add::NAME` the registered name;
/// - `add::s(2, 2)` is a signature; `add::p(2)` one whose first argument comes from the task before it, as in
///   `add::s(2, 2) | add::p(2)`; `add::si(2, 2)` one that ignores the task before it;
/// - `add::starmap([(1, 1), (2, 2)])` runs it for each item in one message, `add::chunks(items, 10)` for ten in each,
///   and where one argument is enough there is `map`.
///
/// An `async fn` runs on tokio, a plain `fn` on the worker's own threads. It returns `TaskResult<T>`, any
/// `Result<T, E>` whose error is a `std::error::Error`, or a plain value.
///
/// # Parameters
/// - `&Ctx`, at any place, is the context of the run (Celery: `bind=True`).
/// - `State(x): State<T>` is a value that the app was given, `#[inject] x: T` anything that implements `FromContext`.
/// - Every other parameter travels: its name is the keyword argument on the wire. `#[default]` lets the caller leave it
///   out (`Default::default()` then), `#[default(expr)]` says what it is then.
/// - A parameter of type `Args` takes the further positional arguments (Python's `*args`), one of type `Kwargs` the
///   further keyword arguments (`**kwargs`).
///
/// # Options
/// They mean what Celery's mean. A flag stands alone or is `= true` or `= false`; a time is a number of seconds or a
/// text like `"90s"`, `"10m"`, `"1h30m"`, `"250ms"`; errors are types in parentheses, `autoretry_for(std::io::Error)`;
/// a hook is an async function. Where a call, `task_annotations` or a setting may give an option too, the call comes
/// first, then `task_annotations`, the attribute, `task_routes`, and the setting.
///
#[doc = apium_options::options!(attribute => option_table)]
///
/// Without `name`, the name is the module path with dots and the function's name, as in Python; it is the contract
/// between the caller and the worker, so name tasks that others call.
///
/// The attribute stands above all others of the function, as Celery's decorator does.
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::task(options.into(), item.into()).into()
}

/// Describes tasks whose body is in another program, in Python for one, so that they are called with types.
///
/// ```text
/// extern_task! {
///     #[task(name = "ml.tasks.embed", queue = "gpu")]
///     pub fn embed(text: String, *, model: String = "small") -> Vec<f32>;
/// }
///
/// let call = fetch::s(url) | embed::p("large".into()) | store::p();
/// ```
///
/// What stands behind `*` is sent as keyword arguments. A parameter with a default may be left out, and is not sent
/// then: it is given as `Keyword<T>`, into which every value turns by `.into()`, and which is left out as
/// `Keyword::default()`. The default here is for people to read; the other program knows its own. Workers of this
/// program do not run the task.
///
/// There are `s`, `p`, `si`, `delay`, `batch`, `map`, `starmap`, `chunks` and `NAME`, as for [`task`](macro@task). Of
/// the options there are those that a caller decides, and one of `name` and `namespace` must be given:
///
#[doc = apium_options::options!(stub => option_table)]
#[proc_macro]
pub fn extern_task(items: TokenStream) -> TokenStream {
    extern_task::extern_task(items.into()).into()
}

/// Gives the tasks of a module a prefix: `#[task_module(namespace = "proj.tasks")] mod tasks { … }` names its task
/// `add` `proj.tasks.add`. A task with a `name` of its own keeps it.
#[proc_macro_attribute]
pub fn task_module(options: TokenStream, item: TokenStream) -> TokenStream {
    module::task_module(options.into(), item.into()).into()
}

/// Names the Python class that stands for an error type on the wire: with `#[wire_error(py = "builtins.ValueError")]` a
/// caller in Python catches it by `except ValueError`.
#[proc_macro_attribute]
pub fn wire_error(options: TokenStream, item: TokenStream) -> TokenStream {
    error_type::wire_error(options.into(), item.into()).into()
}
