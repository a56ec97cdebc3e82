//! The names of a broker's keys and channels: those of kombu and Celery byte for byte, and Apium's own (`_apium.…`).

use std::sync::Arc;

use apium_transport::error::Result;
use apium_transport::option_value::OptionValue;

use crate::options::target::{Discovery, Target};
use apium_transport::raw_options::RawOptions;

/// Separates a queue's name from its priority step, and the parts of a binding.
const SEPARATOR: &str = "\u{6}\u{16}";

/// Celery's priority steps.
const STEPS: [u8; 4] = [0, 3, 6, 9];

/// The names of a broker's keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// `global_keyprefix`; on a cluster, with the hash tag in front of it.
    prefix: Arc<str>,
    separator: Arc<str>,
    /// `priority_steps`, ascending.
    pub(crate) steps: Arc<[u8]>,
    unacked: Arc<str>,
    unacked_index: Arc<str>,
    /// The prefix of a fanout exchange's channel, with the database in place of `{db}`.
    fanout_prefix: Arc<str>,
    /// Whether the routing key is a part of the channel's name.
    fanout_patterns: bool,
    database: i64,
}

impl Keys {
    pub(crate) fn read(raw: &mut RawOptions, target: &Target) -> Result<Self> {
        let mut prefix = raw.text("global_keyprefix")?.unwrap_or_default();
        if let Discovery::Cluster { tag } = &target.discovery {
            prefix = format!("{{{tag}}}{prefix}");
        }
        let steps = raw.steps("priority_steps", 9)?.unwrap_or_else(|| STEPS.to_vec());
        let mut text = |name, default: &str| -> Result<Arc<str>> {
            Ok(raw.text(name)?.map_or_else(|| default.into(), Into::into))
        };
        let separator = text("sep", SEPARATOR)?;
        let (unacked, unacked_index) = (text("unacked_key", "unacked")?, text("unacked_index_key", "unacked_index")?);
        let fanout_prefix = match raw.take("fanout_prefix") {
            None => format!("/{}.", target.database),
            // As in kombu, what is false in Python is no prefix, and what is true is the usual one.
            Some(OptionValue::None) => String::new(),
            Some(value) => match value.text() {
                Ok(text) if matches!(text.as_str(), "true" | "True" | "1") => format!("/{}.", target.database),
                Ok(text) if matches!(text.as_str(), "false" | "False" | "0") => String::new(),
                Ok(text) => text.replace("{db}", &target.database.to_string()),
                Err(_) => return Err(raw.invalid("fanout_prefix", &value, "a text, true or false")),
            },
        };
        Ok(Self {
            prefix: prefix.into(),
            separator,
            steps: steps.into(),
            unacked,
            unacked_index,
            fanout_prefix: fanout_prefix.into(),
            fanout_patterns: raw.flag("fanout_patterns")?.unwrap_or(true),
            database: target.database,
        })
    }

    fn own(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The list for a queue's messages of `priority`.
    pub(crate) fn list(&self, queue: &str, priority: u8) -> String {
        self.step_list(queue, self.step(priority))
    }

    /// The step of messages of `priority`: the greatest that is not above it.
    pub(crate) fn step(&self, priority: u8) -> u8 {
        let priority = priority.min(9);
        self.steps.iter().rev().copied().find(|step| *step <= priority).unwrap_or(self.steps[0])
    }

    /// The list of a queue's priority step. Step 0 has no suffix.
    pub(crate) fn step_list(&self, queue: &str, step: u8) -> String {
        match step {
            0 => [&*self.prefix, queue].concat(),
            step => format!("{}{queue}{}{step}", self.prefix, self.separator),
        }
    }

    /// All lists of a queue, in the order in which they are served.
    pub(crate) fn lists(&self, queue: &str) -> Vec<String> {
        self.steps.iter().map(|step| self.step_list(queue, *step)).collect()
    }

    /// The hash of the messages in flight: tag to `[envelope, exchange, routing key]`.
    pub(crate) fn unacked(&self) -> String {
        self.own(&self.unacked)
    }

    /// The tags of the messages in flight, by the time at which they were renewed last.
    pub(crate) fn unacked_index(&self) -> String {
        self.own(&self.unacked_index)
    }

    /// The bindings of an exchange.
    pub(crate) fn binding(&self, exchange: &str) -> String {
        format!("{}_kombu.binding.{exchange}", self.prefix)
    }

    /// The bindings of an exchange whose queues do not expire (kombu 5.7).
    pub(crate) fn permanent_binding(&self, exchange: &str) -> String {
        format!("{}_kombu.binding_permanent.{exchange}", self.prefix)
    }

    /// A pattern that matches the keys of all bindings.
    pub(crate) fn binding_pattern(&self) -> String {
        format!("{}_kombu.binding.*", glob_escaped(&self.prefix))
    }

    /// A binding as the member of a set: routing key, pattern, queue.
    pub(crate) fn binding_member(&self, routing_key: &str, pattern: &str, queue: &str) -> String {
        let separator = &self.separator;
        format!("{routing_key}{separator}{pattern}{separator}{queue}")
    }

    /// The routing key, the pattern and the queue of a binding.
    pub(crate) fn binding_parts<'a>(&self, member: &'a str) -> Option<(&'a str, &'a str, &'a str)> {
        let mut parts = member.split(&*self.separator);
        Some((parts.next()?, parts.next()?, parts.next()?))
    }

