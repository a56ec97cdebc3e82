"""Sends the generated workflows of `canvas_shapes.py` from Celery, and reports their outcomes with Celery's workers.

    canvas_client.py send      a line of standard input is a flow; a line of standard output is the result that its sender gets
    canvas_client.py oracle    sends every case to the Celery worker of the queue `python`; a line of standard output is the
                               outcome of one

A flow is a JSON object: `flow` is its name, `shape` a text, `fails` the name of a task or null, `owners` the queues of the tasks
in order, `path` the file in which tasks record lines. Ids are made of the names of flow and task, so both sides know them.
"""

import functools
import json
import operator
import os
import sys
import tempfile
import time

from celery import chain, chord, group
from celery.canvas import _chain
from celery.result import GroupResult

import canvas
import canvas_shapes

# How often the workers must be found idle, the pause between checks, and the limit (seconds).
CHECKS, PAUSE, LIMIT = 10, 0.05, 120


def build(flow):
    """A flow as a workflow of Celery."""
    owners = dict(zip(canvas_shapes.leaves(flow["shape"]), flow["owners"]))
    common = {"path": flow["path"], "flow": flow["flow"]}

    def linked(signature, target, owner):
        signature.link(canvas.ok.s(**common, target=target).set(queue=owner))
        signature.link_error(canvas.error.s(**common, target=target).set(queue=owner))
        return signature

    def leaf(name, named, task=canvas.leaf, **kwargs):
        signature = task.s(**common, **kwargs, target=name, fails=name == flow["fails"]).set(queue=owners[name])
        return linked(signature.set(task_id=f"{flow['flow']}-{name}") if named else signature, name, owners[name])

    def part(tree, named=True):
        """A part of the shape. The tasks of what replaces a task get their ids from it, and are not named."""
        if isinstance(tree, str):
            return leaf(tree, named)
        if tree[0] == "replace":
            return leaf(tree[1], named, canvas.replaced, replacement=part(tree[2], named=False))
        kind, *parts = tree[0], *(part(inner, named) for inner in tree[1:])
        match kind:
            case "chain":
                return chain(*parts)
            case "pipe":
                return functools.reduce(operator.or_, parts)
            case "steps":
                return _chain(*parts)
            case "group":
                return group(parts)
            case "chord":
                return chord(parts[:2], parts[2])
            case "then":
                parts[0].link(parts[1])
                return parts[0]
            case "else":
                parts[0].link_error(parts[1])
                return parts[0]

    whole = linked(part(canvas_shapes.tree(flow["shape"])), "whole", flow["owners"][0])
    whole.link_error(canvas.called.s(**common, target="whole"))
    return whole


def result_text(flow, result):
    """A result with its parents as a text: `b<a` is the result of `b`, whose parent is that of `a`; groups have no names."""
    if result is None:
        return ""
    members = isinstance(result, GroupResult)
    name = f"[{','.join(result_text(flow, member) for member in result)}]" if members else canvas.of_flow(flow, result.id)
    return name + (f"<{result_text(flow, result.parent)}" if result.parent else "")


def send(flow):
    return result_text(flow["flow"], build(flow).apply_async())


def wait_until_idle(redis, queues):
    """Returns when no message is in a queue or in flight. Workers acknowledge late, so running tasks are in flight."""
    limit, idle = time.monotonic() + LIMIT, 0
    while idle < CHECKS:
        assert time.monotonic() < limit, "the workers have not become idle"
        pipe = redis.pipeline()
        for queue in queues:
            pipe.llen(queue)
        pipe.hlen("unacked")
        # Between the list and `unacked` a message is in no key, for less time than all checks take together.
        idle = idle + 1 if not any(pipe.execute()) else 0
        time.sleep(PAUSE)


def ending(flow, meta):
    """What is stored of a task, as a text: its value, `!` and an exception, or another state."""
    if meta is None:
        return "PENDING"
    meta = json.loads(meta)
    if meta["status"] == "SUCCESS":
        return meta["result"]
    if meta["status"] != "FAILURE":
        return meta["status"]
    raised = meta["result"]
    text = " ".join(map(str, raised["exc_message"])).replace(f"{flow}-", "")
    return f"!{raised['exc_type']}: {text}"


def oracle():
    """The outcome of every case with Celery."""
    redis = canvas.app.backend.client
    with tempfile.TemporaryDirectory() as folder:
        path, flows = os.path.join(folder, "done"), []
        for number, (shape, fails) in enumerate(canvas_shapes.cases()):
            owners = ["python"] * len(canvas_shapes.leaves(shape))
            flow = {"flow": f"f{number}", "shape": shape, "fails": fails, "owners": owners, "path": path}
            flow["result"] = send(flow)
            flows.append(flow)
        wait_until_idle(redis, ["python", "celery"])
        with open(path) as file:
            lines = [line.rstrip("\n").rsplit(" ", 1)[0].split(" ", 1) for line in file]
    for flow in flows:
        name, names = flow["flow"], canvas_shapes.leaves(flow["shape"])
        metas = redis.mget([f"celery-task-meta-{name}-{leaf}" for leaf in names])
        stored = {leaf: ending(name, meta) for leaf, meta in zip(names, metas)}
        yield {
            "shape": flow["shape"],
            "fails": flow["fails"],
            "result": flow["result"],
            "stored": stored,
            "done": sorted(line for of, line in lines if of == name),
        }


def main():
    match sys.argv[1:]:
        case ["send"]:
            for line in sys.stdin:
                print(json.dumps(send(json.loads(line))), flush=True)
        case ["oracle"]:
            for case in oracle():
                print(json.dumps(case, separators=(",", ":")))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
