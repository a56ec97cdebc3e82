//! What commands see of their worker, and how one is called.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apium_app::observe::lamport_clock::LamportClock;
use apium_app::config::prefetch::PrefetchMultiplier;
use apium_protocol::json::text::Json;
use apium_protocol::message::control::ControlRequest;
use futures_util::future::BoxFuture;

use crate::control::call::ControlCall;
use crate::control::commands::arguments::Arguments;
use crate::control::commands::table;
use crate::control::consumed_queues::ConsumedQueues;
use crate::observe::event_queue::EventsSwitch;
use crate::control::own_commands::OwnCommands;
use crate::control::python_error::{PythonError, error_reply};
use crate::control::shared_records::SharedRecords;
use crate::pipeline::process::Process;
use crate::pool::kind::PoolKind;
use crate::shutdown::switch::StopSwitch;

/// How long a command may take that waits for a store, or is one's own.
const LATER_TIMEOUT: Duration = Duration::from_secs(30);

/// A worker, as commands see it.
pub(crate) struct Controlled {
    pub(crate) node: Arc<str>,
    pub(crate) process: Arc<Process>,
    pub(crate) queues: Arc<ConsumedQueues>,
    pub(crate) records: Arc<SharedRecords>,
    pub(crate) stop: StopSwitch,
    pub(crate) clock: LamportClock,
    pub(crate) events: EventsSwitch,
    pub(crate) own: OwnCommands,
    pub(crate) pool: PoolKind,
    pub(crate) multiplier: PrefetchMultiplier,
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

impl Controlled {
    /// Does what a request asks. Never waits.
    pub(crate) fn answer(self: &Arc<Self>, request: ControlRequest) -> Answer {
        let ControlRequest { method, arguments, .. } = &request;
        let answer = match table::find(method) {
            Some(command) => {
                Arguments::read(command, arguments).and_then(|arguments| (command.run)(self, &arguments, &request))
            }
            None => match self.own.find(method) {
                Some(own) => {
                    let running = (own.run)(ControlCall::new(self.node.clone(), arguments.clone()));
                    Ok(Answer::Later(Box::pin(
                        async move { running.await.unwrap_or_else(|error| error_reply(&error)) },
                    )))
                }
                None => Err(PythonError::new("KeyError", method)),
            },
        };
        match answer {
            Ok(Answer::Later(later)) => Answer::Later(Box::pin(async move {
                let timed = tokio::time::timeout(LATER_TIMEOUT, later).await;
                timed.unwrap_or_else(|_| {
                    let text = format!("the command did not end within {LATER_TIMEOUT:?}");
                    PythonError::new("TimeoutError", &text).into_reply()
                })
            })),
            Ok(answer) => answer,
            Err(error) => Answer::Reply(error.into_reply()),
        }
    }
}
