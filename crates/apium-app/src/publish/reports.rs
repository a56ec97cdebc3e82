//! To whom a publisher reports what it publishes: the log's spans, observers of the app, counters, and monitors.

use std::sync::{Arc, OnceLock};

use apium_protocol::message::outgoing_event::OutgoingEvent;
use apium_protocol::value::printable::printable_text;
use apium_transport::broker::outgoing::Outgoing;
use tracing::{Level, Span};

use crate::error::Result;
use crate::observe::app_observer::{AppObservers, PublishCounter, Publishing};
use crate::observe::event_sender::EventSender;
use crate::observe::lamport_clock::LamportClock;
use crate::observe::sent_event;
use crate::publish::publisher::Publisher;

/// Who is told what is published.
pub(crate) struct Reports {
    pub(crate) events: EventSender,
    pub(crate) observers: AppObservers,
    pub(crate) counter: OnceLock<Arc<dyn PublishCounter>>,
}

impl Reports {
    /// Reports that a batch is about to be published. Returns the span to do it in, with the name and the id of the
    /// task where the batch is one message.
    pub(crate) fn begin(&self, batch: &[Outgoing]) -> Span {
        self.observers.tell(batch, &Publishing::Begins);
        match batch {
            _ if !tracing::span_enabled!(Level::INFO) => Span::none(),
            [one] => {
                let headers = &one.message.headers;
                let name = printable_text(headers.task.as_deref().unwrap_or("?"));
                let id = printable_text(headers.id.as_ref().map_or("?", |id| id.as_str()));
                tracing::info_span!("publish", name = &*name, id = &*id)
            }
            several => tracing::info_span!("publish", messages = several.len()),
        }
    }
}

impl Publisher {
    /// Reports how the publishing of a batch ended.
    pub(crate) async fn report(&self, batch: &[Outgoing], published: &Result<()>) {
        let Reports { events, observers, counter } = self.reports();
        if observers.are_there() {
            let failed = published.as_ref().err().map(|error| Publishing::Failed(format!("{error:#}").into()));
            observers.tell(batch, &failed.unwrap_or(Publishing::Done));
        }
        if let (Ok(()), Some(counter)) = (published, counter.get()) {
            counter.published(batch);
        }
        if published.is_ok() && self.config().task_send_sent_event {
            let limit = self.config().broker_publish_timeout;
            Box::pin(sent_event::send(events, self.sent_events(batch), limit)).await;
        }
    }

    /// The events `task-sent` of messages.
    #[doc(hidden)]
    pub fn sent_events(&self, batch: &[Outgoing]) -> Vec<OutgoingEvent> {
        let now = self.clock().now();
        let event = |outgoing: &Outgoing| {
            let queue = self.router().queue_for(&outgoing.exchange, &outgoing.routing_key);
            sent_event::sent_event(self.events(), outgoing, queue.as_ref().map(|queue| &*queue.name), now)
        };
        batch.iter().filter_map(event).collect()
    }

    /// Lets `counter` count what is published. Only the first one does: workers of one app in one process share the
    /// count.
    #[doc(hidden)]
    pub fn set_counter(&self, counter: Arc<dyn PublishCounter>) {
        // A second one is ignored, as documented.
        let _ = self.reports().counter.set(counter);
    }

    /// Makes and sends events, here those of the caller: its node is the [`origin`](Self::origin).
    pub fn events(&self) -> &EventSender {
        &self.reports().events
    }

    /// The logical clock of the app (Celery: `app.clock`).
    pub fn lamport(&self) -> &LamportClock {
        self.events().lamport()
    }
}
