//! How a worker stops: warm, cold or at once; by whom; and the report that it leaves.

use std::fmt;

use tokio::sync::watch;

/// How a worker stops. A later one is harder, and a stop only ever gets harder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StopKind {
    /// Fetch no more, give back what was not begun, finish what runs however long it takes.
    Warm,
    /// Give up what runs. Late-ack tasks go back to their queue, their state untouched. Early-ack tasks are REVOKED
    /// (`terminated`): they must not run twice, and whoever waits is told (Celery stores a RETRY that never comes).
    Cold,
    /// Leave at once and settle nothing: what is not acked comes back when its lease runs out.
    Now,
}

/// Who asked for the stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopCause {
    /// The program.
    Program,
    /// SIGTERM.
    Terminate,
    /// Ctrl-c.
    Interrupt,
    /// SIGQUIT.
    Quit,
}

/// What a signal asks for while the worker is `stopping` as it is.
fn escalated(stopping: Option<StopKind>, signal: StopCause) -> StopKind {
    use StopKind::{Cold, Now, Warm};
    match (stopping, signal) {
        (Some(Cold | Now), StopCause::Terminate | StopCause::Interrupt | StopCause::Quit) => Now,
        (_, StopCause::Quit) | (Some(Warm), StopCause::Interrupt) => Cold,
        (stopping, _) => stopping.unwrap_or(Warm),
    }
}

/// What a worker left behind when it stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopReport {
    /// How it stopped in the end.
    pub how: StopKind,
    /// Who asked first.
    pub cause: StopCause,
    /// Tasks that ran to their end since the worker started, those during the stop included.
    pub finished: u64,
    /// Of these, the ones during the stop.
    pub finished_while_stopping: u64,
    /// Messages given back that were fetched and not begun.
    pub given_back: u64,
    /// Runs that were given up.
    pub cancelled: u64,
    /// Threads whose task was given up and that still run: they end with the process.
    pub leaked_threads: usize,
    /// Ends that could not be stored or settled before the stop; their messages come back.
    pub unsettled: usize,
}

impl StopReport {
    /// The process's exit code: 0 after a stop that the program or SIGTERM asked for, and after a cold one, as Celery has it; 1
    /// after ctrl-c, and when the worker left at once or left ends unsettled.
    pub fn exit_code(&self) -> u8 {
        let clean = self.how != StopKind::Now && self.unsettled == 0;
        u8::from(!clean || self.cause == StopCause::Interrupt)
    }
}

impl StopReport {
    /// The report of a worker that a signal stopped before it had started.
    pub(crate) fn before_start(cause: StopCause) -> Self {
        Self {
            how: escalated(None, cause),
            cause,
            finished: 0,
            finished_while_stopping: 0,
            given_back: 0,
            cancelled: 0,
            leaked_threads: 0,
            unsettled: 0,
        }
    }
}

impl fmt::Display for StopReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            StopKind::Warm => "warm",
            StopKind::Cold => "cold",
            StopKind::Now => "at once",
        };
        write!(
            f,
            "stopped {how}: {} tasks finished ({} while stopping), {} given back, {} cancelled",
            self.finished, self.finished_while_stopping, self.given_back, self.cancelled
        )?;
        if self.leaked_threads > 0 {
            write!(f, ", {} threads still busy", self.leaked_threads)?;
        }
        if self.unsettled > 0 {
            write!(f, ", {} ends not settled", self.unsettled)?;
        }
        Ok(())
    }
}

/// A stop that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StopRequest {
    pub(crate) kind: StopKind,
    pub(crate) cause: StopCause,
}

/// Asks for a stop. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct StopSwitch(watch::Sender<Option<StopRequest>>);

impl StopSwitch {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Asks for a stop; one that is not harder than the present changes nothing.
    pub(crate) fn request(&self, kind: StopKind) {
        self.update(StopCause::Program, |_| kind);
    }

    /// A signal came.
    pub(crate) fn signal(&self, cause: StopCause) {
        self.update(cause, |stopping| escalated(stopping, cause));
    }

