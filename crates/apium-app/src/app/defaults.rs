//! What `App::builder` starts with. The crates above this one submit it, since this one knows no driver and runs no
//! task. Without the feature `autodiscover` nothing is submitted, and the facade has `App::builder` itself.

use std::sync::Arc;

use apium_transport::driver::SharedDriver;
use apium_transport::memory::MemoryDriver;

use crate::app::eager_runner::EagerRunner;

/// What every app of a program starts with. The facade submits it with the drivers of its features. The linker collects
/// it, as it collects tasks.
#[derive(Debug)]
pub struct AppDefaults {
    drivers: fn() -> Vec<SharedDriver>,
    eager_runner: fn() -> Option<Arc<dyn EagerRunner>>,
}

#[cfg(feature = "autodiscover")]
inventory::collect!(AppDefaults);

impl AppDefaults {
    /// The drivers, and what runs eager calls.
    pub const fn new(drivers: fn() -> Vec<SharedDriver>, eager_runner: fn() -> Option<Arc<dyn EagerRunner>>) -> Self {
        Self { drivers, eager_runner }
    }

    /// The drivers of this program: the memory driver and those that were submitted.
    pub fn drivers() -> Vec<SharedDriver> {
        let memory: SharedDriver = Arc::new(MemoryDriver::new());
        std::iter::once(memory).chain(all().flat_map(|defaults| (defaults.drivers)())).collect()
    }

    /// What runs eager calls in this program, if anything that was submitted does.
    pub fn eager_runner() -> Option<Arc<dyn EagerRunner>> {
        all().find_map(|defaults| (defaults.eager_runner)())
    }
}

#[cfg(feature = "autodiscover")]
fn all() -> impl Iterator<Item = &'static AppDefaults> {
    inventory::iter::<AppDefaults>.into_iter()
}

#[cfg(not(feature = "autodiscover"))]
fn all() -> impl Iterator<Item = &'static AppDefaults> {
    std::iter::empty()
}
