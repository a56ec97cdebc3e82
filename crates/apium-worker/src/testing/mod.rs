//! The test kit: an app on the memory driver (or any other) with a clock that the test turns. Nothing runs until
//! [`drain`](crate::testing::app::TestApp::drain) or [`advance`](crate::testing::app::TestApp::advance) is called.

pub mod app;
pub mod builder;
pub(crate) mod recorder;
pub(crate) mod recording_driver;
pub mod sent;
pub(crate) mod standstill;
pub(crate) mod watched_backend;
