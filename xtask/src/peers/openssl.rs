//! The program `openssl`, with which the tests make the certificates of an encrypted server.

use std::process::{Command, Stdio};

use crate::peers::debian;

/// Makes sure that it can be run, and says which it is.
pub(crate) fn ensure() -> Result<String, String> {
    if let Some(version) = version() {
        return Ok(version);
    }
    debian::install(&["openssl"], "install openssl")?;
    version().ok_or_else(|| "find openssl, although it was just installed".to_owned())
}

/// What it says about itself; nothing when it cannot be run.
fn version() -> Option<String> {
    let out = Command::new("openssl").arg("version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}
