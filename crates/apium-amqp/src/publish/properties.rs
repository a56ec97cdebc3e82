//! A message as the properties, the table of headers and the content of AMQP, and back.

use std::borrow::Cow;

use apium_protocol::json::text::Json;
use apium_protocol::message::headers::Headers;
use apium_protocol::message::message::Message;
use apium_protocol::message::properties::Properties;
use apium_transport::clock::Clock;
use apium_transport::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::AMQPValue;

use crate::publish::table::{from_json_map, short, size_of, to_json};
use crate::shared::next_number;

/// The header in which a dead letter says what it is.
pub(crate) const DEAD_HEADER: &str = "x-apium-dead";

/// The header in which a message that waits in the queues of delays says how many crashes it had.
pub(crate) const CRASHES_HEADER: &str = "x-apium-crashes";

/// The header in which a message that took the place of another one has a number of its own: see
/// [`OneMessage`](crate::consumer::late_settlements::OneMessage).
pub(crate) const COPY_HEADER: &str = "x-apium-copy";

/// A message's headers must fit one frame, of which RabbitMQ takes 128 KiB by default. The properties need some of it.
const LARGEST_HEADERS: usize = 126 * 1024;

/// Whether the server or this driver has added a header on the way. Celery's clients do not send them on either.
fn is_of_transport(name: &str) -> bool {
    name.starts_with("x-death")
        || name.starts_with("x-first-death")
        || name.starts_with("x-last-death")
        || matches!(name, "x-delivery-count" | "x-acquired-count" | "x-opt-deaths")
        || matches!(name, DEAD_HEADER | CRASHES_HEADER | COPY_HEADER)
}

/// The properties of a message, with its headers.
pub(crate) fn encode(message: &Message) -> Result<BasicProperties> {
    let from = &message.properties;
    let mut to = BasicProperties::default();
    let text = |name: &str, text: &str| short(&format!("property {name}"), text);
    if let Some(value) = &from.content_type {
        to = to.with_content_type(text("content_type", value)?);
    }
    if let Some(value) = &from.content_encoding {
        to = to.with_content_encoding(text("content_encoding", value)?);
    }
    if let Some(value) = &from.correlation_id {
        to = to.with_correlation_id(text("correlation_id", value)?);
    }
    if let Some(value) = &from.reply_to {
        to = to.with_reply_to(text("reply_to", value)?);
    }
    if let Some(value) = from.delivery_mode {
        to = to.with_delivery_mode(value);
    }
    if let Some(value) = from.priority {
        to = to.with_priority(value);
    }
    if let Some(value) = &from.expiration {
        to = to.with_expiration(text("expiration", value)?);
    }
    for (name, value) in &from.extra {
        let Ok(value) = value.to_value() else { continue };
        // Other properties have no place on the wire; Celery's vanish too.
        to = match (name.as_str(), value.as_str(), value.as_u64()) {
            ("message_id", Some(value), _) => to.with_message_id(text(name, value)?),
            ("app_id", Some(value), _) => to.with_app_id(text(name, value)?),
            ("type", Some(value), _) => to.with_type(text(name, value)?),
            ("user_id", Some(value), _) => to.with_user_id(text(name, value)?),
            ("cluster_id", Some(value), _) => to.with_cluster_id(text(name, value)?),
            ("timestamp", _, Some(value)) => to.with_timestamp(value),
            _ => to,
        };
    }
    if message.headers == Headers::default() {
        return Ok(to);
    }
    let json = Json::from_bytes(Bytes::from(message.headers.to_json()));
    let json = json.map_err(|error| Error::new(ErrorKind::Other, "write the headers").with_source(error))?;
    let headers = from_json_map(&json)?;
    let size = size_of(&headers);
    if size > LARGEST_HEADERS {
        let why = format!("send a message: its headers have {size} bytes, and AMQP carries {LARGEST_HEADERS} at most");
        return Err(Error::new(ErrorKind::TooLarge, why));
    }
    Ok(to.with_headers(headers))
}

