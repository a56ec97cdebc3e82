//! The service of the children of a worker: it starts them, hears what they say, and ends them.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::pool::process::children::Children;
use crate::pool::process::lifecycle::live;
use crate::service::{Service, Stopping};

/// How long children have to end when the worker has stopped. Nothing runs in them any more.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

impl Children {
    /// Starts the service that starts children, hears what they say, and ends them.
    pub(crate) fn start(&self) -> Service {
        let children = self.clone();
        Service::start("children", move |stopping| async move { children.serve(stopping).await })
    }

    async fn serve(self, mut stopping: Stopping) {
        let mut lives = JoinSet::new();
        loop {
            let starts = self.take_starts();
            for _ in 0..starts {
                lives.spawn(live(self.clone()));
            }
            tokio::select! {
                () = self.wait_for_starts() => {}
                Some(ended) = lives.join_next() => {
                    if ended.is_err_and(|error| error.is_panic()) {
                        tracing::error!("the loop of a child process panicked");
                    }
                }
                () = stopping.wait() => break,
            }
        }
        self.close();
        let ended = async { while lives.join_next().await.is_some() {} };
        // Dropping the others kills them.
        let _ = tokio::time::timeout(STOP_TIMEOUT, ended).await;
    }
}