    fn update(&self, cause: StopCause, kind: impl FnOnce(Option<StopKind>) -> StopKind) {
        self.0.send_if_modified(|asked| {
            let kind = kind(asked.map(|asked| asked.kind));
            match asked {
                Some(present) if kind <= present.kind => false,
                Some(present) => {
                    present.kind = kind;
                    true
                }
                None => {
                    *asked = Some(StopRequest { kind, cause });
                    true
                }
            }
        });
    }

    /// Waits until a stop of at least `kind` was asked for. Cancel-safe.
    pub(crate) async fn requested(&self, kind: StopKind) -> StopRequest {
        let mut seen = self.0.subscribe();
        let found = seen.wait_for(|asked| asked.is_some_and(|asked| asked.kind >= kind)).await.map(|asked| *asked);
        match found {
            Ok(Some(asked)) => asked,
            // The sender lives in `self`.
            _ => std::future::pending().await,
        }
    }
}

/// This process's signals, caught from the moment on at which this was made: one that comes before somebody listens is kept.
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
        let of = |kind| signal(kind).inspect_err(|error| tracing::warn!(%error, "could not listen to a signal")).ok();
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
            tracing::warn!(%error, "could not listen to ctrl-c");
            return std::future::pending().await;
        }
        StopCause::Interrupt
    }
}

/// Turns this process's signals into stops until it is dropped.
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
    use super::*;

    #[test]
    fn signals_make_a_stop_harder_one_by_one() {
        use StopCause::{Interrupt, Quit, Terminate};
        use StopKind::{Cold, Now, Warm};
        for (signals, kind) in [
            (&[Terminate][..], Warm),
            (&[Interrupt], Warm),
            (&[Quit], Cold),
            (&[Terminate, Terminate], Warm),
            (&[Interrupt, Interrupt], Cold),
            (&[Terminate, Interrupt], Cold),
            (&[Terminate, Quit], Cold),
            (&[Interrupt, Interrupt, Interrupt], Now),
            (&[Quit, Terminate], Now),
            (&[Quit, Interrupt], Now),
        ] {
            let switch = StopSwitch::new();
            signals.iter().for_each(|signal| switch.signal(*signal));
            let asked = switch.0.borrow().unwrap();
            assert_eq!((asked.kind, asked.cause), (kind, signals[0]), "{signals:?}");
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_signal_that_comes_before_somebody_listens_is_kept() {
        let mut signals = Signals::catch();
        let kill = std::process::Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
        assert!(kill.unwrap().success());
        assert_eq!(signals.next().await, StopCause::Terminate);
        let report = StopReport::before_start(StopCause::Terminate);
        assert_eq!((report.how, report.exit_code()), (StopKind::Warm, 0));
        assert_eq!(StopReport::before_start(StopCause::Interrupt).exit_code(), 1);
    }

    #[test]
    fn a_stop_never_gets_softer() {
        let switch = StopSwitch::new();
        switch.request(StopKind::Cold);
        switch.request(StopKind::Warm);
        assert_eq!(switch.0.borrow().unwrap().kind, StopKind::Cold);
    }

    #[test]
    fn exit_codes_are_celerys() {
        let report = |how, cause, unsettled| StopReport {
            how,
            cause,
            finished: 3,
            finished_while_stopping: 1,
            given_back: 2,
            cancelled: 0,
            leaked_threads: 0,
            unsettled,
        };
        assert_eq!(report(StopKind::Warm, StopCause::Terminate, 0).exit_code(), 0);
        assert_eq!(report(StopKind::Warm, StopCause::Interrupt, 0).exit_code(), 1);
        assert_eq!(report(StopKind::Cold, StopCause::Quit, 0).exit_code(), 0);
        assert_eq!(report(StopKind::Now, StopCause::Quit, 0).exit_code(), 1);
        assert_eq!(report(StopKind::Warm, StopCause::Program, 1).exit_code(), 1);
        let text = report(StopKind::Warm, StopCause::Terminate, 0).to_string();
        assert_eq!(text, "stopped warm: 3 tasks finished (1 while stopping), 2 given back, 0 cancelled");
    }
}
