//! The thread that starts the children, signals them and reaps them. One thread does it all, so that no signal reaches
//! another process that has got the number of a child; and it lives as long as they do, since Linux kills a child with
//! the thread that started it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

use crate::runs::terminate_signal::TerminateSignal;

/// How often it looks whether a child has ended that is about to.
const LOOK: Duration = Duration::from_millis(5);

/// Starts, signals and reaps children. When it is dropped, those that are left are killed.
#[derive(Debug)]
pub(crate) struct Spawner {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Inbox {
    orders: VecDeque<Order>,
    is_closed: bool,
}

#[derive(Debug)]
enum Order {
    Start(Box<Command>, oneshot::Sender<io::Result<u32>>),
    Signal(u32, Signal),
    /// The signal, if any; and SIGKILL when it has not ended after so long.
    End(u32, Option<Signal>, Duration),
    Forget(u32),
    /// Says how it has ended.
    Reap(u32, oneshot::Sender<String>),
}

/// A child that was not reaped.
struct Live {
    child: Child,
    kill_at: Option<Instant>,
    /// Who waits for its end.
    reaped_for: Option<oneshot::Sender<String>>,
    /// Nobody will.
    is_forgotten: bool,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system starts no thread.
    pub(crate) fn start() -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let serving = shared.clone();
        let thread = std::thread::Builder::new().name("apium-children".to_owned()).spawn(move || serving.serve())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Starts a child with this end of its channel. Returns its process number.
    ///
    /// # Errors
    /// The system starts no process.
    pub(crate) async fn spawn(&self, mut command: Command, channel: OwnedFd) -> io::Result<u32> {
        // A group of its own: a ctrl-c in the terminal is for the worker, which ends its children in order.
        command.stdin(Stdio::from(channel)).process_group(0);
        let (reply, spawned) = oneshot::channel();
        self.shared.ask(Order::Start(Box::new(command), reply));
        spawned.await.unwrap_or_else(|_| Err(io::Error::other("the thread of the children has ended")))
    }

    /// Sends a child a signal. Returns at once.
    pub(crate) fn signal(&self, pid: u32, signal: Signal) {
        self.shared.ask(Order::Signal(pid, signal));
    }

    /// Sends a child a signal, if any, and kills it when it has not ended after `patience`. Returns at once.
    pub(crate) fn end(&self, pid: u32, signal: Option<Signal>, patience: Duration) {
        self.shared.ask(Order::End(pid, signal, patience));
    }

    /// Kills a child. Returns at once.
    pub(crate) fn kill(&self, pid: u32) {
        self.end(pid, None, Duration::ZERO);
    }

    /// Kills a child whose end nobody waits for, and reaps it. Returns at once.
    pub(crate) fn forget(&self, pid: u32) {
        self.shared.ask(Order::Forget(pid));
    }

    /// Waits until a child has ended, and says how, in Celery's words. A child that has ended stays until this or
    /// [`forget`](Self::forget) is called, so its end is known and its number is no other's.
    pub(crate) async fn reap(&self, pid: u32) -> String {
        let (reply, ended) = oneshot::channel();
        self.shared.ask(Order::Reap(pid, reply));
        ended.await.unwrap_or_else(|_| "unknown".to_owned())
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // It runs no code but this file's, which does not panic.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, order: Order) {
        self.lock().orders.push_back(order);
        self.wake.notify_one();
    }

