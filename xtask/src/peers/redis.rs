//! The Redis server. A sentinel and the nodes of a cluster are the same program.

use std::path::Path;
use std::process::{Command, Stdio};

use apium_peers::redis_server::{PROGRAM, program};

use crate::peers::debian;

/// Makes sure that a server can be started, and returns its version.
pub(crate) fn ensure() -> Result<String, String> {
    let program = program();
    if let Some(version) = version(Path::new(&program)) {
        return Ok(version);
    }
    if std::env::var_os(PROGRAM).is_some_and(|name| !name.is_empty()) {
        return Err(format!("start {}, which {PROGRAM} names", program.display()));
    }
    let advice = format!("install redis-server (6.2 or newer), or name another server in {PROGRAM}");
    debian::install(&["redis-server"], &advice)?;
    version(Path::new(&program)).ok_or_else(|| "find redis-server, although it was just installed".to_owned())
}

/// The version of a server; nothing when it cannot be started.
fn version(program: &Path) -> Option<String> {
    let out = Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout);
    out.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_cannot_be_started_has_no_version() {
        assert_eq!(version(Path::new("no-such-server-here")), None);
        assert_eq!(version(Path::new("false")), None);
    }
}
