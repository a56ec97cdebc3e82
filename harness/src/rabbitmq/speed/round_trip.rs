//! How long a caller waits for a result from an idle worker in another process, by `rpc://`.

use apium::prelude::BoxError;

use crate::rabbitmq::speed::node::Node;
use crate::speed::round_trip::{Counts, compare};

/// Measures Apium and Celery on one node.
pub async fn measure(counts: Counts) -> Result<(), BoxError> {
    let node = Node::start();
    compare("round_trip", &node.fresh(), &node.fresh(), counts).await
}
