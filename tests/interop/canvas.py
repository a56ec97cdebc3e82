"""The tasks of the generated tests of the canvas, in the app of `tasks.py`. `canvas.rs` has the same for Rust workers.

Each leaves a line of five words in a file: the flow that it belongs to, what it is (`run`, `ok`, `error` or `told`), its place in the
shape, what it was given, and who ran it (`python`, `rust`). So how often something ran is known whatever stores results.
"""

import json

from tasks import app, leave


def short(value):
    """A value by the names of the tasks that made it: `a` of `a(b,[c,d])`."""
    if isinstance(value, str):
        return value.split("(")[0]
    if isinstance(value, list):
        return f"[{','.join(map(short, value))}]"
    return json.dumps(value, separators=(",", ":"))


def note(path, flow, what, place, given):
    leave(path, f"{flow} {what} {place} {','.join(map(short, given))} python")


@app.task(name="canvas.leaf")
def leaf(*given, path, flow, place, fails):
    """A task of a shape. Its value says what it was given."""
    note(path, flow, "run", place, given)
    if fails:
        raise ValueError(place)
    return f"{place}({','.join(map(short, given))})"


@app.task(name="canvas.ok")
def ok(*given, path, flow, place):
    """A callback."""
    note(path, flow, "ok", place, given)


# Celery sends an errback that takes one argument, and calls one that takes more where the task failed.
@app.task(name="canvas.error")
def error(failed_id, *, path, flow, place):
    """An errback of the old kind."""
    note(path, flow, "error", place, [of_flow(flow, failed_id)])


@app.task(name="canvas.told")
def told(request, exc, traceback, *, path, flow, place):
    """An errback of the new kind."""
    note(path, flow, "told", place, [of_flow(flow, request.id), type(exc).__name__])


def of_flow(flow, id):
    """The name of a task by its id, which `canvas_client.py` makes of it."""
    return id.removeprefix(f"{flow}-") if id.startswith(f"{flow}-") else "?"
