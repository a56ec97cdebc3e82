//! Nodes of RabbitMQ.

use std::io::{Read, Write};
use std::net::TcpStream;

use apium_peers::rabbitmq_server::{RabbitmqServer, fresh_vhost};

/// Whether a node answers the header of the protocol.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut first = [0];
    stream.write_all(b"AMQP\x00\x00\x09\x01").is_ok() && stream.read_exact(&mut first).is_ok() && first == [1]
}

#[test]
fn each_caller_gets_a_vhost_of_its_own() {
    let (first, second) = (fresh_vhost(), fresh_vhost());
    assert_ne!(first.name, second.name);
    let listed = RabbitmqServer::shared().ctl(&["list_vhosts"]);
    for vhost in [first, second] {
        assert!(listed.lines().any(|line| line == vhost.name), "{listed}");
    }
}

#[test]
fn a_node_keeps_its_port_and_data_over_a_restart() {
    let node = RabbitmqServer::start();
    assert!(answers(node.port()));
    let vhost = node.fresh_vhost();
    node.stop();
    assert!(!answers(node.port()));
    node.start_again();
    assert!(answers(node.port()));
    assert!(node.ctl(&["list_vhosts"]).contains(&vhost.name));
    let directory = node.directory().to_owned();
    drop(node);
    assert!(!directory.exists());
}
