//! Servers that cannot be reached or that refuse: each is one error that says why and what to do, and shows no secret.

use apium_peers::port;
use apium_peers::redis::cmd;
use apium_peers::redis_server::RedisServer;
use apium_protocol::result::state::State;
use apium_redis::{RedisBackend, RedisBroker};
use apium_transport::backend::backend::ResultBackend as _;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::consumer::Consumer;
use apium_transport::broker::settlement::Settlement;
use apium_transport::error::{Error, ErrorKind};

#[cfg(not(feature = "tls"))]
use crate::brokers::open;
use crate::brokers::{broker, broker_with, consumer, finish, send, send_in_the_end, spec, to, with_short_timeout};
use crate::kit::{backend_with, connection, record, soon, until};
use crate::settle::follow_ups::{Body, TTL, body_message, counts, header, part, settle, store};

const SECRET: &str = "hunter2";

/// The errors of publishing, consuming, storing and watching at this address.
async fn errors(url: &str) -> Vec<Error> {
    let timeout = [("socket_timeout", "2")];
    let (broker, backend): (RedisBroker, RedisBackend) = (broker_with(url, &timeout), backend_with(url, &timeout));
    let mut errors = vec![
        soon("an answer", broker.publish(vec![to("q", "m")])).await.unwrap_err(),
        soon("an answer", broker.consume(spec(&["q"]))).await.map(drop).unwrap_err(),
        soon("an answer", backend.store(vec![record("t", State::Success, None)])).await.unwrap_err(),
    ];
    if let Err(error) = soon("an answer", backend.watch(vec!["t".into()])).await {
        errors.push(error);
    }
    for error in &errors {
        let (text, debug) = (format!("{error:#}"), format!("{error:?} {broker:?} {backend:?}"));
        assert!(!text.contains(SECRET) && !debug.contains(SECRET), "{text}");
    }
    errors
}

async fn assert_refused(url: &str, place: &str, kind: ErrorKind, wanted: &str) {
    for error in errors(url).await {
        assert_eq!(error.kind(), kind, "{error}");
        let text = format!("{error:#}");
        assert!(text.contains(place) && text.contains(wanted), "{text}");
        // What the library says of a pipeline is for its own developers.
        assert!(!text.contains("Pipeline") && !text.contains("Index"), "{text}");
    }
}

