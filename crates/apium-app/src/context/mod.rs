//! What a run sees: Celery's `self`.

pub(crate) mod blocking_scope;
pub mod context;
pub mod current;
pub mod deferred;
pub mod extract;
pub mod limit_signal;
pub mod request;
pub mod result_document;
pub mod state_map;
