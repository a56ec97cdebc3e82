//! `sentinel://`: the sentinels name the master, and the driver follows a failover.

use std::time::{Duration, Instant};

use apium_peers::port;
use apium_peers::redis::{Client, Connection, cmd};
use apium_peers::redis_server::RedisServer;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::ResultBackend as _;
use apium_transport::broker::broker::Broker as _;
use apium_transport::error::ErrorKind;

use crate::broadcasts::Mailboxes;
use crate::brokers::{ack, broker_with, consumer, finish, idle, names, open, send, send_in_the_end, take, to};
use crate::kit::{backend_with, connection, record, soon, until};

/// A master with a replica, and two sentinels that watch them.
struct Watched {
    master: RedisServer,
    replica: RedisServer,
    sentinels: [RedisServer; 2],
    password: &'static str,
}

impl Watched {
    async fn start(password: &'static str) -> Self {
        let server = || {
            let server = RedisServer::builder().args(["--repl-diskless-sync-delay", "0"]);
            match password {
                "" => server.start(),
                password => server.password(password).args(["--masterauth", password]).start(),
            }
        };
        let (master, replica) = (server(), server());
        let () = cmd("REPLICAOF").arg("127.0.0.1").arg(master.port()).query(&mut connection(&replica)).unwrap();
        // Both sentinels vote, but only the first one calls for the vote. If both called for it at the same moment,
        // each would vote for itself, and the next vote would come 8 s later.
        let sentinels = [(1, 500), (2, 60_000)].map(|(quorum, down_after)| {
            let mut text = format!("sentinel monitor main 127.0.0.1 {} {quorum}\n", master.port());
            text += &format!("sentinel down-after-milliseconds main {down_after}\nsentinel failover-timeout main 4000\n");
            if !password.is_empty() {
                text += &format!(
                    "sentinel auth-pass main {password}\nrequirepass of-sentinels\nsentinel sentinel-pass of-sentinels\n"
                );
            }
            RedisServer::builder().sentinel(&text).start()
        });
        let watched = Self { master, replica, sentinels, password };
        // The sentinels have found the replica, and each other.
        for at in 0..2 {
            let mut sentinel = watched.sentinel(at);
            until("a watch", || {
                let mut count = |what: &str| {
                    let found: Vec<apium_peers::redis::Value> =
                        cmd("SENTINEL").arg(what).arg("main").query(&mut sentinel).unwrap();
                    found.len()
                };
                count("replicas") == 1 && count("sentinels") == 1
            })
            .await;
        }
        let mut redis = connection(&watched.master);
        until("a replica that follows", || {
            let info: String = cmd("INFO").arg("replication").query(&mut redis).unwrap();
            info.contains("state=online")
        })
        .await;
        watched
    }

    fn sentinel(&self, at: usize) -> Connection {
        let login = if self.password.is_empty() { "" } else { ":of-sentinels@" };
        let url = format!("redis://{login}127.0.0.1:{}", self.sentinels[at].port());
        Client::open(url).unwrap().get_connection().unwrap()
    }

    fn url(&self) -> String {
        let login = if self.password.is_empty() { String::new() } else { format!(":{}@", self.password) };
        let [one, other] = [0, 1].map(|at| format!("sentinel://{login}127.0.0.1:{}/0", self.sentinels[at].port()));
        format!("{one};{other}")
    }
}

#[tokio::test]
async fn a_master_that_dies_is_followed_within_ten_seconds() {
    let watched = Watched::start("").await;
    let options = [("master_name", "main"), ("socket_timeout", "1")];
    let (broker, backend) = (broker_with(&watched.url(), &options), backend_with(&watched.url(), &options));
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a"]).await;
    finish(&mut consumer, &["a"]).await;
    let mut redis = connection(&watched.master);
    idle(&mut consumer, &mut redis, 1).await;
    watched.master.kill();
    let began = Instant::now();
    send_in_the_end(&broker, "q", "b").await;
    let batch = take(&mut consumer, 1).await;
    ack(&*consumer, &batch).await;
    let stored = async {
        while let Err(error) = backend.store(vec![record("t", State::Success, None)]).await {
            assert!(error.is_retryable(), "{error}");
        }
    };
    soon("a result", stored).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(names(&batch), ["b"]);
    // The consumer waits at the new master too.
    let mut redis = connection(&watched.replica);
    idle(&mut consumer, &mut redis, 1).await;
    tokio::join!(finish(&mut consumer, &["c"]), send(&broker, "q", &["c"]));
}

