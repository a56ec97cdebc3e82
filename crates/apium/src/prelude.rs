//! What most programs use: `use apium::prelude::*;`.

#[doc(no_inline)]
pub use apium_app::app::app::App;
#[doc(no_inline)]
pub use apium_app::builder::AppBuilder;
#[doc(no_inline)]
pub use apium_app::call::batch::Batch;
#[doc(no_inline)]
pub use apium_app::call::call::Call;
#[doc(no_inline)]
pub use apium_app::call::class_calls::TaskCalls;
#[doc(no_inline)]
pub use apium_app::config::retry_policy::RetryPolicy;
#[doc(no_inline)]
pub use apium_app::config::settings::Settings;
#[doc(no_inline)]
pub use apium_app::config::table::Config;
#[doc(no_inline)]
pub use apium_app::context::context::Ctx;
#[doc(no_inline)]
pub use apium_app::context::extract::{FromContext, State};
#[doc(no_inline)]
pub use apium_app::error::ErrorKind;
#[doc(no_inline)]
pub use apium_app::failure::Failure;
#[doc(no_inline)]
pub use apium_app::result::async_result::AsyncResult;
#[doc(no_inline)]
pub use apium_app::result::get::Outcome;
#[doc(no_inline)]
pub use apium_app::result::group_result::GroupResult;
#[doc(no_inline)]
pub use apium_app::retry::builder::OrRetry;
#[doc(no_inline)]
pub use apium_app::signature::chain::{chain, chord, group};
#[doc(no_inline)]
pub use apium_app::signature::fits::Anything;
#[doc(no_inline)]
pub use apium_app::signature::group::{Group, group};
#[doc(no_inline)]
pub use apium_app::signature::join::{Join, JoinResult, join};
#[doc(no_inline)]
pub use apium_app::signature::signature::Signature;
#[doc(no_inline)]
pub use apium_app::task::arguments::{Args, Keyword, Kwargs};
#[doc(no_inline)]
pub use apium_app::task::class::Task;
#[doc(no_inline)]
pub use apium_app::task::definition::{Returned, TaskType};
#[doc(no_inline)]
pub use apium_app::task_error::{OrFail, TaskError, TaskResult};
#[doc(no_inline)]
pub use apium_macros::{extern_task, task, task_module, wire_error};
#[doc(no_inline)]
pub use apium_protocol::json::text::Json;
#[doc(no_inline)]
pub use apium_protocol::message::task_id::TaskId;
#[doc(no_inline)]
pub use apium_protocol::result::document::ResultDocument;
#[doc(no_inline)]
pub use apium_protocol::result::exception::ExceptionInfo;
#[doc(no_inline)]
pub use apium_protocol::result::state::State as TaskState;
#[doc(no_inline)]
pub use apium_protocol::value::value::Value;
#[doc(no_inline)]
pub use apium_transport::broker::topology::Queue;
#[cfg(feature = "worker")]
#[doc(no_inline)]
pub use apium_worker::builder::AppWorker;
#[cfg(feature = "worker")]
#[doc(no_inline)]
pub use apium_worker::control::call::AppControlCommands;
#[cfg(feature = "worker")]
#[doc(no_inline)]
pub use apium_worker::layer::AppWorkLayers;
#[cfg(feature = "worker")]
pub use apium_worker::observe::worker_observer::AppWorkerObservers;
#[cfg(feature = "worker")]
#[doc(no_inline)]
pub use apium_worker::testing::builder::AppTest;
#[doc(no_inline)]
pub use serde_json::json;

#[doc(no_inline)]
pub use crate::builtin_drivers::AppBuild;

/// Any error. A program's `main`, and the function that makes its app, may return it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The README, whose programs use it. They are compiled as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
