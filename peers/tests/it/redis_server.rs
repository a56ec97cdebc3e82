//! Servers start, stop, restart, and do not outlive the process that started them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use apium_peers::guarded::runs;
use apium_peers::port;
use apium_peers::redis::{Commands, cmd};
use apium_peers::redis_server::{RedisServer, fresh_database};

use crate::wait_until;

#[test]
fn every_caller_has_a_database_of_its_own() {
    let (one, other) = (fresh_database(), fresh_database());
    assert_ne!(one.number, other.number);
    let () = one.connection().set("key", 1).unwrap();
    assert!(one.connection().exists::<_, bool>("key").unwrap());
    assert!(!other.connection().exists::<_, bool>("key").unwrap());
}

#[test]
fn a_server_restarts_empty_on_its_port() {
    let server = RedisServer::start();
    let (port, pid, database) = (server.port(), server.pid(), server.fresh_database());
    let () = database.connection().set("key", 1).unwrap();
    server.kill();
    assert!(!runs(pid));
    server.restart();
    assert_eq!(server.port(), port);
    assert!(server.directory().is_dir());
    assert!(!database.connection().exists::<_, bool>("key").unwrap());
    server.stop();
    server.restart();
    assert!(database.connection().exists::<_, bool>("key").is_ok());
}

#[test]
fn a_server_with_persistence_restarts_with_its_data() {
    let server = RedisServer::builder().args(["--appendonly", "yes", "--appendfsync", "always"]).start();
    let database = server.fresh_database();
    let () = database.connection().set("key", 7).unwrap();
    server.restart();
    assert_eq!(database.connection().get::<_, i64>("key").unwrap(), 7);
}

#[test]
fn arguments_reach_the_server() {
    let server = RedisServer::builder().password("s3cret").arg("--unixsocket").arg("redis.sock").start();
    let mut connection = server.fresh_database().connection();
    let () = connection.set("key", 1).unwrap();
    assert!(server.directory().join("redis.sock").exists());
    let bare = format!("redis://127.0.0.1:{}/0", server.port());
    let refused = apium_peers::redis::Client::open(bare).unwrap().get_connection().unwrap().get::<_, i64>("key");
    assert!(refused.unwrap_err().to_string().contains("NOAUTH"));
}

#[test]
fn a_cluster_node_and_a_sentinel_are_servers_too() {
    let node = RedisServer::builder().args(["--cluster-enabled", "yes"]).start();
    let mut connection = apium_peers::redis::Client::open(node.url(0)).unwrap().get_connection().unwrap();
    let info: String = cmd("CLUSTER").arg("INFO").query(&mut connection).unwrap();
    assert!(info.contains("cluster_state"), "{info}");

    let master = RedisServer::start();
    let watch = format!("sentinel monitor main 127.0.0.1 {} 1\n", master.port());
    let sentinel = RedisServer::builder().sentinel(&watch).start();
    let mut connection = apium_peers::redis::Client::open(sentinel.url(0)).unwrap().get_connection().unwrap();
    let address: Vec<String> =
        cmd("SENTINEL").arg("get-master-addr-by-name").arg("main").query(&mut connection).unwrap();
    assert_eq!(address, ["127.0.0.1".to_owned(), master.port().to_string()]);
}

#[test]
fn a_paused_server_answers_when_it_runs_again() {
    let server = RedisServer::start();
    let mut connection = server.fresh_database().connection();
    connection.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    server.pause();
    assert!(connection.get::<_, Option<i64>>("key").is_err());
    server.resume();
    assert_eq!(server.fresh_database().connection().get::<_, Option<i64>>("key").unwrap(), None);
}

#[test]
fn two_servers_do_not_share_a_port() {
    let first = RedisServer::start();
    let same = std::panic::catch_unwind(|| RedisServer::builder().port(first.port()).start()).unwrap_err();
    let message = same.downcast_ref::<String>().unwrap();
    assert!(message.contains("Address already in use"), "{message}");
    assert_eq!(RedisServer::builder().port(port::free()).start().fresh_database().number, 1);
}

#[test]
fn a_server_does_not_outlive_the_process_that_started_it() {
    for signal in ["KILL", "INT"] {
        let mut holder = Command::new(env!("CARGO_BIN_EXE_hold_server"));
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        let pid: u32 = lines.next().unwrap().unwrap().parse().unwrap();
        let directory = lines.next().unwrap().unwrap();
        assert!(runs(pid) && Path::new(&directory).is_dir());

        let number = holder.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &number]).status().unwrap().success());
        holder.wait().unwrap();
        wait_until(|| !runs(pid) && !Path::new(&directory).exists(), &format!("the end of {pid} after {signal}"));
    }
}
