//! Publishing a batch: where each message goes, what is declared for it, and the error if the server did not take all.

use apium_transport::broker::outgoing::{Outgoing, partly_published};
use apium_transport::broker::topology::ExchangeType;
use apium_transport::error::{Error, ErrorKind, Result};

use crate::errors::SharedError;
use crate::publish::declared::KnownExchange;
use crate::publish::delayed::{Delay, target_of_queue};
use crate::publish::properties::{encode, kept, own_headers};
use crate::publish::publisher::{Published, Ready};
use crate::publish::table::short;
use crate::shared::BrokerShared;

impl BrokerShared {
    /// Publishes a batch, and waits until the server has all of it.
    pub(crate) async fn publish(self: &std::sync::Arc<Self>, batch: &[Outgoing]) -> Result<()> {
        self.check_open("publish")?;
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(queue) = self.reply_queue()
            && batch.iter().any(|out| out.message.properties.reply_to.as_deref() == Some(&*queue.name))
        {
            // The result may be there before anybody asks for it.
            queue.listen(self).await?;
        }
        let mut ready = Vec::with_capacity(batch.len());
        for out in batch {
            ready.push(self.ready(out).await?);
        }
        self.publish_ready(ready).await
    }

    /// Publishes messages that are made for the wire.
    pub(crate) async fn publish_ready(&self, messages: Vec<Ready>) -> Result<()> {
        let mut published = self.publisher.publish(messages.clone()).await?;
        let back: Vec<usize> = (0..messages.len())
            .filter(|index| {
                matches!(published[*index], Published::Returned) && messages[*index].exchange.as_str().is_empty()
            })
            .collect();
        if !back.is_empty() {
            // Somebody deleted the queue meanwhile.
            for index in &back {
                let queue = messages[*index].routing_key.as_str();
                self.declared.forget_queue(queue);
                self.ensure_queue(queue).await?;
            }
            let again = back.iter().map(|index| messages[*index].clone()).collect();
            for (index, outcome) in back.iter().zip(self.publisher.publish(again).await?) {
                published[*index] = outcome;
            }
        }
        let errors = published.into_iter().zip(&messages).enumerate();
        let mut failed: Vec<(usize, Error)> =
            errors.filter_map(|(index, (outcome, message))| Some((index, self.error_of(outcome, message)?))).collect();
        if failed.is_empty() {
            return Ok(());
        }
        let indexes = failed.iter().map(|(index, _)| *index).collect();
        let (_, first) = failed.swap_remove(0);
        Err(if messages.len() == 1 { first } else { partly_published(indexes, messages.len(), first) })
    }

    /// Why a message was not published; `None` if it was.
    fn error_of(&self, outcome: Published, message: &Ready) -> Option<Error> {
        let (exchange, key) = (message.exchange.as_str(), message.routing_key.as_str());
        match outcome {
            Published::Confirmed => None,
            Published::Returned => {
                let known = self.declared.exchange(exchange);
                let drops = matches!(known, Some(KnownExchange::Declared(kind)) if kind != ExchangeType::Direct);
                let what = format!("publish to the exchange {exchange:?}: no queue is bound to it by the key {key:?}");
                (!drops).then(|| Error::new(ErrorKind::NotFound, what))
            }
            Published::Failed(error) => {
                if error.kind() == ErrorKind::NotFound {
                    self.declared.forget_exchange(exchange);
                }
                let what = match exchange {
                    "" => format!("publish to the queue {key:?}"),
                    _ => format!("publish to the exchange {exchange:?} by the key {key:?}"),
                };
                Some(Error::new(error.kind(), what).with_source(SharedError(error)))
            }
        }
    }

    /// A message for the wire. What it needs is declared.
    async fn ready(&self, out: &Outgoing) -> Result<Ready> {
        let properties = encode(&out.message)?;
        let body = out.message.body.clone();
        let delay = out.eta.and_then(|eta| Delay::until(self.clock.now(), eta));
        if out.exchange.is_empty() {
            return match delay {
                Some(delay) => {
                    self.ensure_delayed(&out.routing_key).await?;
                    delayed(delay, &target_of_queue(&out.routing_key), &properties, body)
                }
                None => {
                    self.ensure_queue(&out.routing_key).await?;
                    let routing_key = short("name of a queue", &out.routing_key)?;
                    Ok(Ready { exchange: "".into(), routing_key, properties, body, mandatory: true })
                }
            };
        }
        let Some(known) = self.known_exchange(&out.exchange).await? else {
            let what = format!("publish to the exchange {:?}: it does not exist", out.exchange);
            return Err(Error::new(ErrorKind::NotFound, what));
        };
        if let Some(delay) = delay {
            let bound = self.declared.bound(&out.exchange, &out.routing_key);
            match (known, &*bound) {
                // The key is how it comes back from the queues of delays, also to an exchange that looks at no key.
                (KnownExchange::Declared(ExchangeType::Topic), _)
                | (KnownExchange::Declared(ExchangeType::Fanout | ExchangeType::Headers), [_, ..]) => {
                    let mut commands = self.commands("declare the queues of delays").await?;
                    self.declare_delays(&mut commands).await?;
                    drop(commands);
                    return delayed(delay, &out.routing_key, &properties, body);
                }
                (KnownExchange::Declared(ExchangeType::Direct), [queue]) => {
                    self.ensure_delayed(queue).await?;
                    return delayed(delay, &target_of_queue(queue), &properties, body);
                }
                (KnownExchange::Declared(_) | KnownExchange::Exists, _) => {}
            }
            // As with Celery, the message goes to its queue now; a worker that gets it lets it wait in the server.
        }
        let exchange = short("name of an exchange", &out.exchange)?;
        let routing_key = short("routing key", &out.routing_key)?;
        Ok(Ready { exchange, routing_key, properties, body, mandatory: true })
    }
}

/// A message that waits in the server before it goes to its target. Until then it does not expire: the worker that gets
/// it looks at its header `expires`.
fn delayed(delay: Delay, target: &str, properties: &lapin::BasicProperties, body: bytes::Bytes) -> Result<Ready> {
    waiting(delay, target, kept(properties, own_headers(properties)), body)
}

/// The same with properties that are made for it.
pub(crate) fn waiting(
    delay: Delay,
    target: &str,
    properties: lapin::BasicProperties,
    body: bytes::Bytes,
) -> Result<Ready> {
    Ok(Ready {
        exchange: short("name of an exchange", &delay.exchange())?,
        routing_key: short("routing key", &delay.routing_key(target))?,
        properties,
        body,
        mandatory: true,
    })
}
