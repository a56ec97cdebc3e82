"""Celery's side of the fault test `user-code`: code that raises at every place where a worker calls it, with innocent tasks
among them.

Configured from the environment:

    BROKER_URL, RESULT_BACKEND    addresses
    USER_CODE_LOG                 the file in which runs of innocent tasks are recorded, a number a line
    USER_CODE_EARLY               when set: messages are acked before their runs, as by default

As a program it is a caller: `user_code.py ROUNDS` sends every place so many times, waits, and prints what it counted as
JSON.
"""

import json
import os
import random
import sys
import time
from collections import Counter

from celery import Celery, Task, chord
from kombu.serialization import register
from kombu.utils.json import register_type


class Broken(Exception):
    """What is raised on purpose."""


def encode(_value):
    raise Broken("encode")


def decode(_text):
    raise Broken("decode")


register("unwritten", encode, decode, content_type="application/x-unwritten", content_encoding="utf-8")
register("unread", lambda _value: "?", decode, content_type="application/x-unread", content_encoding="utf-8")


def route(name, args, kwargs, options, task=None, **kw):
    """Raises for one task."""
    if name == "user_code.unrouted":
        raise Broken("route")


app = Celery("user_code", broker=os.environ["BROKER_URL"], backend=os.environ["RESULT_BACKEND"])
app.conf.update(
    task_acks_late=not os.environ.get("USER_CODE_EARLY"),
    task_routes=(route,),
    accept_content=["json", "application/x-unread"],
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)


class Unprintable(Exception):
    """An error whose text cannot be made."""

    def __str__(self):
        raise Broken("__str__")

    __repr__ = __str__


class Unpicklable(Exception):
    """An error that cannot be taken apart."""

    def __reduce__(self):
        raise Broken("__reduce__")


class Unwritable:
    """A result that cannot be written."""


def unwritable(_value):
    raise Broken("to_json")


register_type(Unwritable, "unwritable", unwritable, unwritable)


class Hooked(Task):
    """A task whose hooks raise."""

    def on_success(self, retval, task_id, args, kwargs):
        raise Broken("on_success")

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        raise Broken("on_failure")

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        raise Broken("on_retry")

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        raise Broken("after_return")


class Starts(Task):
    """A task whose hook before the run raises."""

    def before_start(self, task_id, args, kwargs):
        raise Broken("before_start")


@app.task(name="user_code.innocent")
def innocent(number):
    """Records its number, which fits into one write."""
    with open(os.environ["USER_CODE_LOG"], "ab", buffering=0) as log:
        log.write(b"%d\n" % number)
    return number


@app.task(name="user_code.body")
def body():
    raise Broken("body")


@app.task(name="user_code.display")
def display():
    raise Unprintable


@app.task(name="user_code.reduce")
def reduced():
    raise Unpicklable("no")


@app.task(name="user_code.result")
def result():
    return Unwritable()


@app.task(name="user_code.before_start", base=Starts)
def starts():
    pass


@app.task(name="user_code.hooked", base=Hooked, bind=True)
def hooked(self, how):
    """Succeeds, fails, or is retried once."""
    if how == "fails":
        raise ValueError("no")
    if how == "retries" and self.request.retries == 0:
        raise self.retry(countdown=0)


@app.task(name="user_code.unrouted")
def unrouted(*args):
    pass


@app.task(name="user_code.unwritten", serializer="unwritten")
def unwritten(*args):
    pass


@app.task(name="user_code.unread", serializer="unread")
def unread():
    pass


@app.task(name="user_code.succeeds")
def succeeds(*args):
    return 1


@app.task(name="user_code.fails")
def fails():
    raise ValueError("no")


@app.task(name="user_code.errback")
def errback(request, exc, traceback):
    raise Broken("errback")


@app.task(name="user_code.replaced", bind=True)
def replaced(self):
    return self.replace(unrouted.s())


@app.task(name="user_code.retry_unwritten", serializer="unwritten", bind=True)
def retry_unwritten(self):
    raise self.retry(countdown=0)


