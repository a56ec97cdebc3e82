"""A pytest plugin: a worker of Apium in place of the one that Celery's integration tests start, or beside it. No file of the tests
is changed.

    SUITE_WORKER    the program of the worker; without it the tests have Celery's worker alone
    SUITE_MIXED     not empty: Celery's worker consumes the same queue
    SUITE_PYTHON    not empty: the worker runs the tasks of the tests in child processes in Python
    SUITE_FOLDER    where the log of the worker is written, and `outcomes.jsonl`: a line for each test, with its outcome

Every test runs once: the marks `flaky` are taken off, and a test that lasts longer than SUITE_LIMIT seconds has failed.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest

from celery import _state
from celery.contrib.testing import worker
from celery.utils.nodenames import anon_nodename

import log_records
import worker_view

PROGRAM = os.environ.get("SUITE_WORKER")
FOLDER = pathlib.Path(os.environ["SUITE_FOLDER"])
LIMIT = float(os.environ["SUITE_LIMIT"])
# Seconds in which a worker must be ready, and stop.
READY, STOP = 60, 30

@contextmanager
def start_worker(app, concurrency=1, **options):
    """Celery's `start_worker`, for a worker of Apium."""
    worker.setup_app_for_worker(app, options.get("loglevel", "error"), options.get("logfile"))
    with ExitStack() as running:
        running.enter_context(rust_worker(app, concurrency))
        if os.environ.get("SUITE_MIXED"):
            running.enter_context(celery_worker(concurrency))
        # As Celery's does, since a test before may have run a worker here.
        _state._set_task_join_will_block(False)
        yield


@contextmanager
def rust_worker(app, concurrency):
    ready = FOLDER / "ready"
    ready.unlink(missing_ok=True)
    settings = {
        "APIUM_BROKER_URL": app.conf.broker_url,
        "APIUM_RESULT_BACKEND": app.conf.result_backend,
        "APIUM_RESULT_EXTENDED": "true",
        "APIUM_WORKER_READY_FILE": str(ready),
    }
    given = {name: value for name, value in app.conf.without_defaults().items() if value is not None}
    os.environ["SUITE_SETTINGS"] = json.dumps(given, default=list)
    # The tests know the worker by the name that Celery's has in their process.
    command = [PROGRAM, "worker", "--hostname", anon_nodename(), "--concurrency", str(concurrency)]
    command += ["--queues", "celery", "--loglevel", "info"]
    if os.environ.get("SUITE_PYTHON"):
        command += ["-A", "celery_beside", "--python", sys.executable]
    with program(command, settings, worker_view.LOG, ready.exists) as process:
        worker_view.process_id = process.pid
        yield


@contextmanager
def celery_worker(concurrency):
    log = worker_view.CELERY_LOG
    command = [sys.executable, "-m", "celery", "-A", "celery_beside", "worker", "-c", str(concurrency), "-Q", "celery"]
    command += ["-n", "beside@%h", "-l", "INFO", "--without-mingle", "--without-gossip"]
    log.write_text("")
    with program(command, {}, log, lambda: " ready." in log.read_text(errors="replace")):
        yield


@contextmanager
def program(command, settings, log, is_ready):
    """Runs a worker, which must not end by itself."""

    def check():
        assert process.poll() is None, f"{command[0]} ended with {process.returncode}: see {log}"

    with open(log, "ab") as output:
        process = subprocess.Popen(command, env={**os.environ, **settings}, stdout=output, stderr=output)
    try:
        until = time.monotonic() + READY
        while not is_ready():
            check()
            assert time.monotonic() < until, f"{command[0]} is not ready after {READY} s: see {log}"
            time.sleep(0.02)
        yield process
        check()
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if PROGRAM:
    worker.start_worker = start_worker


def pytest_collection_modifyitems(items):
    for item in items:
        for node in item.listchain():
            node.own_markers[:] = [mark for mark in node.own_markers if mark.name != "flaky" and not too_long(mark)]
    if PROGRAM:
        worker_view.install(items)


def too_long(mark):
    return mark.name == "timeout" and (mark.kwargs.get("timeout") or mark.args[0]) > LIMIT


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    reads_records = PROGRAM and item.cls and item.cls.__name__ in log_records.READERS
    if reads_records:
        worker_view.told_after_get.append(log_records.Records().catch_up)
    try:
        return (yield)
    finally:
        if reads_records:
            worker_view.told_after_get.pop()


def pytest_runtest_logstart(nodeid):
    with open(worker_view.LOG, "a") as log:
        log.write(f"\n===== {nodeid}\n")


def pytest_runtest_logreport(report):
    """Writes each report that decides about a test. A test with subtests, or whose fixture ends with an error, has several."""
    if report.when == "call" or report.outcome != "passed":
        expected = report.outcome == "skipped" and hasattr(report, "wasxfail")
        line = {
            "test": report.nodeid.removeprefix("t/integration/"),
            "outcome": "xfailed" if expected else report.outcome,
            "seconds": round(report.duration, 3),
            "why": str(report.longrepr or "")[-2000:],
        }
        with open(FOLDER / "outcomes.jsonl", "a") as outcomes:
            outcomes.write(json.dumps(line) + "\n")
