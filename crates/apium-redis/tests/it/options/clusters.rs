//! `redis+cluster://`: all keys have one hash tag, so one node serves a broker and its results. When the slot moves,
//! the driver follows it.

use std::time::Duration;

use apium_peers::port;
use apium_peers::redis::{Commands, Connection, Value, cmd};
use apium_peers::redis_server::{Builder, RedisServer};
use apium_protocol::result::state::State;
use apium_transport::backend::backend::ResultBackend as _;
use apium_transport::broker::broadcast::Broadcast as _;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::settlement::{Acknowledgement, Settlement};
use apium_transport::clock::Clock;
use apium_transport::error::ErrorKind;
use futures_util::StreamExt as _;

use crate::broadcasts::{Mailboxes, requests};
use crate::brokers::{ack, broker_with, consumer, finish, idle, keys, open, send, send_in_the_end, take, to};
use crate::kit::{backend_with, connection, record, soon, until};
use crate::settle::follow_ups::{Body, TTL, body_message, counts, header, part, settle, store};

/// Three nodes that share the slots.
struct Cluster {
    nodes: Vec<RedisServer>,
}

/// A node whose bus listens on this port. By default the bus port is derived from the server's port, and might be
/// invalid or in use.
fn clustered(bus: u16) -> Builder {
    let server = RedisServer::builder().args(["--cluster-enabled", "yes", "--databases", "1"]);
    server.arg("--cluster-port").arg(bus.to_string())
}

