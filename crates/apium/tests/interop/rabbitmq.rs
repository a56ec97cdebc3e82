//! Python and Rust on one RabbitMQ: each as producer, worker and reader of results, on classic and on quorum queues,
//! with results in Redis and with `rpc://`.

use std::sync::OnceLock;

use apium_peers::rabbitmq_server::fresh_vhost;
use apium_peers::redis_server::fresh_database;
use serde_json::{Value, json};

use crate::kit::pair::Pair;
use crate::kit::python_client::BorrowedClient;
use crate::kit::read_result::Raised;
use crate::kit::rust_client;
use crate::kit::side::Side;
use crate::kit::worker::{Setup, Worker, WorkerSettings, as_object};

/// The kind of the queues.
#[derive(Debug, Clone, Copy)]
enum Queues {
    Classic,
    /// On a topic exchange, so that Celery's clients delay in the server.
    Quorum,
}

/// What both sides must know of the queues.
fn settings(queues: Queues) -> WorkerSettings {
    let mut settings = vec![("task_track_started", json!(true))];
    if matches!(queues, Queues::Quorum) {
        settings.extend([
            ("task_default_exchange", json!("peer_topic")),
            ("task_default_exchange_type", json!("topic")),
            ("task_default_routing_key", json!("celery")),
            ("task_default_queue_type", json!("quorum")),
        ]);
    }
    settings
}

/// A vhost with a worker of one side.
#[derive(Debug)]
struct Fleet {
    url: String,
    results: String,
    queues: Queues,
    side: Side,
    _worker: Worker,
}

impl Fleet {
    fn start(queues: Queues, side: Side, results: &str) -> Self {
        let vhost = fresh_vhost();
        let mut setup = Setup::new(&vhost.url).results(results).slots(4);
        for (name, value) in settings(queues) {
            setup = setup.set(name, value);
        }
        let worker = setup.start(side);
        Self { url: vhost.url, results: results.to_owned(), queues, side, _worker: worker }
    }

    /// The shared worker of a side on queues of a kind, with results in Redis.
    fn shared(queues: Queues, side: Side) -> &'static Self {
        static SHARED: [OnceLock<Fleet>; 4] = [const { OnceLock::new() }; 4];
        let index = usize::from(matches!(queues, Queues::Quorum)) * 2 + usize::from(side == Side::Rust);
        SHARED[index].get_or_init(|| Self::start(queues, side, &fresh_database().url))
    }

    /// A producer of one side, and readers of both.
    async fn pair(&self, producer: Side) -> Pair {
        let settings = settings(self.queues);
        let of_python = as_object(&settings).to_string();
        let variables =
            vec![("BROKER_URL", self.url.clone()), ("RESULT_BACKEND", self.results.clone()), ("PEER_CONF", of_python)];
        Pair {
            rust: rust_client::app_with_results(&self.url, &self.results, &settings).await,
            python: BorrowedClient::of(variables),
            producer,
            worker: self.side,
        }
    }
}

/// Makes a test for every pair of producer and worker, on queues of each kind.
macro_rules! on_every_queue {
    ($(async fn $name:ident($pair:ident: &Pair) $body:block)*) => {
        $(async fn $name($pair: &Pair) $body)*

        on_every_queue!(@ classic_rust_to_python Classic Rust Python $($name)*);
        on_every_queue!(@ classic_python_to_rust Classic Python Rust $($name)*);
        on_every_queue!(@ classic_rust_to_rust Classic Rust Rust $($name)*);
        on_every_queue!(@ quorum_rust_to_python Quorum Rust Python $($name)*);
        on_every_queue!(@ quorum_python_to_rust Quorum Python Rust $($name)*);
        on_every_queue!(@ quorum_rust_to_rust Quorum Rust Rust $($name)*);
    };
    (@ $module:ident $queues:ident $producer:ident $worker:ident $($name:ident)*) => {
        mod $module {
            use super::{Fleet, Queues};
            use $crate::kit::side::Side;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $name() {
                let pair = Fleet::shared(Queues::$queues, Side::$worker).pair(Side::$producer).await;
                Box::pin(super::$name(&pair)).await;
            })*
        }
    };
}

on_every_queue! {
    async fn values_come_back(pair: &Pair) {
        assert_eq!(pair.value("tasks.add", json!([2, 3]), json!({})).await, json!(5));
        for value in [json!(null), json!("ä\u{0}\n\"'"), json!([1.5, -0.0, true]), json!({ "k": { "n": [1] } })] {
            assert_eq!(pair.value("tasks.identity", json!([value.clone()]), json!({})).await, value);
        }
    }

    async fn errors_are_raised_by_their_class(pair: &Pair) {
        let id = pair.send("tasks.fail", json!(["x"])).await;
        assert_eq!(pair.get(&id).await.failure(), &Raised::new("builtins.ValueError", json!(["x"])));
        let id = pair.send("no.such.task", json!([1])).await;
        let wanted = Raised::new("celery.exceptions.NotRegistered", json!(["no.such.task"]));
        assert_eq!(pair.get(&id).await.failure(), &wanted);
    }

    async fn retries_run_until_the_task_succeeds(pair: &Pair) {
        let done = json!({ "value": "done", "retries": 2 });
        assert_eq!(pair.value("tasks.retry", json!([2, 1.2]), json!({})).await, done);
    }

    async fn a_countdown_is_waited_for(pair: &Pair) {
        let began = std::time::Instant::now();
        assert_eq!(pair.value("tasks.add", json!([1, 1]), json!({ "countdown": 2 })).await, json!(2));
        assert!(began.elapsed().as_secs_f64() >= 1.9, "{:?}", began.elapsed());
    }

    async fn priorities_and_compression_are_carried(pair: &Pair) {
        let options = json!({ "priority": 5, "compression": "zlib", "headers": { "own": [1, null, "x"] } });
        assert_eq!(pair.value("tasks.add", json!([3, 4]), options).await, json!(7));
    }

    async fn waiters_get_custom_states(pair: &Pair) {
        let id = pair.send("tasks.progress", json!([3, 0.2])).await;
        let seen = pair.read(Side::Rust, &id).await;
        assert_eq!(seen.success(), &json!(3));
        assert!(seen.messages.iter().any(|message| message.0 == "PROGRESS"), "{:?}", seen.messages);
    }
}

/// `rpc://` in all directions: each side reads what a worker of the other sends to it.
async fn over_rpc(producer: Side, worker: Side) {
    let fleet = Fleet::start(Queues::Classic, worker, "rpc://");
    let pair = fleet.pair(producer).await;
    let get = async |id: &str| pair.read(producer, id).await;
    let id = pair.send("tasks.add", json!([2, 3])).await;
    assert_eq!(get(&id).await.success(), &json!(5));
    let id = pair.send("tasks.fail", json!(["x"])).await;
    assert_eq!(get(&id).await.failure(), &Raised::new("builtins.ValueError", json!(["x"])));
    let id = pair.send("tasks.progress", json!([2, 0.1])).await;
    let seen = get(&id).await;
    assert_eq!(seen.success(), &json!(2));
    let steps: Vec<&Value> = seen.messages.iter().filter(|one| one.0 == "PROGRESS").map(|one| &one.1).collect();
    assert_eq!(steps.last(), Some(&&json!({ "current": 2, "total": 2 })), "{:?}", seen.messages);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rpc_from_rust_to_python() {
    over_rpc(Side::Rust, Side::Python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rpc_from_python_to_rust() {
    over_rpc(Side::Python, Side::Rust).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rpc_from_rust_to_rust() {
    over_rpc(Side::Rust, Side::Rust).await;
}
