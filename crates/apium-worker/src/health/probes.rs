//! The services around a worker's health: the ready file and the HTTP endpoint, where the settings ask for them, and
//! the loop that tries unreachable backends. They start before the worker connects, so that a worker that waits for its
//! broker is live and not ready.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apium_app::error::Result;
use apium_transport::clock::Clock;

use crate::health::health::WorkerHealth;
use crate::health::http::{self, Answers, SharedPage};
use crate::health::ready_file::ReadyFile;
use crate::observe::metrics_page::MetricsPage;
use crate::service::Service;

/// How long the ready file and the endpoint have to end. They have nothing to finish that takes longer.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// The services that run.
pub(crate) struct Probes {
    backend_retries: Service,
    ready_file: Option<Service>,
    listener: Option<Service>,
    page: SharedPage,
    /// Where the endpoint listens.
    pub(crate) address: Option<SocketAddr>,
}

/// Which probes are wanted; `None` is none.
#[derive(Debug, Default)]
pub(crate) struct ProbeOptions {
    pub(crate) ready_file: Option<PathBuf>,
    pub(crate) listen: Option<SocketAddr>,
}

impl Probes {
    /// Starts the probes that `options` asks for.
    ///
    /// # Errors
    /// A ready file that cannot be written, or an address that cannot be listened on.
    pub(crate) async fn start(options: &ProbeOptions, health: &Arc<WorkerHealth>, clock: &Clock) -> Result<Self> {
        let ready_file = options.ready_file.clone().map(ReadyFile::new).transpose()?.map(|file| {
            let (health, clock) = (health.clone(), clock.clone());
            Service::start("ready-file", move |stopping| file.follow(health, clock, stopping))
        });
        let retried = health.clone();
        let backend_retries = Service::start("backend-retries", |_| async move { retried.retry_backends().await });
        let Some(address) = options.listen else {
            let page = SharedPage::default();
            return Ok(Self { backend_retries, ready_file, listener: None, page, address: None });
        };
        let (listener, address) = http::bind(address).await?;
        tracing::info!(%address, "health probes and metrics are answered at http://{address}");
        let page = SharedPage::default();
        let answers = Answers { health: health.clone(), page: page.clone() };
        let listener = Service::start("health-listen", move |stopping| http::serve(listener, answers, stopping));
        Ok(Self { backend_retries, ready_file, listener: Some(listener), page, address: Some(address) })
    }

    /// Sets the page of metrics, when there is something that it can show.
    pub(crate) fn set_page(&self, page: MetricsPage) {
        // It is set once.
        let _ = self.page.set(page);
    }

    /// Waits until one of the services has ended, which none should do. Cancel-safe.
    pub(crate) async fn until_ended(&mut self) -> String {
        async fn until_ended(service: &mut Option<Service>) -> String {
            match service {
                Some(service) => service.until_ended().await,
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            ended = self.backend_retries.until_ended() => ended,
            ended = until_ended(&mut self.ready_file) => ended,
            ended = until_ended(&mut self.listener) => ended,
        }
    }

    /// Stops the services. The ready file is removed before the endpoint ceases to listen.
    pub(crate) async fn stop(self) {
        self.backend_retries.stop(Some(Duration::ZERO)).await;
        for service in [self.ready_file, self.listener].into_iter().flatten() {
            service.stop(Some(STOP_TIMEOUT)).await;
        }
    }
}
