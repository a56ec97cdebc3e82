"""The app whose workers are measured beside Apium's, with the settings of `harness/src/redis/kit/load.rs`."""

import os

from celery import Celery

from tally import record

backend = os.environ.get("BENCH_BACKEND")
app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=backend)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=backend is None,
    task_send_sent_event="BENCH_SENT_EVENTS" in os.environ,
    broker_connection_retry_on_startup=True,
    # On RabbitMQ: a call returns when the server has confirmed its message, as Apium's do.
    broker_transport_options={"confirm_publish": True} if "BENCH_CONFIRMS" in os.environ else {},
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
