//! The test kit: an app on the memory driver (or any other) with a clock that the test turns. Nothing runs until
//! [`drain`](app::TestApp::drain) or [`advance`](app::TestApp::advance) is called.

pub mod app;
pub mod builder;
mod recorder;
mod recording;
