//! What most programs use: `use apium::prelude::*;`.

#[doc(no_inline)]
pub use apium_app::app::App;
#[doc(no_inline)]
pub use apium_app::arguments::{Args, Keyword, Kwargs};
#[doc(no_inline)]
pub use apium_app::batch::Batch;
#[doc(no_inline)]
pub use apium_app::builder::AppBuilder;
#[doc(no_inline)]
pub use apium_app::call::Call;
#[doc(no_inline)]
pub use apium_app::chain::{chain, chord, group};
#[doc(no_inline)]
pub use apium_app::class_calls::TaskCalls;
#[doc(no_inline)]
pub use apium_app::config::retry_policy::RetryPolicy;
#[doc(no_inline)]
pub use apium_app::config::settings::Settings;
#[doc(no_inline)]
pub use apium_app::config::table::Config;
#[doc(no_inline)]
pub use apium_app::context::Ctx;
#[doc(no_inline)]
pub use apium_app::failure::Failure;
#[doc(no_inline)]
pub use apium_app::fits::Anything;
#[doc(no_inline)]
pub use apium_app::get::Outcome;
#[doc(no_inline)]
pub use apium_app::group::{Group, group};
#[doc(no_inline)]
pub use apium_app::group_result::GroupResult;
#[doc(no_inline)]
pub use apium_app::inject::{FromContext, State};
#[doc(no_inline)]
pub use apium_app::join::{Join, JoinResult, join};
#[doc(no_inline)]
pub use apium_app::result::AsyncResult;
#[doc(no_inline)]
pub use apium_app::retry_builder::OrRetry;
#[doc(no_inline)]
pub use apium_app::signature::Signature;
#[doc(no_inline)]
pub use apium_app::task::{Returned, TaskType};
#[doc(no_inline)]
pub use apium_app::task_error::{OrFail, TaskError, TaskResult};
#[doc(no_inline)]
pub use apium_app::task_impl::Task;
#[doc(no_inline)]
pub use apium_macros::{extern_task, task, task_module, wire_error};
#[doc(no_inline)]
pub use apium_protocol::exception::ExceptionInfo;
#[doc(no_inline)]
pub use apium_protocol::id::TaskId;
#[doc(no_inline)]
pub use apium_protocol::json::Json;
#[doc(no_inline)]
pub use apium_protocol::record::ResultDocument;
#[doc(no_inline)]
pub use apium_protocol::state::State as TaskState;
#[doc(no_inline)]
pub use apium_protocol::value::Value;
#[doc(no_inline)]
pub use apium_transport::topology::Queue;
#[cfg(feature = "worker")]
#[doc(no_inline)]
pub use apium_worker::builder::AppWorker;
#[doc(no_inline)]
pub use serde_json::json;

pub use crate::entry::AppEntry;

/// Any error: what a program's `main` and its app function may return.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
