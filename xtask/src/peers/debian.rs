//! Packages of Debian and of systems that derive from it.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use crate::process;

/// Every package runs this program to ask whether its service may start.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs packages. Without root, or on another system, the error says what is `missing`.
pub(crate) fn install(packages: &[&str], missing: &str) -> Result<(), String> {
    if !Path::new("/etc/debian_version").exists() || !is_root()? {
        return Err(format!(
            "run the tests without their peers: {missing} (on Debian, root gets it from `cargo xtask peers`)"
        ));
    }
    let _policy = NoServices::install()?;
    // A fresh container has no package lists, so they are fetched when the first attempt fails.
    if try_install(packages)? || (process::passes(apt_get(&["update"]))? && try_install(packages)?) {
        return Ok(());
    }
    Err(format!("install {} with apt-get: {missing}", packages.join(" and ")))
}

fn try_install(packages: &[&str]) -> Result<bool, String> {
    let mut command = apt_get(&["install", "--yes", "--no-install-recommends"]);
    command.args(packages);
    process::passes(command)
}

fn apt_get(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.arg("--quiet=2").args(args).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> Result<bool, String> {
    let mut command = Command::new("id");
    command.arg("-u");
    Ok(process::read(command)?.trim() == "0")
}

/// While this value exists, no installed service is started: the tests start their own servers, on their own ports. A
/// policy that the machine already has is not changed.
struct NoServices {
    is_ours: bool,
}

impl NoServices {
    fn install() -> Result<Self, String> {
        let attempt = |error: std::io::Error| format!("write {POLICY}: {error}");
        match OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY) {
            Ok(mut file) => {
                let policy = Self { is_ours: true };
                file.write_all(b"#!/bin/sh\nexit 101\n").map_err(attempt)?;
                Ok(policy)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Self { is_ours: false }),
            Err(error) => Err(attempt(error)),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.is_ours {
            // If it is gone already, nothing is left to do.
            let _ = fs::remove_file(POLICY);
        }
    }
}