    fn serve(&self) {
        let mut live: Vec<Live> = Vec::new();
        while let Some(orders) = self.next(&live) {
            for order in orders {
                order.serve(&mut live);
            }
            let now = Instant::now();
            live.retain_mut(|live| !live.is_reaped(now));
        }
        for Live { mut child, .. } in live {
            // It may have ended already. A killed one ends soon.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What is asked for; `None` when nothing comes any more. Returns after a moment where a child is about to end.
    fn next(&self, live: &[Live]) -> Option<VecDeque<Order>> {
        let mut inbox = self.lock();
        if live.iter().any(Live::is_ending) {
            let waited = self.wake.wait_timeout_while(inbox, LOOK, |inbox| inbox.is_idle());
            inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
        } else {
            inbox = self.wake.wait_while(inbox, |inbox| inbox.is_idle()).unwrap_or_else(PoisonError::into_inner);
        }
        (!inbox.is_closed).then(|| std::mem::take(&mut inbox.orders))
    }
}

impl Inbox {
    fn is_idle(&self) -> bool {
        self.orders.is_empty() && !self.is_closed
    }
}

impl Order {
    fn serve(self, live: &mut Vec<Live>) {
        match self {
            Self::Start(mut command, reply) => {
                let spawned = command.spawn();
                // The command holds this end of the channel, too.
                drop(command);
                let pid = spawned.map(|child| {
                    let pid = child.id();
                    live.push(Live { child, kill_at: None, reaped_for: None, is_forgotten: false });
                    pid
                });
                if let Err(Ok(pid)) = reply.send(pid) {
                    // Nobody wants it any more.
                    Self::Forget(pid).serve(live);
                }
            }
            Self::Signal(pid, signal) => {
                if let Some(live) = live.iter().find(|live| live.child.id() == pid) {
                    live.signal(signal);
                }
            }
            Self::End(pid, signal, patience) => {
                if let Some(live) = live.iter_mut().find(|live| live.child.id() == pid) {
                    live.end(signal, Instant::now() + patience);
                }
            }
            Self::Forget(pid) => {
                if let Some(live) = live.iter_mut().find(|live| live.child.id() == pid) {
                    live.end(None, Instant::now());
                    live.is_forgotten = true;
                }
            }
            Self::Reap(pid, reply) => match live.iter_mut().find(|live| live.child.id() == pid) {
                Some(live) => live.reaped_for = Some(reply),
                // Whoever asked is told that by the end of the reply.
                None => drop(reply),
            },
        }
    }
}

impl Live {
    fn is_ending(&self) -> bool {
        self.kill_at.is_some() || self.reaped_for.is_some() || self.is_forgotten
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It is not reaped, so the number is its own. It may have ended.
            let _ = kill_process(pid, signal);
        }
    }

    fn end(&mut self, signal: Option<Signal>, kill_at: Instant) {
        if let Some(signal) = signal {
            self.signal(signal);
        }
        self.kill_at = Some(self.kill_at.map_or(kill_at, |before| before.min(kill_at)));
    }

    /// Kills it where it should have ended, and reaps it if that is asked for and it has.
    fn is_reaped(&mut self, now: Instant) -> bool {
        if self.kill_at.take_if(|at| *at <= now).is_some() {
            // It may have ended already.
            let _ = self.child.kill();
        }
        if self.reaped_for.is_none() && !self.is_forgotten {
            return false;
        }
        let text = match self.child.try_wait() {
            Ok(None) => return false,
            Ok(Some(status)) => exit_text(status),
            Err(_) => "unknown".to_owned(),
        };
        if let Some(reply) = self.reaped_for.take() {
            // Whoever asked may be gone.
            let _ = reply.send(text);
        }
        true
    }
}

/// How a process ended, as billiard says it.
fn exit_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exitcode {code}"),
        (None, Some(signal)) => {
            let number = u8::try_from(signal).unwrap_or_default();
            format!("signal {signal} ({})", TerminateSignal::of_number(number))
        }
        (None, None) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn sleeper() -> (Command, OwnedFd) {
        let mut command = Command::new("sleep");
        command.arg("60");
        (command, UnixStream::pair().unwrap().1.into())
    }

    #[tokio::test]
    async fn a_child_is_signalled_killed_and_reaped() {
        let spawner = Spawner::start().unwrap();
        let (command, channel) = sleeper();
        let pid = spawner.spawn(command, channel).await.unwrap();
        spawner.end(pid, Some(Signal::TERM), Duration::from_secs(60));
        assert_eq!(spawner.reap(pid).await, "signal 15 (SIGTERM)");
        let (command, channel) = sleeper();
        let pid = spawner.spawn(command, channel).await.unwrap();
        // It goes on for a moment and is killed then.
        spawner.end(pid, Some(Signal::CONT), Duration::from_millis(20));
        assert_eq!(spawner.reap(pid).await, "signal 9 (SIGKILL)");
        assert_eq!(spawner.reap(pid).await, "unknown", "it was reaped");
        let ends = Command::new("false");
        let pid = spawner.spawn(ends, UnixStream::pair().unwrap().1.into()).await.unwrap();
        assert_eq!(spawner.reap(pid).await, "exitcode 1");
    }

    #[tokio::test]
    async fn how_a_child_ended_is_known_whatever_was_asked_before() {
        let spawner = Spawner::start().unwrap();
        let (command, channel) = sleeper();
        let killed = spawner.spawn(command, channel).await.unwrap();
        spawner.kill(killed);
        // The thread serves these after the kill, and looks at all children each time.
        for _ in 0..3 {
            let (command, channel) = sleeper();
            let other = spawner.spawn(command, channel).await.unwrap();
            spawner.end(other, Some(Signal::TERM), Duration::from_secs(60));
            assert_eq!(spawner.reap(other).await, "signal 15 (SIGTERM)");
        }
        assert_eq!(spawner.reap(killed).await, "signal 9 (SIGKILL)");
        let (command, channel) = sleeper();
        let forgotten = spawner.spawn(command, channel).await.unwrap();
        spawner.forget(forgotten);
        let gone = Pid::from_raw(i32::try_from(forgotten).unwrap()).unwrap();
        while kill_process(gone, Signal::CONT).is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_an_error() {
        let spawner = Spawner::start().unwrap();
        let missing = Command::new("/nowhere/apium");
        let error = spawner.spawn(missing, UnixStream::pair().unwrap().1.into()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn no_child_outlives_its_spawner() {
        let spawner = Spawner::start().unwrap();
        let (command, channel) = sleeper();
        let pid = spawner.spawn(command, channel).await.unwrap();
        drop(spawner);
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        assert!(kill_process(pid, Signal::CONT).is_err(), "it was reaped");
    }
}
