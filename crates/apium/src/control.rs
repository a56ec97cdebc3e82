//! Remote control and events. Commands change something in workers, questions ask them, and events tell what happens.
//! Workers of Celery obey, answer and tell as those of Apium do.
//!
//! ```
//! use std::time::Duration;
//!
//! use apium::prelude::*;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let app = App::builder("proj").broker("memory://").build().await?;
//! app.control().revoke("d7b67140").terminate().send().await?;    // also for workers that start later
//! app.control().rate_limit("proj.add", "100/m").send().await?;
//!
//! let stats = app.inspect().timeout(Duration::from_millis(10)).stats().replies().await?;
//! for (node, stats) in stats.answers() {
//!     println!("{node} has accepted {} tasks", stats.accepted());
//! }
//! assert!(stats.is_empty());                                     // no worker runs here
//! # Ok(())
//! # }
//! ```
//!
//! Say first whom a command is for ([`destination`](Control::destination), [`pattern`](Control::pattern)), then the
//! command. [`send`](RemoteCommand::send) waits for no reply, [`replies`](RemoteCommand::replies) does. A worker that
//! refuses is an error of its [`Reply`] alone.
//!
//! # Events
//!
//! [`App::events`](crate::App::events) receives what happens to workers and tasks, and [`FleetState`] makes their state
//! of it:
//!
//! ```no_run
//! use apium::control::FleetState;
//! use apium::prelude::*;
//!
//! # async fn example(app: App) -> Result<(), BoxError> {
//! app.control().enable_events().send().await?;       // unless the workers have -E
//! let mut events = app.events().routing_key("task.#").listen().await?;
//! let mut state = FleetState::new();
//! loop {
//!     let received = events.next().await?;
//!     state.event(&received);
//!     println!("{} tasks are known, the last event is {}", state.len(), received.event.kind);
//! }
//! # }
//! ```

pub use apium_app::control::addressing::PatternMatcher;
pub use apium_app::control::command::RemoteCommand;
pub use apium_app::control::control::{AddedQueue, Control};
pub use apium_app::control::inspect::{Hello, Inspect};
pub use apium_app::control::pause::PausedQueue;
pub use apium_app::control::queue_info::QueueInfo;
pub use apium_app::control::replies::{Replies, Reply, ReplyError};
pub use apium_app::control::revoke::Revoke;
pub use apium_app::control::task_info::{ScheduledTask, TaskInfo, TaskPhase};
pub use apium_app::control::worker_stats::{PoolStats, WorkerStats};
pub use apium_app::events::fleet_state::FleetState;
pub use apium_app::events::monitored_task::MonitoredTask;
pub use apium_app::events::monitored_worker::MonitoredWorker;
pub use apium_app::events::receiver::{EventReceiver, Events, ReceivedEvent};
pub use apium_protocol::message::event::Event;
