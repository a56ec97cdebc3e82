//! How much a change of what all workers share writes.

use apium_peers::rabbitmq_server::fresh_vhost;
use apium_protocol::json::text::Json;
use apium_transport::broker::broker::Broker;
use apium_transport::broker::fleet::{FleetLimits, FleetRecord, FleetTopic};
use jiff::Timestamp;

use crate::kit::{depth, open, until};

const TOPIC: FleetTopic = FleetTopic::RevokedTasks;
const QUEUE: &str = "apium.revoked";

fn numbered(n: i64) -> FleetRecord {
    FleetRecord::new(n.to_string(), Json::NULL, Timestamp::from_millisecond(n).unwrap())
}

async fn put(broker: &dyn Broker, records: Vec<FleetRecord>, limits: FleetLimits) -> usize {
    broker.fleet().unwrap().put(TOPIC, records, limits).await.unwrap()
}

async fn keys(broker: &dyn Broker) -> Vec<String> {
    let all = broker.fleet().unwrap().list(TOPIC, None, FleetLimits::new(usize::MAX, None)).await.unwrap();
    all.into_iter().map(|record| record.key).collect()
}

async fn holds(broker: &dyn Broker, messages: u64) {
    until("the messages are counted", async || depth(broker, QUEUE).await == messages).await;
}

#[tokio::test]
async fn one_more_record_of_a_full_store_is_one_more_message() {
    let vhost = fresh_vhost();
    let broker = open(&vhost.url, &[]).unwrap();
    let limits = FleetLimits::new(5_000, None);
    assert_eq!(put(&broker, (0..5_000).map(numbered).collect(), limits).await, 0);
    holds(&broker, 3).await;
    for n in 0..4 {
        assert_eq!(put(&broker, vec![numbered(5_000 + n)], limits).await, 1);
        holds(&broker, 4 + n.unsigned_abs()).await;
    }
    let wanted: Vec<String> = (4..5_004).map(|n| n.to_string()).collect();
    assert_eq!(keys(&broker).await, wanted, "what was forgotten does not come back");
    let fleet = broker.fleet().unwrap();
    assert_eq!(fleet.remove(TOPIC, &["7".into(), "none".into()]).await.unwrap(), 1);
    holds(&broker, 8).await;
    assert_eq!(fleet.remove(TOPIC, &["7".into()]).await.unwrap(), 0);
    holds(&broker, 8).await;
    assert_eq!(keys(&broker).await.len(), 4_999);
    assert_eq!(put(&broker, vec![numbered(7)], limits).await, 0, "a key that was removed can be written again");
    assert_eq!(keys(&broker).await.len(), 5_000);
}

#[tokio::test]
async fn what_is_outdated_is_dropped_in_time() {
    let vhost = fresh_vhost();
    let broker = open(&vhost.url, &[]).unwrap();
    let limits = FleetLimits::new(5_000, None);
    for _ in 0..10 {
        put(&broker, vec![numbered(1)], limits).await;
    }
    holds(&broker, 1).await;
    put(&broker, (0..2_000).map(numbered).collect(), limits).await;
    for _ in 0..100 {
        put(&broker, vec![numbered(1)], limits).await;
    }
    assert!(depth(&broker, QUEUE).await <= 65, "one message for each change, and all anew after some");
    assert_eq!(keys(&broker).await.len(), 2_000);
}
