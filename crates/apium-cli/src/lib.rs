//! apium-cli.
