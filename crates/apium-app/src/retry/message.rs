//! The message of a retry: the request once more, with its header `retries` one higher.

use std::sync::Arc;
use std::time::Duration;

use apium_protocol::message::body::Body;
use apium_protocol::message::message::Message;
use apium_protocol::timestamp;
use apium_protocol::value::repr::{args_repr, kwargs_repr};
use apium_transport::broker::outgoing::Outgoing;
use bytes::Bytes;

use crate::context::request::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::trace_context;
use crate::options::call_options::CallOptions;
use crate::publish::publisher::Publisher;
use crate::retry::policy::NextRun;

impl Publisher {
    /// Makes the message of a retry. It has the id, the group, the links, the expiry, the limits, the caller's headers
    /// and the queue of the request; `retries`, `eta` and what `next` gives are new. A task without a parent becomes
    /// its own parent, as in Celery. Nothing is sent.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a queue that does not exist and must not be created, [`ErrorKind::Codec`] when the
    /// arguments cannot be encoded.
    pub fn retry_message(&self, request: &Request, next: &NextRun) -> Result<Outgoing> {
        let mut headers = request.headers.clone();
        let task: Arc<str> = headers.task.clone().unwrap_or_default();
        headers.retries = next.retries;
        headers.eta = next.eta.map(|eta| timestamp::format_in(eta, self.zone()));
        if let Some(expires) = next.expires {
            headers.expires = Some(timestamp::format_in(expires, self.zone()));
        }
        headers.timelimit.hard = next.time_limit.or(headers.timelimit.hard);
        headers.timelimit.soft = next.soft_time_limit.or(headers.timelimit.soft);
        headers.parent_id = headers.parent_id.or_else(|| headers.id.clone());
        headers.compression = None;
        if let Some(args) = &next.args {
            headers.argsrepr = Some(args_repr(args));
        }
        if let Some(kwargs) = &next.kwargs {
            headers.kwargsrepr = Some(kwargs_repr(kwargs));
        }
        // RabbitMQ writes into these headers where a message was dead-lettered, and would drop the retry as a cycle.
        headers.extra.retain(|name, _| !name.starts_with("x-death") && !name.starts_with("x-first-death"));
        headers.extra.extend(next.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        trace_context::inject(&mut headers, true);
        let mut properties = request.properties.clone();
        properties.priority = next.priority.or(properties.priority);
        properties.expiration = headers.expires.as_deref().and_then(|text| self.expiration(text));
        let mut body = Body::new(
            next.args.clone().unwrap_or_else(|| request.body.args.clone()),
            next.kwargs.clone().unwrap_or_else(|| request.body.kwargs.clone()),
        );
        body.embed = request.body.embed.clone();
        let options = self.defaults(&task).map(|defaults| &defaults.options);
        let serializer = options.and_then(|options| options.serializer.as_deref());
        let compression = options.and_then(|options| options.compression.as_deref());
        let mut message = Message::new(properties, headers, Bytes::new());
        self.encode(&body, serializer, compression, &mut message)
            .map_err(|error| Error::new(ErrorKind::Codec, format!("encode the retry of {task}")).with_source(error))?;
        let (exchange, routing_key) = self.retry_target(request, next)?;
        Ok(Outgoing::new(exchange, routing_key, message).at(next.eta))
    }

    /// The exchange and the routing key of a retry.
    fn retry_target(&self, request: &Request, next: &NextRun) -> Result<(Arc<str>, Arc<str>)> {
        let Some(queue) = &next.queue else {
            return Ok((request.delivery_info.exchange.clone(), request.delivery_info.routing_key.clone()));
        };
        let destination = self.router().destination(&CallOptions::from(queue.as_str()))?;
        Ok((destination.exchange, destination.routing_key))
    }

    /// The time until an expiry, in milliseconds as the property `expiration`.
    fn expiration(&self, expires: &str) -> Option<String> {
        let at = timestamp::parse(expires).ok()?;
        let ttl = Duration::try_from(at.duration_since(self.clock().now())).unwrap_or_default();
        Some(ttl.as_millis().to_string())
    }
}
