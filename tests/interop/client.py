"""Celery as caller and as reader of results: the Python half of a test that is written in Rust.

A line on standard input is a request, `{"do": "send", …}`; a line on standard output is its answer. Both are kombu's JSON, so a
datetime, a Decimal or bytes are Python's own here. An operation that raises answers `{"error": traceback}`. The program ends when
standard input does. `tasks.py` says how it is configured.
"""

import datetime
import importlib
import sys
import traceback

from celery import group
from celery.result import AsyncResult, GroupResult
from kombu import Exchange
from kombu.utils.json import dumps, loads

import tasks

OPERATIONS = {}


def operation(function):
    """What a request may ask for, by its name."""
    OPERATIONS[function.__name__] = function
    return function


def result(id):
    return AsyncResult(id, app=tasks.app)


def shown(value):
    """An exception by class and arguments, anything else as it is."""
    if not isinstance(value, BaseException):
        return value
    kind = type(value)
    return {"class": f"{kind.__module__}.{kind.__qualname__}", "args": list(value.args), "text": str(value)}


def options_of(given):
    """Options of a call: times come as texts, since JSON has none."""
    read = {"eta": datetime.datetime.fromisoformat}
    if isinstance(given.get("expires"), str):
        read["expires"] = datetime.datetime.fromisoformat
    return {name: read.get(name, lambda value: value)(value) for name, value in given.items()}


@operation
def send(task, args=(), kwargs=None, options=None):
    """Calls a task; one that this program does not know goes by its name."""
    if task not in tasks.app.tasks:
        return send_by_name(task, args, kwargs, options)
    return {"id": tasks.app.tasks[task].apply_async(args, kwargs, **options_of(options or {})).id}


@operation
def send_by_name(task, args=(), kwargs=None, options=None):
    """Calls a task without looking whether the arguments fit."""
    return {"id": tasks.app.send_task(task, args, kwargs, **options_of(options or {})).id}


@operation
def send_many(task, args, options=None):
    """Calls a task once for each list of arguments."""
    call = tasks.app.tasks[task]
    return {"ids": [call.apply_async(each, **options_of(options or {})).id for each in args]}


@operation
def send_group(task, args, save=False):
    """Calls a group of one task, one member for each list of arguments."""
    sent = group(tasks.app.tasks[task].s(*each) for each in args).apply_async()
    if save:
        sent.save()
    return {"id": sent.id, "members": [member.id for member in sent]}


@operation
def get(id, timeout=60):
    """Waits for a result, and tells all of it."""
    waited, messages = result(id), []
    value = waited.get(timeout=timeout, propagate=False, interval=0.05, on_message=messages.append)
    return {
        "state": waited.state,
        "value": shown(value),
        "traceback": waited.traceback,
        "children": [child.id for child in waited.children or []],
        "messages": [[message["status"], shown(message["result"])] for message in messages],
    }


@operation
def extended(id):
    """What a result tells of its task when `result_extended` is on."""
    known = result(id)
    fields = ("name", "args", "kwargs", "worker", "retries", "queue", "date_done")
    found = {field: getattr(known, field) for field in fields}
    return found | {"date_done": found["date_done"] is not None}


@operation
def state(id):
    return {"state": result(id).state, "info": shown(result(id).info)}


@operation
def caught(id, by, timeout=60):
    """Whether `except` of a class (`module.Class`) catches what a task failed with, and with what."""
    module, name = by.rsplit(".", 1)
    try:
        result(id).get(timeout=timeout)
    except getattr(importlib.import_module(module), name) as error:
        return {"caught": shown(error)}
    return {"caught": None}


@operation
def restore_group(id, timeout=60):
    """The values of a group that somebody saved."""
    restored = GroupResult.restore(id, app=tasks.app)
    if restored is None:
        return {"members": None}
    values = restored.get(timeout=timeout, propagate=False, interval=0.05)
    return {"members": [member.id for member in restored], "values": [shown(value) for value in values]}


@operation
def save_group(id, members):
    GroupResult(id, [result(member) for member in members], app=tasks.app).save()
    return {}


@operation
def forget(id):
    result(id).forget()
    return {}


@operation
def declare(exchange, type):
    """Makes an exchange known to this process, without which kombu takes it for a direct one on Redis."""
    with tasks.app.pool.acquire(block=True) as connection:
        Exchange(exchange, type=type).bind(connection.default_channel).declare()
    return {}


def answer(request):
    try:
        return OPERATIONS[request.pop("do")](**request)
    except Exception:
        return {"error": traceback.format_exc()}


if __name__ == "__main__":
    for line in sys.stdin:
        print(dumps(answer(loads(line))), flush=True)
