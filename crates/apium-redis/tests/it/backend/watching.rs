//! No waiter misses a result (the guarantee waiters): lost notifications, lost connections, a server that comes back,
//! many waiters.

use std::time::Duration;

use apium_peers::proxy::Proxy;
use apium_peers::redis::{Commands, Connection, cmd, pipe};
use apium_peers::redis_server::RedisServer;
use apium_protocol::result::state::State;
use apium_redis::RedisBackend;
use apium_transport::backend::backend::{ResultBackend as _, ResultStream};
use apium_transport::error::ErrorKind;
use futures_util::{FutureExt as _, StreamExt as _};

use crate::kit::{
    backend, connection, document, fresh_channels, ran, record, soon, until, version, with_short_timeout,
};

async fn watch(backend: &RedisBackend, ids: &[&str]) -> ResultStream {
    let ids = ids.iter().map(|id| (*id).into()).collect();
    soon("a watch", backend.watch(ids)).await.unwrap()
}

async fn state(stream: &mut ResultStream) -> Option<State> {
    soon("a state", stream.next()).await.map(|document| document.unwrap().state)
}

async fn store(backend: &RedisBackend, id: &str, state: State) {
    backend.store(vec![record(id, state, version(0, 1))]).await.unwrap();
}

/// Writes a result without publishing it.
fn set_silently(redis: &mut Connection, id: &str, state: State) {
    let () = redis.set(format!("celery-task-meta-{id}"), document(id, state).to_json()).unwrap();
}

fn subscribed(redis: &mut Connection) -> Vec<String> {
    cmd("PUBSUB").arg("CHANNELS").query(redis).unwrap()
}

/// How many connections have subscriptions, and how many others there are except the one that asks.
fn connections(redis: &mut Connection) -> (usize, usize) {
    let list: String = cmd("CLIENT").arg("LIST").query(redis).unwrap();
    let subscribers = list.lines().filter(|line| !line.contains(" sub=0 ")).count();
    (subscribers, list.lines().count() - subscribers - 1)
}

#[tokio::test]
async fn a_notification_that_was_lost_is_made_good() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let backend = backend(&server.url(0));
    let mut stream = watch(&backend, &["t", "u"]).await;
    for (id, state_of) in [("t", State::Started), ("t", State::Success), ("u", State::Failure)] {
        // The connection breaks, and nothing is published while there is none.
        let mut lost = pipe();
        lost.atomic().cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub");
        lost.set(format!("celery-task-meta-{id}"), document(id, state_of.clone()).to_json());
        let _: Vec<apium_peers::redis::Value> = lost.query(&mut redis).unwrap();
        assert_eq!(state(&mut stream).await, Some(state_of));
    }
    assert_eq!(state(&mut stream).await, None);
}

/// Whoever waits for a result has it when the message comes, and does not wait for the answer to its own reading.
#[tokio::test]
async fn a_result_that_comes_as_a_message_needs_no_reading() {
    const ONE_WAY: Duration = Duration::from_millis(300);
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (near, proxy) = (backend(&server.url(0)), Proxy::to(server.port()));
    let far = backend(&format!("redis://127.0.0.1:{}/0", proxy.port()));
    // It keeps both connections open.
    let mut other = watch(&far, &["other"]).await;
    proxy.delay(ONE_WAY);
    let publish = async {
        let channel = "celery-task-meta-t".to_owned();
        until("the subscription", || subscribed(&mut redis).contains(&channel)).await;
        let before = proxy.bytes_to_client();
        store(&near, "t", State::Success).await;
        let size = document("t", State::Success).to_json().len() as u64;
        until("the message", || proxy.bytes_to_client() > before + size).await;
        // From now on nothing that the waiting side sends arrives.
        proxy.delay(Duration::from_secs(3600));
    };
    let (mut stream, ()) = tokio::join!(watch(&far, &["t"]), publish);
    assert_eq!(state(&mut stream).await, Some(State::Success));
    assert_eq!(state(&mut stream).await, None);
    assert!(other.next().now_or_never().is_none());
}

