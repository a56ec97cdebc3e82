//! The RabbitMQ server.

use std::path::Path;
use std::process::{Command, Stdio};

use apium_peers::rabbitmq_server::{FOLDER, folder};

use crate::peers::debian;

/// Makes sure that a node can be started, and returns its version.
pub(crate) fn ensure() -> Result<String, String> {
    let folder = folder();
    if let Some(version) = version(&folder) {
        return Ok(version);
    }
    if std::env::var_os(FOLDER).is_some_and(|name| !name.is_empty()) {
        return Err(format!("start rabbitmq-server from {}, which {FOLDER} names", folder.display()));
    }
    let advice = format!("install rabbitmq-server (3.10 or newer), or name the folder of its programs in {FOLDER}");
    debian::install(&["rabbitmq-server"], &advice)?;
    version(&folder).ok_or_else(|| "find rabbitmq-server, although it was just installed".to_owned())
}

/// The version of a node; nothing when it cannot be started.
fn version(folder: &Path) -> Option<String> {
    if !folder.join("rabbitmq-server").exists() {
        return None;
    }
    let mut command = Command::new(folder.join("rabbitmqctl"));
    command.arg("version").env("HOME", std::env::temp_dir()).stdin(Stdio::null()).stderr(Stdio::null());
    let out = command.output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout);
    out.status.success().then(|| format!("RabbitMQ {}", text.lines().next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_the_program_has_no_version() {
        assert_eq!(version(Path::new("no-such-folder-here")), None);
        assert_eq!(version(Path::new("/bin")), None);
    }
}
