//! apium-harness.
