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
//! [`#[task]`](macro@task) leaves the function as it is and puts a type of the same name beside it, with `s` (a signature), `delay`
//! (a call), `batch` (many calls) and `NAME`. A parameter `&Ctx` is the [context](context::Ctx) of the run, [`State<T>`](inject::State)
//! is given by the app, everything else travels.
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
//! - Calling: [`call`] (options), [`signature`], [`group`], [`result`], [`group_result`].
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

#[doc(hidden)]
pub use apium_app::expansion as __private;
pub use apium_app::{
    app, arguments, batch, builder, call, call_options, canvas, class_calls, config, context, current, error, failure,
    get, group, group_result, inject, limits, middleware, options, producer, publisher, registry, request, result,
    retry_builder, routing, signature, task, task_error, task_impl,
};
pub use apium_macros::{task, task_module, wire_error};
pub use apium_protocol as protocol;
#[cfg(feature = "redis")]
pub use apium_redis as redis;
#[cfg(feature = "sqlite")]
pub use apium_sqlite as sqlite;
pub use apium_transport as transport;
#[cfg(feature = "worker")]
pub use apium_worker as worker;
pub use entry::AppEntry;
