//! Celery apps in a worker of Apium, started as their users start it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use apium::canvas::{Node, send};
use apium_peers::guarded::Guarded;
use apium_peers::log::Seen;
use apium_peers::python::{Python, programs, run_python};
use apium_peers::rabbitmq_server::fresh_vhost;
use apium_peers::redis_server::fresh_database;
use apium_peers::target::example;
use serde_json::{Value, json};

use crate::kit::deployment::{Broker, Deployment};
use crate::kit::json_texts::{call, list};
use crate::kit::run_log::RunLog;
use crate::kit::side::Side;
use crate::kit::worker::{Setup, Worker};

/// The tests in Python talk to the program of the children as a worker does.
#[test]
fn the_program_of_the_children_does_what_celery_does() {
    let output = run_python(["-m", "unittest", "discover", "-s", "../python"], &[]);
    assert_eq!(output.code, 0, "{}\n{}", output.out, output.err);
}

#[test]
fn an_app_that_cannot_be_loaded_is_named() {
    let table = [
        ("nowhere", "the module nowhere was not found"),
        ("starts.broken", "could not be imported: AttributeError: broken on purpose, at redis://user:********@host/0"),
        ("starts.lacks", "could not be imported: ModuleNotFoundError"),
        ("starts.no_app", "there is no Celery app in starts.no_app"),
        ("starts.two_apps", "name one with -A module:attribute"),
    ];
    let run = |app: &str, interpreter: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_apium"));
        command.args(["worker", "-A", app, "--python"]).arg(interpreter);
        command.current_dir(programs().join("../python"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (app, named) in table {
        let (code, text) = run(app, Python::find().program());
        assert_eq!(code, Some(2), "{app}: {text}");
        assert!(text.contains(&format!("load the Celery app {app} with")), "{app}: {text}");
        assert!(text.contains(named) && text.contains("--python"), "{app}: {text}");
    }
    let (code, text) = run("starts.one_app", Path::new("/nowhere/python"));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("/nowhere/python") && text.contains("--python"), "{text}");
}

on_every_broker! {
    async fn tasks_of_both_languages_run_in_one_worker(broker: Broker) {
        let database = fresh_database();
        let broker = match broker {
            Broker::Redis => database.url.clone(),
            Broker::Rabbitmq => fresh_vhost().url,
        };
        let setup = Setup::new(&broker).results(&database.url);
        let worker = setup.start_children_of(&example("processes"));
        let deployment = Deployment { worker, broker, database, side: Side::Python, settings: setup.settings };
        let pair = deployment.pair(Side::Rust).await;
        let of_rust = pair.rust.sig("pid").send().await.unwrap();
        let of_python = pair.rust.sig("tasks.add").args((2, 3)).send().await.unwrap();
        assert!(pair.get(of_rust.id().as_str()).await.success().is_u64());
        assert_eq!(pair.get(of_python.id().as_str()).await.success(), &json!(5));
        let crashes = pair.rust.sig("crash").send().await.unwrap();
        pair.get(crashes.id().as_str()).await;
        let again = pair.rust.sig("tasks.add").args((4, 5)).send().await.unwrap();
        assert_eq!(pair.get(again.id().as_str()).await.success(), &json!(9));
    }
}

/// The worker counts the parts of the chord, and a child calls the errback with an exception of Python.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_errback_of_a_chord_gets_the_request_the_exception_and_the_traceback() {
    let deployment = Deployment::shared_children();
    let pair = deployment.pair(Side::Rust).await;
    let mut body = call("tasks.xsum", Vec::new());
    body.link_error(call("tasks.errback3", Vec::new()).to_wire().unwrap());
    let header = [call("tasks.add", list("[1, 1]")), call("tasks.fail", list(r#"["no"]"#))];
    let sent = send(&pair.rust, Node::chord(header, body)).await.unwrap();
    pair.get(sent.id.as_str()).await;
    let Worker::Rust(worker) = &deployment.worker else { panic!("it is no worker of Apium") };
    let called = format!("ERRBACK3 {} ChordError(\"Dependency ", sent.id);
    assert_eq!(worker.log().wait_for(&[&called], Duration::from_secs(60)), Seen::Line, "{}", deployment.worker.log());
    assert_eq!(deployment.worker.log().matches(&called).count(), 1);
}

/// Each task ends as with Celery's worker, and the tasks beside it and behind it run.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_task_does_to_its_process_harms_no_other_task() {
    let mut ends = Vec::new();
    for side in [Side::Python, Side::Rust] {
        let database = fresh_database();
        let mut setup = Setup::new(&database.url).set("worker_max_memory_per_child", json!(150_000));
        setup.module = "harmful";
        let worker = match side {
            Side::Python => setup.start(Side::Python),
            Side::Rust => setup.start_children(),
        };
        let broker = database.url.clone();
        let deployment = Deployment { worker, broker, database, side: Side::Python, settings: setup.settings };
        let pair = deployment.pair(Side::Rust).await;
        let call = async |task: &str| {
            let result = pair.rust.sig(task).send().await.unwrap();
            pair.get(result.id().as_str()).await
        };
        let mut of_side = Vec::new();
        for task in ["segfault", "leave", "fork", "no_json"] {
            let beside = pair.rust.sig("tasks.add").args((2, 3)).send().await.unwrap();
            let end = call(&format!("harmful.{task}")).await;
            assert_eq!(pair.get(beside.id().as_str()).await.success(), &json!(5), "{task}");
            // The number of the job, and where an object is, are each run's own.
            let text = end.raised.map(|raised| format!("{} {:?}", raised.class, raised.args));
            let text = text.map(|text| text.split(" Job: ").next().unwrap().split(" at 0x").next().unwrap().to_owned());
            of_side.push((task, end.state, end.value, text));
        }
        let large = call("harmful.large").await;
        assert_eq!(large.success().as_str().map(str::len), Some(50_000_000));
        let leaked = call("harmful.leak").await.success().clone();
        for _ in 0..4 {
            assert_ne!(call("harmful.pid").await.success(), &leaked, "a child that is too large is replaced");
        }
        if side == Side::Rust {
            // The first ends Celery's worker as a whole, and of the second it waits for what the child never says.
            assert_eq!(call("harmful.fill_memory").await.failure().class, "builtins.MemoryError");
            assert_eq!(call("harmful.close_everything").await.failure().class, "billiard.exceptions.WorkerLostError");
            assert!(call("harmful.pid").await.success().is_u64());
            assert_eq!(call("harmful.poison").await.failure().class, "billiard.exceptions.WorkerLostError");
            let dead = pair.rust.broker().dead().unwrap().list(0, 10).await.unwrap();
            assert_eq!(dead.iter().map(|letter| letter.code.as_str()).collect::<Vec<_>>(), ["crash-loop"]);
        }
        ends.push(of_side);
    }
    assert_eq!(ends[1], ends[0]);
    assert!(ends[0][0].3.as_ref().is_some_and(|text| text.contains("signal 11 (SIGSEGV)")), "{ends:?}");
}

#[test]
fn a_slow_import_is_waited_for_and_named() {
    let database = fresh_database();
    let mut command = Command::new(env!("CARGO_BIN_EXE_apium"));
    command.args(["worker", "-A", "harmful", "-c", "1", "--python"]).arg(Python::find().program());
    command.current_dir(programs()).env("BROKER_URL", &database.url).env("RESULT_BACKEND", &database.url);
    let running = Guarded::start(command.env("IMPORT_SECONDS", "11"), None).unwrap();
    for line in ["is not ready after 10 s", "printed by the import", "is ready"] {
        assert_eq!(running.log().wait_for(&[line], Duration::from_secs(120)), Seen::Line, "{}", running.log().text());
    }
    Worker::Rust(running).stop();
}

/// What an operator sees of the settings of an app is the same, whoever runs its tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn inspections_of_the_app_are_those_of_celery() {
    let database = fresh_database();
    let setup = Setup::new(&database.url);
    let mut workers =
        [setup.clone().named("theirs@peer").start(Side::Python), setup.named("ours@peer").start_children()];
    let python = Python::find();
    for inspection in [vec!["conf"], vec!["conf", "true"], vec!["report"]] {
        let args = ["-m", "celery", "-A", "tasks", "inspect", "--json"].into_iter().chain(inspection.iter().copied());
        let answers = python.run(args, &[("BROKER_URL", &database.url), ("RESULT_BACKEND", &database.url)]);
        // Python's JSON has a number that others do not read.
        let answers = answers.text().replace("Infinity", "\"Infinity\"");
        let mut answers: Value = serde_json::from_str(&answers).unwrap();
        let [ours, theirs] = ["ours@peer", "theirs@peer"].map(|worker| answers[worker].take());
        let [ours, theirs] = [ours, theirs].map(|mut answer| match answer["ok"].as_str() {
            Some(report) => report.lines().map(str::to_owned).collect::<BTreeSet<_>>(),
            None => answer.as_object_mut().unwrap().iter_mut().map(|(name, value)| setting(name, value)).collect(),
        });
        // Celery's command line sets the last one itself. In a report the modules of the tasks have no order.
        let differ_rightly: &[&str] = match inspection[0] {
            "report" => &["include:", "celery.app.builtins", "worker_disable_prefetch"],
            _ => &["worker_disable_prefetch"],
        };
        let differ =
            ours.symmetric_difference(&theirs).filter(|line| !differ_rightly.iter().any(|name| line.contains(name)));
        assert_eq!(differ.collect::<Vec<_>>(), Vec::<&String>::new(), "{inspection:?}");
        assert!(ours.len() > 10, "{ours:?}");
    }
    workers.iter_mut().for_each(Worker::stop);
}

/// A setting as a line; the modules of the tasks, which have no order, in one.
fn setting(name: &str, value: &mut Value) -> String {
    if let ("include", Some(modules)) = (name, value.as_array_mut()) {
        modules.sort_by_key(Value::to_string);
    }
    format!("{name}: {value}")
}

/// A fleet goes over to Apium and back while tasks run.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn workers_take_each_others_places_and_lose_nothing() {
    const EACH: usize = 100;
    let mut deployment = Deployment::start(Side::Python, |setup| setup.named("before@peer"));
    let setup = Setup::new(&deployment.broker);
    let pair = deployment.pair(Side::Python).await;
    let run_log = RunLog::new();
    let send = async |first: usize| {
        let words = first..first + EACH;
        let args: Vec<Value> = words.map(|word| json!([run_log.path(), word.to_string(), 0.05])).collect();
        pair.python.ask(json!({ "do": "send_many", "task": "tasks.log_run", "args": args })).await;
    };

    send(0).await;
    run_log.wait_for("end", 10, &[&deployment.worker]).await;
    let mut ours = setup.clone().named("ours@peer").start_children();
    deployment.worker.stop();
    let begun = run_log.done("begin").len();
    send(EACH).await;
    run_log.wait_for("begin", begun + 10, &[&ours]).await;
    let after = setup.named("after@peer").start(Side::Python);
    ours.stop();
    send(2 * EACH).await;
    run_log.wait_for("end", 3 * EACH, &[&after]).await;

    let began = run_log.done("begin");
    // Celery's worker, when it stops, may give back a message with late ack whose task it has begun. Apium's does not.
    let may_be = |workers: &[String]| workers.len() == 1 || workers == ["before@peer", "ours@peer"];
    let twice: Vec<_> = began.iter().filter(|(_, workers)| !may_be(workers)).collect();
    assert!(began.len() == 3 * EACH && twice.is_empty(), "{twice:?}");
    for name in ["before@peer", "ours@peer", "after@peer"] {
        assert!(began.values().flatten().any(|worker| worker == name), "{name} did nothing");
    }
}

