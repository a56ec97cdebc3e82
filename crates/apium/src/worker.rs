//! Running tasks: `app.worker()`, the handle of a running worker, how it stops, and layers around a run.

pub use apium_transport::health::Health;
pub use apium_worker::builder::{AppWorker, WorkerBuilder};
pub use apium_worker::handle::WorkerHandle;
pub use apium_worker::layer::{Next, WorkLayer};
pub use apium_worker::outcome::RunOutcome;
pub use apium_worker::pool::kind::PoolKind;
pub use apium_worker::shutdown::kind::{StopCause, StopKind};
pub use apium_worker::shutdown::report::StopReport;
