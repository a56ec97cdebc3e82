//! apium.
