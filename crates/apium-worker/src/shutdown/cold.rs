//! The signal of a cold stop: every run is cancelled.

use tokio::sync::watch;

/// Gives the signal.
#[derive(Debug)]
pub(crate) struct ColdStopSwitch(watch::Sender<bool>);

/// Receives the signal. Cheap to clone.
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
        let mut receiver = self.0.clone();
        if receiver.wait_for(|is_cold| *is_cold).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
