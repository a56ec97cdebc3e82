//! Makes sure that the peers are installed, and prints which they are. When they are, it takes a moment and changes
//! nothing.

use crate::commands::Answer;
use crate::output;
use crate::peers::{openssl, rabbitmq, redis, venv};

/// `cargo xtask peers`.
pub(crate) fn run(_args: &[String]) -> Answer {
    ensure().map(|()| true)
}

/// Installs what is missing.
pub(crate) fn ensure() -> Result<(), String> {
    output::step(&format!("peer: {}", redis::ensure()?));
    output::step(&format!("peer: {}", rabbitmq::ensure()?));
    output::step(&format!("peer: {}", openssl::ensure()?));
    output::step(&format!("peer: {}", venv::ensure()?));
    Ok(())
}
