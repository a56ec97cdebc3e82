//! Starts a server, says its process id and directory, and waits until it is killed: the test of what outlives a process.

use std::io::{self, Write};

use apium_peers::redis_server::RedisServer;

fn main() -> io::Result<()> {
    let server = RedisServer::shared();
    writeln!(io::stdout(), "{}\n{}", server.pid(), server.directory().display())?;
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}
