//! apium-worker.
