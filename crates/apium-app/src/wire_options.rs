//! Options of a call as they stand in a signature on the wire: `apply_async`'s names.

use std::collections::BTreeMap;

use apium_protocol::json::Json;
use apium_protocol::timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::call_options::{CallOptions, Expires, RareOptions, When};
use crate::error::Result;

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
    if !rare.stamps.is_empty() {
        writer.put("stamped_headers", Some(rare.stamps.keys().collect::<Vec<_>>()))?;
        writer.0.extend(rare.stamps.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    for (name, value) in &rare.properties {
        writer.0.insert(name.clone(), value.clone());
    }
    Ok(())
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