#[tokio::test]
async fn a_server_that_comes_back_has_the_result() {
    let server = RedisServer::builder().args(["--appendonly", "yes", "--appendfsync", "always"]).start();
    let backend = with_short_timeout(&server.url(0));
    let mut stream = watch(&backend, &["t"]).await;
    store(&backend, "t", State::Started).await;
    assert_eq!(state(&mut stream).await, Some(State::Started));
    server.stop();
    server.restart();
    set_silently(&mut connection(&server), "t", State::Success);
    assert_eq!(state(&mut stream).await, Some(State::Success));
    assert_eq!(state(&mut stream).await, None);
}

#[tokio::test]
async fn a_server_that_comes_back_empty_is_waited_for() {
    let server = RedisServer::start();
    let backend = with_short_timeout(&server.url(0));
    let mut stream = watch(&backend, &["t"]).await;
    store(&backend, "t", State::Started).await;
    assert_eq!(state(&mut stream).await, Some(State::Started));
    server.kill();
    assert!(stream.next().now_or_never().is_none(), "the stream ended with the server");
    server.restart();
    let stored = async { while backend.store(vec![record("t", State::Success, None)]).await.is_err() {} };
    soon("the server", stored).await;
    assert_eq!(state(&mut stream).await, Some(State::Success));
}

#[tokio::test]
async fn a_black_hole_is_noticed() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let backend = with_short_timeout(&format!("redis://127.0.0.1:{}/0", proxy.port()));
    let mut redis = connection(&server);
    let mut stream = watch(&backend, &["t"]).await;
    assert!(connections(&mut redis).0 == 1);
    proxy.black_hole(true);
    // It is published, but the message is lost.
    let () = redis.publish("celery-task-meta-t", document("t", State::Success).to_json()).unwrap();
    set_silently(&mut redis, "t", State::Success);
    let accepted = proxy.accepted();
    until("another attempt to connect", || proxy.accepted() > accepted).await;
    assert!(stream.next().now_or_never().is_none());
    proxy.black_hole(false);
    assert_eq!(state(&mut stream).await, Some(State::Success));
}

#[tokio::test]
async fn many_cuts_lose_nothing() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let backend = with_short_timeout(&format!("redis://127.0.0.1:{}/0", proxy.port()));
    let direct = self::backend(&server.url(0));
    for round in 0..20 {
        let id = format!("t{round}");
        let mut stream = loop {
            // A cut may also come at the beginning of a watch, which then fails.
            match soon("a watch", backend.watch(vec![id.as_str().into()])).await {
                Ok(stream) => break stream,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        };
        proxy.cut();
        store(&direct, &id, State::Started).await;
        proxy.cut();
        store(&direct, &id, State::Success).await;
        let mut last = None;
        while let Some(next) = state(&mut stream).await {
            last = Some(next);
        }
        assert_eq!(last, Some(State::Success), "in round {round}");
    }
}

#[tokio::test]
async fn a_thousand_waiters_share_two_connections() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let backend = backend(&server.url(0));
    let names: Vec<String> = (0..1000).map(|n| format!("t{}", n % 500)).collect();
    let begin = names.iter().map(|name| backend.watch(vec![name.as_str().into()]));
    let streams = soon("a thousand watches", futures_util::future::join_all(begin)).await;
    let mut streams: Vec<ResultStream> = streams.into_iter().map(Result::unwrap).collect();
    assert_eq!(connections(&mut redis), (1, 1), "(for messages, for commands)");
    assert_eq!(subscribed(&mut redis).len(), 500);
    backend.store((0..500).map(|n| record(&format!("t{n}"), State::Success, None)).collect()).await.unwrap();
    for stream in &mut streams {
        assert_eq!(state(stream).await, Some(State::Success));
        assert_eq!(state(stream).await, None);
    }
    until("the end of the subscriptions", || subscribed(&mut redis).is_empty()).await;
    for command in ["subscribe", "unsubscribe"] {
        let calls = ran(&mut redis, &[command]);
        assert!(calls <= 10, "{command} ran {calls} times for a thousand waiters");
    }
}

