//! Signals of the process that stop a worker: SIGTERM, ctrl-c (SIGINT) and SIGQUIT; on Windows ctrl-c alone.

use crate::shutdown::kind::StopCause;
use crate::shutdown::switch::StopSwitch;
use apium_protocol::error::with_causes;

/// The signals of this process, caught since this was made: one that comes before [`next`](Self::next) is called is not
/// lost.
pub(crate) struct Signals {
    #[cfg(unix)]
    terminate: Option<tokio::signal::unix::Signal>,
    #[cfg(unix)]
    interrupt: Option<tokio::signal::unix::Signal>,
    #[cfg(unix)]
    quit: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn catch() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let of = |kind| {
            signal(kind)
                .inspect_err(|error| tracing::warn!(error = %with_causes(&error), "could not listen to a signal"))
                .ok()
        };
        let (terminate, interrupt) = (of(SignalKind::terminate()), of(SignalKind::interrupt()));
        Self { terminate, interrupt, quit: of(SignalKind::quit()) }
    }

    /// The next one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> StopCause {
        tokio::select! {
            () = next(&mut self.terminate) => StopCause::Terminate,
            () = next(&mut self.interrupt) => StopCause::Interrupt,
            () = next(&mut self.quit) => StopCause::Quit,
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn catch() -> Self {
        Self {}
    }

    /// The next one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> StopCause {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(error = %with_causes(&error), "could not listen to ctrl-c");
            return std::future::pending().await;
        }
        StopCause::Interrupt
    }
}

/// Passes this process's signals on to `switch` until it is dropped.
pub(crate) async fn listen(mut signals: Signals, switch: StopSwitch) {
    loop {
        switch.signal(signals.next().await);
    }
}

#[cfg(unix)]
async fn next(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    #[tokio::test]
    async fn a_signal_that_comes_before_somebody_listens_is_not_lost() {
        use super::Signals;
        use crate::shutdown::kind::{StopCause, StopKind};
        use crate::shutdown::report::StopReport;

        let mut signals = Signals::catch();
        let kill = std::process::Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
        assert!(kill.unwrap().success());
        assert_eq!(signals.next().await, StopCause::Terminate);
        let report = StopReport::before_start(StopCause::Terminate);
        assert_eq!((report.how, report.exit_code()), (StopKind::Warm, 0));
        assert_eq!(StopReport::before_start(StopCause::Interrupt).exit_code(), 1);
    }
}
