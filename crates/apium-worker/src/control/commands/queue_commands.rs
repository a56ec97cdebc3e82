//! The queues that the worker consumes, and those that are paused for all workers.

use std::sync::Arc;
use std::time::Duration;

use apium_app::control::pause::PauseRecord;
use apium_protocol::message::control::ControlRequest;
use apium_protocol::value::printable::printable_text;
use apium_transport::broker::topology::{ExchangeType, Queue};
use serde::Serialize;

use crate::control::commands::arguments::GivenArguments;
use crate::control::commands::run_commands::reply;
use crate::control::consumed_queues::Added;
use crate::control::controlled::{Answer, Controlled};
use crate::control::python_error::{PythonError, error_reply, ok_reply};

/// How long a worker waits for the broker before it answers that a queue is not consumed yet.
const ADD_TIMEOUT: Duration = Duration::from_secs(5);

/// A queue as inspections show it (kombu: `Queue.as_dict`).
#[derive(Debug, Serialize)]
struct QueueInfo {
    name: String,
    exchange: ExchangeInfo,
    routing_key: String,
    queue_arguments: Option<std::collections::BTreeMap<String, apium_protocol::json::text::Json>>,
    binding_arguments: Option<std::collections::BTreeMap<String, apium_protocol::json::text::Json>>,
    consumer_arguments: Option<()>,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    no_ack: bool,
    alias: Option<()>,
    bindings: [(); 0],
    no_declare: Option<()>,
    expires: Option<()>,
    message_ttl: Option<()>,
    max_length: Option<()>,
    max_length_bytes: Option<()>,
    max_priority: Option<u8>,
}

#[derive(Debug, Serialize)]
struct ExchangeInfo {
    name: String,
    r#type: &'static str,
    arguments: Option<()>,
    durable: bool,
    passive: bool,
    auto_delete: bool,
    delivery_mode: Option<()>,
    no_declare: bool,
}

impl From<Queue> for QueueInfo {
    fn from(queue: Queue) -> Self {
        Self {
            name: queue.name,
            exchange: ExchangeInfo {
                name: queue.exchange,
                r#type: queue.exchange_type.name(),
                arguments: None,
                durable: queue.durable,
                passive: false,
                auto_delete: false,
                delivery_mode: None,
                no_declare: false,
            },
            routing_key: queue.routing_key,
            queue_arguments: (!queue.arguments.is_empty()).then_some(queue.arguments),
            binding_arguments: (!queue.binding_arguments.is_empty()).then_some(queue.binding_arguments),
            consumer_arguments: None,
            durable: queue.durable,
            exclusive: false,
            auto_delete: false,
            no_ack: false,
            alias: None,
            bindings: [],
            no_declare: None,
            expires: None,
            message_ttl: None,
            max_length: None,
            max_length_bytes: None,
            max_priority: queue.max_priority,
        }
    }
}

pub(crate) fn active_queues(
    controlled: &Arc<Controlled>,
    _: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    reply(&controlled.queues.consumed().into_iter().map(QueueInfo::from).collect::<Vec<_>>())
}

