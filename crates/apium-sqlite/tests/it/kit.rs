//! What the tests share: opening a file, messages and specifications of consumers.

use std::path::Path;
use std::time::Duration;

use apium_protocol::message::headers::Headers;
use apium_protocol::message::message::Message;
use apium_protocol::message::properties::Properties;
use apium_sqlite::SqliteDriver;
use apium_transport::address::Address;
use apium_transport::broker::consumer::{ConsumeSpec, Content, Delivery};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::settlement::Receipt;
use apium_transport::clock::Clock;
use apium_transport::conformance::Handles;
use apium_transport::driver::{Driver, DriverOptions};
use apium_transport::error::Result;

pub(crate) fn address(path: &Path) -> Address {
    Address::parse(&format!("sqlite://{}", path.display())).unwrap()
}

/// Opens a file with a driver of its own, as another process would.
pub(crate) async fn try_open(path: &Path, clock: &Clock) -> Result<Handles> {
    let driver = SqliteDriver::new();
    let options = DriverOptions::new(clock.clone());
    Ok(Handles {
        broker: driver.broker(address(path), options.clone()).await?,
        backend: driver.backend(address(path), options).await?,
    })
}

pub(crate) async fn open(path: &Path, clock: &Clock) -> Handles {
    try_open(path, clock).await.unwrap()
}

pub(crate) fn message(id: &str) -> Message {
    Message {
        properties: Properties {
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            correlation_id: Some(id.into()),
            ..Properties::default()
        },
        headers: Headers { task: Some("t".into()), id: Some(id.into()), ..Headers::default() },
        body: bytes::Bytes::from_static(b"[[],{},{}]"),
    }
}

pub(crate) fn to(queue: &str, id: &str) -> Outgoing {
    Outgoing::to_queue(queue, message(id))
}

pub(crate) fn id_of(delivery: &Delivery) -> String {
    match &delivery.content {
        Content::Message(message) => message.headers.id.as_ref().unwrap().to_string(),
        Content::Unreadable { reason, .. } => panic!("unreadable: {reason}"),
    }
}

pub(crate) fn receipts(deliveries: &[Delivery]) -> Vec<Receipt> {
    deliveries.iter().map(|delivery| delivery.receipt.clone()).collect()
}

pub(crate) fn spec(queue: &str, node: &str, prefetch: usize) -> ConsumeSpec {
    ConsumeSpec {
        queues: vec![queue.to_owned()],
        node: node.to_owned(),
        prefetch,
        lease: Duration::from_secs(30),
        max_crashes: 0,
    }
}

/// Waits for something that must happen, at most 30 seconds.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
