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
    let broker = driver.broker(address(path), options.clone()).await?;
    Ok(Handles::new(broker, driver.backend(address(path), options).await?))
}

pub(crate) async fn open(path: &Path, clock: &Clock) -> Handles {
    try_open(path, clock).await.unwrap()
}

pub(crate) fn message(id: &str) -> Message {
    let mut headers = Headers::default();
    headers.task = Some("t".into());
    headers.id = Some(id.into());
    let mut properties = Properties::default();
    properties.content_type = Some("application/json".into());
    properties.content_encoding = Some("utf-8".into());
    properties.correlation_id = Some(id.into());
    Message::new(properties, headers, bytes::Bytes::from_static(b"[[],{},{}]"))
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
    let mut spec = ConsumeSpec::new(vec![queue.to_owned()], node.to_owned());
    spec.prefetch = prefetch;
    spec.lease = Duration::from_secs(30);
    spec
}

/// Waits for something that must happen, at most 30 seconds.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
