//! What a run sees: its context (Celery's `self` with `bind=True`), its request, and the signals of its limits.

pub(crate) mod additions;
pub(crate) mod blocking_scope;
pub mod context;
pub mod current;
pub mod deferred;
pub mod extract;
pub mod handed_over;
pub mod limit_signal;
pub mod request;
pub mod result_document;
pub mod state_map;
pub mod store_waits;
