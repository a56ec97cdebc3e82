//! apium-transport.