    /// The channel of a fanout exchange.
    pub(crate) fn fanout_channel(&self, exchange: &str, routing_key: &str) -> String {
        match self.fanout_patterns && !routing_key.is_empty() {
            true => format!("{}{}{exchange}/{routing_key}", self.prefix, self.fanout_prefix),
            false => format!("{}{}{exchange}", self.prefix, self.fanout_prefix),
        }
    }

    /// Whether the routing key is a part of the names of channels.
    pub(crate) fn has_routing_channels(&self) -> bool {
        self.fanout_patterns
    }

    /// What follows the exchange in the name of a channel, with a slash in between; `None` if nothing does.
    pub(crate) fn routing_key_of<'a>(&self, channel: &'a str, exchange: &str) -> Option<&'a str> {
        channel.strip_prefix(&*self.fanout_channel(exchange, ""))?.strip_prefix('/')
    }

    /// The deadlines of the bindings of queues that expire, by exchange (kombu 5.7): after that, kombu's consumers drop
    /// the bindings.
    pub(crate) fn binding_deadlines(&self) -> String {
        self.own("_kombu.binding_deadlines")
    }

    /// The mailboxes for replies, by the time in milliseconds until which they are taken for open (Apium's own).
    pub(crate) fn mailboxes(&self) -> String {
        self.own("_apium.mailboxes")
    }

    /// The prefix of every key.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What separates the parts of a binding.
    pub(crate) fn separator(&self) -> &str {
        &self.separator
    }

    /// The times of the records of a topic that all workers share (Apium's own).
    pub(crate) fn fleet(&self, topic: &str) -> String {
        format!("{}_apium.fleet.{topic}", self.prefix)
    }

    /// The values of these records.
    pub(crate) fn fleet_values(&self, topic: &str) -> String {
        format!("{}_apium.fleet.{topic}.values", self.prefix)
    }

    /// The queues that Apium has bound to a fanout exchange (Apium's own). They are lists; kombu has channels for them.
    pub(crate) fn fanout_queues(&self, exchange: &str) -> String {
        format!("{}_apium.fanout.{exchange}", self.prefix)
    }

    /// The sign that a message of a fanout channel is stored in a queue (Apium's own).
    pub(crate) fn fanout_stored(&self, queue: &str, tag: &str) -> String {
        format!("{}_apium.heard.{queue}.{tag}", self.prefix)
    }

    /// The types of exchanges, by name (Apium's own).
    pub(crate) fn exchanges(&self) -> String {
        self.own("_apium.exchanges")
    }

    /// The registrations of Apium's consumers, by id.
    pub(crate) fn consumers(&self) -> String {
        self.own("_apium.consumers")
    }

    /// The ids of Apium's consumers, by the time at which their lease ends.
    pub(crate) fn leases(&self) -> String {
        self.own("_apium.alive")
    }

    /// The id of the server's data: it is lost with them (Apium's own).
    pub(crate) fn data_id(&self) -> String {
        self.own("_apium.data")
    }

    /// The handoff list of a consumer: a wait moves the message that ends it from `list` to this one.
    pub(crate) fn handoff(&self, consumer: &str, list: &str) -> String {
        format!("{}_apium.taken.{consumer}.{}", self.prefix, list.strip_prefix(&*self.prefix).unwrap_or(list))
    }

    /// The prefix of a consumer's tags.
    pub(crate) fn tag_prefix(consumer: &str) -> String {
        let mut prefix = String::new();
        Self::add_tag_prefix(consumer, &mut prefix);
        prefix
    }

    /// Adds the prefix to a tag.
    pub(crate) fn add_tag_prefix(consumer: &str, tag: &mut String) {
        tag.push_str("apium.");
        tag.push_str(consumer);
        tag.push('.');
    }

    /// The lists that have delayed messages, by the instant at which the first is due.
    pub(crate) fn eta(&self) -> String {
        self.own("_apium.eta")
    }

    /// The prefix of the keys of delayed messages; the list's name follows it.
    pub(crate) fn eta_prefix(&self) -> String {
        self.own("_apium.eta.")
    }

    /// The channel that announces an eta earlier than all others.
    pub(crate) fn eta_channel(&self) -> String {
        format!("{}/{}._apium.eta", self.prefix, self.database)
    }

    /// How many runs of a message killed their worker, by delivery tag.
    pub(crate) fn crashes(&self) -> String {
        self.own("_apium.crashes")
    }

    /// The dead set: number to document.
    pub(crate) fn dead(&self) -> String {
        self.own("_apium.dead")
    }

    /// The number of the last dead letter.
    pub(crate) fn dead_last(&self) -> String {
        self.own("_apium.dead.last")
    }

    /// The numbers of the dead letters, in order.
    pub(crate) fn dead_order(&self) -> String {
        self.own("_apium.dead.order")
    }
}

