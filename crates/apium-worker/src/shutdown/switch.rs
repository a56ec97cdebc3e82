//! The switch that asks a worker to stop.

use tokio::sync::watch;

use crate::shutdown::kind::{StopCause, StopKind};

/// The stop that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StopRequest {
    pub(crate) kind: StopKind,
    /// Who asked first. Whoever makes the stop harder does not change it.
    pub(crate) cause: StopCause,
}

/// Asks for a stop. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct StopSwitch(watch::Sender<Option<StopRequest>>);

impl StopSwitch {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Asks for a stop. Does nothing when a stop that is at least as hard was asked for before.
    pub(crate) fn request(&self, kind: StopKind) {
        self.update(StopCause::Program, |_| kind);
    }

    /// Asks for the stop that a signal means: the second one is harder than the first.
    pub(crate) fn signal(&self, cause: StopCause) {
        self.update(cause, |stopping| cause.kind_after(stopping));
    }

    /// Asks for a warm stop, since the worker cannot go on.
    pub(crate) fn fault(&self) {
        self.update(StopCause::Fault, |stopping| stopping.unwrap_or(StopKind::Warm));
    }

    fn update(&self, cause: StopCause, kind: impl FnOnce(Option<StopKind>) -> StopKind) {
        self.0.send_if_modified(|request| {
            let kind = kind(request.map(|request| request.kind));
            match request {
                Some(present) if kind <= present.kind => false,
                Some(present) => {
                    present.kind = kind;
                    true
                }
                None => {
                    *request = Some(StopRequest { kind, cause });
                    true
                }
            }
        });
    }

    /// Waits until a stop of at least `kind` was asked for. Cancel-safe.
    pub(crate) async fn requested(&self, kind: StopKind) -> StopRequest {
        let mut requests = self.0.subscribe();
        let is_reached = |request: &Option<StopRequest>| request.is_some_and(|request| request.kind >= kind);
        let reached = requests.wait_for(is_reached).await.map(|request| *request);
        match reached {
            Ok(Some(request)) => request,
            // Cannot happen: `self` holds the sender.
            _ => std::future::pending().await,
        }
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
            let request = switch.0.borrow().unwrap();
            assert_eq!((request.kind, request.cause), (kind, signals[0]), "{signals:?}");
        }
    }

    #[test]
    fn a_stop_never_gets_softer() {
        let switch = StopSwitch::new();
        switch.request(StopKind::Cold);
        switch.request(StopKind::Warm);
        assert_eq!(switch.0.borrow().unwrap().kind, StopKind::Cold);
    }
}
