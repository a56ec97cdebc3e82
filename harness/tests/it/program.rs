//! Runs a program of this crate. Two run at once at most, however many tests do: some of them measure how soon a worker
//! is back.

use std::process::Command;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How many programs may run at once.
const AT_ONCE: usize = 2;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// The right to run a program.
struct Turn;

impl Turn {
    fn wait() -> Self {
        let all_run = |running: &mut usize| *running >= AT_ONCE;
        *ENDED.wait_while(running(), all_run).unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *running() -= 1;
        ENDED.notify_one();
    }
}

fn running() -> MutexGuard<'static, usize> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a program, which must succeed. Returns what it printed.
#[track_caller]
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let turn = Turn::wait();
    let out = Command::new(program).args(args).output().unwrap();
    drop(turn);
    let (lines, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{lines}\n{errors}");
    lines.into_owned()
}
