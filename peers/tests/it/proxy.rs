//! The proxy makes the network fail in every way.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use apium_peers::proxy::Proxy;

use crate::wait_until;

/// A server that sends every line back.
fn echo() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || std::io::copy(&mut client.try_clone().unwrap(), &mut &client));
        }
    });
    (port, thread)
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn ask(mut stream: &TcpStream, word: &str) -> std::io::Result<String> {
    writeln!(stream, "{word}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

#[test]
fn bytes_pass_and_are_counted() {
    let proxy = Proxy::to(echo().0);
    assert_eq!(ask(&connect(&proxy), "word").unwrap(), "word\n");
    assert_eq!((proxy.bytes_to_server(), proxy.bytes_to_client(), proxy.accepted()), (5, 5, 1));
    wait_until(|| proxy.connections() == 0, "the end of a connection that its client closed");
}

#[test]
fn the_end_of_a_stream_passes_after_its_last_bytes() {
    let proxy = Proxy::to(echo().0);
    let mut stream = connect(&proxy);
    stream.write_all(b"all").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut received = String::new();
    stream.read_to_string(&mut received).unwrap();
    assert_eq!(received, "all");
}

#[test]
fn a_cut_ends_connections_and_lets_new_ones_in() {
    let proxy = Proxy::to(echo().0);
    let stream = connect(&proxy);
    ask(&stream, "word").unwrap();
    proxy.cut();
    assert_eq!((&stream).read(&mut [0; 9]).unwrap_or(0), 0);
    assert_eq!(ask(&connect(&proxy), "again").unwrap(), "again\n");
}

#[test]
fn refused_connections_are_refused_by_the_kernel() {
    let proxy = Proxy::to(echo().0);
    let open = connect(&proxy);
    ask(&open, "word").unwrap();
    proxy.refuse(true);
    let refused = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(ask(&open, "still").unwrap(), "still\n");
    proxy.refuse(false);
    assert_eq!(ask(&connect(&proxy), "again").unwrap(), "again\n");
}

#[test]
fn a_black_hole_reads_everything_and_sends_nothing() {
    let proxy = Proxy::to(echo().0);
    let (old, idle) = (connect(&proxy), connect(&proxy));
    ask(&old, "word").unwrap();
    proxy.black_hole(true);
    let new = connect(&proxy);
    for mut stream in [&old, &new] {
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        assert!(ask(stream, "gone").is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.flush().unwrap();
    }
    wait_until(|| proxy.bytes_to_server() == 15, "what the black hole read");
    proxy.black_hole(false);
    for mut stream in [&old, &new] {
        assert_eq!(stream.read(&mut [0; 9]).unwrap_or(0), 0, "a connection that lost bytes is still open");
    }
    assert_eq!(ask(&idle, "word").unwrap(), "word\n");
}

#[test]
fn a_delay_adds_to_the_latency_and_not_to_the_throughput() {
    let proxy = Proxy::to(echo().0);
    let mut stream = connect(&proxy);
    ask(&stream, "word").unwrap();
    let one_way = Duration::from_millis(20);
    proxy.delay(one_way);
    let started = Instant::now();
    ask(&stream, "word").unwrap();
    assert!(started.elapsed() >= one_way * 2, "{:?}", started.elapsed());

    // 500 pieces one after another would take 20 s; side by side they take one round trip.
    let started = Instant::now();
    for _ in 0..500 {
        stream.write_all(b"piece\n").unwrap();
        std::thread::yield_now();
    }
    stream.read_exact(&mut vec![0; 500 * 6]).unwrap();
    let took = started.elapsed();
    assert!(took >= one_way * 2 && took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_proxy_without_a_server_closes_connections_and_a_dropped_one_its_port() {
    let free = apium_peers::port::free();
    let proxy = Proxy::to(free);
    assert_eq!(connect(&proxy).read(&mut [0; 9]).unwrap_or(0), 0);
    let port = proxy.port();
    drop(proxy);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}
