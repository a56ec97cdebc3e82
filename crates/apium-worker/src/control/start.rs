//! The start of remote control.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use apium_app::config::prefetch::PrefetchMultiplier;
use apium_protocol::error::with_causes;
use apium_protocol::message::control::ControlNames;

use crate::control::autoscaler::Autoscaler;
use crate::control::consumed_queues::ConsumedQueues;
use crate::control::controlled::Controlled;
use crate::control::own_commands::OwnControlCommands;
use crate::control::reply::ReplyWriter;
use crate::control::requests::Requests;
use crate::control::service::{ControlService, mailbox_spec};
use crate::control::shared_records::{Journal, SharedRecords};
use crate::pipeline::intake::Intake;
use crate::pipeline::process::Process;
use crate::pool::kind::PoolKind;
use crate::pool::process::child_program::InspectedApp;
use crate::service::Service;
use crate::shutdown::switch::StopSwitch;

/// What a worker does about remote control.
#[derive(Debug, Default)]
pub(crate) struct ControlOptions {
    /// Whether it listens (`worker_enable_remote_control`).
    pub(crate) is_on: bool,
    /// Whether it greets the others when it starts (Celery: not with `--without-mingle`).
    pub(crate) mingles: bool,
    pub(crate) own: OwnControlCommands,
}

/// What remote control knows of the worker from its options.
pub(crate) struct StartOptions {
    pub(crate) node: Arc<str>,
    pub(crate) pool: PoolKind,
    pub(crate) autoscaler: Option<Arc<Autoscaler>>,
    pub(crate) multiplier: PrefetchMultiplier,
    pub(crate) inspected: Option<Arc<InspectedApp>>,
    pub(crate) control: ControlOptions,
}

/// Reads what all workers share, and starts remote control. The mailbox is open before that is read, so that nothing
/// falls between the two; and it is read before anything is fetched, so that a task that was revoked before this worker
/// started does not run (the guarantee `durable-revokes`).
pub(crate) async fn start(
    process: &Arc<Process>,
    queues: &Arc<ConsumedQueues>,
    options: StartOptions,
    stop: StopSwitch,
) -> (Service, Service) {
    let StartOptions { node, pool, autoscaler, multiplier, inspected, control } = options;
    let publisher = &process.settler.publisher;
    let (config, broker) = (publisher.config().clone(), publisher.broker().clone());
    let records = Arc::new(SharedRecords {
        broker: broker.clone(),
        clock: process.clock.clone(),
        revoked: process.intake.revoked.clone(),
        queues: queues.clone(),
        config: config.clone(),
        backends: process.backends.clone(),
        policy: config.result_policy(),
        runs: process.runs.clone(),
        journal: Journal::default(),
    });
    let written = records.clone();
    let journal = Service::start("revokes", move |stopping| written.serve(stopping));
    let names = ControlNames::new(&config.control_exchange);
    let controlled = Arc::new(Controlled {
        node: node.clone(),
        process: process.clone(),
        queues: queues.clone(),
        records: records.clone(),
        stop,
        clock: publisher.lamport().clone(),
        events: process.observer.events_switch(),
        own: control.own,
        pool,
        autoscaler,
        multiplier,
        inspected,
        began: Instant::now(),
    });
    let Intake { codecs, accept, .. } = &process.intake;
    let requests = Requests {
        node: node.clone(),
        codecs: codecs.clone(),
        accept: accept.clone(),
        clock: controlled.clock.clone(),
        warned: Mutex::default(),
    };
    let replies = ReplyWriter {
        node: node.clone(),
        clock: controlled.clock.clone(),
        codecs: codecs.clone(),
        serializer: config.task_serializer.as_str().into(),
    };
    let spec = mailbox_spec(&names, &node, &config);
    let service = ControlService { controlled, requests, replies, names, spec, mingles: control.mingles };
    if !control.is_on || broker.broadcast().is_none() {
        records.load_until_read().await;
        return (Service::start("control", |mut stopping| async move { stopping.wait().await }), journal);
    }
    let mailbox = service.open().await.unwrap_or_else(|error| {
        tracing::warn!(error = %with_causes(&error), "could not listen to remote control yet; trying again until it works");
        None
    });
    records.load_until_read().await;
    (Service::start("control", move |stopping| service.serve(mailbox, stopping)), journal)
}
