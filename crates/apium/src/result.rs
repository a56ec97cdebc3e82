//! Results: of one task, of a group, and of all tasks that a task sent; states, exceptions as they are stored, and
//! progress.

pub use apium_app::result::async_result::AsyncResult;
pub use apium_app::result::collect::{Collect, Dependency};
pub use apium_app::result::get::{Get, Outcome};
pub use apium_app::result::graph::Graph;
pub use apium_app::result::group_result::GroupResult;
pub use apium_app::result::progress::Progress;
pub use apium_app::result::result_set::{JoinAll, ResultSet};
pub use apium_app::signature::join::{JoinGet, JoinResult};
pub use apium_protocol::result::document::{Extended, GroupDocument, ResultDocument, ResultTuple};
pub use apium_protocol::result::exception::ExceptionInfo;
pub use apium_protocol::result::state::State as TaskState;
