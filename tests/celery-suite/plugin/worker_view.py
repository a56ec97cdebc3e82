"""What a few tests look at inside of Celery's worker, which runs in their own process. For a worker of Apium it is told from
outside: from the commands that the server gets, and from the log of the worker.

* The signal `task_received`, with Celery's own request of each message that somebody puts into the queue.
* `celery.worker.state.successful_requests`: the ids whose success the worker has logged.
* `os.getpid()` in the tests of `inspect`: the process of the worker.
* The log records of a few tests: `log_records`.
* `celery.worker.state.revoked` there: the ids that `inspect revoked` names, with the time at which it was asked. What a test
  takes out of it, or out of `revoked_stamps`, workers are told by `unrevoke` and `unrevoke_by_stamped_headers`.
"""

import json
import os
import pathlib
import threading
import time
from uuid import uuid4

import redis

from celery import current_app, signals
from celery.result import AsyncResult, ResultSet
from celery.worker import state
from celery.worker.request import Request

LOG = pathlib.Path(os.environ["SUITE_FOLDER"]) / "worker.log"
# The log of Celery's worker beside.
CELERY_LOG = LOG.with_name("celery.log")
QUEUE = "celery"


# The process of the worker of Apium.
process_id = None
# What is told after a test has waited for a result: functions that tell it.
told_after_get = []


def install(items):
    for module in {item.module for item in items if item.module.__name__.endswith("test_inspect")}:
        module.os = InsideWorker()
    state.revoked, state.revoked_stamps = Revoked(), RevokedStamps()
    state.successful_requests = Succeeded()
    received = Received()
    received.start()
    received.ready.wait()
    told_after_get.append(received.catch_up)
    for results in (AsyncResult, ResultSet):
        results.get = caught_up(results.get)


def caught_up(get):
    """`get`, after which all is told that happened before, such as the signals of the messages that were put into the queue."""

    def wrapper(self, *args, **kwargs):
        try:
            return get(self, *args, **kwargs)
        finally:
            for tell in told_after_get:
                tell()

    return wrapper


class InsideWorker:
    """The module `os` as code in the process of the worker has it."""

    def getpid(self):
        return process_id


class Revoked:
    def as_dict(self):
        replies = current_app.control.inspect().revoked() or {}
        return {task_id: time.monotonic() for ids in replies.values() for task_id in ids}

    def discard(self, task_id):
        ask("unrevoke", task_id=[task_id])


class RevokedStamps:
    def clear(self):
        for answer in (answer for reply in ask("revoked_stamps") for answer in reply.values()):
            # A worker of Celery answers that it knows no such command.
            if answer and "error" not in answer:
                ask("unrevoke_by_stamped_headers", headers=answer)


def ask(command, **arguments):
    return current_app.control.broadcast(command, arguments=arguments, reply=True, timeout=1) or []


class Succeeded:
    def __contains__(self, task_id):
        logs = (log.read_text(errors="replace") for log in (LOG, CELERY_LOG) if log.exists())
        return any(f"[{task_id}] succeeded" in log for log in logs)


class Received(threading.Thread):
    """Sends the signal `task_received` for each message that is put into the queue, as far as a test listens to it: when the
    test has waited for a result. What a test does between a call and that, such as setting what its handler changes, comes
    before the signals then, as it mostly does with a worker that takes longer."""

    def __init__(self):
        super().__init__(daemon=True)
        server = {"host": os.environ["REDIS_HOST"], "port": int(os.environ["REDIS_PORT"])}
        self.watching, self.asking = redis.Redis(**server, socket_timeout=None), redis.Redis(**server)
        self.ready, self.marks, self.envelopes = threading.Event(), {}, []

    def run(self):
        with self.watching.monitor() as monitor:
            self.ready.set()
            for command in monitor.listen():
                word, _, rest = command["command"].partition(" ")
                if word.upper() == "PING" and rest in self.marks:
                    self.marks[rest].set()
                elif word.upper() in ("LPUSH", "RPUSH") and rest.split(" ", 1)[0] == QUEUE and is_listened_to():
                    # The server writes a text with its backslashes doubled.
                    self.envelopes.append(json.loads(rest[rest.index("{"):].replace("\\\\", "\\")))

    def catch_up(self):
        """Sends the signals of everything that the server got before."""
        if is_listened_to():
            name = str(uuid4())
            seen = self.marks[name] = threading.Event()
            self.asking.execute_command("PING", name)
            assert seen.wait(10), "the commands of the server are not seen"
            del self.marks[name]
            envelopes, self.envelopes = self.envelopes, []
            for envelope in envelopes:
                send(envelope)


def is_listened_to():
    return bool(signals.task_received.receivers)


def send(envelope):
    app = current_app._get_current_object()
    with app.connection() as connection:
        message = connection.default_channel.message_to_python(envelope)
    if "task" in message.headers:
        task = app.tasks[message.headers["task"]]
        signals.task_received.send(sender=None, request=Request(message, app=app, task=task, hostname="rust@worker"))
