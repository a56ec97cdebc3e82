//! apium-protocol.
