//! How a panic is shown: on one line of the log's form. The hook that Rust has prints the text of a panic as it is, and
//! a task may put a text of others there: it would begin lines of the log and send what a terminal obeys.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::panic::{PanicHookInfo, set_hook, take_hook};

use apium_protocol::value::printable::printable;
use apium_transport::clock::Clock;
use serde_json::json;

use crate::args::LogFormat;

/// Shows panics so from now on, unless the program has a hook of its own. `writer` makes what they are written to.
pub(crate) fn show_as<W: Write>(format: LogFormat, writer: impl Fn() -> W + Send + Sync + 'static) {
    let present = take_hook();
    // Without a hook of the program's own, this is what the first call gave too.
    let rusts_own = take_hook();
    // Where the addresses of the functions of one type differ, a panic is shown as Rust shows it.
    let has_own = !std::ptr::eq(&raw const *present, &raw const *rusts_own);
    if has_own {
        set_hook(present);
        return;
    }
    set_hook(Box::new(move |info| {
        // Where it cannot be written there is nobody to tell.
        let _ = writer().write_all(shown(format, info).as_bytes());
    }));
}

/// The line of a panic. In the form for people, a backtrace that RUST_BACKTRACE asks for follows.
fn shown(format: LogFormat, info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
    let text = info.payload().downcast_ref::<&str>().copied();
    let text = text.or_else(|| info.payload().downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("a panic without text");
    let line = format!("thread '{}' panicked{place}: {text}", thread.name().unwrap_or("<unnamed>"));
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    match format {
        LogFormat::Text => {
            let backtrace = backtrace.map(|backtrace| format!("{backtrace}\n")).unwrap_or_default();
            format!("{}\n{backtrace}", printable(line))
        }
        LogFormat::Json => {
            let mut fields = json!({ "message": line });
            if let Some(backtrace) = backtrace {
                fields["backtrace"] = backtrace.into();
            }
            let timestamp = Clock::system().now().to_string();
            let object = json!({ "timestamp": timestamp, "level": "ERROR", "fields": fields, "target": "panic" });
            format!("{}\n", printable(object))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const FORGED: &str = "boom\n2026-01-01 INFO all is well \u{1b}[2J\u{85}\u{9b}\u{2028}";

    #[test]
    fn a_panic_is_one_line_and_a_hook_of_the_program_stays() {
        // The hook is one for the process: other tests may panic meanwhile.
        let lines = |kept: &Kept| -> Vec<String> {
            let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            text.split('\n').filter(|line| line.contains("forging")).map(str::to_owned).collect()
        };
        let panics = || {
            let thread = std::thread::Builder::new().name("forging".to_owned());
            thread.spawn(|| panic!("{FORGED}")).unwrap().join().unwrap_err();
        };
        let rusts_own = take_hook();
        for format in [LogFormat::Text, LogFormat::Json] {
            let kept = Kept::default();
            let writer = kept.clone();
            show_as(format, move || writer.clone());
            panics();
            let before = kept.0.lock().unwrap().len();
            // This one is a hook of its own.
            show_as(format, Kept::default);
            panics();
            assert!(kept.0.lock().unwrap().len() > before, "a hook that was set stays");
            drop(take_hook());
            let lines = lines(&kept);
            assert_eq!(lines.len(), 2, "{lines:?}");
            for line in lines {
                assert!(line.contains("thread 'forging' panicked at "), "{line}");
                assert!(line.contains(r"boom\n2026-01-01 INFO all is well \u001b[2J\u0085\u009b\u2028"), "{line}");
                if format == LogFormat::Json {
                    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
                    assert!(object["fields"]["message"].as_str().unwrap().ends_with(FORGED), "{line}");
                }
            }
        }
        set_hook(rusts_own);
    }
}
