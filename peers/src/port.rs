//! Ports for servers.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;

/// Where servers listen: below the ports that the kernel gives to outgoing connections, so that a port whose server is
/// stopped for a moment is still free when it comes back.
const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;

/// A port of this machine on which nobody listens now.
///
/// Another process may take it before its server has started; who starts a server on it tries again then.
pub fn free() -> u16 {
    let count = u64::from(LAST - FIRST);
    let start = RandomState::new().hash_one(0) % count;
    let ports = (0..count).map(|step| FIRST + u16::try_from((start + step) % count).unwrap_or_default());
    let mut free = ports.filter(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    free.next().unwrap_or_else(|| panic!("could not find a free port between {FIRST} and {LAST}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_not_given() {
        let _taken: Vec<TcpListener> = (0..50).map(|_| TcpListener::bind(("127.0.0.1", free())).unwrap()).collect();
    }
}
