//! A worker whose tasks keep every thread of its runtime busy lives, and nobody takes its messages.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use apium_peers::redis::Commands as _;
use apium_peers::redis_server::RedisServer;
use tokio::runtime::Builder;

use crate::brokers::{LEASE, ack, broker, consumer, keys, names, send, take};
use crate::kit::{connection, until};

const THREADS: usize = 2;

/// Blocks threads until it is opened.
#[derive(Default)]
struct Barrier {
    blocked: AtomicUsize,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Barrier {
    fn block(&self) {
        self.blocked.fetch_add(1, Ordering::SeqCst);
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// Opens the barrier in the end, also when the test fails: the runtime waits for its threads.
struct OpenInTheEnd(Arc<Barrier>);

impl Drop for OpenInTheEnd {
    fn drop(&mut self) {
        self.0.open();
    }
}

#[test]
fn a_consumer_on_a_runtime_that_is_blocked_for_several_leases_keeps_its_messages() {
    let server = RedisServer::start();
    let busy = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
    // The consumer belongs to this runtime: it is made on its threads.
    let url = server.url(0);
    let made = busy.spawn(async move {
        let broker = broker(&url);
        let mut holder = consumer(&broker, "q").await;
        send(&broker, "q", &["a"]).await;
        let batch = take(&mut holder, 1).await;
        (broker, holder, batch)
    });
    let (_broker, holder, batch) = busy.block_on(made).unwrap();
    let barrier = Arc::new(Barrier::default());
    let _open = OpenInTheEnd(barrier.clone());
    for _ in 0..THREADS {
        let barrier = barrier.clone();
        busy.spawn(async move { barrier.block() });
    }
    let mut redis = connection(&server);
    let ids: Vec<String> = redis.hkeys("_apium.consumers").unwrap();
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        until("the threads are blocked", || barrier.blocked.load(Ordering::SeqCst) == THREADS).await;
        let other = broker(&server.url(0));
        let mut reader = consumer(&other, "q").await;
        let began = Instant::now();
        tokio::select! {
            next = reader.next(1) => panic!("it got {next:?}, which a consumer that lives has in flight"),
            () = until("several leases", || began.elapsed() > LEASE * 5) => {}
        }
        reader.close().await.unwrap();
    });
    barrier.open();
    assert_eq!(redis.hkeys::<_, Vec<String>>("_apium.consumers").unwrap(), ids, "nobody was taken for dead");
    assert_eq!(names(&batch), ["a"]);
    busy.block_on(async {
        ack(&*holder, &batch).await;
        holder.close().await.unwrap();
    });
    assert_eq!((keys(&mut redis, "unacked*"), keys(&mut redis, "q*")), (vec![], vec![]));
}
