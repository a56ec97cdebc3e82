//! What another process prints. A thread collects it, tests wait for it, and failures show it.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The text that a process has printed so far.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    printed: Mutex<Printed>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Printed {
    text: String,
    ended: bool,
}

/// How waiting for a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The text was printed.
    Line,
    /// The output ended without the text.
    End,
    /// The time was over.
    Nothing,
}

impl Log {
    /// Collects the output of `source` until it ends.
    pub(crate) fn of(source: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let reader = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || collect(source, &shared)
        });
        Self { shared, reader: Some(reader) }
    }

    /// Everything that was printed so far.
    pub fn text(&self) -> String {
        self.shared.lock().text.clone()
    }

    /// Waits until the text contains one of `parts`.
    pub fn wait_for(&self, parts: &[&str], within: Duration) -> Seen {
        let seen = self.wait(within, |printed| parts.iter().any(|part| printed.text.contains(part)));
        if seen { Seen::Line } else { self.missing() }
    }

    /// Waits until every process that could print has ended; whether they ended in time.
    pub fn wait_for_end(&self, within: Duration) -> bool {
        self.wait(within, |printed| printed.ended)
    }

    /// Waits for the end without a limit, after all processes that could print have been killed.
    pub(crate) fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            // The thread cannot panic: it only reads and appends.
            let _ = reader.join();
        }
    }

    fn missing(&self) -> Seen {
        if self.shared.lock().ended { Seen::End } else { Seen::Nothing }
    }

    fn wait(&self, within: Duration, holds: impl Fn(&Printed) -> bool) -> bool {
        let until = Instant::now() + within;
        let mut printed = self.shared.lock();
        loop {
            if holds(&printed) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if printed.ended || left.is_zero() {
                return false;
            }
            printed = self.shared.changed.wait_timeout(printed, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Printed> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn collect(source: impl Read, shared: &Shared) {
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    // A broken pipe has ended, too.
    while source.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        shared.lock().text.push_str(&String::from_utf8_lossy(&line));
        shared.changed.notify_all();
        line.clear();
    }
    shared.lock().ended = true;
    shared.changed.notify_all();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_seen_and_so_is_the_end() {
        let log = Log::of(&b"one\ntwo\nrest"[..]);
        assert_eq!(log.wait_for(&["nine", "two"], Duration::from_secs(9)), Seen::Line);
        assert_eq!(log.wait_for(&["three"], Duration::from_secs(9)), Seen::End);
        assert!(log.wait_for_end(Duration::from_secs(9)));
        assert_eq!(log.text(), "one\ntwo\nrest");
    }

    #[test]
    fn waiting_has_a_limit() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(Log::of(reader).wait_for(&["never"], Duration::from_millis(1)), Seen::Nothing);
    }
}
