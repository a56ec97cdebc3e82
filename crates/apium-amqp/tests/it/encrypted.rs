//! `amqps://`: certificates of servers and clients.

use apium_peers::certificates::Certificates;
use apium_peers::port;
use apium_peers::rabbitmq_server::RabbitmqServer;
use apium_transport::broker::broker::Broker;
use apium_transport::error::ErrorKind;

use crate::kit::{consumer, names, open, receipts, send, take, to};

/// A node that speaks TLS on a port of its own, and wants a certificate of its clients.
fn node(certificates: &Certificates) -> (RabbitmqServer, u16) {
    let port = port::free();
    let mut builder = RabbitmqServer::builder().line(&format!("listeners.ssl.default = 127.0.0.1:{port}"));
    for (option, file) in [("cacertfile", "ca.crt"), ("certfile", "server.crt"), ("keyfile", "server.key")] {
        builder = builder.line(&format!("ssl_options.{option} = {}", certificates.text(file)));
    }
    builder = builder.line("ssl_options.verify = verify_peer").line("ssl_options.fail_if_no_peer_cert = true");
    (builder.start(), port)
}

/// Publishes, consumes, marks and counts over TLS with a certificate; everything that is missing or wrong is an error
/// that says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_go_over_tls() {
    let certificates = Certificates::new();
    let (node, port) = node(&certificates);
    let vhost = node.fresh_vhost();
    let url = |host: &str| format!("amqps://guest:guest@{host}:{port}/{}", vhost.name);
    let [ca, other, crt, key] = ["ca.crt", "other.crt", "client.crt", "client.key"].map(|file| certificates.text(file));
    let client = [("ca_certs", ca.as_str()), ("certfile", crt.as_str()), ("keyfile", key.as_str())];

    for host in ["127.0.0.1", "localhost"] {
        let broker = open(&url(host), &client).unwrap();
        send(&broker, "q", &["m"]).await;
        let mut reader = consumer(&broker, "q", 1).await;
        let got = take(&mut reader, 1).await;
        assert_eq!(names(&got), ["m"]);
        reader.acker().mark_started(&receipts(&got)).await.unwrap();
        drop(reader);
        let mut reader = consumer(&broker, "q", 1).await;
        let got = take(&mut reader, 1).await;
        assert_eq!(got[0].crashes, 1, "what is written arrives over TLS, too");
        reader.acker().ack(receipts(&got)).await.unwrap();
        reader.close().await.unwrap();
    }

    let refused = async |options: &[(&str, &str)], url: &str| {
        let broker = open(url, options).unwrap();
        broker.publish(vec![to("q", "m")]).await.unwrap_err()
    };
    let wrong = [("ca_certs", other.as_str()), client[1], client[2]];
    let error = refused(&wrong, &url("127.0.0.1")).await;
    assert!(format!("{error:#}").to_lowercase().contains("certificate"), "{error:#}");
    let error = refused(&client[..1], &url("127.0.0.1")).await;
    assert!(error.is_retryable(), "the server wants a certificate: {error:#}");
    let plain = url("127.0.0.1").replace("amqps", "amqp");
    let error = refused(&[], &plain).await;
    assert!(format!("{error:#}").contains("amqps://"), "{error:#}");
    let missing = [("ca_certs", "/nowhere/ca.crt")];
    let error = refused(&missing, &url("127.0.0.1")).await;
    assert_eq!(error.kind(), ErrorKind::Address);
    assert!(format!("{error:#}").contains("/nowhere/ca.crt"), "{error:#}");
}
