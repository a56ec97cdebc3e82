//! Ports for servers.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;

/// The range in which servers listen. It is below the ports that the kernel gives to outgoing connections, so the port
/// of a server that is restarted stays free meanwhile.
const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;

/// A port of this machine on which no process listens.
///
/// Another process may take it before the server has started. The caller tries again then.
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
    fn a_port_in_use_is_not_given() {
        let _in_use: Vec<TcpListener> = (0..50).map(|_| TcpListener::bind(("127.0.0.1", free())).unwrap()).collect();
    }
}
