//! `App::test()`: building an app for a test.

use std::sync::Arc;

use apium_app::app::app::App;
use apium_app::app::defaults::AppDefaults;
use apium_app::builder::AppBuilder;
use apium_app::config::value::Value;
use apium_app::error::Result;
use apium_app::task::class::Task;
use apium_app::task::definition::TaskType;
use apium_transport::clock::Clock;
use apium_transport::driver::SharedDriver;
use jiff::Timestamp;

use crate::eager::EagerWorker;
use crate::testing::app::TestApp;
use crate::testing::recorder::Recorder;
use crate::testing::recording_driver::RecordingDriver;
use crate::testing::standstill::Standstill;

/// Gives `App` its test kit.
pub trait AppTest: Sized {
    /// An app for a test: a memory broker and result backend of its own, and a clock that stands still until the test
    /// advances it. [`broker`](TestBuilder::broker) names another broker of this build.
    fn test() -> TestBuilder;
}

impl AppTest for App {
    fn test() -> TestBuilder {
        let start = Timestamp::from_second(START).unwrap_or(Timestamp::UNIX_EPOCH);
        TestBuilder {
            clock: Clock::manual(start),
            drivers: AppDefaults::drivers(),
            broker: None,
            backend: None,
            concurrency: 1,
            more: Vec::new(),
        }
    }
}

/// 2030-01-01T00:00:00Z: where the clock of a test stands at first.
const START: i64 = 1_893_456_000;

type More = Box<dyn FnOnce(AppBuilder) -> AppBuilder + Send>;

/// Builds an app for a test.
#[must_use = "nothing is built until `build` is called"]
pub struct TestBuilder {
    clock: Clock,
    drivers: Vec<SharedDriver>,
    broker: Option<String>,
    backend: Option<String>,
    concurrency: usize,
    more: Vec<More>,
}

impl TestBuilder {
    /// Sets anything else that [`AppBuilder`] can set.
    pub fn with(mut self, more: impl FnOnce(AppBuilder) -> AppBuilder + Send + 'static) -> Self {
        self.more.push(Box::new(more));
        self
    }

    /// State for tasks to take by its type.
    pub fn state<T: Send + Sync + 'static>(self, value: T) -> Self {
        self.with(|app| app.state(value))
    }

    /// One setting by its name.
    pub fn setting(self, name: &'static str, value: impl Into<Value> + Send + 'static) -> Self {
        self.with(move |app| app.setting(name, value))
    }

    /// Registers a `#[task]` function.
    pub fn register<T: TaskType>(self) -> Self {
        self.with(AppBuilder::register::<T>)
    }

    /// Registers a task class.
    pub fn register_task<T: Task>(self, task: T) -> Self {
        self.with(|app| app.register_task(task))
    }

    /// Another broker than the memory driver's. Its messages must not be anybody else's.
    pub fn broker(mut self, url: impl Into<String>) -> Self {
        self.broker = Some(url.into());
        self
    }

    /// Another result backend than the memory driver's.
    pub fn backend(mut self, url: impl Into<String>) -> Self {
        self.backend = Some(url.into());
        self
    }

    /// One more driver.
    pub fn driver(mut self, driver: SharedDriver) -> Self {
        self.drivers.push(driver);
        self
    }

    /// How many tasks [`drain`](TestApp::drain) runs at once; 1 unless said otherwise, so that they run one after the
    /// other.
    pub fn concurrency(mut self, slots: usize) -> Self {
        self.concurrency = slots.max(1);
        self
    }

    /// Builds the app.
    ///
    /// # Errors
    /// As [`AppBuilder::build`].
    pub async fn build(self) -> Result<TestApp> {
        let recorder = Arc::new(Recorder::default());
        let standstill = Standstill::new(self.clock.clone(), recorder.clone());
        let record = |inner: SharedDriver| -> SharedDriver {
            let (recorder, standstill) = (recorder.clone(), standstill.clone());
            Arc::new(RecordingDriver { inner, recorder, standstill })
        };
        let own = format!("memory://test-{}", uuid::Uuid::new_v4().simple());
        let builder = AppBuilder::new("test", self.drivers.into_iter().map(record).collect())
            .broker(self.broker.unwrap_or_else(|| own.clone()))
            .backend(self.backend.unwrap_or(own))
            .clock(self.clock.clone())
            .state(standstill.clone())
            .eager_runner(Arc::new(EagerWorker));
        let app = self.more.into_iter().fold(builder, |builder, more| more(builder)).build().await?;
        Ok(TestApp::new(app, (self.clock, recorder, standstill), self.concurrency))
    }
}
