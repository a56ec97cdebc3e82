//! How long a caller waits for a result from an idle worker in another process.

use apium::prelude::BoxError;

use crate::redis::kit::server::Server;
use crate::speed::round_trip::{Counts, compare};

/// Measures Apium and Celery on one server.
pub async fn measure(counts: Counts) -> Result<(), BoxError> {
    let server = Server::start().await?;
    compare("round_trip", &server.fresh().url, &server.fresh().url, counts).await
}
