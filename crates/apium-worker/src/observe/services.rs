//! The services that send events: the sender, heartbeats, and the answers to elections.

use std::time::Duration;

use apium_transport::broker::broker::SharedBroker;
use apium_transport::clock::Clock;
use std::sync::Arc;

use crate::observe::elections::Elections;
use crate::observe::event_service::EventService;
use crate::observe::heartbeat::{Heartbeat, HeartbeatPace};
use crate::pipeline::process::Process;
use crate::service::Service;

/// How long heartbeats and elections have to end. They have nothing to finish.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// What a worker tells monitors.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EventOptions {
    /// `-E`: whether events of tasks are sent.
    pub(crate) of_tasks: bool,
    pub(crate) pace: HeartbeatPace,
    /// Whether elections of Celery's workers are answered (Celery: without `--without-gossip`).
    pub(crate) gossip: bool,
}

/// The services that send events.
pub(crate) struct EventServices {
    sending: Service,
    heartbeat: Service,
    elections: Option<Service>,
    last: Heartbeat,
}

impl EventServices {
    pub(crate) fn start(options: EventOptions, process: &Arc<Process>, broker: &SharedBroker, clock: &Clock) -> Self {
        let (queue, sender) = (process.observer.events.clone(), process.observer.sender.clone());
        if options.of_tasks && !sender.can_send() {
            tracing::warn!(broker = %broker.address(), "this broker has no broadcasts: no events are sent");
        }
        let sending = EventService { queue: queue.clone(), sender: sender.clone() };
        let heartbeat = || Heartbeat {
            pace: if sender.can_send() { options.pace } else { HeartbeatPace::Never },
            queue: queue.clone(),
            sender: sender.clone(),
            process: process.clone(),
            clock: clock.clone(),
        };
        let elections = (options.gossip && sender.can_send()).then(|| Elections {
            broker: broker.clone(),
            sender: sender.clone(),
            queue: queue.clone(),
            clock: clock.clone(),
        });
        let (beating, last) = (heartbeat(), heartbeat());
        Self {
            sending: Service::start("events", move |stopping| sending.serve(stopping)),
            heartbeat: Service::start("heartbeat", move |stopping| beating.serve(stopping)),
            elections: elections
                .map(|elections| Service::start("elections", move |stopping| elections.serve(stopping))),
            last,
        }
    }

    /// Waits until one of the services has ended, which none should do. Cancel-safe.
    pub(crate) async fn until_ended(&mut self) -> String {
        let elections = async {
            match &mut self.elections {
                Some(elections) => elections.until_ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = self.sending.until_ended() => ended,
            ended = self.heartbeat.until_ended() => ended,
            ended = elections => ended,
        }
    }

    /// Stops the services, says that the worker is offline, and sends what is left.
    pub(crate) async fn stop(self) {
        self.heartbeat.stop(Some(STOP_TIMEOUT)).await;
        if let Some(elections) = self.elections {
            elections.stop(Some(STOP_TIMEOUT)).await;
        }
        self.last.tell_offline();
        // It has a limit of its own.
        self.sending.stop(None).await;
    }
}
