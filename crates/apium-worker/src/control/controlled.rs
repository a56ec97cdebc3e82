//! What commands see of their worker.

use std::sync::Arc;
use std::time::Instant;

use apium_app::config::prefetch::PrefetchMultiplier;
use apium_app::observe::lamport_clock::LamportClock;
use apium_protocol::json::text::Json;
use futures_util::future::BoxFuture;

use crate::control::autoscaler::Autoscaler;
use crate::control::consumed_queues::ConsumedQueues;
use crate::control::own_commands::OwnControlCommands;
use crate::control::shared_records::SharedRecords;
use crate::observe::event_queue::EventsSwitch;
use crate::pipeline::process::Process;
use crate::pool::kind::PoolKind;
use crate::pool::process::child_program::InspectedApp;
use crate::shutdown::switch::StopSwitch;

/// A worker, as commands see it.
pub(crate) struct Controlled {
    pub(crate) node: Arc<str>,
    pub(crate) process: Arc<Process>,
    pub(crate) queues: Arc<ConsumedQueues>,
    pub(crate) records: Arc<SharedRecords>,
    pub(crate) stop: StopSwitch,
    pub(crate) clock: LamportClock,
    pub(crate) events: EventsSwitch,
    pub(crate) own: OwnControlCommands,
    pub(crate) pool: PoolKind,
    /// Only in a worker that scales itself.
    pub(crate) autoscaler: Option<Arc<Autoscaler>>,
    pub(crate) multiplier: PrefetchMultiplier,
    /// What the Celery app answers whose tasks run in children.
    pub(crate) inspected: Option<Arc<InspectedApp>>,
    pub(crate) began: Instant,
}

/// What a command answers.
pub(crate) enum Answer {
    /// This.
    Reply(Json),
    /// What this gives. It runs beside other commands.
    Later(BoxFuture<'static, Json>),
    /// Nothing: no reply is sent.
    Nothing,
}
