//! Options of a call as they stand in a signature on the wire: `apply_async`'s names.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::options::call_options::{CallOptions, Expires, RareOptions, When};

struct Writer(BTreeMap<String, Json>);

impl Writer {
    fn put<T: Serialize>(&mut self, name: &str, value: Option<T>) -> Result<()> {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), Json::from_serialize(&value)?);
        }
        Ok(())
    }
}

fn text(when: When) -> String {
    let zone = when.offset.map_or(TimeZone::UTC, TimeZone::fixed);
    timestamp::format_in(when.at, &zone)
}

/// The options that are given, by Celery's names.
pub(crate) fn wire_options(options: &CallOptions) -> Result<BTreeMap<String, Json>> {
    let mut writer = Writer(BTreeMap::new());
    writer.put("task_id", options.task_id.as_ref())?;
    writer.put("countdown", options.countdown.map(|span| span.as_secs_f64()))?;
    writer.put("eta", options.eta.map(text))?;
    match options.expires {
        Some(Expires::In(span)) => writer.put("expires", Some(span.as_secs_f64()))?,
        Some(Expires::At(when)) => writer.put("expires", Some(text(when)))?,
        None => {}
    }
    writer.put("queue", options.queue.as_deref())?;
    writer.put("exchange", options.exchange.as_deref())?;
    writer.put("routing_key", options.routing_key.as_deref())?;
    writer.put("priority", options.priority)?;
    writer.put("serializer", options.serializer.as_deref())?;
    writer.put("compression", options.compression.as_deref())?;
    writer.put("time_limit", options.time_limit)?;
    writer.put("soft_time_limit", options.soft_time_limit)?;
    writer.put("ignore_result", options.ignore_result)?;
    writer.put("delivery_mode", options.delivery_mode)?;
    if let Some(rare) = &options.rare {
        rare_options(rare, &mut writer)?;
    }
    Ok(writer.0)
}

