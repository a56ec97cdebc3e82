"""Celery as caller and as reader of results, for tests that are written in Rust.

A line of standard input is a request, `{"do": "send", …}`; a line of standard output is its answer. Both are kombu's JSON, so
datetime, Decimal and bytes are Python's types here. An operation that raises answers `{"error": traceback}`. The program ends
when its standard input closes. `tasks.py` describes its configuration.
"""

import datetime
import importlib
import json
import sys
import traceback

from celery import chain, chord, group
from celery.app.defaults import DEFAULTS
from celery.result import AsyncResult, GroupResult
from kombu import Exchange
from kombu.utils.json import dumps, loads

import tasks

OPERATIONS = {}


def operation(function):
    """Registers an operation that requests name."""
    OPERATIONS[function.__name__] = function
    return function


def result(id):
    return AsyncResult(id, app=tasks.app)


def shown(value):
    """An exception as its class and arguments; other values unchanged."""
    if not isinstance(value, BaseException):
        return value
    kind = type(value)
    return {"class": f"{kind.__module__}.{kind.__qualname__}", "args": list(value.args), "text": str(value)}


def options_of(given):
    """The options of a call: times are texts, because JSON has no times."""
    read = {"eta": datetime.datetime.fromisoformat}
    if isinstance(given.get("expires"), str):
        read["expires"] = datetime.datetime.fromisoformat
    return {name: read.get(name, lambda value: value)(value) for name, value in given.items()}


@operation
def send(task, args=(), kwargs=None, options=None):
    """Calls a task; one that is not registered here is called by name."""
    if task not in tasks.app.tasks:
        return send_by_name(task, args, kwargs, options)
    return {"id": tasks.app.tasks[task].apply_async(args, kwargs, **options_of(options or {})).id}


@operation
def send_by_name(task, args=(), kwargs=None, options=None):
    """Calls a task without a check of its arguments."""
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
def send_text(task, args, options=None, then=()):
    """Calls a task, or a chain that begins with it. The arguments are JSON text, so that a request can contain what no text of
    its sender can, such as half a surrogate pair."""
    first = tasks.app.signature(task, args=json.loads(args), options=options_of(options or {}))
    whole = chain(first, *map(tasks.app.signature, then)) if then else first
    return {"id": whole.apply_async().id}


@operation
def send_chord_text(task, values, body):
    """Calls a chord of one task, one member for each of the values, which are JSON text."""
    header = [tasks.app.signature(task, args=[value]) for value in json.loads(values)]
    return {"id": chord(header)(tasks.app.signature(body)).id}


@operation
def get_text(id, timeout=60):
    """Waits for a result, and returns its value, or its exception's arguments, as JSON text."""
    waited = result(id)
    value = waited.get(timeout=timeout, propagate=False, interval=0.05)
    raised = isinstance(value, BaseException)
    text = dumps(list(value.args) if raised else value)
    return {"state": waited.state, "text": text, "has_traceback": waited.traceback is not None}


@operation
def get(id, timeout=60):
    """Waits for a result, and returns all of it."""
    waited, messages = result(id), []

    def note(message):
        # A client is told of everything that it has ever sent, also in a test before this one.
        if message["task_id"] == id:
            messages.append(message)

    value = waited.get(timeout=timeout, propagate=False, interval=0.05, on_message=note)
    return {
        "state": waited.state,
        "value": shown(value),
        "traceback": waited.traceback,
        "children": [child.id for child in waited.children or []],
        "messages": [[message["status"], shown(message["result"])] for message in messages],
    }


@operation
def extended(id):
    """What a result says about its task when `result_extended` is on."""
    stored = result(id)
    fields = ("name", "args", "kwargs", "worker", "retries", "queue", "date_done")
    found = {field: getattr(stored, field) for field in fields}
    return found | {"date_done": found["date_done"] is not None}


@operation
def state(id):
    return {"state": result(id).state, "info": shown(result(id).info)}


@operation
def caught(id, by, timeout=60):
    """The exception of a failed task, if `except` of a class (`module.Class`) catches it."""
    module, name = by.rsplit(".", 1)
    try:
        result(id).get(timeout=timeout)
    except getattr(importlib.import_module(module), name) as error:
        return {"caught": shown(error)}
    return {"caught": None}


@operation
def restore_group(id, timeout=60):
    """The values of a saved group."""
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


def written(default):
    """A default of a setting, as `docs/SETTINGS.md` writes those of Apium."""
    if default is None or default in ((), [], {}, ""):
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, datetime.timedelta):
        return f"{default.days}d"
    if isinstance(default, dict):
        return ", ".join(f"{name}={written(value)}" for name, value in default.items())
    if isinstance(default, (tuple, list)):
        return ", ".join(map(written, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


@operation
def settings():
    """Celery's settings with their defaults."""
    return {"defaults": {name: written(default) for name, default in DEFAULTS.items()}}


@operation
def declare(exchange, type):
    """Declares an exchange in this process. Without that, kombu uses it as a direct exchange on Redis."""
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
