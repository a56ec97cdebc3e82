"""The app whose workers are measured beside Apium's, with the settings of `harness/src/redis/kit/load.rs`."""

import os

from celery import Celery

from tally import record

backend = os.environ.get("BENCH_BACKEND")
app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=backend)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=backend is None,
    broker_connection_retry_on_startup=True,
)


@app.task(name="bench.count")
def count(number, padding):
    """Only counts its number."""
    record(number)
    return number


@app.task(name="bench.inc")
def inc(number):
    """The next number."""
    return number + 1


@app.task(name="bench.total")
def total(numbers):
    """The body of the chords."""
    return sum(numbers)
