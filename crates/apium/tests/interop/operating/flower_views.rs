//! What Flower shows of a Rust worker and of a Python worker that have run the same tasks: its REST API, its pages and
//! its metrics.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::kit::deployment::{Broker, Deployment};
use crate::kit::flower::Flower;
use crate::kit::numbers::without_numbers;
use crate::kit::shape::Shape;
use crate::kit::side::Side;

/// Flower, the worker that it watches, and the ids of the tasks that ran, by what they are here for.
struct Watched {
    flower: Flower,
    side: Side,
    ids: BTreeMap<&'static str, String>,
    _deployment: Deployment,
}

/// The fields of a task that say when something was.
const TIMES: [&str; 10] =
    ["received", "sent", "started", "rejected", "succeeded", "failed", "retried", "revoked", "timestamp", "runtime"];

impl Watched {
    /// A worker on which tasks of every end were called through Flower, each in another way.
    fn start(broker: Broker, side: Side) -> Self {
        let deployment = Deployment::start_on(broker, side, |setup| setup.set("worker_send_task_events", json!(true)));
        let flower = Flower::start(&deployment);
        let mut ids = BTreeMap::new();
        let calls = [
            ("added", "apply", "tasks.add", json!({ "args": [1, 2] })),
            ("failed", "apply", "tasks.fail", json!({ "args": ["no\nluck"] })),
            ("echoed", "async-apply", "tasks.echo", json!({ "args": [1, "é"], "kwargs": { "key": "<v>" } })),
            ("retried", "send-task", "tasks.always_retry", json!({})),
            ("rejected", "send-task", "tasks.reject", json!({})),
            ("ignored", "async-apply", "tasks.ignore", json!({})),
            ("parent", "apply", "tasks.spawn", json!({ "args": [1] })),
            ("expired", "async-apply", "tasks.mul", json!({ "args": [1, 1], "expires": 0.000_001 })),
        ];
        // RabbitMQ itself drops a call of Celery's that has expired, unless somebody takes it in that instant.
        let is_called = |name: &str| broker == Broker::Redis || name != "expired";
        for (name, how, task, body) in calls.into_iter().filter(|(name, ..)| is_called(name)) {
            let answer = flower.call(how, task, &body);
            ids.insert(name, answer["task-id"].as_str().unwrap().to_owned());
        }
        let this = Self { flower, side, ids, _deployment: deployment };
        for (name, state) in [
            ("added", "SUCCESS"),
            ("failed", "FAILURE"),
            ("echoed", "SUCCESS"),
            ("retried", "FAILURE"),
            ("rejected", "FAILURE"),
            ("ignored", "STARTED"),
            ("parent", "SUCCESS"),
            ("expired", "REVOKED"),
        ]
        .into_iter()
        .filter(|(name, _)| is_called(name))
        {
            this.flower.until(&format!("/api/task/info/{}", this.ids[name]), |task| task["state"] == state);
        }
        let parent = this.flower.until(&format!("/api/task/info/{}", this.ids["parent"]), |task| {
            task["children"].as_array().is_some_and(|children| children.len() == 1)
        });
        let child = parent["children"][0].as_str().unwrap().to_owned();
        this.flower.until(&format!("/api/task/info/{child}"), |task| task["state"] == "SUCCESS");
        // The heartbeat that Flower asks for has no figures. They come with the worker's next one, and stay.
        this.flower.until("/workers?json=1", |page| page["data"][0]["active"].is_number());
        Self { ids: this.ids.into_iter().chain([("child", child)]).collect(), ..this }
    }

    fn both_on(broker: Broker) -> [Self; 2] {
        std::thread::scope(|scope| {
            let [rust, python] = [Side::Rust, Side::Python].map(|side| scope.spawn(move || Self::start(broker, side)));
            [rust.join().unwrap(), python.join().unwrap()]
        })
    }

    /// A text with names in place of the ids.
    fn named(&self, text: &str) -> String {
        self.ids.iter().fold(text.to_owned(), |text, (name, id)| {
            text.replace(id, &format!("<{name}>")).replace(&id[..8], &format!("<short {name}>"))
        })
    }

