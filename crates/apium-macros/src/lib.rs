//! The attributes that make tasks of functions. Their docs are shown in the crate `apium`, where users meet them.

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

/// Makes a task of a function.
///
/// The function stays as it is and can be called. Beside it there is a type of the same name, so that one `use` brings
/// both:
///
/// - `add(2, 2)` calls the function directly, without a message;
/// - `add::delay(2, 2)` is a call that is sent when it is awaited, `add::batch([(1, 1), (2, 2)])` is many calls at
///   once, and `add::NAME` is the registered name;
/// - `add::s(2, 2)` is a signature; `add::p(2)` is one whose first argument comes from the task before it, as in
///   `add::s(2, 2) | add::p(2)`; `add::si(2, 2)` is one that ignores the result of the task before it;
/// - where some arguments may be left out, `s_required`, `p_required`, `si_required` and `delay_required` take the
///   others alone: with a third parameter `#[default] z`, `add::s_required(1, 2)` sends two arguments, as `add.s(1, 2)`
///   does in Python, and `.kwarg("z", 3)` adds one by its name;
/// - `add::starmap([(1, 1), (2, 2)])` runs it for each item in one message, `add::chunks(items, 10)` for ten items in
///   each message; a task that needs one argument has `map` too.
///
/// An `async fn` runs on tokio, a plain `fn` on the worker's own threads. It returns `TaskResult<T>`, any
/// `Result<T, E>` whose error is a `std::error::Error`, or a plain value.
///
/// # Parameters
/// - `&Ctx`, at any position, is the context of the run (Celery: `bind=True`).
/// - `State(x): State<T>` is a value that was added to the app, `#[inject] x: T` anything that implements
///   `FromContext`.
/// - Every other parameter comes from the caller. Its name is the keyword argument on the wire. With `#[default]` the
///   caller may leave it out, and it is `Default::default()` then; `#[default(expr)]` gives another value.
/// - A parameter with `#[keyword]` is given by its name alone, as what comes after `*` in Python. In `s` and the others
///   it keeps its place; one that has a default too is a `Keyword<T>` there, and `Keyword::default()` leaves it out.
/// - A parameter of type `Args` takes the further positional arguments (Python's `*args`), one of type `Kwargs` the
///   further keyword arguments (`**kwargs`). What comes after `Args` is given by its name alone.
///
/// # Options
/// They mean what Celery's mean. A flag stands alone or is `= true` or `= false`; a time is a number of seconds or a
/// text like `"90s"`, `"10m"`, `"1h30m"`, `"250ms"`; errors are types in parentheses, `autoretry_for(std::io::Error)`;
/// a hook is an async function. Where a call, `task_annotations` or a setting may give an option too, the call comes
/// first, then `task_annotations`, the attribute, `task_routes`, and the setting.
///
#[doc = apium_options::options!(attribute => option_table)]
///
/// With the feature `autodiscover` of `apium`, every app registers the task. Without it, `.register::<add>()` does.
///
/// Without `name`, the name is the module path with dots and the function's name, as in Python. Callers and workers
/// must agree on it, so give a `name` to tasks that other programs call.
///
/// Write the attribute above all others of the function, as Celery's decorator.
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::task(options.into(), item.into()).into()
}

/// Describes tasks whose body is in another program, for example in Python, so that calls of them have types.
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
/// What comes after `*` is sent as keyword arguments. A parameter with a default may be left out, and is not sent then.
/// Its type in the functions is `Keyword<T>`: every value turns into it by `.into()`, and `Keyword::default()` leaves
/// it out. The default is there for the reader only, since the other program has its own. Workers of this program do
/// not run the task.
///
/// There are `s`, `p`, `si`, `delay`, `batch`, `map`, `starmap`, `chunks` and `NAME`, as for [`task`](macro@task). The
/// options are those that a caller decides. `name` or `namespace` is required:
///
#[doc = apium_options::options!(stub => option_table)]
#[proc_macro]
pub fn extern_task(items: TokenStream) -> TokenStream {
    extern_task::extern_task(items.into()).into()
}

/// Gives the tasks of a module a prefix. With `#[task_module(namespace = "proj.tasks")] mod tasks { … }` its task `add`
/// has the name `proj.tasks.add`. A task with a `name` keeps that.
#[proc_macro_attribute]
pub fn task_module(options: TokenStream, item: TokenStream) -> TokenStream {
    module::task_module(options.into(), item.into()).into()
}

/// Names the Python class of an error type: with `#[wire_error(py = "builtins.ValueError")]` a caller in Python catches
/// the error by `except ValueError`. The exception has the error's text as its one argument.
///
/// Other arguments are an expression that is written as a list, such as a tuple, an array or a `Vec`. It may use
/// `self`: `#[wire_error(py = "shop.errors.OutOfStock", args = (&self.article, self.left))]`. `args = ()` is none.
///
/// A program without the feature `autodiscover` of `apium` names the type once: `.register_error::<OutOfStock>()`.
#[proc_macro_attribute]
pub fn wire_error(options: TokenStream, item: TokenStream) -> TokenStream {
    error_type::wire_error(options.into(), item.into()).into()
}
