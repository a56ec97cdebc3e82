//! Starts a server, prints its process id and directory, and waits until it is killed: for the test that no server
//! outlives the process that started it.

use std::io::{self, Write};

use apium_peers::redis_server::RedisServer;

fn main() -> io::Result<()> {
    let server = RedisServer::shared();
    writeln!(io::stdout(), "{}\n{}", server.pid(), server.directory().display())?;
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}
