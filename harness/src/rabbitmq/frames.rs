//! What clients send to a node: the commands of AMQP, counted in the bytes that pass a proxy.

use std::collections::BTreeMap;
use std::sync::Arc;

use apium::prelude::BoxError;
use apium_peers::proxy::Proxy;

use crate::operating::server::Traffic;

/// With this a client greets.
const GREETING: usize = 8;

/// The type of a frame that begins a command.
const METHOD: u8 = 1;

/// The type of a heartbeat.
const HEARTBEAT: u8 = 8;

/// Counts commands and heartbeats from now on.
#[derive(Debug)]
pub struct Frames {
    proxy: Arc<Proxy>,
    before: BTreeMap<String, u64>,
    seen: BTreeMap<String, u64>,
}

impl Frames {
    /// What passes a proxy that records.
    pub fn of(proxy: Arc<Proxy>) -> Self {
        let before = count(&proxy.recorded());
        Self { proxy, seen: before.clone(), before }
    }
}

impl Traffic for Frames {
    fn name(&self) -> &'static str {
        "commands and heartbeats"
    }

    fn look(&mut self) -> Result<u64, BoxError> {
        let before: u64 = self.seen.values().sum();
        self.seen = count(&self.proxy.recorded());
        Ok(self.seen.values().sum::<u64>() - before)
    }

    fn kinds(&self) -> Option<String> {
        let grown = self.seen.iter().map(|(name, count)| (name, count - self.before.get(name).copied().unwrap_or(0)));
        let kinds: Vec<String> =
            grown.filter(|(_, count)| *count > 0).map(|(n, count)| format!("{n} {count}")).collect();
        if kinds.is_empty() { None } else { Some(kinds.join(", ")) }
    }
}

/// The commands and heartbeats of all connections.
fn count(sent: &[Vec<u8>]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for bytes in sent {
        let mut rest = bytes.get(GREETING..).unwrap_or_default();
        // A frame is its type, its channel, the size of its content, the content, and a mark.
        while let [kind, _, _, a, b, c, d, content @ ..] = rest {
            let size = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            let name = match (*kind, content) {
                (METHOD, [_, class, _, method, ..]) => Some(name(*class, *method)),
                (HEARTBEAT, _) => Some("heartbeat".to_owned()),
                // The properties and the body of a message belong to its command.
                _ => None,
            };
            if let Some(name) = name {
                *counts.entry(name).or_default() += 1;
            }
            rest = content.get(size + 1..).unwrap_or_default();
        }
    }
    counts
}

fn name(class: u8, method: u8) -> String {
    match (class, method) {
        (20, 10) => "channel.open".to_owned(),
        (40, 10) => "exchange.declare".to_owned(),
        (50, 10) => "queue.declare".to_owned(),
        (60, 40) => "basic.publish".to_owned(),
        (60, 80) => "basic.ack".to_owned(),
        _ => format!("method {class}.{method}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[kind, 0, 1][..], &size, content, &[0xce]].concat()
    }

    #[test]
    fn commands_and_heartbeats_are_counted() {
        let publish = [frame(1, &[0, 60, 0, 40, 7, 7]), frame(2, &[0, 60]), frame(3, b"body")].concat();
        let sent = [b"AMQP\x00\x00\x09\x01".to_vec(), publish.clone(), frame(8, &[]), publish, vec![1, 0]].concat();
        let expected = [("basic.publish".to_owned(), 2), ("heartbeat".to_owned(), 1)];
        assert_eq!(count(&[sent, Vec::new()]), BTreeMap::from(expected));
    }
}