    /// What Flower answers in JSON, with names in place of the ids, and without what differs between any two runs.
    fn tasks(&self, path: &str) -> Value {
        let answer: Value = serde_json::from_str(&self.named(&self.flower.json(path).to_string())).unwrap();
        without_times(answer)
    }

    /// The text of a page, with names in place of the ids and without its numbers.
    fn page(&self, path: &str) -> String {
        let answer = self.flower.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        without_numbers(&self.named(&answer.body))
    }
}

/// A task or tasks in which times only say whether there is one. A traceback is each language's own text.
fn without_times(mut answer: Value) -> Value {
    let strip = |task: &mut Value| {
        let Some(task) = task.as_object_mut() else { return };
        for name in TIMES.into_iter().chain(["clock", "traceback"]) {
            if let Some(value) = task.get_mut(name).filter(|value| !value.is_null()) {
                *value = json!("some");
            }
        }
    };
    strip(&mut answer);
    answer.as_object_mut().unwrap().values_mut().for_each(strip);
    answer
}

/// Asserts that two pages are the same, and shows the first line that differs.
#[track_caller]
fn same_lines(page: &str, ours: &str, theirs: &str) {
    for (number, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {number} of {page}");
    }
    assert_eq!(ours.len(), theirs.len(), "{page}");
}

