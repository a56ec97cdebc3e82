//! The log of this test program in two formats: text, and JSON.

use std::cell::RefCell;
use std::io::Write;
use std::sync::{Mutex, Once};

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

thread_local! {
    /// What the test of this thread has logged since it called [`collect`], as text.
    static LINES: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// What a format wrote, one entry an event.
type Events = Mutex<Vec<String>>;

static TEXT: Events = Mutex::new(Vec::new());
static JSON: Events = Mutex::new(Vec::new());

/// Adds what one format writes to a list. The text goes to the test of the thread that logs it, too.
struct Kept(&'static Events);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
        if std::ptr::eq(self.0, &TEXT) {
            LINES.with_borrow_mut(|lines| lines.iter_mut().for_each(|lines| lines.extend_from_slice(bytes)));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Collects what this thread logs from now on. There is one subscriber for the whole program, since `tracing` caches
/// for all threads whether anybody is interested in a line.
pub(crate) fn collect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let text = tracing_subscriber::fmt::layer().with_writer(|| Kept(&TEXT)).with_ansi(false);
        let json = tracing_subscriber::fmt::layer().json().with_writer(|| Kept(&JSON));
        let both = tracing_subscriber::registry().with(text.with_filter(LevelFilter::INFO));
        both.with(json.with_filter(LevelFilter::INFO)).init();
    });
    LINES.set(Some(Vec::new()));
}

/// The text that this thread has logged since it called [`collect`].
pub(crate) fn logged() -> String {
    LINES.with_borrow(|lines| String::from_utf8(lines.clone().unwrap_or_default()).unwrap())
}

/// The events of all threads that contain a text, as text and as JSON.
pub(crate) fn events_with(part: &str) -> [Vec<String>; 2] {
    [&TEXT, &JSON].map(|events| events.lock().unwrap().iter().filter(|event| event.contains(part)).cloned().collect())
}
