//! apium-macros.
