//! Servers that answer but cannot serve for now: they load data, are replicas, or cannot write to the disk.

use std::time::Duration;

use apium_peers::redis::{Commands, Connection, cmd};
use apium_peers::redis_server::RedisServer;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::ResultBackend as _;
use apium_transport::broker::broker::Broker as _;
use apium_transport::error::{Error, ErrorKind};

use crate::brokers::{
    LEASE, ack, broker, consumer, finish, names, send, send_in_the_end, spec, take, to, with_short_timeout,
};
use crate::kit::{backend, connection, record, soon, until};

fn assert_passes(error: &Error, hint: &str) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable() && error.to_string().contains(hint), "{error}");
}

#[tokio::test]
async fn a_server_that_is_loading() {
    let server = RedisServer::builder()
        .args(["--enable-debug-command", "yes", "--key-load-delay", "1000"])
        .args(["--loading-process-events-interval-bytes", "1024", "--save", "3600 100000"])
        .start();
    let mut redis = connection(&server);
    let (broker, backend) = (broker(&server.url(0)), backend(&server.url(0)));
    send(&broker, "q", &["a"]).await;
    // Loading takes twenty seconds: this many keys, with a pause at each.
    let mut keys = apium_peers::redis::pipe();
    for n in 0..20_000 {
        keys.cmd("SET").arg(n).arg("x".repeat(100)).ignore();
    }
    let () = keys.query(&mut redis).unwrap();
    let mut loads = connection(&server);
    let loading = std::thread::spawn(move || cmd("DEBUG").arg("RELOAD").query::<String>(&mut loads));
    let mut refused = None;
    soon("a server that loads", async {
        while refused.is_none() {
            refused = broker.publish(vec![to("q", "b")]).await.err();
        }
    })
    .await;
    assert_passes(&refused.unwrap(), "loading its data");
    for error in [
        broker.consume(spec(&["q"])).await.map(drop).err(),
        backend.store(vec![record("t", State::Success, None)]).await.err(),
        backend.stored().unwrap().fetch(&["t".into()]).await.map(drop).err(),
    ] {
        assert_passes(&error.expect("it was to be loading for longer"), "loading its data");
    }
    let () = cmd("CONFIG").arg("SET").arg("key-load-delay").arg(0).query(&mut redis).unwrap();
    send_in_the_end(&broker, "last", "m").await;
    assert_eq!(loading.join().unwrap().unwrap(), "OK");
    let mut consumer = consumer(&broker, "q").await;
    assert_eq!(names(&take(&mut consumer, 1).await), ["a"]);
}

/// Makes a server the replica of another, or a master again.
fn replica_of(redis: &mut Connection, master: Option<u16>) {
    let mut command = cmd("REPLICAOF");
    match master {
        Some(port) => command.arg("127.0.0.1").arg(port),
        None => command.arg("NO").arg("ONE"),
    };
    let () = command.query(redis).unwrap();
}

#[tokio::test]
async fn a_master_that_becomes_a_replica() {
    let (server, other) = (RedisServer::start(), RedisServer::start());
    let mut redis = connection(&server);
    let (broker, backend) = (with_short_timeout(&server.url(0)), backend(&server.url(0)));
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a"]).await;
    finish(&mut consumer, &["a"]).await;
    crate::brokers::idle(&mut consumer, &mut redis, 1).await;
    replica_of(&mut redis, Some(other.port()));
    assert_passes(&broker.publish(vec![to("q", "b")]).await.unwrap_err(), "is a replica");
    // From then on it does not connect there, and its wait has ended.
    assert_passes(&broker.publish(vec![to("q", "b")]).await.unwrap_err(), "is a replica");
    assert_passes(&backend.store(vec![record("t", State::Success, None)]).await.unwrap_err(), "is a replica");
    let waited = soon("the end of the wait", async {
        loop {
            match consumer.next(1).await {
                Ok(batch) => panic!("it took {batch:?}"),
                Err(error) if error.to_string().contains("is a replica") => break error,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    });
    assert_passes(&waited.await, "is a replica");
    replica_of(&mut redis, None);
    send_in_the_end(&broker, "q", "c").await;
    finish(&mut consumer, &["c"]).await;
    let stored = async { while backend.store(vec![record("t", State::Success, None)]).await.is_err() {} };
    soon("the result backend", stored).await;
}

#[tokio::test]
async fn a_server_that_cannot_save() {
    // The server is to save after each change, and cannot.
    let server = RedisServer::builder().args(["--save", "1 1", "--dbfilename", "none"]).start();
    let mut redis = connection(&server);
    let (broker, other) = (broker(&server.url(0)), broker(&server.url(0)));
    let mut holder = consumer(&broker, "q").await;
    // This one tries again less often than the other, which therefore notices first that the server is back.
    let mut seldom = spec(&["q"]);
    seldom.lease = LEASE * 3;
    let mut second = other.consume(seldom).await.unwrap();
    send(&broker, "q", &["a"]).await;
    let batch = take(&mut holder, 1).await;
    let ids: Vec<String> = redis.zrange("_apium.alive", 0, -1).unwrap();
    // A folder with the name of the dump file.
    let dump = server.directory().join("none");
    let _ = std::fs::remove_file(&dump);
    std::fs::create_dir(&dump).unwrap();
    std::fs::write(dump.join("full"), "").unwrap();
    let mut refused = None;
    soon("a server that cannot save", async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while refused.is_none() {
            looks.tick().await;
            refused = broker.publish(vec![to("r", "x")]).await.err();
        }
    })
    .await;
    assert_passes(&refused.unwrap(), "cannot save to its disk");
    // It lasts longer than the leases. No heartbeat is possible, but nobody is taken for dead.
    let began = std::time::Instant::now();
    until("more than the leases", || began.elapsed() > LEASE * 4).await;
    assert!(redis.set::<_, _, ()>("x", "y").is_err());
    let () = cmd("CONFIG").arg("SET").arg("stop-writes-on-bgsave-error").arg("no").query(&mut redis).unwrap();
    let alive = |redis: &mut Connection| {
        let now: Vec<(String, f64)> = redis.zrange_withscores("_apium.alive", 0, -1).unwrap();
        let (seconds, _): (f64, f64) = cmd("TIME").query(redis).unwrap();
        now.into_iter().filter(|(_, deadline)| *deadline > seconds * 1000.0).map(|(id, _)| id).collect::<Vec<_>>()
    };
    until("signs of life", || alive(&mut redis).len() == 2).await;
    let mut after = alive(&mut redis);
    after.sort();
    let mut before = ids;
    before.sort();
    assert_eq!(after, before, "a worker that lived was taken for dead");
    ack(&*holder, &batch).await;
    send(&broker, "q", &["b"]).await;
    finish(&mut second, &["b"]).await;
    let mut after: Vec<String> = redis.zrange("_apium.alive", 0, -1).unwrap();
    after.sort();
    assert_eq!(after, before, "a worker that lived was taken for dead");
}
