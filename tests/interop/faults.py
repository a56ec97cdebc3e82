"""Celery's side of the fault tests: the tasks of `harness/src/faults` and `harness/src/torture`, writing the same log, and
callers.

Configured from the environment:

    BROKER_URL, RESULT_BACKEND    addresses; an empty backend stores nothing
    FAULTS_LOG                    the file in which runs are recorded
    FAULTS_OPTIONS                broker_transport_options, as JSON
    FAULTS_ACKS_EARLY             when set: messages are acked before their runs, as by default
    FAULTS_KILL_AT                the number of the message at which the process kills itself: after it popped the message and
                                  before it writes it to `unacked`

As a program it is a caller. `faults.py publish` publishes one task, and prints how long that took and the outcome.
`faults.py get` publishes a task of two seconds, kills its own subscription until the result is stored, and prints what
`get` did.
"""

import json
import os
import signal
import struct
import sys
import time

from celery import Celery, chord

app = Celery("faults", broker=os.environ["BROKER_URL"], backend=os.environ.get("RESULT_BACKEND") or None)
app.conf.update(
    task_acks_late=not os.environ.get("FAULTS_ACKS_EARLY"),
    broker_connection_retry_on_startup=True,
    broker_transport_options=json.loads(os.environ.get("FAULTS_OPTIONS") or "{}"),
    worker_hijack_root_logger=False,
)


def record(number):
    """Records a run: one short write, which survives `kill -9`."""
    entry = struct.pack("<QQq8x", number, os.getpid(), time.time_ns() // 1000)
    with open(os.environ["FAULTS_LOG"], "ab", buffering=0) as log:
        log.write(entry)


@app.task(name="faults.sleep_then_record")
def sleep_then_record(number, millis):
    """Sleeps and then records its number."""
    time.sleep(millis / 1000)
    record(number)
    return number


@app.task(name="faults.record_then_sleep")
def record_then_sleep(number, millis):
    """Records its number and then sleeps."""
    record(number)
    time.sleep(millis / 1000)
    return number


@app.task(name="faults.kill_child", reject_on_worker_lost=True)
def kill_child(number):
    """Records its number and kills its own process."""
    record(number)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="faults.spin")
def spin():
    """Computes for ever."""
    while True:
        pass


@app.task(name="faults.wait")
def wait():
    """Waits for ever."""
    while True:
        time.sleep(60)


@app.task(name="torture.text")
def text(number, millis, size):
    """Sleeps, records its number, and returns a text of so many bytes."""
    time.sleep(millis / 1000)
    record(number)
    return "x" * size


@app.task(name="torture.collect")
def collect(parts, number):
    """The body of a chord of texts."""
    record(number)
    return sum(len(part) for part in parts)


@app.task(name="torture.measure")
def measure(part, number):
    """The step after a text in a chain."""
    record(number)
    return len(part)


@app.task(name="outage.progress", bind=True)
def progress(self, number, millis):
    """Reports its progress for so many milliseconds."""
    for step in range(10):
        self.update_state(state="PROGRESS", meta=step)
        time.sleep(millis / 10_000)
    record(number)
    return number


@app.task(name="outage.total")
def total(numbers):
    """The body of a chord."""
    return sum(numbers)


def open_chord(number, millis):
    """Waits, opens a chord, and returns the id of its body."""
    record(number)
    time.sleep(millis / 1000)
    return chord([progress.s(number, 100) for _ in range(3)], total.s())().id


@app.task(name="outage.opens")
def opens(number, millis):
    """Opens a chord."""
    return open_chord(number, millis)


@app.task(name="outage.opens_early", acks_late=False)
def opens_early(number, millis):
    """Opens a chord, and its message is acked before it runs."""
    return open_chord(number, millis)


@app.task(name="outage.replaces", bind=True)
def replaces(self, number, millis):
    """Waits and replaces itself."""
    record(number)
    time.sleep(millis / 1000)
    raise self.replace(progress.s(number, 100))


@app.task(name="outage.retries", bind=True, max_retries=5)
def retries(self, number, millis):
    """Waits and retries, twice."""
    record(number)
    time.sleep(millis / 1000)
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return number


def die_at(count):
    """Kills the process after it popped a message and before it writes it to `unacked`."""
    from kombu.transport.redis import Transport

    deliver = Transport._deliver

    def dying(self, *args):
        nonlocal count
        count -= 1
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return deliver(self, *args)

    Transport._deliver = dying


if os.environ.get("FAULTS_KILL_AT"):
    die_at(int(os.environ["FAULTS_KILL_AT"]))


def publish():
    """Publishes one task, and prints how long that took."""
    began = time.monotonic()
    try:
        sleep_then_record.delay(1, 0)
        outcome = "published"
    except Exception as error:
        outcome = type(error).__name__
    print(f"{time.monotonic() - began:.1f} s: {outcome}")


def get():
    """Waits for a result whose notification is lost."""
    import threading

    import redis

    result = sleep_then_record.delay(1, 2000)
    began = time.monotonic()
    def cut():
        look = redis.Redis.from_url(os.environ["BROKER_URL"])
        while not look.exists("celery-task-meta-" + result.id):
            look.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            time.sleep(0.02)

    threading.Thread(target=cut, daemon=True).start()
    try:
        outcome = f"got {result.get(timeout=20)}"
    except Exception as error:
        outcome = type(error).__name__
    print(f"{time.monotonic() - began:.1f} s: {outcome}")


if __name__ == "__main__":
    {"publish": publish, "get": get}[sys.argv[1]]()
