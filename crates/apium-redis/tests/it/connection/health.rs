//! Health: red while the server is away, green again with it.

use apium_peers::redis_server::RedisServer;
use apium_protocol::message::task_id::TaskId;
use apium_redis::RedisDriver;
use apium_transport::address::Address;
use apium_transport::backend::backend::ResultBackend as _;
use apium_transport::broker::consumer::ConsumeSpec;
use apium_transport::clock::Clock;
use apium_transport::driver::{Driver as _, DriverOptions};
use apium_transport::health::Health;

use crate::kit::{soon, with_short_timeout};

/// Waits until a health is as wanted.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    soon(what, looking).await;
}

#[tokio::test]
async fn a_server_that_is_away_is_red_and_green_when_it_is_back() {
    let server = RedisServer::start();
    let backend = with_short_timeout(&server.url(0));
    let options = DriverOptions::new(Clock::system());
    let broker = RedisDriver::new().broker(Address::parse(&server.url(0)).unwrap(), options).await.unwrap();
    let mut spec = ConsumeSpec::new(vec!["q".into()], "w@here".into());
    spec.prefetch = 1;
    spec.lease = std::time::Duration::from_millis(600);
    // The consumer's heartbeats notice it, without any message.
    let _consumer = broker.consume(spec).await.unwrap();
    let looked = [TaskId::from("t")];
    backend.stored().unwrap().fetch(&looked).await.unwrap();
    assert!(broker.health().is_green() && backend.health().is_green());
    server.kill();
    until("the broker is red", || !broker.health().is_green()).await;
    backend.stored().unwrap().fetch(&looked).await.unwrap_err();
    let Health::Red { reason, .. } = backend.health() else { panic!("the backend is green") };
    assert!(reason.starts_with("could not ") && reason.contains(&server.port().to_string()), "{reason}");
    server.restart();
    until("the broker is green", || broker.health().is_green()).await;
    soon("the server", async { while backend.stored().unwrap().fetch(&looked).await.is_err() {} }).await;
    assert!(backend.health().is_green());
}
