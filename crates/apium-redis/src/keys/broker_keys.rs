//! The names of keys and channels: kombu's and Celery's byte for byte, and Apium's own beside them (`_apium.…`).

use std::sync::Arc;

use apium_transport::error::Result;

use crate::options::raw::RawOptions;
use crate::options::target::{Discovery, Target};

/// Between a queue's name and its priority step, and between the parts of a binding.
const SEPARATOR: &str = "\u{6}\u{16}";

/// Celery's priority steps.
const STEPS: [u8; 4] = [0, 3, 6, 9];

/// The names of a broker's keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// `global_keyprefix`; with a cluster, the hash tag before it.
    prefix: Arc<str>,
    separator: Arc<str>,
    /// `priority_steps`, ascending, beginning with the one that has no suffix.
    pub(crate) steps: Arc<[u8]>,
    unacked: Arc<str>,
    unacked_index: Arc<str>,
    /// Before the name of a fanout exchange; `{db}` is filled in already.
    fanout_prefix: Arc<str>,
    /// Whether the routing key is a part of the channel.
    fanout_patterns: bool,
    database: i64,
}

impl Keys {
    pub(crate) fn read(given: &mut RawOptions, target: &Target) -> Result<Self> {
        let mut prefix = given.take("global_keyprefix").unwrap_or_default();
        if let Discovery::Cluster { tag } = &target.discovery {
            prefix = format!("{{{tag}}}{prefix}");
        }
        let steps = match given.take("priority_steps") {
            None => STEPS.to_vec(),
            Some(text) => steps(&text).ok_or_else(|| given.invalid("priority_steps", &text, "numbers from 0 to 9"))?,
        };
        let text = |given: &mut RawOptions, name, default: &str| -> Arc<str> {
            given.take(name).map_or_else(|| default.into(), Into::into)
        };
        let fanout_prefix = match given.take("fanout_prefix").as_deref() {
            None | Some("true" | "True" | "1") => format!("/{}.", target.database),
            Some("false" | "False" | "0" | "") => String::new(),
            Some(own) => own.replace("{db}", &target.database.to_string()),
        };
        Ok(Self {
            prefix: prefix.into(),
            separator: text(given, "sep", SEPARATOR),
            steps: steps.into(),
            unacked: text(given, "unacked_key", "unacked"),
            unacked_index: text(given, "unacked_index_key", "unacked_index"),
            fanout_prefix: fanout_prefix.into(),
            fanout_patterns: given.bool("fanout_patterns")?.unwrap_or(true),
            database: target.database,
        })
    }

    fn own(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The list of a queue's messages of `priority`.
    pub(crate) fn list(&self, queue: &str, priority: u8) -> String {
        self.step_list(queue, self.step(priority))
    }

    /// The step that messages of `priority` go to: the greatest that is not above it.
    pub(crate) fn step(&self, priority: u8) -> u8 {
        let priority = priority.min(9);
        self.steps.iter().rev().copied().find(|step| *step <= priority).unwrap_or(self.steps[0])
    }

    /// The list of a queue's step.
    pub(crate) fn step_list(&self, queue: &str, step: u8) -> String {
        match step {
            0 => format!("{}{queue}", self.prefix),
            step => format!("{}{queue}{}{step}", self.prefix, self.separator),
        }
    }

    /// All lists of a queue, the one that is served first in front.
    pub(crate) fn lists(&self, queue: &str) -> Vec<String> {
        self.steps.iter().map(|step| self.step_list(queue, *step)).collect()
    }

    /// The hash of what was delivered and is not settled: tag to `[envelope, exchange, routing key]`.
    pub(crate) fn unacked(&self) -> String {
        self.own(&self.unacked)
    }

    /// The tags of what is not settled, by the time of the last sign of life.
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

    /// What the keys of bindings begin with, for a search.
    pub(crate) fn binding_pattern(&self) -> String {
        format!("{}_kombu.binding.*", glob_escaped(&self.prefix))
    }

    /// One binding: routing key, pattern, queue.
    pub(crate) fn binding_member(&self, routing_key: &str, pattern: &str, queue: &str) -> String {
        let separator = &self.separator;
        format!("{routing_key}{separator}{pattern}{separator}{queue}")
    }

    /// The parts of a binding.
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

    /// The queues of Apium on a fanout exchange (Apium's own): theirs are lists, where kombu's are channels.
    pub(crate) fn fanout_queues(&self, exchange: &str) -> String {
        format!("{}_apium.fanout.{exchange}", self.prefix)
    }

    /// The sign that a message heard on a channel is stored in a queue (Apium's own).
    pub(crate) fn fanout_stored(&self, queue: &str, tag: &str) -> String {
        format!("{}_apium.heard.{queue}.{tag}", self.prefix)
    }

    /// The exchanges with their types (Apium's own).
    pub(crate) fn exchanges(&self) -> String {
        self.own("_apium.exchanges")
    }

    /// The consumers of Apium: id to what they said of themselves.
    pub(crate) fn consumers(&self) -> String {
        self.own("_apium.consumers")
    }

    /// The ids of consumers by the time until which they count as alive.
    pub(crate) fn leases(&self) -> String {
        self.own("_apium.alive")
    }

    /// Where a wait of a consumer moves the message that it was woken by.
    pub(crate) fn handoff(&self, consumer: &str, list: &str) -> String {
        format!("{}_apium.taken.{consumer}.{}", self.prefix, list.strip_prefix(&*self.prefix).unwrap_or(list))
    }

    /// What begins the tags of a consumer.
    pub(crate) fn tag_prefix(consumer: &str) -> String {
        format!("apium.{consumer}.")
    }

    /// The lists that have parked messages, by the first instant that is due.
    pub(crate) fn eta(&self) -> String {
        self.own("_apium.eta")
    }

    /// What begins the keys of parked messages; the list's name follows.
    pub(crate) fn eta_prefix(&self) -> String {
        self.own("_apium.eta.")
    }

    /// The channel that tells of an earlier eta.
    pub(crate) fn eta_channel(&self) -> String {
        format!("{}/{}._apium.eta", self.prefix, self.database)
    }

    /// How often runs of a message killed their worker, by delivery tag.
    pub(crate) fn crashes(&self) -> String {
        self.own("_apium.crashes")
    }

    /// The dead set.
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

fn steps(text: &str) -> Option<Vec<u8>> {
    let mut steps = Vec::new();
    for part in text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()) {
        steps.push(part.parse::<u8>().ok().filter(|step| *step <= 9)?);
    }
    steps.sort_unstable();
    steps.dedup();
    (!steps.is_empty()).then_some(steps)
}

/// `text` as a pattern that matches nothing else.
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
    use std::collections::BTreeMap;

    use apium_transport::address::Address;
    use apium_transport::clock::Clock;
    use apium_transport::driver::DriverOptions;

    use super::Keys;
    use crate::options::broker::BrokerOptions;

    fn keys(options: &[(&str, &str)]) -> Keys {
        let mut given = DriverOptions::new(Clock::system());
        given.extra = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>();
        BrokerOptions::read(&Address::parse("redis://h/13").unwrap(), &given).unwrap().keys
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
