//! What `App::builder` starts with. The crates above this one submit it, since this one knows no driver and runs no
//! task.

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
    autodiscover: bool,
}

inventory::collect!(AppDefaults);

impl AppDefaults {
    /// The drivers, what runs eager calls, and whether tasks are registered without being named.
    pub const fn new(
        drivers: fn() -> Vec<SharedDriver>,
        eager_runner: fn() -> Option<Arc<dyn EagerRunner>>,
        autodiscover: bool,
    ) -> Self {
        Self { drivers, eager_runner, autodiscover }
    }

    /// The drivers of this program: the memory driver and those that were submitted.
    pub fn drivers() -> Vec<SharedDriver> {
        let memory: SharedDriver = Arc::new(MemoryDriver::new());
        std::iter::once(memory).chain(all().flat_map(|defaults| (defaults.drivers)())).collect()
    }

    /// Whether tasks are registered without being named: yes, unless a submitted one says no (feature `autodiscover`).
    pub fn autodiscovers() -> bool {
        all().all(|defaults| defaults.autodiscover)
    }
}

/// What runs eager calls in this program, if anything does.
pub(crate) fn eager_runner() -> Option<Arc<dyn EagerRunner>> {
    all().find_map(|defaults| (defaults.eager_runner)())
}

fn all() -> impl Iterator<Item = &'static AppDefaults> {
    inventory::iter::<AppDefaults>.into_iter()
}
