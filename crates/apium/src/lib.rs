//! Celery's task system, in Rust: define tasks, call them, run them, and share a queue with Python. Messages, results, settings and
//! command line are Celery's; no server is needed to begin, since a queue can be one SQLite file.
//!
//! # A task, and a call
//!
//! ```
//! use apium::prelude::*;
//!
//! #[task(name = "proj.add")]
//! async fn add(x: i64, y: i64) -> TaskResult<i64> {
//!     Ok(x + y)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let app = App::test().build().await?;           // memory broker, virtual time
//! let sum = add::delay(2, 2).send(&app).await?;   // a message in the queue
//! app.drain().await;                             // a worker's work
//! assert_eq!(sum.get().await?, 4);
//! assert_eq!(add(2, 2).await?, 4);                // still a function
//! # Ok(())
//! # }
//! ```
//!
//! [`#[task]`](macro@task) leaves the function as it is and puts a type of the same name beside it, with `delay` (a call), `batch`
//! (many calls), `s`, `p` and `si` (signatures), `starmap` and its like, and `NAME`. A parameter `&Ctx` is the [context](context::Ctx) of the run, [`State<T>`](extract::State)
//! is given by the app, everything else travels.
//!
//! # Workflows
//!
//! ```
//! use apium::prelude::*;
//!
//! #[task(name = "flow.add")]
//! async fn add(x: i64, y: i64) -> TaskResult<i64> {
//!     Ok(x + y)
//! }
//!
//! #[task(name = "flow.sum")]
//! fn sum(numbers: Vec<i64>) -> i64 {
//!     numbers.iter().sum()
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let app = App::test().build().await?;
//! let chain: Signature<(), i64> = add::s(2, 2) | add::p(4) | add::p(8);   // `p`: the first argument comes from the left
//! let chord: Signature<(), i64> = group((0..10).map(|i| add::s(i, i))) | sum::p();
//! let (chain, chord) = (chain.send(&app).await?, chord.send(&app).await?);
//! app.drain().await;
//! assert_eq!(chain.get().await?, 16);
//! assert_eq!(chord.get().await?, 90);
//! # Ok(())
//! # }
//! ```
//!
//! What does not fit together does not compile:
//!
//! ```compile_fail
//! # use apium::prelude::*;
//! # #[task] fn add(x: i64, y: i64) -> i64 { x + y }
//! # #[task] fn sum(numbers: Vec<i64>) -> i64 { numbers.iter().sum() }
//! let wrong = add::s(2, 2) | sum::p();
//! // the output of the left task (`i64`) does not fit the first argument of the right task (`Vec<i64>`)
//! ```
//!
//! [`signature`], [`group`], [`join`], [`map`] and [`chain`] say more. [`extern_task!`] describes tasks of other programs, so that they
//! take part with their types.
//!
//! # A program with a worker
//!
//! ```no_run
//! use apium::prelude::*;
//!
//! async fn app(settings: Settings) -> Result<App, BoxError> {
//!     Ok(App::builder("proj")
//!         .config(settings)                       // apium.toml, APIUM_*, options: Celery's names
//!         .broker("sqlite:///var/lib/proj/queue.db")
//!         .backend("sqlite:///var/lib/proj/queue.db")
//!         .build()
//!         .await?)
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     apium::cli::main(app)                       // worker | call | result | purge | queues | dead | …
//! }
//! ```
//!
//! `proj worker -c 8` runs tasks, `proj call proj.add --args '[2, 2]' --wait` sends one. [`cli`] says more; the binary `apium` has
//! everything that needs no task code.
//!
//! # Where things are
//!
//! - [`prelude`] has what most programs use; `use apium::prelude::*`.
//! - Calling: [`call`] (options), [`signature`], [`fits`] (what stands behind what), [`group`], [`join`], [`chain`], [`map`],
//!   [`result`], [`group_result`]; [`canvas`] is the same without types.
//! - A run: [`context`], [`request`], [`task_error`], [`failure`], [`inject`], [`task_impl`] (task classes).
//! - The app: [`app`], [`builder`], [`config`] (every setting), [`routing`].
//! - Running: `worker` and `local`, with the feature `worker`; [`testing`] the same in virtual time.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `sqlite` | yes | the embedded driver, `sqlite:///…` |
//! | `redis` | yes | the Redis driver, `redis://…`, shared with Celery |
//! | `redis-tls` | yes | `rediss://…` |
//! | `worker` | yes | running tasks, eager calls, the test kit |
//! | `cli` | yes | [`cli::main`], the binary `apium` |
//! | `autodiscover` | yes | `#[task]` functions are registered without being named |
//! | `msgpack`, `yaml` | yes | these serializers |
//! | `compression` | yes | gzip, bzip2, lzma, brotli, zstd |
//!
//! A lean producer takes `default-features = false` and its driver.

mod entry;
pub mod prelude;
#[cfg(doctest)]
mod readme;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "worker")]
pub mod testing;

pub use apium_app::app::app;
pub use apium_app::call::{batch, by_name as named, call, class_calls};
pub use apium_app::context::{context, current, extract as inject, limit_signal as limits, request};
#[doc(hidden)]
pub use apium_app::macro_support as __private;
pub use apium_app::options::{call_options, task_options as options};
pub use apium_app::publish::{layer as middleware, producer, publisher, router as routing};
pub use apium_app::result::{async_result as result, collect, get, graph, group_result, progress, result_set};
pub use apium_app::retry::builder as retry_builder;
pub use apium_app::signature::{chain, fits, group, join, map, signature};
pub use apium_app::task::{arguments, class as task_impl, definition as task, registry};
pub use apium_app::{builder, canvas, config, error, failure, task_error};
pub use apium_macros::{extern_task, task, task_module, wire_error};
pub use apium_protocol as protocol;
#[cfg(feature = "redis")]
pub use apium_redis as redis;
#[cfg(feature = "sqlite")]
pub use apium_sqlite as sqlite;
pub use apium_transport as transport;
#[cfg(feature = "worker")]
pub use apium_worker as worker;
pub use entry::AppEntry;