impl Cluster {
    async fn start() -> Self {
        let node = || {
            let bus = port::free();
            (clustered(bus).args(["--cluster-node-timeout", "2000"]).start(), bus)
        };
        let (nodes, buses): (Vec<_>, Vec<_>) = (0..3).map(|_| node()).unzip();
        let cluster = Self { nodes };
        for (at, node) in cluster.nodes.iter().enumerate() {
            let mut redis = connection(node);
            let first = at * 16_384 / 3;
            let last = (at + 1) * 16_384 / 3 - 1;
            let () = cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(first).arg(last).query(&mut redis).unwrap();
            let () = cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(at + 1).query(&mut redis).unwrap();
            let meet = cluster.nodes[0].port();
            let () = cmd("CLUSTER").arg("MEET").arg("127.0.0.1").arg(meet).arg(buses[0]).query(&mut redis).unwrap();
        }
        for node in &cluster.nodes {
            let mut redis = connection(node);
            until("a cluster", || {
                let info: String = cmd("CLUSTER").arg("INFO").query(&mut redis).unwrap();
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
            .await;
        }
        cluster
    }

    fn url(&self) -> String {
        let places: Vec<String> =
            self.nodes.iter().map(|node| format!("redis+cluster://127.0.0.1:{}", node.port())).collect();
        places.join(";")
    }

    /// The node that has the slot of a tag.
    fn owner(&self, tag: &str) -> usize {
        let slot: i64 = cmd("CLUSTER").arg("KEYSLOT").arg(tag).query(&mut connection(&self.nodes[0])).unwrap();
        usize::try_from(slot * 3 / 16_384).unwrap()
    }

    fn id(&self, at: usize) -> String {
        cmd("CLUSTER").arg("MYID").query(&mut connection(&self.nodes[at])).unwrap()
    }

    /// Moves the slot of a tag with its keys, as an operator does.
    fn move_slot(&self, tag: &str, from: usize, to: usize) {
        let (mut source, mut target) = (connection(&self.nodes[from]), connection(&self.nodes[to]));
        let slot: i64 = cmd("CLUSTER").arg("KEYSLOT").arg(tag).query(&mut source).unwrap();
        let set = |redis: &mut Connection, state: &[&str]| {
            let () = cmd("CLUSTER").arg("SETSLOT").arg(slot).arg(state).query(redis).unwrap();
        };
        set(&mut target, &["IMPORTING", &self.id(from)]);
        set(&mut source, &["MIGRATING", &self.id(to)]);
        loop {
            let keys: Vec<String> = cmd("CLUSTER").arg("GETKEYSINSLOT").arg(slot).arg(100).query(&mut source).unwrap();
            if keys.is_empty() {
                break;
            }
            let mut migrate = cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(self.nodes[to].port()).arg("").arg(0).arg(5000).arg("KEYS").arg(&keys);
            let _: Value = migrate.query(&mut source).unwrap();
        }
        let owner = self.id(to);
        set(&mut target, &["NODE", &owner]);
        set(&mut source, &["NODE", &owner]);
        for (at, node) in self.nodes.iter().enumerate() {
            if at != from && at != to {
                set(&mut connection(node), &["NODE", &owner]);
            }
        }
    }
}

#[tokio::test]
async fn one_node_serves_and_is_followed() {
    let cluster = Cluster::start().await;
    let from = cluster.owner("apium");
    let (mut source, broker) =
        (connection(&cluster.nodes[from]), broker_with(&cluster.url(), &[("eta_strategy", "park")]));
    let backend = backend_with(&cluster.url(), &[]);
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["held", "ready"]).await;
    let in_flight = take(&mut consumer, 1).await;
    let due = Clock::system().now().saturating_add(Duration::from_millis(1500)).ok();
    broker.publish(vec![to("q", "parked").at(due)]).await.unwrap();
    backend.store(vec![record("t", State::Started, None)]).await.unwrap();
    let mut states = soon("a watch", backend.watch(vec!["t".into()])).await.unwrap();
    assert_eq!(soon("a state", states.next()).await.unwrap().unwrap().state, State::Started);
    let all = keys(&mut source, "*");
    assert!(all.len() > 5 && all.iter().all(|key| key.starts_with("{apium}")), "{all:?}");
    finish(&mut consumer, &["ready"]).await;
    finish(&mut consumer, &["parked"]).await;
    idle(&mut consumer, &mut source, 1).await;

    cluster.move_slot("apium", from, (from + 1) % 3);
    ack(&*consumer, &in_flight).await;
    send_in_the_end(&broker, "q", "moved").await;
    finish(&mut consumer, &["moved"]).await;
    let stored = async {
        while let Err(error) = backend.store(vec![record("t", State::Success, None)]).await {
            assert!(error.is_retryable(), "{error}");
        }
    };
    soon("a result", stored).await;
    assert_eq!(soon("a state", states.next()).await.unwrap().unwrap().state, State::Success);
    assert_eq!(keys(&mut source, "*"), Vec::<String>::new());
    // The waits are at that node too.
    let mut target = connection(&cluster.nodes[(from + 1) % 3]);
    idle(&mut consumer, &mut target, 1).await;
    tokio::join!(finish(&mut consumer, &["waited for"]), send(&broker, "q", &["waited for"]));
}

#[tokio::test]
async fn broadcasts_reach_every_node_and_replies_follow_their_slot() {
    let cluster = Cluster::start().await;
    let from = cluster.owner("apium");
    let (broker, sender) = (broker_with(&cluster.url(), &[]), broker_with(&cluster.url(), &[]));
    let mut mailboxes = Mailboxes::open(&broker).await;
    assert_eq!(mailboxes.receive_from(&sender).await, [false; 3]);
    let requests = requests();
    let reached = sender.send_counted(&requests, vec![to("", "m")]).await.unwrap();
    assert_eq!(reached, None, "a node counts its own listeners alone");
    cluster.move_slot("apium", from, (from + 1) % 3);
    mailboxes.receive_from(&sender).await;
    // One that opens its connections now, and so listens at another node.
    let late = broker_with(&cluster.url(), &[]);
    let mut of_late = Mailboxes::open(&late).await;
    of_late.receive_from(&sender).await;
    of_late.receive_from(&broker).await;
    mailboxes.receive_from(&late).await;
}

#[tokio::test]
async fn chords_are_counted_and_their_bodies_sent() {
    let cluster = Cluster::start().await;
    let (broker, backend) = store(&cluster.url());
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a", "b"]).await;
    let batch = take(&mut consumer, 2).await;
    let chords = backend.chords().unwrap();
    chords.open(header("g", 1)).await.unwrap();
    chords.grow("g", &"x".into(), TTL).await.unwrap();
    let ends = batch.iter().zip(["a", "b"]).zip(0..).map(|((delivery, id), place)| {
        Settlement::default()
            .storing(Some(record(id, State::Success, None)))
            .ending(Some((delivery.receipt.clone(), Acknowledgement::Ack)))
            .following_up(counts(part("g", id, place, "1"), Body(body_message)))
    });
    settle(&*consumer, ends.collect()).await.unwrap();
    assert_eq!(chords.count("g").await.unwrap(), None);
    finish(&mut crate::brokers::consumer(&broker, "bodies").await, &["1 1"]).await;
}

#[tokio::test]
async fn brokers_with_other_tags_spread() {
    let cluster = Cluster::start().await;
    let tags = ["apium", "b", "c"];
    let owners = tags.map(|tag| cluster.owner(tag));
    assert!(owners.iter().any(|owner| *owner != owners[0]), "{owners:?}");
    for (tag, owner) in tags.into_iter().zip(owners) {
        let broker = broker_with(&cluster.url(), &[("hash_tag", tag), ("global_keyprefix", "app:")]);
        send(&broker, "q", &["m"]).await;
        let mut redis = connection(&cluster.nodes[owner]);
        assert_eq!(redis.llen::<_, usize>(format!("{{{tag}}}app:q")).unwrap(), 1);
        finish(&mut consumer(&broker, "q").await, &["m"]).await;
    }
}

#[tokio::test]
async fn a_slot_without_a_node_is_an_error_until_it_has_one() {
    let node = clustered(port::free()).start();
    let broker = open(&format!("redis+cluster://127.0.0.1:{}", node.port()), &[]).unwrap();
    let error = broker.publish(vec![to("q", "m")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(format!("{error:#}").contains("no node serves slot"), "{error:#}");
    let () = cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16_383).query(&mut connection(&node)).unwrap();
    send_in_the_end(&broker, "q", "m").await;
    // A server without cluster support says so.
    let plain = RedisServer::start();
    let broker = open(&format!("redis+cluster://127.0.0.1:{}", plain.port()), &[]).unwrap();
    let error = broker.publish(vec![to("q", "m")]).await.unwrap_err();
    assert!(format!("{error:#}").contains("cluster support disabled") && !error.is_retryable(), "{error:#}");
}
