//! A TCP proxy between client and server that makes the network fail, or slow, when a test or bench says so.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::port;

/// How many pieces of at most 64 KiB are on their way at once in one direction. So much data waits only behind a reader who
/// does not read, and then the writer waits as with any full socket.
const ON_THE_WAY: usize = 1024;

/// A proxy in threads of its own. Dropped, it closes its connections and its port.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    network: Arc<Network>,
    listening: Mutex<Option<JoinHandle<()>>>,
}

/// What all connections share.
#[derive(Debug)]
struct Network {
    server: u16,
    refuse: AtomicBool,
    black_hole: AtomicBool,
    delay_in_nanos: AtomicU64,
    connections: Mutex<HashMap<u64, Connection>>,
    accepted: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Whether the black hole has bytes of it; it cannot go on after that.
    swallowed: Arc<AtomicBool>,
}

/// Bytes on their way.
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
}

impl Proxy {
    /// A proxy in front of the server on `port` of this machine.
    #[track_caller]
    pub fn to(port: u16) -> Self {
        let network = Arc::new(Network {
            server: port,
            refuse: AtomicBool::new(false),
            black_hole: AtomicBool::new(false),
            delay_in_nanos: AtomicU64::new(0),
            connections: Mutex::new(HashMap::new()),
            accepted: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
        });
        // Somebody else may be quicker on a port that was free.
        let listener = (0..5).find_map(|_| TcpListener::bind(("127.0.0.1", port::free())).ok());
        let bound = listener.and_then(|listener| Some((listener.local_addr().ok()?.port(), listener)));
        let Some((port, listener)) = bound else { panic!("could not listen on any port") };
        let listening = Mutex::new(Some(listen(listener, &network)));
        Self { port, network, listening }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes every connection. What is on its way is lost. A client that connected just now, and has said nothing yet, may
    /// be accepted after the cut.
    pub fn cut(&self) {
        self.network.close(|_| true);
    }

    /// Whether new connections are refused, as by a machine on which nobody listens. Those that stand go on.
    #[track_caller]
    pub fn refuse(&self, refuse: bool) {
        let mut listening = lock(&self.listening);
        self.network.refuse.store(refuse, Ordering::SeqCst);
        if refuse {
            self.stop_listening(&mut listening);
        } else if listening.is_none() {
            let listener = TcpListener::bind(("127.0.0.1", self.port))
                .unwrap_or_else(|error| panic!("could not listen on port {} again: {error}", self.port));
            *listening = Some(listen(listener, &self.network));
        }
    }

    /// Whether bytes vanish: connections are accepted and read, and nobody hears anything. When it ends, connections that
    /// lost bytes are closed, since a stream with a hole in it is worse than none.
    pub fn black_hole(&self, black_hole: bool) {
        self.network.black_hole.store(black_hole, Ordering::SeqCst);
        if !black_hole {
            self.network.close(|connection| connection.swallowed.load(Ordering::SeqCst));
        }
    }

    /// How long bytes take in each direction, from now on; a round trip takes twice that. However many are on their way at
    /// once, none waits for another.
    pub fn delay(&self, one_way: Duration) {
        let nanos = u64::try_from(one_way.as_nanos()).unwrap_or(u64::MAX);
        self.network.delay_in_nanos.store(nanos, Ordering::SeqCst);
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> u64 {
        self.network.accepted.load(Ordering::SeqCst)
    }

    /// How many connections stand now.
    pub fn connections(&self) -> usize {
        lock(&self.network.connections).len()
    }

    /// How many bytes it has taken for the server.
    pub fn bytes_to_server(&self) -> u64 {
        self.network.to_server.load(Ordering::SeqCst)
    }

    /// How many bytes it has taken for clients.
    pub fn bytes_to_client(&self) -> u64 {
        self.network.to_client.load(Ordering::SeqCst)
    }

    fn stop_listening(&self, listening: &mut Option<JoinHandle<()>>) {
        if let Some(thread) = listening.take() {
            // It waits for a connection, so it gets one.
            let _ = TcpStream::connect(("127.0.0.1", self.port));
            let _ = thread.join();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.network.refuse.store(true, Ordering::SeqCst);
        self.stop_listening(&mut lock(&self.listening));
        self.cut();
    }
}

impl Network {
    fn close(&self, chosen: impl Fn(&Connection) -> bool) {
        for connection in lock(&self.connections).values().filter(|connection| chosen(connection)) {
            // What is closed already is as it should be.
            let _ = connection.client.shutdown(Shutdown::Both);
            let _ = connection.server.shutdown(Shutdown::Both);
        }
    }

    fn delay(&self) -> Duration {
        Duration::from_nanos(self.delay_in_nanos.load(Ordering::SeqCst))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections until they are to be refused; then the port is closed.
fn listen(listener: TcpListener, network: &Arc<Network>) -> JoinHandle<()> {
    let network = Arc::clone(network);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            if network.refuse.load(Ordering::SeqCst) {
                return;
            }
            // A client that is gone already, or a server that is not there: the client finds its connection closed.
            let _ = client.and_then(|client| join(client, &network));
        }
    })
}

/// Joins a client to the server of the network.
fn join(client: TcpStream, network: &Arc<Network>) -> std::io::Result<()> {
    let number = network.accepted.fetch_add(1, Ordering::SeqCst);
    let server = TcpStream::connect(("127.0.0.1", network.server))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let swallowed = Arc::new(AtomicBool::new(false));
    let up = (client.try_clone()?, server.try_clone()?);
    let down = (server.try_clone()?, client.try_clone()?);
    let connection = Connection { client, server, swallowed: Arc::clone(&swallowed) };
    lock(&network.connections).insert(number, connection);

    let up = carry(up, network, &swallowed, |network| &network.to_server);
    let down = carry(down, network, &swallowed, |network| &network.to_client);
    let network = Arc::clone(network);
    std::thread::spawn(move || {
        for thread in up.into_iter().chain(down) {
            let _ = thread.join();
        }
        lock(&network.connections).remove(&number);
    });
    Ok(())
}

/// Carries bytes in one direction: a thread that reads, and one that writes each piece when it is due.
fn carry(
    (from, to): (TcpStream, TcpStream),
    network: &Arc<Network>,
    swallowed: &Arc<AtomicBool>,
    count: fn(&Network) -> &AtomicU64,
) -> [JoinHandle<()>; 2] {
    let (network, swallowed) = (Arc::clone(network), Arc::clone(swallowed));
    let (send, receive) = sync_channel(ON_THE_WAY);
    let reader = std::thread::spawn(move || take(from, &network, &swallowed, count(&network), &send));
    let writer = std::thread::spawn(move || give(to, &receive));
    [reader, writer]
}

fn take(mut from: TcpStream, network: &Network, swallowed: &AtomicBool, count: &AtomicU64, send: &SyncSender<Piece>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if network.black_hole.load(Ordering::SeqCst) {
            swallowed.store(true, Ordering::SeqCst);
            count.fetch_add(read as u64, Ordering::SeqCst);
            // Whoever ended the black hole meanwhile may not have seen that this connection lost something.
            if !network.black_hole.load(Ordering::SeqCst) {
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
            continue;
        }
        count.fetch_add(read as u64, Ordering::SeqCst);
        let piece = Piece { due: Instant::now() + network.delay(), bytes: buffer[..read].to_vec() };
        if send.send(piece).is_err() {
            // Nobody wants it at the other end: the sender hears of that.
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn give(mut to: TcpStream, receive: &Receiver<Piece>) {
    let mut wait = Wait::default();
    for piece in receive {
        wait.until(piece.due);
        if to.write_all(&piece.bytes).is_err() {
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
    // The sender has said all; the answer to it may still come.
    let _ = to.shutdown(Shutdown::Write);
}

/// Waits for moments, and learns how much longer than asked this machine sleeps: a tenth of a millisecond is much of half a
/// millisecond.
#[derive(Default)]
struct Wait {
    oversleeps: Duration,
}

impl Wait {
    /// More than this is a busy machine and not its habit.
    const HABIT: Duration = Duration::from_micros(200);

    #[expect(clippy::disallowed_methods, reason = "the thread is there to wait: it is the length of the wire")]
    fn until(&mut self, due: Instant) {
        let started = Instant::now();
        let nap = due.saturating_duration_since(started).saturating_sub(self.oversleeps);
        if !nap.is_zero() {
            std::thread::sleep(nap);
            let late = started.elapsed().saturating_sub(nap).min(Self::HABIT);
            self.oversleeps = (self.oversleeps * 7 + late) / 8;
        }
        while Instant::now() < due {
            std::thread::yield_now();
        }
    }
}
