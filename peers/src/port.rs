//! Ports for servers.

use std::fs::{DirBuilder, File};
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::DirBuilderExt;
use std::sync::{Mutex, PoisonError};

use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

/// The range in which servers listen. It is below the ports that the kernel gives to outgoing connections, so the port
/// of a server that is restarted stays free meanwhile.
const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;

/// A port of this machine on which no process listens. No other call returns it while this process lives, in this
/// process or another.
///
/// A server that asks nobody may take it all the same. The caller tries again then.
#[track_caller]
pub fn free() -> u16 {
    let count = u64::from(LAST - FIRST);
    let start = RandomState::new().hash_one(0) % count;
    let mut ports = (0..count).map(|step| FIRST + u16::try_from((start + step) % count).unwrap_or_default());
    let free = ports.find(|&port| can_be_bound(port) && reserve(port));
    free.unwrap_or_else(|| panic!("could not find a free port between {FIRST} and {LAST}"))
}

/// Whether nobody listens on it.
///
/// The socket does not listen. A process that another thread starts now may hold a copy of it for a moment, and a copy
/// of a listening one would keep the caller from the port.
fn can_be_bound(port: u16) -> bool {
    let Ok(socket) = socket(AddressFamily::INET, SocketType::STREAM, None) else { return false };
    let shared = sockopt::set_socket_reuseaddr(&socket, true);
    shared.is_ok() && bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Takes the lock of the port, unless a process has it. It falls with the process.
fn reserve(port: u16) -> bool {
    static RESERVED: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let user = rustix::process::getuid().as_raw();
    let directory = std::env::temp_dir().join(format!("apium-ports-{user}"));
    // If there is none now, no file can be opened in it.
    let _ = DirBuilder::new().mode(0o700).create(&directory);
    let file = File::options().create(true).truncate(false).write(true).open(directory.join(port.to_string()));
    let Ok(file) = file else { return false };
    let locked = file.try_lock().is_ok();
    if locked {
        RESERVED.lock().unwrap_or_else(PoisonError::into_inner).push(file);
    }
    locked
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_port_in_use_is_not_given() {
        let in_use = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        assert!(!can_be_bound(in_use.local_addr().unwrap().port()));
    }

    #[test]
    fn a_port_is_given_once_and_can_be_bound_at_once() {
        let mut given: Vec<u16> = (0..50).map(|_| free()).collect();
        let _in_use: Vec<TcpListener> =
            given.iter().map(|&port| TcpListener::bind(("127.0.0.1", port)).unwrap()).collect();
        assert!(given.iter().all(|&port| !reserve(port)), "they are reserved");
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 50);
    }

    /// Processes that start meanwhile hold copies of the sockets of this one until their programs run.
    #[test]
    fn starting_processes_take_no_port() {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    Command::new("true").status().unwrap();
                }
            });
            let bound = (0..300).all(|_| TcpListener::bind(("127.0.0.1", free())).is_ok());
            ended.store(true, Ordering::Relaxed);
            assert!(bound);
        });
    }
}
