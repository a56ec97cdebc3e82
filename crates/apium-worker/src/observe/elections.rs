//! Elections among workers (Celery's gossip): every worker must acknowledge each candidate, or none wins.
//!
//! This worker is never a candidate: an election only sends a signature once, which a task with an id of its own does
//! better. But a worker that sends heartbeats counts among those whose word Celery's workers wait for.

use std::sync::Arc;

use apium_app::observe::event_sender::EventSender;
use apium_protocol::error::with_causes;
use apium_protocol::message::event::Event;
use apium_transport::broker::broadcast::{Mailbox, MailboxSpec};
use apium_transport::broker::broker::SharedBroker;
use apium_transport::clock::Clock;
use apium_transport::error::Result;

use crate::observe::event_fields::elect_ack;
use crate::observe::event_queue::EventQueue;
use crate::pipeline::complete::outage::Outage;
use crate::service::Stopping;

/// Acknowledges candidates.
pub(crate) struct Elections {
    pub(crate) broker: SharedBroker,
    pub(crate) sender: EventSender,
    pub(crate) queue: Arc<EventQueue>,
    pub(crate) clock: Clock,
}

impl Elections {
    /// Acknowledges candidates until it is asked to stop. It hears events of elections and no others.
    pub(crate) async fn serve(self, mut stopping: Stopping) {
        tokio::select! {
            biased;
            () = stopping.wait() => {}
            () = self.listen() => {}
        }
    }

    async fn listen(&self) {
        let mut outage = Outage::default();
        loop {
            let began = tokio::time::Instant::now();
            let Err(error) = self.acknowledge(&mut outage).await;
            if error.is_final() {
                // The fetching loop says that the broker is closed for good, and the worker stops.
                return std::future::pending().await;
            }
            let pause = outage.pause(&error, began);
            if outage.warns() {
                tracing::warn!(error = %with_causes(&error), "could not listen to elections of workers; trying again until it works");
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn acknowledge(&self, outage: &mut Outage) -> Result<std::convert::Infallible> {
        let Some(mut mailbox) = self.open().await? else { return std::future::pending().await };
        *outage = Outage::default();
        loop {
            for broadcasted in mailbox.next().await?.messages {
                match Event::read_all(&broadcasted.message.body) {
                    Ok(events) => events.iter().for_each(|event| self.answer(event)),
                    Err(error) => {
                        tracing::debug!(error = %with_causes(&error), "could not read an event of an election");
                    }
                }
            }
        }
    }

    async fn open(&self) -> Result<Option<Box<dyn Mailbox>>> {
        let Some(broadcast) = self.broker.broadcast() else { return Ok(None) };
        let queue = format!("celeryev.{}", uuid::Uuid::new_v4());
        let spec = MailboxSpec::new(self.sender.exchange().clone(), queue, "worker.elect");
        broadcast.listen(spec).await.map(Some)
    }

    fn answer(&self, event: &Event) {
        self.sender.lamport().adjust(event.clock);
        let Some(id) = event.field("id").filter(|_| event.kind == "worker-elect") else { return };
        let now = self.clock.now();
        self.queue.push_ready(|clock| elect_ack(&self.sender, now, clock, id));
    }
}
