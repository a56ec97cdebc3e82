//! The parts around a worker's health: the ready file and the HTTP endpoint, where they are asked for, and the one that tries what
//! is red. They are there before the worker is connected, so that a worker that waits for its broker is live and not ready.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apium_app::error::Result;
use apium_transport::clock::Clock;

use crate::health::health::WorkerHealth;
use crate::health::http;
use crate::health::ready_file::ReadyFile;
use crate::service::Service;

/// A probe has nothing to finish that takes longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The parts that tell.
pub(crate) struct Probes {
    reviver: Service,
    ready_file: Option<Service>,
    listener: Option<Service>,
    /// Where the endpoint listens.
    pub(crate) address: Option<SocketAddr>,
}

/// Which are asked for.
#[derive(Debug, Default)]
pub(crate) struct ProbeOptions {
    pub(crate) ready_file: Option<PathBuf>,
    pub(crate) listen: Option<SocketAddr>,
}

impl Probes {
    /// Starts those that are asked for.
    ///
    /// # Errors
    /// A file that cannot be written, an address that cannot be listened on.
    pub(crate) async fn start(options: &ProbeOptions, health: &Arc<WorkerHealth>, clock: &Clock) -> Result<Self> {
        let ready_file = options.ready_file.clone().map(ReadyFile::new).transpose()?.map(|file| {
            let (health, clock) = (health.clone(), clock.clone());
            Service::start("ready-file", move |stopping| file.keep(health, clock, stopping))
        });
        let ill = health.clone();
        let reviver = Service::start("reviver", move |_| async move { ill.retry_backends().await });
        let Some(address) = options.listen else {
            return Ok(Self { reviver, ready_file, listener: None, address: None });
        };
        let (listener, address) = http::bind(address).await?;
        tracing::info!(%address, "health probes are answered at http://{address}");
        let health = health.clone();
        let listener = Service::start("health-listen", move |stopping| http::serve(listener, health, stopping));
        Ok(Self { reviver, ready_file, listener: Some(listener), address: Some(address) })
    }

    /// Ends them, the file first.
    pub(crate) async fn stop(self) {
        self.reviver.stop(Some(Duration::ZERO)).await;
        for part in [self.ready_file, self.listener].into_iter().flatten() {
            part.stop(Some(PATIENCE)).await;
        }
    }
}