/// One list of a queue: messages are claimed from it, and requeued messages go back to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueList {
    pub(crate) queue: Arc<str>,
    pub(crate) key: String,
    /// What follows the envelope in an entry of `unacked`.
    pub(crate) unacked_suffix: String,
}

impl QueueList {
    /// The list of a queue's priority step.
    pub(crate) fn new(keys: &Keys, queue: &Arc<str>, step: u8) -> Self {
        // As kombu writes it, with the default exchange: whoever requeues the message requeues it to this queue.
        let name = serde_json::to_string(&**queue).unwrap_or_default();
        Self { queue: queue.clone(), key: keys.step_list(queue, step), unacked_suffix: format!(", \"\", {name}]") }
    }
}

/// `text` as a pattern that matches only itself.
pub(crate) fn glob_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use apium_transport::address::Address;
    use apium_transport::clock::Clock;
    use apium_transport::driver::DriverOptions;

    use super::Keys;
    use crate::options::broker::BrokerOptions;

    fn keys(options: &[(&str, &str)]) -> Keys {
        let mut raw = DriverOptions::new(Clock::system());
        raw.extra = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        BrokerOptions::read(&Address::parse("redis://h/13").unwrap(), &raw).unwrap().keys
    }

    #[test]
    fn queue_lists_are_kombus() {
        let plain = keys(&[]);
        let lists: Vec<String> = (0..=10).map(|priority| plain.list("prio", priority)).collect();
        let step = |step: u8| format!("prio\u{6}\u{16}{step}");
        for (priority, list) in lists.iter().enumerate() {
            let wanted = match priority {
                0..=2 => "prio".to_owned(),
                3..=5 => step(3),
                6..=8 => step(6),
                _ => step(9),
            };
            assert_eq!(*list, wanted, "{priority}");
        }
        assert_eq!(plain.lists("q").len(), 4);
        let own = keys(&[("priority_steps", "[0, 5]"), ("sep", ":"), ("global_keyprefix", "{app}:")]);
        assert_eq!(own.lists("q"), ["{app}:q", "{app}:q:5"]);
        assert_eq!(own.unacked(), "{app}:unacked");
        assert_eq!(own.binding("x"), "{app}:_kombu.binding.x");
        assert_eq!(own.binding_member("a", "^a$", "q"), "a:^a$:q");
    }

    #[test]
    fn channels_are_kombus() {
        assert_eq!(keys(&[]).fanout_channel("celeryev", "worker.x"), "/13.celeryev/worker.x");
        assert_eq!(keys(&[]).fanout_channel("celery.pidbox", ""), "/13.celery.pidbox");
        assert_eq!(keys(&[("fanout_prefix", "false")]).fanout_channel("x", ""), "x");
        assert_eq!(keys(&[("fanout_prefix", "/my-{db}.")]).fanout_channel("x", ""), "/my-13.x");
        assert_eq!(keys(&[("fanout_patterns", "false")]).fanout_channel("x", "k"), "/13.x");
    }
}
