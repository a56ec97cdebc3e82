//! Every form of an address leads to the server that it means.

use apium_peers::port;
use apium_peers::redis::{Commands, cmd};
use apium_peers::redis_server::{RedisServer, fresh_database};
use apium_transport::broker::broker::Broker as _;

use crate::brokers::{broker, broker_with, consumer, finish, length, send, send_in_the_end, to};
use crate::kit::{connection, soon};

#[tokio::test]
async fn a_user_and_a_password_may_hold_any_letter() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let password = "p@ss:w/rd?#%+ ü";
    let set = |name: &str| {
        let mut command = cmd("ACL");
        command.arg("SETUSER").arg(name).arg("on").arg(format!(">{password}")).arg("~*").arg("&*").arg("+@all");
        command
    };
    let () = set("m/ü").query(&mut redis).unwrap();
    let () = set("default").arg("resetpass").arg(format!(">{password}")).query(&mut redis).unwrap();
    let encoded = "p%40ss%3Aw%2Frd%3F%23%25%2B%20%C3%BC";
    for who in [format!("m%2F%C3%BC:{encoded}"), format!("default:{encoded}"), format!(":{encoded}")] {
        let broker = broker(&format!("redis://{who}@127.0.0.1:{}/3", server.port()));
        let mut consumer = consumer(&broker, "q").await;
        send(&broker, "q", &["m"]).await;
        finish(&mut consumer, &["m"]).await;
    }
}

#[tokio::test]
async fn the_database_stands_in_the_path_or_in_an_option() {
    let (database, port) = (fresh_database(), RedisServer::shared().port());
    let mut redis = database.connection();
    let number = database.number.to_string();
    let bare = format!("redis://127.0.0.1:{port}");
    for url in [
        format!("{bare}/{number}"),
        format!("{bare}/{number}/"),
        format!("{bare}?virtual_host={number}"),
        format!("{bare}/7?virtual_host=/{number}"),
        format!("{bare}?db={number}"),
        format!("redis://localhost:{port}/{number}"),
        format!("valkey://127.0.0.1:{port}/{number}"),
    ] {
        send(&broker(&url), "q", &["m"]).await;
        assert_eq!(length(&mut redis, "q"), 1, "{url}");
        let () = redis.del("q").unwrap();
    }
    send(&broker_with(&bare, &[("virtual_host", &number)]), "q", &["m"]).await;
    assert_eq!(length(&mut redis, "q"), 1);
}

#[tokio::test]
async fn a_unix_socket_is_an_address() {
    let server = RedisServer::builder().arg("--unixsocket").arg("a socket.sock").start();
    let path = server.directory().join("a socket.sock");
    let path = path.to_str().unwrap();
    for path in [path.to_owned(), path.replace(' ', "%20")] {
        let broker = broker(&format!("redis+socket://{path}?virtual_host=2"));
        let mut consumer = consumer(&broker, "q").await;
        send(&broker, "q", &["m"]).await;
        let mut redis = connection(&server);
        let () = cmd("SELECT").arg(2).query(&mut redis).unwrap();
        assert_eq!(length(&mut redis, "q"), 1);
        finish(&mut consumer, &["m"]).await;
    }
}

#[tokio::test]
async fn a_unix_socket_may_want_a_password() {
    let server = RedisServer::builder().password("s3cret").arg("--unixsocket").arg("redis.sock").start();
    let path = server.directory().join("redis.sock");
    let broker = broker(&format!("redis+socket://:s3cret@{}?virtual_host=2", path.display()));
    send(&broker, "q", &["m"]).await;
}

#[tokio::test]
async fn the_first_of_a_list_that_answers_serves() {
    let (server, nobody) = (RedisServer::start(), port::free());
    let mut redis = connection(&server);
    for url in [
        format!("redis://127.0.0.1:{nobody};redis://127.0.0.1:{}", server.port()),
        format!("redis://127.0.0.1:{nobody}/0; 127.0.0.1:{}/0;", server.port()),
    ] {
        let broker = broker(&url);
        let mut consumer = consumer(&broker, "q").await;
        send(&broker, "q", &["m"]).await;
        assert_eq!(length(&mut redis, "q"), 1, "{url}");
        finish(&mut consumer, &["m"]).await;
    }
}

#[tokio::test]
async fn a_replica_in_a_list_is_passed_over() {
    let (master, replica) = (RedisServer::start(), RedisServer::start());
    let of = ["127.0.0.1".to_owned(), master.port().to_string()];
    let () = cmd("REPLICAOF").arg(&of).query(&mut connection(&replica)).unwrap();
    let broker = broker(&format!("{};{}", replica.url(0), master.url(0)));
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a"]).await;
    finish(&mut consumer, &["a"]).await;
    // It waits at the server where it publishes.
    let (claimed, sent) = tokio::join!(
        soon("a message that was waited for", consumer.next(1)),
        soon("publishing", async { broker.publish(vec![to("q", "b")]).await })
    );
    sent.unwrap();
    assert_eq!(claimed.unwrap().len(), 1);
}

#[tokio::test]
async fn a_list_goes_over_to_the_next_and_consumers_with_it() {
    let (one, other) = (RedisServer::start(), RedisServer::start());
    let broker = broker_with(&format!("{};{}", one.url(0), other.url(0)), &[("socket_timeout", "1")]);
    let mut consumer = consumer(&broker, "q").await;
    send(&broker, "q", &["a"]).await;
    finish(&mut consumer, &["a"]).await;
    one.kill();
    send_in_the_end(&broker, "q", "b").await;
    finish(&mut consumer, &["b"]).await;
    // The first comes back, but nobody switches to it while the other serves: what is published is where the consumer
    // waits.
    one.restart();
    for name in ["c", "d"] {
        let wanted = [name];
        tokio::join!(finish(&mut consumer, &wanted), send(&broker, "q", &wanted));
    }
    assert_eq!(length(&mut connection(&one), "q"), 0);
}