fn rare_options(rare: &RareOptions, writer: &mut Writer) -> Result<()> {
    writer.put("headers", (!rare.headers.is_empty()).then_some(&rare.headers))?;
    writer.put("shadow", rare.shadow.as_deref())?;
    writer.put("link", (!rare.link.is_empty()).then_some(&rare.link))?;
    writer.put("link_error", (!rare.link_error.is_empty()).then_some(&rare.link_error))?;
    writer.put("chain", rare.chain.as_ref())?;
    writer.put("chord", rare.chord.as_deref())?;
    writer.put("group_id", rare.group_id.as_deref())?;
    writer.put("group_index", rare.group_index)?;
    writer.put("root_id", rare.root_id.as_ref())?;
    writer.put("parent_id", rare.parent_id.as_ref())?;
    writer.put("reply_to", rare.reply_to.as_deref())?;
    writer.put("add_to_parent", rare.add_to_parent)?;
    writer.put("retries", rare.retries)?;
    writer.put("replaced_task_nesting", rare.replaced_task_nesting)?;
    writer.put("argsrepr", rare.argsrepr.as_deref())?;
    writer.put("kwargsrepr", rare.kwargsrepr.as_deref())?;
    if !rare.stamps.is_empty() {
        writer.put("stamped_headers", Some(rare.stamps.keys().collect::<Vec<_>>()))?;
        writer.0.extend(rare.stamps.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    for (name, value) in &rare.properties {
        writer.0.insert(name.clone(), value.clone());
    }
    Ok(())
}

/// Names that `apply_async` takes and no message carries.
const NOT_SENT: &[&str] = &[
    "chord_size",
    "connection",
    "interval",
    "max_retries",
    "producer",
    "publisher",
    "router",
    "route_name",
    "use_link",
];

/// The options of a signature that came in a message. Null is as if it were not there. What has no name of Celery's is
/// a property of the message, as in Celery.
///
/// # Errors
/// [`ErrorKind::Call`] for a value of the wrong type; the text names the option.
pub(crate) fn read_options(wire: &BTreeMap<String, Json>) -> Result<CallOptions> {
    let mut options = CallOptions::default();
    let stamps: Vec<String> = match wire.get("stamped_headers") {
        Some(names) if !names.is_null() => decode("stamped_headers", names)?,
        _ => Vec::new(),
    };
    for (name, value) in wire.iter().filter(|(name, value)| !value.is_null() && *name != "stamped_headers") {
        if stamps.contains(name) {
            options.rare_mut().stamps.insert(name.clone(), value.clone());
        } else if !read_common(&mut options, name, value)? && !NOT_SENT.contains(&name.as_str()) {
            read_rare(options.rare_mut(), name, value)?;
        }
    }
    Ok(options)
}

fn decode<T: DeserializeOwned>(name: &str, value: &Json) -> Result<T> {
    value.decode().map_err(|error| {
        Error::new(ErrorKind::Call, format!("read the option `{name}` of a signature: {error}")).with_source(error)
    })
}

/// Seconds; a time that is over is none.
fn span(name: &str, value: &Json) -> Result<Duration> {
    let seconds: f64 = decode(name, value)?;
    Ok(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

fn when(name: &str, value: &Json) -> Result<When> {
    let text: String = decode(name, value)?;
    let at = timestamp::parse_in(&text, &TimeZone::UTC).map_err(|error| {
        Error::new(ErrorKind::Call, format!("read the option `{name}` of a signature: {error}")).with_source(error)
    })?;
    Ok(When::from(at))
}

/// Reads an option that many calls have; false for a name that is none.
fn read_common(options: &mut CallOptions, name: &str, value: &Json) -> Result<bool> {
    let text = |value: &Json| decode::<String>(name, value).map(|text| Some(Arc::from(text)));
    match name {
        "task_id" => options.task_id = decode::<Option<String>>(name, value)?.map(TaskId::from),
        "countdown" => options.countdown = Some(span(name, value)?),
        "eta" => options.eta = Some(when(name, value)?),
        "expires" if value.as_str().starts_with('"') => options.expires = Some(Expires::At(when(name, value)?)),
        "expires" => options.expires = Some(Expires::In(span(name, value)?)),
        "queue" => options.queue = text(value)?,
        "exchange" => options.exchange = text(value)?,
        "routing_key" => options.routing_key = text(value)?,
        "priority" => options.priority = decode(name, value)?,
        "serializer" => options.serializer = decode::<Option<String>>(name, value)?.map(Cow::Owned),
        "compression" => options.compression = decode::<Option<String>>(name, value)?.map(Cow::Owned),
        "time_limit" => options.time_limit = decode(name, value)?,
        "soft_time_limit" => options.soft_time_limit = decode(name, value)?,
        "ignore_result" => options.ignore_result = decode(name, value)?,
        "delivery_mode" => options.delivery_mode = decode(name, value)?,
        "retry" => options.retry = decode(name, value)?,
        // How its own caller would have published it.
        "retry_policy" => {}
        _ => return Ok(false),
    }
    Ok(true)
}

fn read_rare(rare: &mut RareOptions, name: &str, value: &Json) -> Result<()> {
    match name {
        "headers" => rare.headers = decode(name, value)?,
        "shadow" => rare.shadow = decode(name, value)?,
        "link" => rare.link = one_or_more(name, value)?,
        "link_error" => rare.link_error = one_or_more(name, value)?,
        "chain" => rare.chain = decode(name, value)?,
        "chord" => rare.chord = Some(Arc::new(decode(name, value)?)),
        "group_id" => rare.group_id = decode(name, value)?,
        "group_index" => rare.group_index = decode(name, value)?,
        "root_id" => rare.root_id = decode::<Option<String>>(name, value)?.map(TaskId::from),
        "parent_id" => rare.parent_id = decode::<Option<String>>(name, value)?.map(TaskId::from),
        "reply_to" => rare.reply_to = decode::<Option<String>>(name, value)?.map(Arc::from),
        "add_to_parent" => rare.add_to_parent = decode(name, value)?,
        "retries" => rare.retries = decode(name, value)?,
        "replaced_task_nesting" => rare.replaced_task_nesting = decode(name, value)?,
        "argsrepr" => rare.argsrepr = decode(name, value)?,
        "kwargsrepr" => rare.kwargsrepr = decode(name, value)?,
        _ => _ = rare.properties.insert(name.to_owned(), value.clone()),
    }
    Ok(())
}

fn one_or_more(name: &str, value: &Json) -> Result<Vec<WireSignature>> {
    match value.as_str().starts_with('{') {
        true => Ok(vec![decode(name, value)?]),
        false => decode(name, value),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn options_have_celerys_names() {
        let mut options = CallOptions::from("mail");
        options.countdown = Some(Duration::from_millis(1500));
        options.rare_mut().stamps.insert("tenant".into(), Json::from_serialize(&7).unwrap());
        let wire = wire_options(&options).unwrap();
        let shown: Vec<_> = wire.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["countdown=1.5", "queue=\"mail\"", "stamped_headers=[\"tenant\"]", "tenant=7"]);
    }
}