#[tokio::test]
async fn a_watch_that_is_dropped_leaves_nothing() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let backend = backend(&server.url(0));
    let (first, second) = (watch(&backend, &["t", "u"]).await, watch(&backend, &["t", "v"]).await);
    drop(first);
    until("the end of the subscription", || subscribed(&mut redis).len() == 2).await;
    drop(second);
    until("the end of all subscriptions", || subscribed(&mut redis).is_empty()).await;
    let mut second = watch(&backend, &["t"]).await;
    store(&backend, "t", State::Success).await;
    assert_eq!(state(&mut second).await, Some(State::Success));
}

#[tokio::test]
async fn states_of_a_busy_task_come_in_order_and_once() {
    let (_redis, backend, _) = fresh_channels();
    for round in 0..30 {
        let id = format!("t{round}");
        let write = async {
            for n in 0..40 {
                store(&backend, &id, State::from(format!("STEP{n}").as_str())).await;
            }
            store(&backend, &id, State::Success).await;
        };
        let read = async {
            let mut stream = watch(&backend, &[&id]).await;
            let mut seen = Vec::new();
            while let Some(state) = state(&mut stream).await {
                seen.push(state.to_string());
            }
            seen
        };
        let ((), seen) = tokio::join!(write, read);
        // It begins with the present state or the next one; after that, no state is missing.
        let all: Vec<String> = (0..40).map(|n| format!("STEP{n}")).chain(["SUCCESS".to_owned()]).collect();
        let start = all.iter().position(|state| *state == seen[0]).unwrap();
        assert_eq!(seen, all[start..], "in round {round}");
    }
}

#[tokio::test]
async fn a_watch_that_is_not_polled_keeps_the_last_state() {
    let (_redis, backend, _) = fresh_channels();
    let mut stream = watch(&backend, &["t", "u"]).await;
    let states = |n: u32| record("t", State::from(format!("STEP{n}").as_str()), None);
    for from in [0, 1000, 2000] {
        backend.store((from..from + 1000).map(states).collect()).await.unwrap();
    }
    backend.store(vec![record("t", State::Success, None)]).await.unwrap();
    let mut late = watch(&backend, &["t"]).await;
    assert_eq!(state(&mut late).await, Some(State::Success));
    store(&backend, "u", State::Success).await;
    let seen: Vec<_> = soon("the end", (&mut stream).collect::<Vec<_>>()).await;
    let seen: Vec<_> = seen.into_iter().map(Result::unwrap).collect();
    assert!(seen.len() <= 1026, "{} states were kept", seen.len());
    assert_eq!(seen.iter().filter(|document| document.state.is_ready()).count(), 2);
}

#[tokio::test]
async fn an_unreadable_document_ends_its_task() {
    let (mut redis, backend, prefix) = fresh_channels();
    let mut stream = watch(&backend, &["t", "u"]).await;
    let _: i64 = redis.publish(format!("{prefix}celery-task-meta-t"), "no document").unwrap();
    let error = soon("an error", stream.next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    store(&backend, "u", State::Success).await;
    assert_eq!(state(&mut stream).await, Some(State::Success));
    assert_eq!(state(&mut stream).await, None);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_in_time() {
    let server = RedisServer::start();
    let backend = with_short_timeout(&server.url(0));
    server.kill();
    let error = soon("an answer", backend.watch(vec!["t".into()])).await.map(drop).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(!format!("{error:#}").contains("secret"));
    server.restart();
    let watched = async { while backend.watch(vec!["t".into()]).await.is_err() {} };
    soon("a watch", watched).await;
}
