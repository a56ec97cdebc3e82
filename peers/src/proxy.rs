//! A TCP proxy between client and server with which tests and benches make the network fail or slow.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::port;

/// How many pieces of at most 64 KiB may be on their way at once in one direction. So much data waits only for a reader
/// that does not read. Then the writer waits, as with any full socket.
const ON_THE_WAY: usize = 1024;

/// A proxy with its own threads. When dropped, it closes its connections and its port.
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
    records: AtomicBool,
    recorded: Mutex<Vec<Record>>,
}

/// What one client has sent.
type Record = Arc<Mutex<Vec<u8>>>;

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Whether the black hole has lost bytes of it. Then it cannot go on.
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
            records: AtomicBool::new(false),
            recorded: Mutex::default(),
        });
        // Another process may take a port that was free.
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

    /// Closes every connection. Bytes on their way are lost. A client that has just connected, and has sent nothing
    /// yet, may be accepted after the cut.
    pub fn cut(&self) {
        self.network.close(|_| true);
    }

    /// Sets whether new connections are refused, as by a machine on which no server listens. Open connections stay
    /// open.
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

    /// Sets whether bytes are lost: connections are accepted and read, and nothing is passed on. When that ends,
    /// connections that lost bytes are closed, because their streams are damaged.
    pub fn black_hole(&self, black_hole: bool) {
        self.network.black_hole.store(black_hole, Ordering::SeqCst);
        if !black_hole {
            self.network.close(|connection| connection.swallowed.load(Ordering::SeqCst));
        }
    }

    /// Sets how long bytes take in each direction from now on. A round trip takes twice that. Bytes do not wait for the
    /// bytes before them.
    pub fn delay(&self, one_way: Duration) {
        let nanos = u64::try_from(one_way.as_nanos()).unwrap_or(u64::MAX);
        self.network.delay_in_nanos.store(nanos, Ordering::SeqCst);
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> u64 {
        self.network.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        lock(&self.network.connections).len()
    }

    /// How many bytes it has read for the server.
    pub fn bytes_to_server(&self) -> u64 {
        self.network.to_server.load(Ordering::SeqCst)
    }

    /// How many bytes it has read for clients.
    pub fn bytes_to_client(&self) -> u64 {
        self.network.to_client.load(Ordering::SeqCst)
    }

    /// Keeps what clients send over connections that begin after this, for [`recorded`](Self::recorded).
    pub fn record(&self) {
        self.network.records.store(true, Ordering::SeqCst);
    }

    /// What was sent over each connection since [`record`](Self::record).
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        lock(&self.network.recorded).iter().map(|record| lock(record).clone()).collect()
    }

    fn stop_listening(&self, listening: &mut Option<JoinHandle<()>>) {
        if let Some(thread) = listening.take() {
            // The thread waits for a connection, so this makes one.
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
            // It may be closed already.
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

/// Accepts connections until they are refused; then the port is closed.
fn listen(listener: TcpListener, network: &Arc<Network>) -> JoinHandle<()> {
    let network = Arc::clone(network);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            if network.refuse.load(Ordering::SeqCst) {
                // A process that starts now may hold a copy of the socket for a moment; no copy listens any more.
                let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
                return;
            }
            // If the client has gone, or there is no server, the connection is closed.
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

    let record = network.records.load(Ordering::SeqCst).then(Record::default);
    lock(&network.recorded).extend(record.clone());
    let up = carry(up, network, &swallowed, |network| &network.to_server, record);
    let down = carry(down, network, &swallowed, |network| &network.to_client, None);
    let network = Arc::clone(network);
    std::thread::spawn(move || {
        for thread in up.into_iter().chain(down) {
            let _ = thread.join();
        }
        lock(&network.connections).remove(&number);
    });
    Ok(())
}

/// Carries bytes in one direction: one thread reads, and another one writes each piece when it is due.
fn carry(
    (from, to): (TcpStream, TcpStream),
    network: &Arc<Network>,
    swallowed: &Arc<AtomicBool>,
    count: fn(&Network) -> &AtomicU64,
    record: Option<Record>,
) -> [JoinHandle<()>; 2] {
    let (network, swallowed) = (Arc::clone(network), Arc::clone(swallowed));
    let (send, receive) = sync_channel(ON_THE_WAY);
    let reader = std::thread::spawn(move || read_pieces(from, &network, &swallowed, (count(&network), record), &send));
    let writer = std::thread::spawn(move || write_pieces(to, &receive));
    [reader, writer]
}

fn read_pieces(
    mut from: TcpStream,
    network: &Network,
    swallowed: &AtomicBool,
    (count, record): (&AtomicU64, Option<Record>),
    send: &SyncSender<Piece>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if let Some(record) = &record {
            lock(record).extend_from_slice(&buffer[..read]);
        }
        if network.black_hole.load(Ordering::SeqCst) {
            swallowed.store(true, Ordering::SeqCst);
            count.fetch_add(read as u64, Ordering::SeqCst);
            // If the black hole has ended meanwhile, it did not close this connection.
            if !network.black_hole.load(Ordering::SeqCst) {
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
            continue;
        }
        count.fetch_add(read as u64, Ordering::SeqCst);
        let piece = Piece { due: Instant::now() + network.delay(), bytes: buffer[..read].to_vec() };
        if send.send(piece).is_err() {
            // The other end is closed, so this end is closed, too.
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn write_pieces(mut to: TcpStream, receive: &Receiver<Piece>) {
    let mut wait = Wait::default();
    for piece in receive {
        wait.until(piece.due);
        if to.write_all(&piece.bytes).is_err() {
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
    // The sender is done; its answer may still come.
    let _ = to.shutdown(Shutdown::Write);
}

/// Waits for instants, and learns how much longer than asked this machine sleeps: a tenth of a millisecond matters when
/// half a millisecond was asked for.
#[derive(Default)]
struct Wait {
    oversleeps: Duration,
}

impl Wait {
    /// More than this comes from a busy machine and is not learned.
    const HABIT: Duration = Duration::from_micros(200);

    #[expect(clippy::disallowed_methods, reason = "this thread has nothing else to do than to wait")]
    fn until(&mut self, due: Instant) {
        let started = Instant::now();
        let nap = due.saturating_duration_since(started).saturating_sub(self.oversleeps);
        if !nap.is_zero() {
            std::thread::sleep(nap);
            let over = started.elapsed().saturating_sub(nap).min(Self::HABIT);
            self.oversleeps = (self.oversleeps * 7 + over) / 8;
        }
        while Instant::now() < due {
            std::thread::yield_now();
        }
    }
}
