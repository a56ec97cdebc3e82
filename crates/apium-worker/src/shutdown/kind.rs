//! The kinds of a stop, from warm to at once, and who asks for one.

/// How a worker stops. Later kinds are harder; a stop that has begun can only become harder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StopKind {
    /// Fetches no more, requeues what has not begun, and waits for the runs, however long they take: without
    /// `worker_soft_shutdown_timeout`, as Celery does. With it the stop becomes cold after that time. When nothing runs
    /// any more, what is left to store and settle is given up if for `worker_settle_timeout` nothing of it can be done.
    Warm,
    /// Cancels the runs. Messages of late-ack tasks go back to their queue and no state is stored for them. Early-ack
    /// tasks become REVOKED (`terminated`), since their messages are gone; Celery stores a RETRY for them, although
    /// none comes.
    Cold,
    /// Leaves at once and settles nothing. What was not acked is delivered again when the worker's lease runs out.
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
    /// The worker itself, which cannot go on: a service of it ended, too many of its threads are lost, or a broker or
    /// result backend closed itself for good.
    Fault,
}

impl StopCause {
    /// The kind of stop that this cause asks of a worker that already stops as `stopping`, or runs (`None`).
    pub(crate) fn kind_after(self, stopping: Option<StopKind>) -> StopKind {
        use StopKind::{Cold, Now, Warm};
        match (stopping, self) {
            (Some(Cold | Now), Self::Terminate | Self::Interrupt | Self::Quit) => Now,
            (_, Self::Quit) | (Some(Warm), Self::Interrupt) => Cold,
            (stopping, _) => stopping.unwrap_or(Warm),
        }
    }
}