#[tokio::test]
async fn broadcasts_and_replies_follow_a_failover() {
    let watched = Watched::start("").await;
    let options = [("master_name", "main"), ("socket_timeout", "1")];
    let (broker, sender) = (broker_with(&watched.url(), &options), broker_with(&watched.url(), &options));
    let mut mailboxes = Mailboxes::open(&broker).await;
    assert_eq!(mailboxes.receive_from(&sender).await, [false; 3]);
    watched.master.kill();
    let began = Instant::now();
    assert_eq!(mailboxes.receive_from(&sender).await, [true; 3], "each says that it may have missed something");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let mut redis = connection(&watched.replica);
    let heard: (String, usize) = cmd("PUBSUB").arg("NUMSUB").arg("/0.celery.pidbox").query(&mut redis).unwrap();
    assert_eq!(heard.1, 1, "it listens at the new master");
}

#[tokio::test]
async fn a_failover_on_request_is_followed_with_passwords_of_both() {
    let watched = Watched::start("hunter2").await;
    let options =
        [("master_name", "main"), ("socket_timeout", "1"), ("sentinel_kwargs", "{'password': 'of-sentinels'}")];
    let broker = broker_with(&watched.url(), &options);
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a", "b"]).await;
    let in_flight = take(&mut consumer, 1).await;
    let mut synced = connection(&watched.master);
    let _: i64 = cmd("WAIT").arg(1).arg(5000).query(&mut synced).unwrap();
    let () = cmd("SENTINEL").arg("FAILOVER").arg("main").query(&mut watched.sentinel(0)).unwrap();
    until("another master", || {
        // A replica that is promoted closes its connections.
        let asked = Client::open(watched.replica.url(0)).and_then(|client| client.get_connection());
        let info = asked.and_then(|mut redis| cmd("INFO").arg("replication").query::<String>(&mut redis));
        info.is_ok_and(|info| info.contains("role:master"))
    })
    .await;
    // What the consumer has in flight is still its own, and the ready messages are there.
    ack(&*consumer, &in_flight).await;
    finish(&mut consumer, &["b"]).await;
    send_in_the_end(&broker, "q", "c").await;
    finish(&mut consumer, &["c"]).await;
}

#[tokio::test]
async fn a_sentinel_that_cannot_help_is_an_error() {
    let master = RedisServer::start();
    let text = format!("sentinel monitor main 127.0.0.1 {} 1\n", master.port());
    let sentinel = RedisServer::builder().sentinel(&text).start();
    let place = format!("127.0.0.1:{}", sentinel.port());
    let publish = async |url: &str, options: &[(&str, &str)]| {
        let broker = open(url, options).unwrap();
        soon("an answer", broker.publish(vec![to("q", "m")])).await
    };
    let error = publish(&format!("sentinel://{place}"), &[("master_name", "other")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let text = format!("{error:#}");
    assert!(text.contains("\"other\"") && text.contains(&place), "{text}");
    // It says what to do, and what it says helps: the sentinel shows the names that it takes.
    assert!(text.contains("the option master_name must be one that `SENTINEL MASTERS` shows there"), "{text}");
    let mut sentinel_itself = connection(&sentinel);
    let masters: Vec<Vec<String>> = cmd("SENTINEL").arg("MASTERS").query(&mut sentinel_itself).unwrap();
    assert!(masters.iter().any(|master| master.contains(&"main".to_owned())), "{masters:?}");
    // The next address is asked: nothing listens there, or it is no sentinel.
    let nobody = format!("sentinel://127.0.0.1:{}", port::free());
    let error = publish(&nobody, &[("master_name", "main")]).await.unwrap_err();
    assert!(error.is_connection(), "{error}");
    let server = format!("sentinel://127.0.0.1:{}", master.port());
    for list in [format!("{nobody};sentinel://{place}"), format!("{server};{place}")] {
        publish(&list, &[("master_name", "main")]).await.unwrap();
    }
}
