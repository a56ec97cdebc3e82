//! Packages of Debian and its kin.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use crate::process;

/// Asked by every package whether its service may start.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs packages. Where that is not ours to do, the error says what is `missing`.
pub(crate) fn install(packages: &[&str], missing: &str) -> Result<(), String> {
    if !Path::new("/etc/debian_version").exists() || !is_root()? {
        return Err(format!(
            "run the tests without their peers: {missing} (on Debian, root gets it from `cargo xtask peers`)"
        ));
    }
    let _asleep = Asleep::begin()?;
    // A fresh container has no lists yet; elsewhere they are there and need not be fetched.
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

/// While it lives, no installed service is started: the tests start servers of their own, on ports of their own. A policy
/// that the machine has already stays as it is.
struct Asleep {
    ours: bool,
}

impl Asleep {
    fn begin() -> Result<Self, String> {
        let attempt = |error: std::io::Error| format!("write {POLICY}: {error}");
        match OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY) {
            Ok(mut file) => {
                let asleep = Self { ours: true };
                file.write_all(b"#!/bin/sh\nexit 101\n").map_err(attempt)?;
                Ok(asleep)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Self { ours: false }),
            Err(error) => Err(attempt(error)),
        }
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        if self.ours {
            // It was there a moment ago; who removed it meanwhile wanted the same.
            let _ = fs::remove_file(POLICY);
        }
    }
}