pub(crate) fn add_consumer(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    let name = queue_name(arguments)?;
    let kind = arguments.text("exchange_type")?;
    let kind = ExchangeType::named(kind.as_deref().unwrap_or("direct"))
        .ok_or_else(|| PythonError::value_error("exchange_type must be direct, topic, fanout or headers"))?;
    let (exchange, routing_key) = (arguments.text("exchange")?, arguments.text("routing_key")?);
    // As in Celery, a queue that the settings declare stays as it is declared.
    let mut queue = match controlled.process.settler.publisher.router().queue_to_consume(&name) {
        Ok(declared) => declared,
        Err(_) => Queue::new(&name),
    };
    if exchange.is_some() || routing_key.is_some() || kind != ExchangeType::Direct {
        queue = Queue::new(&name).exchange(exchange.unwrap_or_else(|| name.clone()), kind);
        queue = queue.routing_key(routing_key.unwrap_or_else(|| name.clone()));
    }
    let given = |name: &str| arguments.get(name).is_some();
    if given("queue_durable") || given("durable") {
        queue.durable = arguments.is_true("queue_durable") || arguments.is_true("durable");
    }
    if let Some(most) = arguments.get("max_priority").or_else(|| arguments.get("queue_max_priority")) {
        let most = most.decode::<u8>().map_err(|_| PythonError::value_error("max_priority must be from 0 to 255"))?;
        queue.max_priority = Some(most);
    }
    let added = controlled.queues.add(queue);
    Ok(Answer::Later(Box::pin(async move {
        match tokio::time::timeout(ADD_TIMEOUT, added).await {
            Ok(Ok(Added::Consumed)) => ok_reply(&format!("add consumer {name}")),
            Ok(Ok(Added::Paused)) => ok_reply(&format!("add consumer {name}: it is consumed when it is resumed")),
            Ok(Ok(Added::Cancelled)) => error_reply(&format!("the consumer of {name} was cancelled again")),
            Ok(Ok(Added::Refused(why))) => error_reply(&format!("could not consume {name}: could not {why}")),
            Ok(Err(_)) => error_reply(&format!("could not consume {name}: the worker stops")),
            Err(_) => error_reply(&format!(
                "{name} is not consumed yet, since the broker does not answer; the worker goes on trying"
            )),
        }
    })))
}

pub(crate) fn cancel_consumer(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    let name = queue_name(arguments)?;
    controlled.queues.remove(&name);
    Ok(Answer::Reply(ok_reply(&format!("no longer consuming from {name}"))))
}

pub(crate) fn pause_queue(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    request: &ControlRequest,
) -> Result<Answer, PythonError> {
    let queue = queue_name(arguments)?;
    let text = |name: &str| arguments.text(name).map(Option::unwrap_or_default);
    let record = PauseRecord { by: text("by")?, reason: text("reason")? };
    tracing::info!(
        queue = &*printable_text(&queue),
        by = &*printable_text(&record.by),
        reason = &*printable_text(&record.reason),
        "a queue is paused"
    );
    let Some(writing) = controlled.records.pause(&queue, record, !request.recorded) else {
        return Ok(Answer::Reply(ok_reply(&format!("queue {queue} is paused"))));
    };
    Ok(Answer::Later(Box::pin(async move {
        match writing.await {
            Ok(true) => ok_reply(&format!("queue {queue} is paused")),
            Ok(false) => ok_reply(&format!(
                "queue {queue} is paused by this worker; its broker keeps no records, so workers that start later do \
                 not know of it"
            )),
            Err(error) => error_reply(&format!(
                "queue {queue} is paused by this worker, but that could not be written for others: could not {error:#}"
            )),
        }
    })))
}

pub(crate) fn resume_queue(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    request: &ControlRequest,
) -> Result<Answer, PythonError> {
    let queue = queue_name(arguments)?;
    tracing::info!(queue = &*printable_text(&queue), "a queue is resumed");
    let Some(writing) = controlled.records.resume(&queue, !request.recorded) else {
        return Ok(Answer::Reply(ok_reply(&format!("queue {queue} is resumed"))));
    };
    Ok(Answer::Later(Box::pin(async move {
        match writing.await {
            Ok(()) => ok_reply(&format!("queue {queue} is resumed")),
            Err(error) => error_reply(&format!(
                "queue {queue} is resumed by this worker, but that could not be written for others: could not {error:#}"
            )),
        }
    })))
}

fn queue_name(arguments: &GivenArguments<'_>) -> Result<String, PythonError> {
    let name = arguments.needed_text("queue")?;
    match name.trim().is_empty() {
        true => Err(PythonError::value_error("the name of the queue is empty")),
        false => Ok(name),
    }
}
