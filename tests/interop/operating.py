"""Celery's side of the tests of what an operator does: the tasks of `harness/src/operating/tasks.rs`, writing the same log,
and a caller that revokes.

Configured from the environment:

    BROKER_URL, RESULT_BACKEND    addresses
    OPERATING_LOG                 the file in which runs are recorded
    OPERATING_OPTIONS             broker_transport_options, as JSON

`operating.py ID,ID,...` revokes these tasks by `control.revoke` and prints `revoked`.
"""

import json
import os
import struct
import sys
import time

from celery import Celery

app = Celery("operating", broker=os.environ["BROKER_URL"], backend=os.environ["RESULT_BACKEND"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options=json.loads(os.environ.get("OPERATING_OPTIONS") or "{}"),
    worker_hijack_root_logger=False,
)


def record(number):
    """Records a run: one short write, which survives `kill -9`."""
    entry = struct.pack("<QQq8x", number, os.getpid(), time.time_ns() // 1000)
    with open(os.environ["OPERATING_LOG"], "ab", buffering=0) as log:
        log.write(entry)


def record_then_sleep(number, millis):
    """Records a number, and sleeps."""
    record(number)
    time.sleep(millis / 1000)
    return number


@app.task(name="operating.run", acks_late=True)
def run(number, millis):
    """Records its number and then sleeps."""
    return record_then_sleep(number, millis)


@app.task(name="operating.run_early")
def run_early(number, millis):
    """The same, and its message is acked before it runs."""
    return record_then_sleep(number, millis)


@app.task(name="operating.step", acks_late=True)
def step(previous, number):
    """A step of a chain behind another one: records its number."""
    return record_then_sleep(number, 0)


@app.task(name="operating.total", acks_late=True)
def total(parts, number):
    """The body of a chord: records its number, and returns how many parts there are."""
    record(number)
    return len(parts)


if __name__ == "__main__":
    app.control.revoke(sys.argv[1].split(","))
    print("revoked")
