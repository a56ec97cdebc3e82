//! Celery runs the tasks of `tests/interop/tasks.py`.

use apium_peers::celery::CeleryWorker;
use apium_peers::python::{Python, run_python};
use apium_peers::redis::Commands;
use apium_peers::redis_server::fresh_database;

#[test]
fn a_worker_runs_what_python_sends() {
    let database = fresh_database();
    let env = [("BROKER_URL", &*database.url), ("RESULT_BACKEND", &*database.url)];
    let mut worker = CeleryWorker::builder().urls(&database.url, &database.url).args(["-c", "1"]).start();
    let send =
        "import tasks; print(tasks.add.delay(2, 3).get(timeout=60)); print(tasks.retry.delay(2).get(timeout=60))";
    let ran = run_python(["-c", send], &env);
    assert_eq!(ran.text(), "5\n{'value': 'done', 'retries': 2}");
    worker.wait_for("Task tasks.add[");
    assert_eq!(database.connection().keys::<_, Vec<String>>("celery-task-meta-*").unwrap().len(), 2);

    worker.terminate();
    assert_eq!(worker.wait(), Some(0), "{}", worker.log());
}

#[test]
fn a_killed_worker_is_gone_with_its_pool() {
    let database = fresh_database();
    let mut worker = CeleryWorker::builder().urls(&database.url, "disabled://").args(["-n", "one@peer"]).start();
    assert!(worker.log().contains("one@peer ready."));
    worker.kill();
    assert_eq!(worker.wait(), None);
}

#[test]
fn the_output_and_the_exit_code_of_a_script_are_returned() {
    let ran = Python::find().run(["-c", "import sys; print(sys.argv[1:]); sys.exit('no')", "a b", "ü"], &[]);
    assert_eq!((ran.code, &*ran.out, &*ran.err), (1, "['a b', 'ü']\n", "no\n"));
}

#[test]
fn the_settings_of_the_app_come_from_the_environment() {
    let show = "import tasks; c = tasks.app.conf; print(c.task_default_queue, c.accept_content, c.task_protocol, c.result_expires)";
    let env = [("PEER_QUEUE", "q"), ("PEER_ACCEPT", "json,yaml"), ("PEER_CONF", r#"{"result_expires": 5}"#)];
    assert_eq!(run_python(["-c", show], &env).text(), "q ['json', 'yaml'] 2 5");
}
