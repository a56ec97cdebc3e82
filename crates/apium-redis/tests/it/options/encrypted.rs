//! `rediss://`: certificates of servers and clients.

use std::path::Path;

use apium_peers::certificates::Certificates;
use apium_peers::port;
use apium_peers::redis_server::RedisServer;
use apium_protocol::result::state::State;
use apium_redis::RedisBackend;
use apium_transport::address::Address;
use apium_transport::backend::backend::ResultBackend as _;
use apium_transport::broker::broker::Broker as _;
use apium_transport::error::ErrorKind;
use futures_util::StreamExt as _;

use crate::brokers::{broker_with, consumer, finish, open, options, send, to};
use crate::kit::{record, soon, until};

/// A server that speaks TLS on a port of its own, with or without client certificates.
fn server(certificates: &Certificates, clients: &str) -> (RedisServer, u16) {
    let port = port::free();
    let server = RedisServer::builder().arg("--tls-port").arg(port.to_string()).arg("--tls-auth-clients").arg(clients);
    let file = |file: &str| certificates.text(file);
    let server = server.args([
        "--tls-cert-file".to_owned(),
        file("server.crt"),
        "--tls-key-file".to_owned(),
        file("server.key"),
    ]);
    (server.args(["--tls-ca-cert-file".to_owned(), file("ca.crt")]).start(), port)
}

/// Publishes, waits, claims, stores and watches, so that every kind of connection is used.
async fn assert_serves(url: &str, pairs: &[(&str, &str)]) {
    let broker = broker_with(url, pairs);
    let mut consumer = consumer(&broker, "q").await;
    tokio::join!(finish(&mut consumer, &["m"]), send(&broker, "q", &["m"]));
    let backend = RedisBackend::open(Address::parse(url).unwrap(), &options(pairs)).unwrap();
    let mut states = soon("a watch", backend.watch(vec!["t".into()])).await.unwrap();
    backend.store(vec![record("t", State::Success, None)]).await.unwrap();
    assert_eq!(soon("a state", states.next()).await.unwrap().unwrap().state, State::Success);
    backend.stored().unwrap().forget(vec!["t".into()]).await.unwrap();
}

async fn refusal(url: &str, pairs: &[(&str, &str)]) -> (ErrorKind, String) {
    let broker = open(url, pairs).unwrap();
    let error = soon("an answer", broker.publish(vec![to("q", "m")])).await.unwrap_err();
    (error.kind(), format!("{error:#}"))
}

#[tokio::test]
async fn a_server_is_trusted_by_its_certificate_or_on_request() {
    let certificates = Certificates::new();
    let (_server, port) = server(&certificates, "no");
    let trusted = certificates.text("ca.crt");
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("rediss://{host}:{port}/0");
        assert_serves(&url, &[("ssl_ca_certs", &trusted)]).await;
        assert_serves(&url, &[("ssl_cert_reqs", "required"), ("ssl_ca_certs", &trusted)]).await;
        assert_serves(&url, &[("ssl_cert_reqs", "none")]).await;
        assert_serves(&format!("{url}?ssl_cert_reqs=CERT_NONE"), &[]).await;
        assert_serves(&format!("redis://{host}:{port}/0"), &[("ssl", "true"), ("ssl_ca_certs", &trusted)]).await;
        // It is refused by the system's authorities, and by another one.
        for pairs in [&[][..], &[("ssl_ca_certs", &*certificates.text("other.crt"))]] {
            let (kind, text) = refusal(&url, pairs).await;
            assert!(kind == ErrorKind::Connection && text.contains("certificate"), "{kind:?} {text}");
        }
    }
}

#[tokio::test]
async fn a_server_may_want_a_certificate_of_the_client() {
    let certificates = Certificates::new();
    let (_server, port) = server(&certificates, "yes");
    let file = |file: &str| certificates.text(file);
    let url = format!("rediss://localhost:{port}/0");
    let (trusted, certificate, key, both) =
        (file("ca.crt"), file("client.crt"), file("client.key"), file("client.pem"));
    assert_serves(&url, &[("ssl_ca_certs", &trusted), ("ssl_certfile", &certificate), ("ssl_keyfile", &key)]).await;
    assert_serves(&url, &[("ssl_ca_certs", &trusted), ("ssl_certfile", &both)]).await;
    assert_serves(&url, &[("ssl_cert_reqs", "none"), ("ssl_certfile", &certificate), ("ssl_keyfile", &key)]).await;
    let (other, other_key) = (file("other.crt"), file("other.key"));
    for pairs in [
        &[("ssl_ca_certs", &*trusted)][..],
        &[("ssl_ca_certs", &*trusted), ("ssl_certfile", &*other), ("ssl_keyfile", &*other_key)],
    ] {
        let (kind, text) = refusal(&url, pairs).await;
        assert_eq!(kind, ErrorKind::Connection, "{text}");
    }
}

#[tokio::test]
async fn an_error_in_a_file_names_the_file() {
    let certificates = Certificates::new();
    let (_server, port) = server(&certificates, "no");
    let url = format!("rediss://localhost:{port}/0");
    let missing = certificates.text("no-such-file.crt");
    let (trusted, key) = (certificates.text("ca.crt"), certificates.text("client.key"));
    for pairs in [
        &[("ssl_ca_certs", &*missing)][..],
        &[("ssl_ca_certs", &*trusted), ("ssl_certfile", &*missing), ("ssl_keyfile", &*key)],
    ] {
        let (kind, text) = refusal(&url, pairs).await;
        assert!(kind == ErrorKind::Address && text.contains("no-such-file.crt"), "{kind:?} {text}");
    }
    // A file without a certificate in it.
    let empty = certificates.text("names");
    let (kind, text) = refusal(&url, &[("ssl_ca_certs", &empty)]).await;
    assert!(matches!(kind, ErrorKind::Address | ErrorKind::Connection), "{kind:?} {text}");
    assert!(Path::new(&empty).exists());
}

#[tokio::test]
async fn plain_and_encrypted_do_not_understand_each_other() {
    let certificates = Certificates::new();
    let (server, port) = server(&certificates, "no");
    let (kind, text) = refusal(&format!("rediss://localhost:{}/0", server.port()), &[("socket_timeout", "1")]).await;
    assert!(matches!(kind, ErrorKind::Connection | ErrorKind::Timeout), "{kind:?} {text}");
    assert!(text.contains("the scheme without TLS is redis://"), "{text}");
    let (kind, text) = refusal(&format!("redis://localhost:{port}/0"), &[("socket_timeout", "1")]).await;
    assert!(matches!(kind, ErrorKind::Connection | ErrorKind::Timeout), "{kind:?} {text}");
    assert!(text.contains("rediss://"), "{text}");
    until("a server that lives", || !server.log().is_empty()).await;
}
