//! Types that panic: arguments, results, errors, and what a task drops or has injected.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use apium::prelude::*;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How the text of each panic here begins.
pub const ON_PURPOSE: &str = "on purpose: ";

/// Keeps the panics of this module out of the error output: there are hundreds. All others are shown as before.
pub fn hide_panics_on_purpose() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let show = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>();
            if !text.is_some_and(|text| text.starts_with(ON_PURPOSE)) {
                show(info);
            }
        }));
    });
}

/// Panics, and says where.
pub fn panics(place: &str) -> ! {
    panic!("{ON_PURPOSE}{place}")
}

/// It panics when it is dropped.
#[derive(Debug)]
pub struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        // A second panic would end the process.
        if !std::thread::panicking() {
            panics("Drop");
        }
    }
}

/// An argument that cannot be read, and a result that cannot be written.
#[derive(Debug)]
pub struct PanicsInSerde;

impl Serialize for PanicsInSerde {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panics("Serialize")
    }
}

impl<'de> Deserialize<'de> for PanicsInSerde {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panics("Deserialize")
    }
}

/// A parameter that cannot be made.
#[derive(Debug)]
pub struct PanicsWhenInjected;

impl FromContext for PanicsWhenInjected {
    fn from_context(_: &Ctx) -> TaskResult<Self> {
        panics("from_context")
    }
}

/// An error that cannot be printed.
#[derive(Debug)]
pub struct PanicsInDisplay;

impl fmt::Display for PanicsInDisplay {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panics("Display")
    }
}

impl Error for PanicsInDisplay {}

/// An error that has no cause the first `calm` times it is asked for one, and panics the next time. The traceback asks
/// first, in the body, and then those who look for an error in the chain of causes.
#[derive(Debug)]
pub struct PanicsInSource {
    calm: usize,
    asked: AtomicUsize,
}

impl PanicsInSource {
    /// It panics when it has been asked so many times.
    pub fn after(calm: usize) -> Self {
        Self { calm, asked: AtomicUsize::new(0) }
    }
}

impl fmt::Display for PanicsInSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no cause")
    }
}

impl Error for PanicsInSource {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if self.asked.fetch_add(1, Ordering::SeqCst) >= self.calm {
            panics("source");
        }
        None
    }
}
