//! `task_queues`, `task_routes` and the exchange types of the settings.

use std::collections::BTreeMap;

use apium_protocol::json::text::Json;
use apium_transport::broker::topology::{ExchangeType, Queue, QueueType};

use crate::config::read::{FromValue, InvalidValue};
use crate::config::route_table::RouteTable;
use crate::config::value::Value;

/// The type of an exchange, by its AMQP name.
impl FromValue for ExchangeType {
    const KIND: &'static str = "\"direct\", \"topic\", \"fanout\" or \"headers\"";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        let kind = match value {
            Value::Text(text) => Self::named(text),
            _ => None,
        };
        kind.ok_or_else(|| InvalidValue::new(value, Self::KIND))
    }
}

/// The type of a queue of RabbitMQ.
impl FromValue for QueueType {
    const KIND: &'static str = "\"classic\" or \"quorum\"";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        let kind = match value {
            Value::Text(text) => Self::named(text),
            _ => None,
        };
        kind.ok_or_else(|| InvalidValue::new(value, Self::KIND))
    }
}

const QUEUE_OPTIONS: &[&str] =
    &["exchange", "exchange_type", "routing_key", "max_priority", "durable", "queue_arguments", "binding_arguments"];

/// Arguments of AMQP: any values by name.
fn arguments(value: &Value) -> Result<BTreeMap<String, Json>, InvalidValue> {
    let Value::Table(entries) = value else { return Err(InvalidValue::new(value, "a table of arguments")) };
    Ok(entries.iter().map(|(name, value)| (name.clone(), Json::from(serde_json::Value::from(value)))).collect())
}

fn queue(name: &str, value: &Value) -> Result<Queue, InvalidValue> {
    let mut queue = Queue::new(name);
    let Value::Table(entries) = value else { return Err(InvalidValue::new(value, "a table of options of a queue")) };
    for (option, value) in entries {
        let read = match option.as_str() {
            "exchange" => String::from_value(value).map(|exchange| queue.exchange = exchange),
            "exchange_type" => ExchangeType::from_value(value).map(|kind| queue.exchange_type = kind),
            "routing_key" => String::from_value(value).map(|key| queue.routing_key = key),
            "max_priority" => Option::from_value(value).map(|max| queue.max_priority = max),
            "durable" => bool::from_value(value).map(|durable| queue.durable = durable),
            "queue_arguments" => arguments(value).map(|arguments| queue.arguments = arguments),
            "binding_arguments" => arguments(value).map(|arguments| queue.binding_arguments = arguments),
            _ => Err(InvalidValue { path: String::new(), ..InvalidValue::unknown_entry(option, QUEUE_OPTIONS) }),
        };
        read.map_err(|wrong| wrong.inside(option))?;
    }
    Ok(queue)
}

/// Queues in the order given: names, or tables of options by name.
impl FromValue for Vec<Queue> {
    const KIND: &'static str =
        "a list of queue names, or tables (exchange, exchange_type, routing_key, queue_arguments, …) by name";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        match value {
            Value::List(names) => names.iter().map(|name| Ok(Queue::new(String::from_value(name)?))).collect(),
            Value::Table(queues) => {
                let read = |(name, options): &(String, Value)| queue(name, options).map_err(|wrong| wrong.inside(name));
                queues.iter().map(read).collect()
            }
            other => Err(InvalidValue::new(other, Self::KIND)),
        }
    }

    fn from_text(text: &str) -> Result<Self, InvalidValue> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(names.map(Queue::new).collect())
    }
}

/// One table, or a list of tables that are tried in order.
impl FromValue for Vec<RouteTable> {
    const KIND: &'static str = "a table from task names, globs (\"mail.*\") or regular expressions (\"re:^mail\\.\") to queue names or tables of \
         options; or a list of such tables";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        match value {
            Value::List(tables) => tables.iter().map(RouteTable::from_value).collect(),
            table => Ok(vec![RouteTable::from_value(table)?]),
        }
    }

    fn from_text(text: &str) -> Result<Self, InvalidValue> {
        let mut entries = Vec::new();
        for item in text.split(',').filter(|item| !item.trim().is_empty()) {
            let wrong = || InvalidValue::new(&Value::from(item), "task=queue pairs with commas between them");
            let (task, queue) = item.split_once('=').ok_or_else(wrong)?;
            entries.push((task.trim().to_owned(), Value::from(queue.trim())));
        }
        Self::from_value(&Value::Table(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_names_or_tables() {
        assert_eq!(Vec::<Queue>::from_text("a, b").unwrap(), [Queue::new("a"), Queue::new("b")]);
        let options = Value::Table(vec![
            ("exchange".into(), "media".into()),
            ("exchange_type".into(), "topic".into()),
            ("routing_key".into(), "media.#".into()),
            ("max_priority".into(), Value::Int(10)),
        ]);
        let queues = Vec::<Queue>::from_value(&Value::Table(vec![("media".into(), options)])).unwrap();
        let expected =
            Queue::new("media").exchange("media", ExchangeType::Topic).routing_key("media.#").max_priority(10);
        assert_eq!(queues, [expected]);
        let match_any = Value::Table(vec![("x-match".into(), "any".into()), ("copies".into(), Value::Int(2))]);
        let limited = Value::Table(vec![("x-message-ttl".into(), Value::Int(60_000))]);
        let options = Value::Table(vec![
            ("exchange_type".into(), "headers".into()),
            ("queue_arguments".into(), limited),
            ("binding_arguments".into(), match_any),
        ]);
        let queues = Vec::<Queue>::from_value(&Value::Table(vec![("reports".into(), options)])).unwrap();
        assert_eq!(queues[0].exchange_type, ExchangeType::Headers);
        assert_eq!(queues[0].arguments["x-message-ttl"].as_str(), "60000");
        let bound: Vec<_> = queues[0].binding_arguments.iter().map(|(name, json)| (&**name, json.as_str())).collect();
        assert_eq!(bound, [("copies", "2"), ("x-match", "\"any\"")]);
        let bad = Value::Table(vec![("q".into(), Value::Table(vec![("exchange_type".into(), "ring".into())]))]);
        assert_eq!(Vec::<Queue>::from_value(&bad).unwrap_err().path, "q.exchange_type");
    }
}
