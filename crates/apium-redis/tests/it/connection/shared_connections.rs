//! How many connections a caller has: one for commands, shared by broker and result backend, and one for notifications.

use apium_peers::redis::{Connection, cmd};
use apium_peers::redis_server::RedisServer;
use apium_protocol::result::state::State;
use apium_redis::RedisDriver;
use apium_transport::address::Address;
use apium_transport::backend::backend::{ResultBackend as _, StoredResults as _};
use apium_transport::broker::broker::Broker as _;
use apium_transport::error::ErrorKind;
use futures_util::StreamExt as _;

use crate::brokers::{options, send, to};
use crate::kit::{connection, record, soon, until};
use crate::settle::follow_ups::store;

/// How many other clients the server has.
fn clients(redis: &mut Connection) -> usize {
    let list: String = cmd("CLIENT").arg("LIST").query(redis).unwrap();
    list.lines().count() - 1
}

#[tokio::test]
async fn a_caller_has_two_connections() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let (broker, backend) = store(&server.url(0));
    send(&broker, "q", &["m"]).await;
    assert_eq!(backend.fetch(&["t".into()]).await.unwrap(), [None]);
    assert_eq!(clients(&mut redis), 1);
    let mut states = soon("a watch", backend.watch(vec!["t".into()])).await.unwrap();
    backend.store(vec![record("t", State::Success, None)]).await.unwrap();
    soon("a state", states.next()).await.unwrap().unwrap();
    assert_eq!(clients(&mut redis), 2);
    // Each is closed for itself.
    broker.close().await.unwrap();
    let error = broker.publish(vec![to("q", "m")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(backend.fetch(&["t".into()]).await.unwrap()[0].is_some());
    drop(states);
    backend.close().await.unwrap();
    until("the end of all connections", || clients(&mut redis) == 0).await;
}

#[tokio::test]
async fn other_databases_and_options_have_connections_of_their_own() {
    let server = RedisServer::start();
    let mut redis = connection(&server);
    let driver = RedisDriver::new();
    let address = |database| Address::parse(&server.url(database)).unwrap();
    let broker = driver.open_broker(address(0), &options(&[])).unwrap();
    let other = driver.open_backend(address(1), &options(&[])).unwrap();
    let hasty = driver.open_backend(address(0), &options(&[("socket_timeout", "1")])).unwrap();
    send(&broker, "q", &["m"]).await;
    for backend in [&other, &hasty] {
        backend.fetch(&["t".into()]).await.unwrap();
    }
    assert_eq!(clients(&mut redis), 3);
}
