//! Running tasks: `app.worker()`, the handle of a running worker, how it stops, layers around a run, and
//! observers of it ([`WorkerObserver`]: Celery's signals).
//!
//! # Layers
//!
//! A [`WorkLayer`] is around runs: around those of an app, in every worker, or around those of one worker.
//!
//! ```
//! use apium::prelude::*;
//! use apium::worker::{Next, RunOutcome, WorkLayer};
//! use futures_util::future::BoxFuture;
//!
//! #[task(name = "worker.add")]
//! async fn add(x: i64, y: i64) -> TaskResult<i64> {
//!     Ok(x + y)
//! }
//!
//! /// Prints which tasks succeed.
//! struct Printed;
//!
//! impl WorkLayer for Printed {
//!     fn around<'a>(&'a self, ctx: &'a Ctx, next: Next<'a>) -> BoxFuture<'a, RunOutcome> {
//!         Box::pin(async move {
//!             let outcome = next.run().await;
//!             if matches!(outcome, RunOutcome::Success(_)) {
//!                 println!("{} succeeded", ctx.task_name());
//!             }
//!             outcome
//!         })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // In a program: App::builder("proj").work_layer(Printed), and the worker of the command line has it, too.
//! let app = App::test().with(|app| app.work_layer(Printed)).build().await?;
//! let sum = add::delay(1, 2).send(&app).await?;
//! app.drain().await;
//! assert_eq!(sum.get().await?, 3);
//! # Ok(())
//! # }
//! ```

pub use apium_transport::health::Health;
pub use apium_worker::builder::{AppWorker, WorkerBuilder};
pub use apium_worker::control::call::{AppControlCommands, ControlCall, ListedCommand, own_control_commands};
pub use apium_worker::handle::WorkerHandle;
pub use apium_worker::layer::{AppWorkLayers, Next, WorkLayer};
pub use apium_worker::observe::worker_observer::{
    AppWorkerObservers, HowRevoked, ObservedTask, ObservedWorker, RefusedMessage, WorkerObserver,
};
pub use apium_worker::outcome::RunOutcome;
pub use apium_worker::pool::kind::PoolKind;
pub use apium_worker::pool::process::child_program::ChildProgram;
pub use apium_worker::shutdown::kind::{StopCause, StopKind};
pub use apium_worker::shutdown::report::StopReport;
