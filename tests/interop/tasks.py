"""A Celery app with the same tasks as the Rust programs under test, so that each side can call the tasks of the other.

The module has this name because a failure that a Rust worker stores names the class `tasks.PeerError`. It is configured by
environment variables. Each of them may be missing:

    BROKER_URL, RESULT_BACKEND    addresses; a backend "disabled://" stores nothing
    PEER_QUEUE                    the queue of tasks without a route ("celery")
    PEER_SERIALIZER               the serializer of arguments ("json")
    PEER_RESULT_SERIALIZER        the serializer of results ("json")
    PEER_ACCEPT                   the accepted content types, divided by commas ("json")
    PEER_COMPRESSION              the compression of bodies (none)
    PEER_PROTOCOL                 1 or 2 ("2")
    PEER_EXTENDED                 1: results have the name, the arguments and other fields of the request
    PEER_TRACK_STARTED            1: STARTED is stored
    PEER_SENT_EVENT               1: callers send task-sent
    PEER_QUORUM                   1: the default queue is a quorum queue behind a topic exchange
    PEER_CONF                     a JSON object of settings, which override all of the above
"""

import json
import os
import sys
import time

from celery import Celery
from celery.exceptions import Ignore, Reject


def settings(given):
    """The settings of the app for an environment."""
    switched_on = "1".__eq__
    listed = lambda text: [name.strip() for name in text.split(",") if name.strip()]
    table = [
        ("BROKER_URL", "redis://127.0.0.1:6379/0", "broker_url", str),
        ("RESULT_BACKEND", "redis://127.0.0.1:6379/0", "result_backend", str),
        ("PEER_QUEUE", "celery", "task_default_queue", str),
        ("PEER_SERIALIZER", "json", "task_serializer", str),
        ("PEER_RESULT_SERIALIZER", "json", "result_serializer", str),
        ("PEER_ACCEPT", "json", "accept_content", listed),
        ("PEER_COMPRESSION", "", "task_compression", lambda text: text or None),
        ("PEER_PROTOCOL", "2", "task_protocol", int),
        ("PEER_EXTENDED", "", "result_extended", switched_on),
        ("PEER_TRACK_STARTED", "", "task_track_started", switched_on),
        ("PEER_SENT_EVENT", "", "task_send_sent_event", switched_on),
    ]
    found = {key: read(given.get(name, default)) for name, default, key, read in table}
    # A worker waits for its broker, and its log goes to the streams that the tests read.
    found |= {"broker_connection_retry_on_startup": True, "worker_hijack_root_logger": False}
    if given.get("PEER_QUORUM") == "1":
        found |= {
            "task_default_queue_type": "quorum",
            "task_default_exchange": "peer_topic",
            "task_default_exchange_type": "topic",
            "task_default_routing_key": found["task_default_queue"],
        }
    return found | json.loads(given.get("PEER_CONF") or "{}")


app = Celery("peer")
app.conf.update(settings(os.environ))


def task(name, **options):
    """A task with the name `tasks.<name>`, whatever its module is."""
    return app.task(name="tasks." + name, **options)


class PeerError(Exception):
    """An error with two arguments."""

    def __init__(self, code, text=""):
        super().__init__(code, text)
        self.code = code
        self.text = text


# Values.


@task("add")
def add(x, y):
    return x + y


@task("mul")
def mul(x, y):
    return x * y


@task("xsum")
def xsum(numbers):
    return sum(numbers)


@task("echo")
def echo(*args, **kwargs):
    """Returns its arguments."""
    return {"args": [*args], "kwargs": kwargs}


@task("identity")
def identity(value=None):
    return value


@task("noop")
def noop():
    """Returns None, which is a result, too."""


@task("whoami", bind=True)
def whoami(self):
    """Returns what the worker knows about its message."""
    fields = (
        "id root_id parent_id group group_index retries eta expires timelimit shadow origin reply_to correlation_id "
        "stamped_headers stamps ignore_result delivery_info headers argsrepr kwargsrepr"
    )
    return {field: getattr(self.request, field) for field in fields.split()}


# Errors and retries.


@task("fail")
def fail(message="boom"):
    raise ValueError(message)


@task("fail_custom")
def fail_custom(code=7, text="custom"):
    raise PeerError(code, text)


@task("retry", bind=True, max_retries=3)
def retry(self, times=1, countdown=0, value="done"):
    """Succeeds after `times` retries, and returns how many there were."""
    done = self.request.retries
    if done >= times:
        return {"value": value, "retries": done}
    raise self.retry(exc=ValueError("not yet"), countdown=countdown)


@task("always_retry", bind=True, max_retries=1)
def always_retry(self, countdown=0):
    """Never succeeds; its last error is its result."""
    raise self.retry(exc=KeyError("k"), countdown=countdown)


@task("auto_retry", bind=True, autoretry_for=(ValueError,), retry_kwargs={"max_retries": 2, "countdown": 0.2})
def auto_retry(self, times=1):
    """Fails in its first `times` runs, and Celery retries it."""
    if self.request.retries < times:
        raise ValueError("not yet")
    return self.request.retries


@task("reject", bind=True, acks_late=True)
def reject(self, requeue=False):
    raise Reject("rejected by task", requeue=requeue)


@task("ignore")
def ignore():
    raise Ignore


# Time.


@task("sleep")
def sleep(seconds=1.0):
    time.sleep(seconds)
    return seconds


@task("late_sleep", acks_late=True)
def late_sleep(seconds=1.0):
    """Its message is acknowledged after the run, so a crash runs it again."""
    time.sleep(seconds)
    return seconds


@task("log_run", bind=True, acks_late=True)
def log_run(self, path, word, seconds=0):
    """Appends a line to a file at its start and at its end, with the worker's name, so that tests see what ran where."""
    append(path, f"begin {word} {self.request.hostname}")
    time.sleep(seconds)
    append(path, f"end {word} {self.request.hostname}")
    return word


def append(path, line):
    # One short write to a file that is open for appending is never torn.
    with open(path, "ab", buffering=0) as file:
        file.write(line.encode() + b"\n")


@task("soft", soft_time_limit=1)
def soft(seconds=3.0):
    """Is interrupted by its soft time limit after a second."""
    time.sleep(seconds)
    return seconds


@task("progress", bind=True)
def progress(self, steps=3, pause=0.2):
    """Stores a custom state after each step."""
    for current in range(1, steps + 1):
        self.update_state(state="PROGRESS", meta={"current": current, "total": steps})
        time.sleep(pause)
    return steps


# Other tasks.


@task("spawn", bind=True)
def spawn(self, n=2):
    """Calls `n` tasks, which become its children."""
    for number in range(n):
        add.delay(number, number)
    return n


@task("replace_me", bind=True)
def replace_me(self, x, y):
    """Replaces itself with another task."""
    raise self.replace(add.s(x, y))


@task("on_error")
def on_error(*args):
    """An errback with any arguments: the worker calls it with request, exception and traceback."""
    return list(map(repr, args))


@task("errback1")
def errback1(failed_id):
    """An errback with one argument: Celery sends it as a message with the id."""
    return f"failed:{failed_id}"


@task("errback3")
def errback3(request, exc, traceback):
    """An errback with three arguments: the worker calls it, and it prints a line."""
    print(f"ERRBACK3 {request.id} {exc!r}", file=sys.stderr)
