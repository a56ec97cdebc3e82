//! apium-app.