/// The message of properties and a body; or why it is none.
pub(crate) fn decode(from: &BasicProperties, body: Bytes) -> std::result::Result<Message, String> {
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(|value| value.as_str().to_owned());
    let mut to = Properties::default();
    to.content_type = text(from.content_type()).map(Cow::Owned);
    to.content_encoding = text(from.content_encoding()).map(Cow::Owned);
    to.correlation_id = text(from.correlation_id()).map(Into::into);
    to.reply_to = text(from.reply_to()).map(Into::into);
    to.delivery_mode = *from.delivery_mode();
    to.priority = *from.priority();
    to.expiration = text(from.expiration());
    for (name, value) in [
        ("message_id", from.message_id()),
        ("app_id", from.app_id()),
        ("type", from.kind()),
        ("user_id", from.user_id()),
        ("cluster_id", from.cluster_id()),
    ] {
        if let Some(value) = value {
            let json = Json::from_serialize(value.as_str()).map_err(|error| format!("the property {name}: {error}"))?;
            to.extra.insert(name.to_owned(), json);
        }
    }
    if let Some(seconds) = from.timestamp() {
        let json = Json::from_serialize(seconds).map_err(|error| format!("the property timestamp: {error}"))?;
        to.extra.insert("timestamp".to_owned(), json);
    }
    let headers = match from.headers() {
        None => Headers::default(),
        Some(table) => {
            let json = to_json(table, is_of_transport).map_err(|error| error.to_string())?;
            Headers::from_json(json.as_bytes()).map_err(|error| format!("could not {error:#}"))?
        }
    };
    Ok(Message::new(to, headers, body))
}

/// The same properties with other headers, and without the expiration: what waits in a queue of delays or in the dead
/// set must not expire there.
pub(crate) fn kept(from: &BasicProperties, headers: Option<lapin::types::FieldTable>) -> BasicProperties {
    kept_in_mode(from, headers, *from.delivery_mode())
}

/// The same, with another delivery mode.
pub(crate) fn kept_in_mode(
    from: &BasicProperties,
    headers: Option<lapin::types::FieldTable>,
    delivery_mode: Option<u8>,
) -> BasicProperties {
    let mut to = BasicProperties::default();
    if let Some(headers) = headers {
        to = to.with_headers(headers);
    }
    if let Some(mode) = delivery_mode {
        to = to.with_delivery_mode(mode);
    }
    macro_rules! copy {
        ($($get:ident $with:ident),+) => {
            $(if let Some(value) = from.$get().clone() {
                to = to.$with(value);
            })+
        };
    }
    copy!(
        content_type with_content_type,
        content_encoding with_content_encoding,
        priority with_priority,
        correlation_id with_correlation_id,
        reply_to with_reply_to,
        message_id with_message_id,
        timestamp with_timestamp,
        kind with_type,
        user_id with_user_id,
        app_id with_app_id,
        cluster_id with_cluster_id
    );
    to
}

/// The headers of properties without those that the server or this driver has added.
pub(crate) fn own_headers(from: &BasicProperties) -> Option<lapin::types::FieldTable> {
    let headers = from.headers().as_ref()?;
    let mut own = lapin::types::FieldTable::default();
    for (name, value) in headers.into_iter().filter(|(name, _)| !is_of_transport(name.as_str())) {
        own.insert(name.clone(), value.clone());
    }
    Some(own)
}

/// The task id and the task's name, if the headers have them.
pub(crate) fn label(from: &BasicProperties) -> (Option<String>, Option<String>) {
    let header = |name: &str| from.headers().as_ref().and_then(|headers| crate::publish::table::text_in(headers, name));
    let id = header("id").or_else(|| from.correlation_id().as_ref().map(ToString::to_string));
    (id, header("task"))
}

/// How many crashes a message had before it was delayed.
pub(crate) fn crashes_before(from: &BasicProperties) -> u32 {
    number_in(from, CRASHES_HEADER).and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
}

/// The number that a message has which took the place of another one; 0 for any other.
pub(crate) fn copy_number(from: &BasicProperties) -> i64 {
    number_in(from, COPY_HEADER).unwrap_or_default()
}

fn number_in(from: &BasicProperties, header: &str) -> Option<i64> {
    from.headers().as_ref().and_then(|headers| crate::publish::table::int_in(headers, header))
}

/// The same properties, with a new such number.
pub(crate) fn as_copy(clock: &Clock, properties: BasicProperties) -> BasicProperties {
    let number = i64::try_from(next_number(clock)).unwrap_or(i64::MAX);
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert(COPY_HEADER.into(), AMQPValue::LongLongInt(number));
    properties.with_headers(headers)
}
