//! A server that goes away and comes back while a consumer waits: all its waits break, which is one event.

use apium_peers::proxy::Proxy;
use apium_peers::redis::{Connection, cmd};
use apium_peers::redis_server::RedisServer;
use apium_redis::RedisBroker;
use apium_transport::broker::broker::Broker as _;
use apium_transport::broker::consumer::Consumer;
use apium_transport::error::Error;

use crate::brokers::{ack, broker, idle, keys, moved, names, send, send_in_the_end, spec, with_short_timeout};
use crate::kit::{connection, soon, until};

const QUEUES: [&str; 10] = ["q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9"];

/// A consumer of ten queues, each of whose forty lists is waited for.
async fn waiting(broker: &RedisBroker, redis: &mut Connection) -> Box<dyn Consumer> {
    let mut waiting = soon("a consumer", broker.consume(spec(&QUEUES))).await.unwrap();
    idle(&mut waiting, redis, 1).await;
    waiting
}

/// Receives and acks the message with this name. Returns the errors before it.
async fn errors_until(consumer: &mut Box<dyn Consumer>, name: &str) -> Vec<Error> {
    let mut errors = Vec::new();
    let received = soon("the message", async {
        loop {
            match consumer.next(1).await {
                Ok(batch) if batch.is_empty() => {}
                Ok(batch) => return batch,
                Err(error) => errors.push(error),
            }
        }
    });
    let batch = received.await;
    assert_eq!(names(&batch), [name]);
    ack(&**consumer, &batch).await;
    errors
}

#[tokio::test]
async fn forty_waits_that_break_with_the_server_are_no_error_when_it_is_back() {
    let server = RedisServer::start();
    let broker = with_short_timeout(&server.url(0));
    let mut waiting = waiting(&broker, &mut connection(&server)).await;
    for round in 0..3 {
        server.restart();
        let name = round.to_string();
        send_in_the_end(&broker, QUEUES[7], &name).await;
        let errors = errors_until(&mut waiting, &name).await;
        assert!(errors.is_empty(), "round {round}: {errors:?}");
        let mut redis = connection(&server);
        idle(&mut waiting, &mut redis, 1).await;
        assert_eq!((moved(&mut redis), keys(&mut redis, "unacked*")), (vec![], vec![]));
    }
}

#[tokio::test]
async fn while_the_server_is_away_there_is_one_error_for_each_attempt_to_connect() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let through = with_short_timeout(&format!("redis://127.0.0.1:{}/0", proxy.port()));
    let mut waiting = waiting(&through, &mut connection(&server)).await;
    proxy.refuse(true);
    proxy.cut();
    // The first one is that of the claim whose connection broke, and each other one that of an attempt. No wait adds
    // any.
    for wanted in ["claim messages", "connect", "connect", "connect"] {
        let error = soon("an error", waiting.next(1)).await.map(drop).unwrap_err();
        assert!(error.is_connection() && error.to_string().starts_with(wanted), "{error}");
    }
    proxy.refuse(false);
    send(&broker(&server.url(0)), QUEUES[3], &["m"]).await;
    let errors = errors_until(&mut waiting, "m").await;
    assert!(errors.len() <= 1, "{errors:?}");
}

#[tokio::test]
async fn all_clients_are_killed() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let broker = broker(&server.url(0));
    let mut waiting = waiting(&broker, &mut redis).await;
    for (round, queue) in QUEUES.iter().enumerate().take(3) {
        let mut kill = cmd("CLIENT");
        let killed: i64 =
            kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").query(&mut redis).unwrap();
        assert_eq!(killed, 3, "for commands, for maintenance, and for waiting");
        let name = round.to_string();
        send(&crate::brokers::broker(&server.url(0)), queue, &[&name]).await;
        // The connection for commands broke, too, and the claim on it is an error. One of a wait may come before it,
        // since the waits of the last round broke a moment ago.
        let errors = errors_until(&mut waiting, &name).await;
        assert!(errors.len() <= 2, "round {round}: {errors:?}");
        idle(&mut waiting, &mut redis, 1).await;
    }
}

#[tokio::test]
async fn waits_that_are_refused_again_and_again_are_an_error() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let proxy = Proxy::to(server.port());
    let through = with_short_timeout(&format!("redis://127.0.0.1:{}/0", proxy.port()));
    let mut waiting = waiting(&through, &mut redis).await;
    // The connection for commands goes on, but there are no new ones.
    proxy.refuse(true);
    let list: String = cmd("CLIENT").arg("LIST").query(&mut redis).unwrap();
    for line in list.lines().filter(|line| line.contains(" cmd=blmove ")) {
        let id = line.strip_prefix("id=").and_then(|rest| rest.split(' ').next()).unwrap();
        let _: i64 = cmd("CLIENT").arg("KILL").arg("ID").arg(id).query(&mut redis).unwrap();
    }
    for _ in 0..3 {
        let error = soon("an error", waiting.next(1)).await.map(drop).unwrap_err();
        assert!(error.is_connection(), "{error}");
    }
    proxy.refuse(false);
    until("the proxy", || std::net::TcpStream::connect(("127.0.0.1", proxy.port())).is_ok()).await;
    send(&broker(&server.url(0)), QUEUES[0], &["m"]).await;
    errors_until(&mut waiting, "m").await;
}
