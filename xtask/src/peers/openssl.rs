//! The program `openssl`. The tests make the certificates of an encrypted server with it.

use std::process::{Command, Stdio};

use crate::peers::debian;

/// Makes sure that it can be run, and returns its version.
pub(crate) fn ensure() -> Result<String, String> {
    if let Some(version) = version() {
        return Ok(version);
    }
    debian::install(&["openssl"], "install openssl")?;
    version().ok_or_else(|| "find openssl, although it was just installed".to_owned())
}

/// Its version; nothing when it cannot be run.
fn version() -> Option<String> {
    let out = Command::new("openssl").arg("version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}
