//! The signal of a cold stop: every run is given up.

use tokio::sync::watch;

/// Says that runs are to be given up.
#[derive(Debug)]
pub(crate) struct ColdStopSwitch(watch::Sender<bool>);

/// Sees the signal. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ColdStop(watch::Receiver<bool>);

impl ColdStopSwitch {
    pub(crate) fn new() -> (Self, ColdStop) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), ColdStop(receiver))
    }

    pub(crate) fn set(&self) {
        self.0.send_replace(true);
    }
}

impl ColdStop {
    /// A signal that never comes: for runs outside a worker.
    pub(crate) fn never() -> Self {
        Self(watch::channel(false).1)
    }

    /// Waits for the signal; for ever when the switch is gone. Cancel-safe.
    pub(crate) async fn wait(&self) {
        let mut seen = self.0.clone();
        if seen.wait_for(|cold| *cold).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