/// A Django project as Celery's guide sets it up, with its results in its own database. What the tables of
/// django-celery-results have is the same, whoever runs the tasks.
#[test]
fn a_django_project_has_the_same_results_with_either_worker() {
    let (folder, database) = (tempfile::tempdir().unwrap(), fresh_database());
    let program = programs().join("django_project.py");
    let project = |args: &[&str]| {
        let mut command = Python::find().command([], &[]);
        let output = command.arg(&program).args(args).current_dir(folder.path()).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let failed = || format!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(printed) } else { Err(failed()) }
    };
    project(&["make", folder.path().to_str().unwrap(), &database.url]).unwrap();
    let mut ours = Command::new(env!("CARGO_BIN_EXE_apium"));
    ours.args(["worker", "-A", "shop", "--python"]).arg(Python::find().program());
    let theirs = Python::find().command(["-m", "celery", "-A", "shop", "worker"], &[]);
    let [theirs, ours] = [theirs, ours].map(|mut command| {
        project(&["flush"]).unwrap();
        command.args(["-c", "2", "-n", "one@shop"]).current_dir(folder.path());
        let mut worker = Worker::Rust(Guarded::start(&command, None).unwrap());
        let rows = project(&["call"]).unwrap_or_else(|error| panic!("{error}\n{}", worker.log()));
        let rows: Value = serde_json::from_str(&rows).unwrap();
        worker.stop();
        rows
    });
    assert_eq!(ours, theirs);
    let statuses =
        |status: &str| ours["tasks"].as_object().unwrap().values().filter(|row| row["status"] == status).count();
    assert_eq!((statuses("SUCCESS"), statuses("FAILURE"), statuses("PAYING")), (14, 2, 0), "{ours:#}");
    assert_eq!(ours["tasks"]["paid"]["result"], "[7, true]");
}
