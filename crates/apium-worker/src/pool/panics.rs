//! Panics of user code: where each one happened, and with which backtrace.
//!
//! A caught panic is its message alone. Its place is known only while the panic hook runs, so a hook records it for the
//! thread, and calls the hook that was there before.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::sync::Once;

use apium_app::failure::Failure;
use apium_protocol::result::exception::ExceptionInfo;

/// The last panic of a thread.
struct LastPanic {
    text: String,
    /// File, line and column.
    place: Option<String>,
    backtrace: Backtrace,
}

thread_local! {
    static LAST: RefCell<Option<LastPanic>> = const { RefCell::new(None) };
}

/// From now on the places of panics are recorded. Does nothing if they are already.
pub(crate) fn record_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            record(info);
            before(info);
        }));
    });
}

fn record(info: &PanicHookInfo<'_>) {
    let last_panic = LastPanic {
        text: text_of(info.payload()).to_owned(),
        place: info.location().map(ToString::to_string),
        // Costs nothing unless RUST_BACKTRACE asks for it.
        backtrace: Backtrace::capture(),
    };
    // The hook also runs while the thread ends and has no such variable any more.
    let _ = LAST.try_with(|last| last.replace(Some(last_panic)));
}

/// A panic that goes to another thread, with its place.
struct Carried(Failure);

/// Calls a function. If it panics, the panic goes on with its place, so that another thread can catch it.
pub(crate) fn with_place<T>(function: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(function))
        .unwrap_or_else(|panic| resume_unwind(Box::new(Carried(failure_of(&*panic)))))
}

/// The failure of a panic that was caught on the thread of the panic, or that went through [`with_place`]. Its
/// `exc_type` is `Panic`, and its traceback says where it happened.
pub(crate) fn failure_of(panic: &(dyn Any + Send)) -> Failure {
    if let Some(Carried(failure)) = panic.downcast_ref() {
        return failure.clone();
    }
    let text = text_of(panic);
    let failure = Failure::from_exception(ExceptionInfo::new("apium", "Panic", text));
    // A panic that began without the hook, by `resume_unwind`, must not get the place of an earlier one.
    match LAST.take().filter(|last_panic| last_panic.text == text) {
        Some(last_panic) => failure.with_traceback(traceback(&last_panic)),
        None => failure,
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without text")
}

/// The traceback in Python's form: its caller first, and the error last.
fn traceback(last_panic: &LastPanic) -> String {
    let mut out = "Traceback (most recent call last):\n".to_owned();
    if last_panic.backtrace.status() == BacktraceStatus::Captured {
        // Writing into a text does not fail.
        let _ = writeln!(out, "{}", last_panic.backtrace);
    }
    if let Some(place) = &last_panic.place {
        let _ = writeln!(out, "  panicked at {place}");
    }
    let _ = writeln!(out, "apium.Panic: {}", last_panic.text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caught(function: impl FnOnce()) -> Failure {
        failure_of(&*catch_unwind(AssertUnwindSafe(function)).unwrap_err())
    }

    #[test]
    fn a_panic_keeps_its_place_on_its_thread_and_on_another() {
        record_places();
        let here = caught(|| panic!("boom {}", 1));
        let line = line!() - 1;
        let there = std::thread::spawn(|| with_place(|| panic!("boom 1"))).join().unwrap_err();
        let there_line = line!() - 1;
        for (failure, line) in [(here, line), (failure_of(&*there), there_line)] {
            assert_eq!(failure.to_string(), "Panic('boom 1')");
            let traceback = failure.traceback().unwrap();
            let place = format!("panicked at {}:{line}:", file!());
            assert!(traceback.contains(&place) && traceback.ends_with("apium.Panic: boom 1\n"), "{traceback}");
        }
    }

    #[test]
    fn a_panic_without_a_hook_does_not_get_the_place_of_an_earlier_one() {
        record_places();
        assert!(catch_unwind(|| panic!("earlier")).is_err());
        assert!(caught(|| resume_unwind(Box::new("later"))).traceback().is_none());
        assert_eq!(caught(|| std::panic::panic_any(7)).to_string(), "Panic('a panic without text')");
    }
}
