//! Celery's task system, in Rust: define tasks, call them, run them, and share a queue with Python. Messages, results,
//! settings and the command line are Celery's. It runs without a server too: a queue can be a SQLite file.
//!
//! The [guide](https://github.com/apium-rs/apium/tree/main/docs/guide) explains it in short chapters, with tested code.
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
//! [`#[task]`](macro@task) leaves the function as it is and adds a type of the same name, with `delay` (a call),
//! `batch` (many calls), `s`, `p` and `si` (signatures), `map`, `starmap`, `chunks` and `NAME`. A parameter `&Ctx` is
//! the [context](task::Ctx) of the run, and a [`State<T>`](task::State) comes from the app. All other parameters are
//! arguments, which the caller gives.
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
//! let chain: Signature<(), i64> = add::s(2, 2) | add::p(4) | add::p(8);   // `p` lacks the first argument
//! let chord: Signature<(), i64> = group((0..10).map(|i| add::s(i, i))) | sum::p();
//! let (chain, chord) = (chain.send(&app).await?, chord.send(&app).await?);
//! app.drain().await;
//! assert_eq!(chain.get().await?, 16);
//! assert_eq!(chord.get().await?, 90);
//! # Ok(())
//! # }
//! ```
//!
//! Signatures whose types do not fit together do not compile:
//!
//! ```compile_fail
//! # use apium::prelude::*;
//! # #[task] fn add(x: i64, y: i64) -> i64 { x + y }
//! # #[task] fn sum(numbers: Vec<i64>) -> i64 { numbers.iter().sum() }
//! let wrong = add::s(2, 2) | sum::p();
//! // the output of the left task (`i64`) does not fit the first argument of the right task (`Vec<i64>`)
//! ```
//!
//! See [`canvas`] for more. [`extern_task!`] describes tasks of other programs, so that workflows can use them with
//! their types.
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
//! `proj worker -c 8` runs tasks, and `proj call proj.add --args '[2, 2]' --wait` sends a call. See [`cli`] for more.
//! The binary `apium` has the commands that need no code of tasks.
//!
//! # Where things are
//!
//! | module | what is in it |
//! |---|---|
//! | [`prelude`] | what most programs import: `use apium::prelude::*` |
//! | [`task`](mod@task) | the context of a run, its state, options, errors and retries; task classes |
//! | [`call`] | one call and its options, many at once, by name, eager; routes, layers, the publisher |
//! | [`canvas`] | signatures and workflows, with types and without |
//! | [`result`] | results of tasks and groups, states, progress |
//! | [`control`] | commands for workers, questions, revokes, paused queues; events, and the state of workers and tasks |
//! | [`worker`](mod@worker) | `app.worker()`, its handle, how it stops, layers and observers of runs (feature `worker`) |
//! | [`config`] | every setting; queues, routes, and how publishing is tried again |
//! | [`testing`] | `App::test()`: a memory broker and virtual time (feature `worker`) |
//! | [`cli`] | the command line of a program (feature `cli`) |
//! | [`message`] | messages and values as they travel, for serializers, compressions and layers of your own |
//! | [`driver`] | the traits that a driver implements, for authors of drivers |
//!
//! The app itself is [`App`]; its errors are [`Error`]. `{error}` says what was attempted and `{error:#}` also why it
//! failed, with every cause; [`with_causes`] shows any error so, in a log too.
//!
//! # Features
//!
//! The last column says how many crates a feature adds to the 73 of a program without features. Features share crates,
//! so together they add fewer.
//!
//! | feature | default | what it adds | crates |
//! |---|---|---|---|
//! | `sqlite` | yes | the embedded driver, `sqlite:///…`, with the SQLite of the system | 10 |
//! | `sqlite-bundled` | yes | `sqlite` with a SQLite that is compiled into the program: needs a C compiler, no library | 10 |
//! | `redis` | yes | the Redis driver, `redis://…`, shared with Celery | 14 |
//! | `redis-tls` | | `redis` and `rediss://…` | 25 |
//! | `amqp` | | the RabbitMQ driver, `amqp://…` and the result backend `rpc://`, shared with Celery | 24 |
//! | `amqp-tls` | | `amqp` and `amqps://…` | 97 |
//! | `worker` | with `cli` | running tasks, eager calls, the test kit | 5 |
//! | `cli` | yes | `worker`, [`cli::main`], the binary `apium` | 78 |
//! | `autodiscover` | yes | tasks and error types need not be named: the linker collects them (`inventory`) | 1 |
//! | `config-file` | yes | settings from `apium.toml` | 9 |
//! | `msgpack` | | this serializer | 3 |
//! | `yaml` | | this serializer | 2 |
//! | `compression` | | gzip, bzip2, lzma, brotli, zstd | 16 |
//! | `otel` | | the header `traceparent`: spans of OpenTelemetry go on from a call to its run | 9 |
//! | `conformance` | | the tests that every driver must pass, for authors of [`driver`]s | 0 |
//! | `full` | | the default features, `redis-tls`, `amqp-tls`, `msgpack`, `yaml` and `compression` | 209 |
//!
//! **A program that only calls tasks** needs none of the default features but its driver: `default-features = false,
//! features = ["redis"]` has 87 crates.
//!
//! **Without `autodiscover`** nothing is found at link time, so the app names what it uses:
//!
//! ```standalone_crate
//! use apium::prelude::*;
//!
//! #[task(name = "proj.add")]
//! async fn add(x: i64, y: i64) -> Result<i64, Overflow> {
//!     x.checked_add(y).ok_or(Overflow)
//! }
//!
//! #[wire_error(py = "builtins.OverflowError")]
//! #[derive(Debug)]
//! struct Overflow;
//! # impl std::fmt::Display for Overflow {
//! #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("too large") }
//! # }
//! # impl std::error::Error for Overflow {}
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let app = App::builder("proj").register::<add>().register_error::<Overflow>().build().await?;
//! # Ok(())
//! # }
//! ```
//!
//! `App::builder` is a function of the trait [`AppBuild`] there, which the [`prelude`] has, and `App::test` knows the
//! memory driver alone until [`driver`](testing::TestBuilder::driver) gives it others.
//!
//! **Without `config-file`** a program has its settings from code, flags and `APIUM_*`. A file that is named, and an
//! `apium.toml` where one is looked for, is an error that names the feature.

mod builtin_drivers;
pub mod call;
pub mod canvas;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod control;
pub mod driver;
pub mod message;
pub mod prelude;
pub mod result;
pub mod task;
#[cfg(feature = "worker")]
pub mod testing;
#[cfg(feature = "worker")]
pub mod worker;

/// [`App::builder`] builds an app, and [`App::test`](testing::AppTest::test) builds one for a test.
/// [`app.worker()`](worker::AppWorker::worker) runs its tasks, [`sig`](App::sig) calls a task by its name, and
/// [`result`](App::result) returns a result by its id. `test` and `worker` are methods of traits; the [`prelude`] has
/// these traits.
pub use apium_app::app::app::App;
pub use apium_app::builder::AppBuilder;
pub use apium_app::error::{Error, ErrorKind, Result};
#[doc(hidden)]
pub use apium_app::macro_support as __private;
pub use apium_macros::{extern_task, task, task_module, wire_error};
pub use apium_protocol::error::with_causes;
pub use builtin_drivers::AppBuild;
pub use prelude::BoxError;
