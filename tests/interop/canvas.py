"""The tasks of the generated workflows, in the app of `tasks.py`. `crates/apium/tests/interop/canvas/tasks.rs` has the same
tasks for Rust workers.

Each records a line of five words in a file: its flow, its kind (`run`, `ok`, `error` or `called`), its target (a task of the
shape, or `whole`), its arguments, and the side that ran it (`python`, `rust`). So the tests know how often each ran, whatever
the results say.
"""

import json

from tasks import app, append


def short(value, flow):
    """A value as the names of the tasks that returned it: `a` for `a(b,[c,d])`, and for the id of `a`."""
    if isinstance(value, str):
        return value.split("(")[0].removeprefix(f"{flow}-")
    if isinstance(value, list):
        return f"[{shorts(value, flow)}]"
    return json.dumps(value, separators=(",", ":"))


def shorts(values, flow):
    return ",".join(short(value, flow) for value in values)


def record(path, flow, kind, target, given):
    append(path, f"{flow} {kind} {target} {shorts(given, flow)} python")


@app.task(name="canvas.leaf")
def leaf(*given, path, flow, target, fails):
    """A task of a shape. Its value names its arguments."""
    record(path, flow, "run", target, given)
    if fails:
        raise ValueError(target)
    return f"{target}({shorts(given, flow)})"


@app.task(name="canvas.replaced", bind=True)
def replaced(self, *given, path, flow, target, fails, replacement):
    """A task of a shape that another workflow replaces."""
    record(path, flow, "run", target, given)
    if fails:
        raise ValueError(target)
    return self.replace(self.app.signature(replacement))


@app.task(name="canvas.ok")
def ok(*given, path, flow, target):
    """A callback."""
    record(path, flow, "ok", target, given)


# Celery sends an errback with one argument as a message. The worker of the failed task calls one with more arguments.
@app.task(name="canvas.error")
def error(failed_id, *, path, flow, target):
    """An errback of the old style."""
    record(path, flow, "error", target, [of_flow(flow, failed_id)])


@app.task(name="canvas.called")
def called(request, exc, traceback, *, path, flow, target):
    """An errback of the new style."""
    record(path, flow, "called", target, [of_flow(flow, request.id), type(exc).__name__])


def of_flow(flow, id):
    """The name of a task from its id, which `canvas_client.py` makes."""
    return id.removeprefix(f"{flow}-") if id.startswith(f"{flow}-") else "?"


@app.task(name="canvas.options", bind=True)
def options(self, *_, path, flow, target):
    """A task that records the options with which its message came, as `canvas_options.py` gives them."""
    request = self.request
    marks = "+".join(sorted(request.headers or {})) or "-"
    record(path, flow, "came", target, [f"{request.delivery_info['routing_key']}/{request.delivery_info['priority']}/{marks}"])
    return target
