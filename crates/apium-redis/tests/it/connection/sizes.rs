//! Values that are larger than the server takes: they are refused before they are sent, with an error that names the
//! sizes, and the connection that all share goes on.

use apium_peers::redis::{Commands as _, Connection, cmd};
use apium_peers::redis_server::RedisServer;
use apium_protocol::json::text::Json;
use apium_protocol::result::document::ResultDocument;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::{ResultBackend as _, ResultRecord};
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::settlement::{Acknowledgement, Settlement};
use apium_transport::error::{Error, ErrorKind};

use crate::brokers::{consumer, length, names, send, take, to};
use crate::kit::{connection, record, soon, version};
use crate::settle::follow_ups::{settle, store};

/// The smallest limit that a server can have.
const LIMIT: usize = 1 << 20;

fn limited() -> RedisServer {
    RedisServer::builder().args(["--proto-max-bulk-len", &LIMIT.to_string()]).start()
}

fn large(id: &str, size: usize) -> ResultRecord {
    let result = Json::from_serialize(&"x".repeat(size)).unwrap();
    ResultRecord::new(ResultDocument::new(id, State::Success, result)).by(version(0, 1))
}

fn assert_names_sizes(error: &Error, size: usize) {
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:#}");
    assert!(!error.is_retryable(), "{error:#}");
    let text = format!("{error:#}");
    let named: Vec<usize> =
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
    assert!(named.iter().any(|number| *number > size && *number < size + 10_000), "{text}");
    assert!(text.contains(&LIMIT.to_string()) && text.contains("proto-max-bulk-len"), "{text}");
}

/// How many connections the server has accepted.
fn accepted(redis: &mut Connection) -> u64 {
    let stats: String = cmd("INFO").arg("stats").query(redis).unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
    line.trim().parse().unwrap()
}

#[tokio::test]
async fn a_result_and_a_message_are_refused_and_the_connection_goes_on() {
    let server = limited();
    let mut redis = connection(&server);
    let (broker, backend) = store(&server.url(0));
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a", "b"]).await;
    let batch = take(&mut consumer, 2).await;
    backend.store(vec![record("first", State::Success, None)]).await.unwrap();
    let before = accepted(&mut redis);

    let size = 3 * LIMIT;
    assert_names_sizes(&backend.store(vec![large("t", size)]).await.unwrap_err(), size);
    let mut message = to("q", "m");
    message.message.body = vec![b'x'; size].into();
    // In an envelope a body is longer by a third.
    assert_names_sizes(&broker.publish(vec![message]).await.unwrap_err(), size / 3 * 4);
    let end = |at: usize, record: ResultRecord| {
        Settlement::default()
            .storing(Some(record))
            .publishing(vec![to("next", "follow-up")])
            .ending(Some((batch[at].receipt.clone(), Acknowledgement::Ack)))
    };
    // Nothing of the batch is done.
    let both = vec![end(0, record("a", State::Success, version(0, 1))), end(1, large("b", size))];
    assert_names_sizes(&settle(&*consumer, both).await.unwrap_err(), size);
    assert_eq!((length(&mut redis, "next"), redis.hlen::<_, usize>("unacked").unwrap()), (0, 2));
    // What fits is taken, and so is a failure in the place of the result that does not.
    settle(&*consumer, vec![end(0, large("a", LIMIT / 2))]).await.unwrap();
    settle(&*consumer, vec![end(1, record("b", State::Failure, version(0, 1)))]).await.unwrap();
    assert_eq!(length(&mut redis, "next"), 2);
    assert_eq!(accepted(&mut redis), before, "no connection broke");
}

#[tokio::test]
async fn a_server_with_the_usual_limit_takes_what_is_larger_than_a_megabyte() {
    let server = RedisServer::start();
    let (broker, backend) = store(&server.url(0));
    backend.store(vec![large("t", 3 * LIMIT)]).await.unwrap();
    let mut message = to("q", "");
    message.message.body = vec![b'x'; 3 * LIMIT].into();
    broker.publish(vec![message]).await.unwrap();
    let mut consumer = consumer(&broker, "q").await;
    let batch = take(&mut consumer, 1).await;
    assert_eq!(names(&batch)[0].len(), 3 * LIMIT);
    soon("closing", consumer.close()).await.unwrap();
}