# What is sent for each place, and the state that it ends in.
PLACES = {
    "body": (lambda: body.s(), "FAILURE"),
    "display": (lambda: display.s(), "FAILURE"),
    "reduce": (lambda: reduced.s(), "FAILURE"),
    "result": (lambda: result.s(), "FAILURE"),
    "before_start": (lambda: starts.s(), "FAILURE"),
    "hooked(succeeds)": (lambda: hooked.s("succeeds"), "SUCCESS"),
    "hooked(fails)": (lambda: hooked.s("fails"), "FAILURE"),
    "hooked(retries)": (lambda: hooked.s("retries"), "SUCCESS"),
    "to-unrouted": (lambda: linked(succeeds.s(), unrouted), "FAILURE"),
    "to-unwritten": (lambda: linked(succeeds.s(), unwritten), "FAILURE"),
    "fails-to-unrouted": (lambda: failing(unrouted), "FAILURE"),
    "fails-to-unwritten": (lambda: failing(unwritten), "FAILURE"),
    "fails-to-errback": (lambda: failing(errback), "FAILURE"),
    "chord-of-unrouted": (lambda: chord([succeeds.s(), succeeds.s()], unrouted.s()), "FAILURE"),
    "chord-of-unwritten": (lambda: chord([succeeds.s(), succeeds.s()], unwritten.s()), "FAILURE"),
    "replaced": (lambda: replaced.s(), "FAILURE"),
    "retry_unwritten": (lambda: retry_unwritten.s().set(serializer="json"), "FAILURE"),
    "unread": (lambda: unread.s(), "FAILURE"),
}
INNOCENTS = 2
# Nothing has ended for so many seconds: what has not ended by then never will.
IDLE = 10


def linked(signature, callback):
    signature.link(callback.s())
    return signature


def failing(callback):
    signature = fails.s()
    signature.link_error(callback.s())
    return signature


def send(rounds):
    """Sends everything, in any order; the results of the places and of the innocent tasks."""
    calls = [(place, make) for _ in range(rounds) for place, (make, _) in PLACES.items()]
    calls += [(None, lambda number=number: innocent.s(number)) for number in range(rounds * len(PLACES) * INNOCENTS)]
    random.shuffle(calls)
    return [(place, make().apply_async()) for place, make in calls]


def wait(results):
    """Waits until all have ended, or nothing ends any more."""
    waiting, idle = list(results), time.monotonic()
    while waiting and time.monotonic() - idle < IDLE:
        still = [result for result in waiting if state(result) not in ("SUCCESS", "FAILURE")]
        if len(still) < len(waiting):
            idle = time.monotonic()
        waiting = still
        time.sleep(0.1)


def state(result):
    """The stored state. An error that cannot be read again is a failure."""
    meta = app.backend.get(app.backend.get_key_for_task(result.id))
    return json.loads(meta)["status"] if meta else "PENDING"


def main(rounds):
    sent = send(rounds)
    wait([result for _, result in sent])
    wrong = Counter()
    for place, result in sent:
        if place and state(result) != PLACES[place][1]:
            wrong[f"{place} is {state(result)}"] += 1
    of_innocents = [result for place, result in sent if not place]
    with open(os.environ["USER_CODE_LOG"], "rb") as log:
        runs = Counter(log.read().split())
    print(json.dumps({
        "places": len(PLACES),
        "rounds": rounds,
        "wrong": dict(wrong),
        "innocents": len(of_innocents),
        "ran_once": sum(count == 1 for count in runs.values()),
        "succeeded": sum(state(result) == "SUCCESS" for result in of_innocents),
        # The worker goes on.
        "goes_on": succeeds.delay().get(timeout=10) == 1,
        "ready": app.backend.client.llen("celery"),
        "unacked": app.backend.client.hlen("unacked"),
    }))


if __name__ == "__main__":
    main(int(sys.argv[1]))