/// The names of Flower's metrics, each with its labels.
fn series(metrics: &str) -> BTreeSet<String> {
    let lines = metrics.lines().filter(|line| line.starts_with("flower_"));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

fn shows_the_same_tasks_on(broker: Broker) {
    let [rust, python] = Watched::both_on(broker);
    let infos: Vec<&str> = rust.ids.keys().copied().collect();
    for name in &infos {
        let of = |watched: &Watched| watched.tasks(&format!("/api/task/info/{}", watched.ids[name]));
        assert_eq!(of(&rust), of(&python), "{name}");
    }
    for query in [
        "",
        "?state=SUCCESS",
        "?state=FAILURE",
        "?taskname=tasks.add",
        "?workername=one@peer",
        "?workername=other@peer",
        "?search=name:tasks.echo",
        "?search=state:FAILURE",
        "?search=worker:one@peer+AND+result:args",
        "?search=args:luck",
        "?search=kwargs:key",
        "?sort_by=-name&limit=2&offset=3",
        "?received_start=2020-01-01%2000:00",
        "?received_start=2220-01-01%2000:00",
    ] {
        let path = format!("/api/tasks{query}");
        assert_eq!(rust.tasks(&path), python.tasks(&path), "{query}");
    }
    assert_eq!(rust.tasks("/api/tasks").as_object().unwrap().len(), infos.len());
    assert_eq!(rust.flower.json("/api/task/types"), python.flower.json("/api/task/types"));
    for name in &infos {
        // A result that is not stored never comes.
        let of = |watched: &Watched| watched.tasks(&format!("/api/task/result/{}", watched.ids[name]));
        assert_eq!(of(&rust), of(&python), "{name}");
    }
    let added = rust.tasks(&format!("/api/task/result/{}?timeout=30", rust.ids["added"]));
    assert_eq!(added, json!({ "task-id": "<added>", "state": "SUCCESS", "result": 3 }));

    let table = "/tasks/datatable?draw=1&start=0&length=100&order[0][column]=0&order[0][dir]=asc\
                 &columns[0][data]=received&search[value]=";
    let rows = |watched: &Watched| {
        let rows = watched.flower.json(table);
        let rows = rows["data"].as_array().unwrap().iter().map(|row| watched.named(&row.to_string()));
        rows.map(|row| without_times(serde_json::from_str(&row).unwrap()).to_string()).collect::<BTreeSet<_>>()
    };
    assert_eq!(rows(&rust), rows(&python));
}

#[test]
fn flower_shows_the_same_tasks_of_both_workers() {
    shows_the_same_tasks_on(Broker::Redis);
}

#[test]
fn flower_shows_the_same_tasks_of_both_workers_over_rabbitmq() {
    shows_the_same_tasks_on(Broker::Rabbitmq);
}

#[test]
fn flower_shows_the_same_worker_on_its_pages_and_in_its_metrics() {
    let [rust, python] = Watched::both_on(Broker::Redis);
    // `/tasks` fills its table with what the other test compares.
    for page in ["/", "/workers", "/tasks", "/broker", "/healthcheck"] {
        same_lines(page, &rust.page(page), &python.page(page));
    }
    assert!(rust.page("/").contains("<td>one@peer</td>"), "{}", rust.page("/"));
    for name in ["added", "echoed", "ignored", "expired", "parent", "child"] {
        let of = |watched: &Watched| watched.page(&format!("/task/{}", watched.ids[name]));
        same_lines(name, &of(&rust), &of(&python));
    }
    for (name, parts) in [
        ("added", ["tasks.add", "[1, 2]", "SUCCESS", ">3<"]),
        ("echoed", ["tasks.echo", "é", "&lt;v&gt;", "SUCCESS"]),
        ("failed", ["tasks.fail", "no\\nluck", "FAILURE", "ValueError"]),
        ("retried", ["tasks.always_retry", "KeyError", "FAILURE", "one@peer"]),
    ] {
        for watched in [&rust, &python] {
            let page = watched.flower.get(&format!("/task/{}", watched.ids[name]));
            let missing = parts.iter().find(|part| !page.body.contains(**part));
            assert_eq!((page.status, missing), (200, None), "{:?}: {}", watched.side, page.body);
        }
    }
    // The page of a worker has what its inspections answer, and each side's own settings.
    for watched in [&rust, &python] {
        let page = watched.page("/worker/one@peer");
        for part in ["one@peer", "tasks.always_retry", "Max concurrency", ">celery<", "Prefetch Count", "redis"] {
            assert!(page.contains(part), "{:?}: {part} is not in {page}", watched.side);
        }
    }
    let mut workers = [&rust, &python].map(|watched| watched.flower.json("/workers?json=1")["data"][0].clone());
    assert_eq!(workers[0]["sw_ident"], "apium");
    assert_eq!(Shape::of(&workers[0]), Shape::of(&workers[1]), "{workers:?}");
    for counted in ["task-received", "task-started", "task-succeeded", "task-failed", "task-retried", "task-revoked"] {
        assert_eq!(workers[0][counted], workers[1][counted], "{counted}");
    }
    workers.iter_mut().for_each(|worker| *worker = worker["heartbeats"].clone());
    assert!(workers.iter().all(|heartbeats| heartbeats[0].is_number()), "{workers:?}");
    let metrics = [&rust, &python].map(|watched| series(&watched.flower.get("/metrics").body));
    assert_eq!(metrics[0], metrics[1]);
    for name in ["flower_events_total{", "flower_task_runtime_seconds_bucket{", "flower_worker_online{"] {
        assert!(metrics[0].iter().any(|series| series.starts_with(name)), "{name} is not in {:?}", metrics[0]);
    }
}

#[test]
fn celery_lists_a_task_that_has_expired_as_revoked_and_apium_does_not() {
    // The list is bounded, and what has expired would push out what somebody has revoked.
    let [rust, python] = Watched::both_on(Broker::Redis);
    let revoked = |watched: &Watched| {
        let details = watched.flower.json("/api/workers?refresh=1&workername=one@peer");
        details["one@peer"]["revoked"].clone()
    };
    assert_eq!(revoked(&rust), json!([]));
    assert_eq!(revoked(&python), json!([python.ids["expired"]]));
}

#[test]
fn flower_switches_on_the_events_of_a_worker_that_sends_none() {
    for side in Side::BOTH {
        let deployment = Deployment::start(side, |setup| setup);
        let flower = Flower::start(&deployment);
        // It does so every five seconds.
        flower.until("/api/task/types", |types| {
            flower.call("async-apply", "tasks.add", &json!({ "args": [1, 2] }));
            types["task-types"] == json!(["tasks.add"])
        });
    }
}
