//! Queues, exchanges and bindings as kombu keeps them, so that Celery and Apium find each other's queues. kombu knows
//! the type of an exchange only within a process; Apium also writes it to a key of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use apium_transport::broker::topology::{ExchangeType, Queue};
use apium_transport::error::{Error, ErrorKind, Result};
use redis::{Pipeline, Value};

use crate::errors::unexpected_reply;
use crate::shared::BrokerShared;

/// The type of an exchange as it is stored.
fn kind_named(name: &str) -> ExchangeType {
    ExchangeType::named(name).unwrap_or(ExchangeType::Direct)
}

/// The pattern of a topic as kombu's regular expression.
fn kombu_pattern(routing_key: &str) -> String {
    let words = routing_key.split('.').map(|word| match word {
        "*" => r"[^\.]+".to_owned(),
        "#" => r".*?".to_owned(),
        word => escaped(word),
    });
    format!("^{}$", words.collect::<Vec<_>>().join(r"\."))
}

/// Escapes what Python's `re.escape` escapes.
fn escaped(word: &str) -> String {
    let special = |c: char| "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}".contains(c);
    let mut out = String::with_capacity(word.len());
    for c in word.chars() {
        if special(c) && !matches!(c, '.' | '#' | '*') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The bindings of an exchange.
#[derive(Debug)]
pub(crate) struct BindingTable {
    kind: ExchangeType,
    /// Routing key and queue.
    bindings: Vec<(String, String)>,
}

impl BindingTable {
    /// The queues for a routing key. For a direct exchange, none is an error.
    pub(crate) fn queues(&self, exchange: &str, key: &str) -> Result<Vec<&str>> {
        let bound = self.bindings.iter().filter(|(bound, _)| self.kind.routes(bound, key));
        let found: BTreeSet<&str> = bound.map(|(_, queue)| queue.as_str()).collect();
        if found.is_empty() && self.kind == ExchangeType::Direct {
            let text = format!("publish to the exchange {exchange:?}: no queue is bound to it by the key {key:?}");
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        Ok(found.into_iter().collect())
    }

    pub(crate) fn is_fanout(&self) -> bool {
        self.kind == ExchangeType::Fanout
    }
}

impl BrokerShared {
    /// Declares queues with their exchanges and bindings. A queue of the default exchange needs nothing.
    pub(crate) async fn declare(&self, queues: &[Queue]) -> Result<()> {
        let mut types: BTreeMap<&str, ExchangeType> = BTreeMap::new();
        for queue in queues.iter().filter(|queue| !queue.exchange.is_empty()) {
            let first = *types.entry(&queue.exchange).or_insert(queue.exchange_type);
            if first != queue.exchange_type {
                return Err(other_type(&queue.exchange, first, queue.exchange_type));
            }
        }
        if types.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        let exchanges: Vec<&str> = types.keys().copied().collect();
        pipeline.cmd("HMGET").arg(self.keys.exchanges()).arg(&exchanges);
        let stored = self.connection.pipeline("declare queues", &pipeline).await?;
        let Some(Value::Array(stored)) = stored.into_iter().next() else {
            return Err(unexpected_reply("declare queues"));
        };
        for ((exchange, kind), stored) in types.iter().zip(stored) {
            let stored: Option<String> = redis::from_redis_value(stored).ok().flatten();
            if let Some(stored) = stored.as_deref().map(kind_named).filter(|stored| stored != kind) {
                return Err(other_type(exchange, stored, *kind));
            }
        }
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for queue in queues {
            self.write_binding(&mut pipeline, queue);
        }
        for queue in queues.iter().filter(|queue| queue.exchange_type == ExchangeType::Fanout) {
            pipeline.cmd("SADD").arg(self.keys.fanout_queues(&queue.exchange)).arg(&queue.name).ignore();
        }
        for (exchange, kind) in &types {
            pipeline.cmd("HSET").arg(self.keys.exchanges()).arg(*exchange).arg(kind.name()).ignore();
        }
        self.connection.pipeline("declare queues", &pipeline).await?;
        self.declared.add(queues);
        Ok(())
    }

    /// Declares what this process has declared, and binds these queues, since the server may have lost them.
    pub(crate) async fn declare_again(&self, queues: &[Arc<str>]) -> Result<()> {
        self.declared.forget_bound();
        let mut bindings = redis::pipe();
        let added = self.bind_new(&mut bindings, queues.iter().map(|queue| &**queue));
        if !added.is_empty() {
            self.connection.pipeline("bind queues", &bindings).await?;
            self.declared.add_bound(added);
        }
        self.declare(&self.declared.queues(None)).await
    }

    fn write_binding(&self, pipeline: &mut Pipeline, queue: &Queue) {
        let pattern = match queue.exchange_type {
            ExchangeType::Topic => kombu_pattern(&queue.routing_key),
            _ => String::new(),
        };
        let exchange = if queue.exchange.is_empty() { &queue.name } else { &queue.exchange };
        let member = self.keys.binding_member(&queue.routing_key, &pattern, &queue.name);
        pipeline.cmd("SADD").arg(self.keys.binding(exchange)).arg(&member).ignore();
        pipeline.cmd("SADD").arg(self.keys.permanent_binding(exchange)).arg(&member).ignore();
    }

    /// Adds the bindings of queues that are published to by name, as kombu writes them. Skips those that this process
    /// has written already. Returns which it added.
    pub(crate) fn bind_new<'a>(&self, pipeline: &mut Pipeline, queues: impl Iterator<Item = &'a str>) -> Vec<Arc<str>> {
        // A server that was away may have lost them.
        let number = self.connection.number();
        let before = self.bound_by.swap(number, Ordering::Relaxed);
        if before != number && before != 0 {
            self.declared.forget_bound();
        }
        let added = self.declared.unbound(queues);
        for queue in &added {
            self.write_binding(pipeline, &Queue::new(&**queue));
        }
        added
    }

    /// The bindings of an exchange. If the server has lost what this process has declared there, it is declared again.
    pub(crate) async fn binding_table(&self, exchange: &str) -> Result<BindingTable> {
        if let Some(table) = self.read_bindings(exchange).await? {
            return Ok(table);
        }
        let declared = self.declared.queues(Some(exchange));
        if !declared.is_empty() {
            tracing::warn!(exchange, "the server has lost an exchange; declaring it again");
            self.declare(&declared).await?;
        }
        self.read_bindings(exchange).await?.ok_or_else(|| {
            let text = format!("publish to the exchange {exchange:?}: there is none of that name");
            Error::new(ErrorKind::NotFound, text)
        })
    }

    /// Reads the bindings of an exchange; `None` if there is none of that name.
    async fn read_bindings(&self, exchange: &str) -> Result<Option<BindingTable>> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGET").arg(self.keys.exchanges()).arg(exchange);
        pipeline.cmd("SMEMBERS").arg(self.keys.binding(exchange));
        pipeline.cmd("SMEMBERS").arg(self.keys.fanout_queues(exchange));
        let mut answers = self.connection.pipeline("read the bindings of an exchange", &pipeline).await?.into_iter();
        let stored: Option<String> = answers.next().and_then(|value| redis::from_redis_value(value).ok()).flatten();
        let mut declared = || -> Vec<String> {
            answers.next().and_then(|value| redis::from_redis_value(value).ok()).unwrap_or_default()
        };
        let (members, fanout) = (declared(), declared());
        let parts: Vec<_> = members.iter().filter_map(|member| self.keys.binding_parts(member)).collect();
        let has_patterns = parts.iter().any(|(_, pattern, _)| !pattern.is_empty());
        // Without a stored type it is an exchange of kombu alone, or one whose type the server has lost.
        let declared = self.declared.queues(Some(exchange));
        let kind = match stored.as_deref().map(kind_named) {
            Some(kind) => kind,
            None if parts.is_empty() || !declared.is_empty() => return Ok(None),
            None if has_patterns => ExchangeType::Topic,
            None => ExchangeType::Direct,
        };
        let bindings = match kind {
            ExchangeType::Fanout => fanout.into_iter().map(|queue| (String::new(), queue)).collect(),
            _ => parts.into_iter().map(|(key, _, queue)| (key.to_owned(), queue.to_owned())).collect(),
        };
        Ok(Some(BindingTable { kind, bindings }))
    }

    /// Every queue of messages that has a binding, by name: the key of each of its bindings, and the member there. The
    /// lists of replies to commands are bound too, and are none: each belongs to a caller, and goes with it.
    pub(crate) async fn bound_queues(&self) -> Result<BTreeMap<String, Vec<(String, String)>>> {
        let mut found: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for key in self.scan("list the queues", &self.keys.binding_pattern()).await? {
            if key.ends_with(".pidbox") {
                continue;
            }
            let mut command = redis::cmd("SMEMBERS");
            command.arg(&key);
            let members = self.connection.command("list the queues", &command).await?;
            for member in redis::from_redis_value::<Vec<String>>(members).unwrap_or_default() {
                if let Some((.., queue)) = self.keys.binding_parts(&member) {
                    found.entry(queue.to_owned()).or_default().push((key.clone(), member.clone()));
                }
            }
        }
        Ok(found)
    }

    /// All keys that match a pattern.
    pub(crate) async fn scan(&self, what: &str, pattern: &str) -> Result<Vec<String>> {
        let (mut cursor, mut found) = (0_u64, BTreeSet::new());
        loop {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1000);
            let answer = self.connection.command(what, &command).await?;
            let (next, keys) =
                redis::from_redis_value::<(u64, Vec<String>)>(answer).map_err(|_| unexpected_reply(what))?;
            found.extend(keys);
            cursor = next;
            if cursor == 0 {
                return Ok(found.into_iter().collect());
            }
        }
    }
}

fn other_type(exchange: &str, is: ExchangeType, wanted: ExchangeType) -> Error {
    let text =
        format!("declare the exchange {exchange:?} as {}: it is a {} exchange already", wanted.name(), is.name());
    Error::new(ErrorKind::Refused, text)
}

#[cfg(test)]
mod tests {
    use super::kombu_pattern;

    #[test]
    fn topic_patterns_are_kombus() {
        for (key, pattern) in
            [("log.*.#", r"^log\.[^\.]+\..*?$"), ("#", r"^.*?$"), ("a.b", r"^a\.b$"), ("a-b.c(d)", r"^a\-b\.c\(d\)$")]
        {
            assert_eq!(kombu_pattern(key), pattern);
        }
    }
}
