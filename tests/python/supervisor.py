"""Plays the worker for one child: speaks docs/CHILD-PROTOCOL.md over a pair of sockets."""

import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PROGRAM = HERE.parent.parent / "crates" / "apium-worker" / "src" / "pool" / "process" / "python"
STUB = (PROGRAM / "stub.py").read_text()
CHILD = (PROGRAM / "child.py").read_bytes()

START, HELLO, READY, FAILED, RUN, BEGAN, ENDED, SOFT, CANCEL, STOP, STORE, STORED, GIVE = range(1, 14)

HEADER = struct.Struct(">IBI")
DEADLINE = 30.0


def until(condition, what="it", deadline=DEADLINE):
    """Waits for a condition, without more of a pause than the system needs to let others run."""
    end = time.monotonic() + deadline
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError("%s has not come within %s seconds" % (what, deadline))
        os.sched_yield()


class Closed(Exception):
    """The child has closed the channel."""


class Redis:
    """A server of its own, on a free port, in a directory of its own."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder.name,
             "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )
        self.url = "redis://127.0.0.1:%d" % self.port
        until(self.answers, "redis-server")

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False

    def client(self, db):
        import redis
        return redis.Redis.from_url("%s/%d" % (self.url, db))

    def stop(self):
        self.process.terminate()
        self.process.wait(DEADLINE)
        self.folder.cleanup()


class Outcome:
    """What a child has said of a run."""

    def __init__(self, head, body, stores):
        self.head = head
        self.body = body
        self.stores = stores

    @property
    def end(self):
        return self.head["end"]

    @property
    def value(self):
        return json.loads(self.body)

    @property
    def document(self):
        """The whole document of the end, from its two parts."""
        document = dict(self.head["document"])
        if document["status"] == "SUCCESS":
            document["result"] = json.loads(self.body)
        else:
            failure = self.head["failure"]
            document["result"] = failure and {key: failure[key] for key in ("exc_type", "exc_message", "exc_module")}
        return document


class Supervisor:
    """A child and the worker's end of its channel."""

    def __init__(self, app="proj", results="worker", describe=False, env=None, cwd=HERE, index=0, memory=False,
                 loglevel="WARNING", ready=True, hostname="w1@test", start=None, output=None,
                 python=()):
        ours, theirs = socket.socketpair()
        environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", **(env or {}))
        # What a Celery in the process of the tests has left there for children of its own.
        for name in list(environment):
            if name.startswith(("CELERY_LOG_", "_MP_FORK_")):
                del environment[name]
        self.output = output or subprocess.DEVNULL
        self.process = subprocess.Popen(
            [sys.executable, *python, "-c", STUB], stdin=theirs, stdout=self.output, stderr=self.output, cwd=cwd,
            env=environment, start_new_session=True,
        )
        theirs.close()
        self.channel = ours
        self.channel.settimeout(DEADLINE)
        self.held = b""
        self.number = 0
        self.on_store = lambda head, body: None
        self.send(GIVE, {}, CHILD)
        self.send(START, dict({
            "protocol": 1, "hostname": hostname, "index": index, "memory": memory, "describe": describe, "app": app,
            "loglevel": loglevel, "results": results,
        }, **(start or {})))
        self.hello = self.expect(HELLO)[0]
        self.ready = self.expect(READY)[0] if ready else None

    # Frames

    def send(self, kind, head=None, body=b""):
        head = json.dumps(head or {}).encode()
        self.channel.sendall(HEADER.pack(5 + len(head) + len(body), kind, len(head)) + head + body)

    def receive(self):
        length, kind, head_length = HEADER.unpack(self.take(9))
        rest = self.take(length - 5)
        return kind, json.loads(rest[:head_length] or b"{}"), rest[head_length:]

    def take(self, count):
        parts = []
        while count:
            part = self.channel.recv(min(count, 1 << 20))
            if not part:
                raise Closed()
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def expect(self, kind):
        got, head, body = self.receive()
        if got != kind:
            raise AssertionError("frame %s instead of %s: %s" % (got, kind, head))
        return head, body

    # Runs

    def begin(self, message, **options):
        """Sends a run and waits until it has begun."""
        self.number += 1
        head, body = message
        self.send(RUN, dict(head, run=self.number, **options), body)
        began, _ = self.expect(BEGAN)
        assert began == {"run": self.number}, began
        return self.number

    def finish(self):
        """Answers what is stored until the run has ended."""
        stores = []
        while True:
            kind, head, body = self.receive()
            if kind == STORE:
                stores.append((head, json.loads(body)))
                error = self.on_store(head, body)
                if head["wait"]:
                    self.send(STORED, {"seq": head["seq"], "error": error})
            elif kind == ENDED:
                assert head["run"] == self.number, head
                return Outcome(head, body, stores)
            else:
                raise AssertionError("frame %s during a run: %s" % (kind, head))

    def run(self, message, **options):
        self.begin(message, **options)
        return self.finish()

    # The end

    def wait(self):
        return self.process.wait(DEADLINE)

    def stop(self):
        self.send(STOP)
        code = self.wait()
        self.channel.close()
        return code

    def kill(self):
        """Ends the child in any case."""
        self.channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)

    def signal(self, number=signal.SIGUSR1):
        self.process.send_signal(number)


def message(app, task, *args, raw=False, redelivered=False, head_more=None, properties_more=None, serializer="json",
            compression=None, task_id=None, headers_more=None, **options):
    """A run's head and body, of the message that Celery itself makes."""
    from kombu.compression import compress
    from kombu.serialization import dumps
    from kombu.utils.uuid import uuid
    kwargs = options.pop("kwargs", {})
    if task in app.tasks:
        options.setdefault("ignore_result", app.tasks[task].ignore_result)
    task_id = task_id or uuid()
    made = app.amqp.as_task_v2(task_id, task, args, kwargs, origin="gen1@test", root_id=options.pop("root_id", task_id),
                               **options)
    headers = dict(made.headers, **(headers_more or {}))
    content_type, content_encoding, body = dumps(made.body, serializer=serializer)
    body = body.encode() if isinstance(body, str) else body
    if compression:
        body, headers["compression"] = compress(body, compression)
    properties = dict(made.properties, priority=0, delivery_mode=2, content_type=content_type,
                      content_encoding=content_encoding, **(properties_more or {}))
    head = {
        "task": task, "headers": headers, "properties": properties, "hostname": "w1@test", "utc": True,
        "delivery_info": {"exchange": "", "routing_key": "proj", "priority": 0, "redelivered": redelivered,
                          "queue": "proj"},
        "timelimit": [None, None], "version": None, "raw": raw,
    }
    return dict(json.loads(dumps(head, serializer="json")[2]), **(head_more or {})), body