#[tokio::test]
async fn a_port_on_which_nobody_listens() {
    let place = format!("127.0.0.1:{}", port::free());
    assert_refused(&format!("redis://:{SECRET}@{place}/0"), &place, ErrorKind::Connection, "refused").await;
    // Whether the address has the right scheme is not known then.
    let schemes = if cfg!(feature = "tls") { &["redis", "rediss"][..] } else { &["redis"] };
    for scheme in schemes {
        for error in errors(&format!("{scheme}://{place}/0")).await {
            let text = format!("{error:#}");
            assert!(!text.contains("the scheme"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_name_that_nobody_has() {
    let place = "no-such-host.invalid:6379";
    assert_refused(&format!("redis://:{SECRET}@{place}/0"), place, ErrorKind::Connection, "lookup").await;
}

#[tokio::test]
async fn a_socket_that_is_not_there() {
    let place = "/no/such/redis.sock";
    assert_refused(&format!("redis+socket://{place}"), place, ErrorKind::Connection, "No such file").await;
}

#[tokio::test]
async fn a_password_that_is_missing_or_wrong() {
    let server = RedisServer::builder().password("right").start();
    let place = format!("127.0.0.1:{}", server.port());
    let hint = "redis://:password@host";
    assert_refused(&format!("redis://{place}/0"), &place, ErrorKind::Refused, hint).await;
    for who in [format!(":{SECRET}"), format!("default:{SECRET}"), format!("nobody:{SECRET}")] {
        let url = format!("redis://{who}@{place}/0");
        assert_refused(&url, &place, ErrorKind::Refused, "user name or password are wrong").await;
    }
}

#[tokio::test]
async fn a_password_that_is_wanted_from_now_on() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a"]).await;
    // Existing connections go on; a new one is refused until the password is removed.
    let () = cmd("CONFIG").arg("SET").arg("requirepass").arg(SECRET).query(&mut redis).unwrap();
    let mut kill = cmd("CLIENT");
    let _: i64 = kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").query(&mut redis).unwrap();
    let error = soon("a refusal", async {
        loop {
            match broker.publish(vec![to("q", "b")]).await {
                Err(error) if error.kind() == ErrorKind::Refused => break error,
                Err(error) => assert!(error.is_retryable(), "{error}"),
                Ok(()) => panic!("it was published without a password"),
            }
        }
    });
    assert!(format!("{:#}", error.await).contains("it wants a password"));
    let () = cmd("CONFIG").arg("SET").arg("requirepass").arg("").query(&mut redis).unwrap();
    let served = async {
        while let Err(error) = broker.publish(vec![to("q", "b")]).await {
            assert!(error.is_retryable() || error.kind() == ErrorKind::Refused, "{error}");
        }
    };
    soon("the server", served).await;
    finish(&mut consumer, &["a", "b"]).await;
}

#[tokio::test]
async fn a_user_that_may_not() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let place = format!("127.0.0.1:{}", server.port());
    let url = format!("redis://limited:{SECRET}@{place}/0");
    let allow = |rules: &[&str]| {
        let mut command = cmd("ACL");
        command.arg("SETUSER").arg("limited").arg("reset").arg("on").arg(format!(">{SECRET}")).arg(rules);
        command
    };
    // A user who may do nothing; one who may use other keys only; and one who may not write, not even in scripts.
    for rules in [&[][..], &["+@all", "~other:*", "&*"], &["+@all", "~*", "&*", "-sadd", "-set"]] {
        let () = allow(rules).query(&mut redis).unwrap();
        assert_refused(&url, &place, ErrorKind::Refused, "its ACL needs").await;
    }
    let _ = soon("closing", async { broker(&url).close().await }).await;
}

#[tokio::test]
async fn the_commands_of_the_page_are_enough() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/REDIS.md")).unwrap();
    let sentence = page.split("the commands `").nth(1).unwrap().split("\n\n").next().unwrap();
    let named = sentence.split('`').filter(|part| !part.contains(',')).flat_map(str::split_whitespace);
    let rules: Vec<String> =
        named.filter(|word| word.chars().all(|c| c.is_ascii_lowercase())).map(|word| format!("+{word}")).collect();
    assert!(rules.len() > 40, "{rules:?}");
    let mut set = cmd("ACL");
    set.arg("SETUSER").arg("limited").arg("on").arg(format!(">{SECRET}")).arg("~*").arg("&*").arg(&rules);
    let () = set.query(&mut redis).unwrap();
    let (broker, backend) = store(&format!("redis://limited:{SECRET}@127.0.0.1:{}/0", server.port()));
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a"]).await;
    finish(&mut consumer, &["a"]).await;
    let chords = backend.chords().unwrap();
    chords.open(header("g", 1)).await.unwrap();
    chords.grow("g", &"x".into(), TTL).await.unwrap();
    chords.count("g").await.unwrap();
    let _ = chords.part_done(part("g", "a", 0, "1")).await.unwrap();
    let last = counts(part("g", "b", 1, "2"), Body(body_message));
    settle(&*consumer, vec![Settlement::default().following_up(last)]).await.unwrap();
    broker.queues().unwrap().counts().unwrap().stats().await.unwrap();
    soon("closing", consumer.close()).await.unwrap();
    let log: Vec<apium_peers::redis::Value> = cmd("ACL").arg("LOG").query(&mut redis).unwrap();
    assert!(log.is_empty(), "{log:?}");
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn an_encrypted_address_in_a_build_without_encryption() {
    let error = open("rediss://127.0.0.1:6379/0", &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Address);
    assert!(error.to_string().contains("redis-tls"), "{error}");
}

#[tokio::test]
async fn a_database_that_is_not_there() {
    let server = RedisServer::builder().args(["--databases", "2"]).start();
    let place = format!("127.0.0.1:{}", server.port());
    assert_refused(&format!("redis://{place}/2"), &place, ErrorKind::Refused, "no database of this number").await;
}

#[tokio::test]
async fn as_many_clients_as_the_server_takes() {
    let server = RedisServer::builder().args(["--maxclients", "8"]).start();
    let place = format!("127.0.0.1:{}", server.port());
    let broker = with_short_timeout(&server.url(0));
    send(&broker, "q", &["a"]).await;
    let mut redis = connection(&server);
    let others: Vec<_> =
        (0..20).map(|_| apium_peers::redis::Client::open(server.url(0)).unwrap().get_connection()).collect();
    // Existing connections go on. A new one is refused or closed, and may be tried again.
    send(&broker, "q", &["b"]).await;
    let other = with_short_timeout(&server.url(0));
    let mut refused = false;
    soon("the reason", async {
        while !refused {
            let error = other.publish(vec![to("q", "c")]).await.unwrap_err();
            assert!(error.is_retryable(), "{error}");
            assert!(format!("{error:#}").contains(&place), "{error:#}");
            refused = format!("{error:#}").contains("maxclients");
        }
    })
    .await;
    drop(others);
    let mut alone = || {
        let list: String = cmd("CLIENT").arg("LIST").query(&mut redis).unwrap();
        list.lines().count() < 4
    };
    until("room", &mut alone).await;
    send_in_the_end(&other, "q", "c").await;
    let mut consumer: Box<dyn Consumer> = consumer(&other, "q").await;
    finish(&mut consumer, &["a", "b", "c"]).await;
}
