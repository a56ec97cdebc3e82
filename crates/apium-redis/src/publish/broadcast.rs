//! Broadcasts on kombu's channels: which channels an exchange has, and the sending.

use apium_protocol::message::envelope::encode;
use apium_transport::broker::broadcast::BroadcastExchange;
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topic::topic_matches;
use apium_transport::broker::topology::ExchangeType;
use apium_transport::error::Result;
use redis::Cmd;

use crate::keys::broker_keys::{Keys, glob_escaped};
use crate::options::target::Discovery;
use crate::publish::publish::fresh_tag;
use crate::pubsub::channels::ChannelName;
use crate::shared::BrokerShared;

/// The channels of a fanout exchange, whatever the routing keys are.
pub(crate) fn fanout_names(keys: &Keys, exchange: &str) -> Vec<ChannelName> {
    let base = keys.fanout_channel(exchange, "");
    let mut names = Vec::with_capacity(2);
    if keys.has_routing_channels() {
        names.push(ChannelName::Pattern(format!("{}/*", glob_escaped(&base))));
    }
    names.push(ChannelName::Channel(base));
    names
}

/// The channels on which messages come whose routing keys match a topic pattern, and perhaps others. No channel matches
/// two of the names.
pub(crate) fn topic_names(keys: &Keys, exchange: &str, pattern: &str) -> Vec<ChannelName> {
    if !keys.has_routing_channels() {
        return vec![ChannelName::Channel(keys.fanout_channel(exchange, ""))];
    }
    // What all matching keys begin with: the words before the first wildcard.
    let mut fixed = Vec::new();
    let mut wildcard = None;
    for word in pattern.split('.') {
        match word {
            "*" | "#" => {
                wildcard = Some(word);
                break;
            }
            word => fixed.push(word),
        }
    }
    let Some(wildcard) = wildcard else {
        return vec![ChannelName::Channel(keys.fanout_channel(exchange, pattern))];
    };
    let mut prefix = fixed.join(".");
    if !fixed.is_empty() && wildcard == "*" {
        prefix.push('.');
    }
    let base = keys.fanout_channel(exchange, "");
    let mut names = vec![ChannelName::Pattern(format!("{}/{}*", glob_escaped(&base), glob_escaped(&prefix)))];
    if topic_matches(pattern, "") {
        names.push(ChannelName::Channel(base));
    }
    names
}

impl BrokerShared {
    /// Publishes a batch on the channels of an exchange. Returns how many subscriptions the last message reached.
    async fn publish_on_channels(&self, exchange: &BroadcastExchange, batch: &[Outgoing]) -> Result<Option<usize>> {
        const WHAT: &str = "broadcast";
        let publish = |outgoing: &Outgoing| {
            let mut envelope = Vec::new();
            encode(&outgoing.message, &exchange.name, &outgoing.routing_key, &fresh_tag(), &mut envelope);
            let channel = self.keys.fanout_channel(&exchange.name, &outgoing.routing_key);
            let mut command = Cmd::with_capacity(3, envelope.len() + channel.len() + 7);
            command.arg("PUBLISH").arg(channel).arg(envelope);
            command
        };
        let reached = match batch {
            [] => None,
            [one] => Some(self.connection.command(WHAT, &publish(one)).await?),
            several => {
                let mut pipeline = redis::pipe();
                for outgoing in several {
                    pipeline.add_command(publish(outgoing));
                }
                self.connection.pipeline(WHAT, &pipeline).await?.pop()
            }
        };
        let counts_all = !matches!(self.connection.target().discovery, Discovery::Cluster { .. });
        Ok(reached.filter(|_| counts_all).and_then(|reached| redis::from_redis_value(reached).ok()))
    }

    /// Sends a batch to everybody who listens. Returns how many the last message reached. In a cluster a node counts
    /// its own subscriptions alone, so it cannot tell.
    pub(crate) async fn send_broadcast(
        &self,
        exchange: &BroadcastExchange,
        batch: &[Outgoing],
    ) -> Result<Option<usize>> {
        self.check_open("broadcast")?;
        match exchange.kind {
            ExchangeType::Direct => self.reply(exchange, batch).await.map(|()| None),
            ExchangeType::Fanout | ExchangeType::Topic | ExchangeType::Headers => {
                self.publish_on_channels(exchange, batch).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use apium_transport::address::Address;
    use apium_transport::clock::Clock;
    use apium_transport::driver::DriverOptions;

    use super::*;
    use crate::options::broker::BrokerOptions;

    fn keys(patterns: &str) -> Keys {
        let options = DriverOptions::new(Clock::system()).option("fanout_patterns", patterns);
        BrokerOptions::read(&Address::parse("redis://h/13").unwrap(), &options).unwrap().keys
    }

    fn shown(names: Vec<ChannelName>) -> Vec<String> {
        let text = |name| match name {
            ChannelName::Channel(name) => name,
            ChannelName::Pattern(name) => format!("~{name}"),
        };
        names.into_iter().map(text).collect()
    }

    #[test]
    fn a_pattern_has_the_channels_of_all_keys_that_it_matches() {
        let patterns: [(&str, &[&str]); 9] = [
            ("#", &["~/13.x/*", "/13.x"]),
            ("#.#", &["~/13.x/*", "/13.x"]),
            ("", &["/13.x"]),
            ("*", &["~/13.x/*"]),
            ("#.b", &["~/13.x/*"]),
            ("worker.#", &["~/13.x/worker*"]),
            ("worker.*", &["~/13.x/worker.*"]),
            ("a[b].c.#.d", &["~/13.x/a\\[b\\].c*"]),
            ("task.multi", &["/13.x/task.multi"]),
        ];
        for (pattern, names) in patterns {
            assert_eq!(shown(topic_names(&keys("true"), "x", pattern)), names, "{pattern}");
            assert_eq!(shown(topic_names(&keys("false"), "x", pattern)), ["/13.x"], "{pattern}");
        }
        assert_eq!(shown(fanout_names(&keys("true"), "x*")), ["~/13.x\\*/*", "/13.x*"]);
        assert_eq!(shown(fanout_names(&keys("false"), "x")), ["/13.x"]);
    }
}
