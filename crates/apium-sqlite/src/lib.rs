//! apium-sqlite.
