//! What all workers share, as it lies in the server: its keys, and keys that another program has spoilt.

use apium_peers::redis::{Commands, cmd};
use apium_peers::redis_server::{RedisServer, fresh_database};
use apium_protocol::json::text::Json;
use apium_redis::RedisBroker;
use apium_transport::broker::fleet::{FleetLimits, FleetRecord, FleetRecords as _, FleetTopic};
use apium_transport::error::{Error, ErrorKind};
use jiff::Timestamp;

use crate::brokers::{broker, broker_with, fresh_broker, keys};
use crate::kit::{connection, soon};

const TASKS: FleetTopic = FleetTopic::RevokedTasks;
const NO_LIMITS: FleetLimits = FleetLimits::new(1_000_000, None);

fn record(key: &str, micros: i64) -> FleetRecord {
    FleetRecord::new(key, Json::NULL, Timestamp::from_microsecond(micros).unwrap())
}

async fn put(broker: &RedisBroker, records: Vec<FleetRecord>) -> Result<usize, Error> {
    soon("the writing", broker.put(TASKS, records, NO_LIMITS)).await
}

#[tokio::test]
async fn a_topic_is_two_keys() {
    let database = fresh_database();
    let broker = broker_with(&database.url, &[("global_keyprefix", "p:")]);
    put(&broker, vec![record("b", 2_000_001), record("a", 1_767_323_045_123_456)]).await.unwrap();
    let mut redis = database.connection();
    assert_eq!(keys(&mut redis, "*"), ["p:_apium.fleet.revoked", "p:_apium.fleet.revoked.values"]);
    let times: Vec<(String, f64)> = redis.zrange_withscores("p:_apium.fleet.revoked", 0, -1).unwrap();
    assert_eq!(times, [("b".to_owned(), 2_000_001.0), ("a".to_owned(), 1_767_323_045_123_456.0)]);
    assert_eq!(redis.hget::<_, _, String>("p:_apium.fleet.revoked.values", "a").unwrap(), "null");
    assert_eq!(broker.remove(TASKS, &["a".into(), "b".into()]).await.unwrap(), 2);
    assert_eq!(keys(&mut redis, "*"), Vec::<String>::new());
}

#[tokio::test]
async fn records_of_one_time_are_read_in_pages() {
    let (_, broker) = fresh_broker();
    let all: Vec<FleetRecord> = (0..2500).map(|n| record(&format!("{n:04}"), 7)).collect();
    put(&broker, all.clone()).await.unwrap();
    assert_eq!(broker.list(TASKS, None, NO_LIMITS).await.unwrap(), all);
    let edges = [record("first", -377_705_023_201_000_000), record("last", 253_402_207_200_000_000)];
    put(&broker, edges.to_vec()).await.unwrap();
    assert_eq!(broker.list(TASKS, None, NO_LIMITS).await.unwrap().len(), 2502);
}

#[tokio::test]
async fn a_record_that_is_written_again_while_it_is_read_is_read_once() {
    let (_, broker) = fresh_broker();
    put(&broker, (0..3000).map(|n| record(&format!("{n:04}"), n)).collect()).await.unwrap();
    let writing = async {
        for round in 1..40 {
            let again = (0..300).map(|n| record(&format!("{:04}", n * 10), round * 10_000 + n)).collect();
            put(&broker, again).await.unwrap();
        }
    };
    let reading = async {
        for _ in 0..10 {
            let mut found = broker.list(TASKS, None, NO_LIMITS).await.unwrap();
            assert!(found.is_sorted_by_key(|record| record.at));
            found.sort_by(|one, other| one.key.cmp(&other.key));
            found.dedup_by(|one, other| one.key == other.key);
            assert_eq!(found.len(), 3000);
        }
    };
    tokio::join!(writing, reading);
}

#[tokio::test]
async fn a_server_that_refuses_says_why() {
    let server = RedisServer::start();
    let (mut redis, broker) = (connection(&server), broker(&server.url(0)));
    put(&broker, vec![record("a", 1)]).await.unwrap();
    let () = cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").query(&mut redis).unwrap();
    let error = put(&broker, vec![record("b", 2)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:#}");
    assert!(error.to_string().contains("raise maxmemory"), "{error:#}");
    assert_eq!(broker.list(TASKS, None, NO_LIMITS).await.unwrap().len(), 1, "what is there can be read");
    assert_eq!(broker.remove(TASKS, &["a".into()]).await.unwrap(), 1, "and removed");
    let () = cmd("CONFIG").arg("SET").arg("maxmemory").arg("0").query(&mut redis).unwrap();
    put(&broker, vec![record("b", 2)]).await.unwrap();
    let () = redis.hset("_apium.fleet.revoked.values", "b", "{").unwrap();
    let error = broker.list(TASKS, None, NO_LIMITS).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(r#"the field "b" of the key "_apium.fleet.revoked.values""#), "{error}");
    for key in ["_apium.fleet.revoked", "_apium.fleet.revoked.values"] {
        let () = redis.del(key).unwrap();
        let () = redis.set(key, "not yours").unwrap();
        let error = put(&broker, vec![record("a", 1)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:#}");
        assert!(format!("{error:#}").contains(key), "{error:#}");
        let () = redis.del(key).unwrap();
    }
}
