"""Celery as the one who sends the generated flows of `canvas_shapes.py`, and what Celery's own workers make of them.

    canvas_client.py send      a line of standard input is a flow; a line of standard output is the result that its sender has
    canvas_client.py oracle    every case, sent to the Celery worker of the queue `python`; a line of standard output is what
                               became of one

A flow is a JSON object: `flow` is its name, `shape` a text, `fails` the name of a task or null, `owners` the queue of each task in
turn, `path` the file where tasks leave their lines. Ids are made of the flow's name and the task's, so both sides know them.
"""

import json
import os
import sys
import tempfile
import time

from celery import chain, chord, group
from celery.result import GroupResult

import canvas
import canvas_shapes

# How often a worker must be found with nothing to do, and how long after one another (seconds).
LOOKS, PAUSE, LIMIT = 10, 0.05, 120


def build(flow):
    """A flow as Celery's canvas."""
    owners = dict(zip(canvas_shapes.leaves(flow["shape"]), flow["owners"]))
    common = {"path": flow["path"], "flow": flow["flow"]}

    def linked(signature, place, owner):
        signature.link(canvas.ok.s(**common, place=place).set(queue=owner))
        signature.link_error(canvas.error.s(**common, place=place).set(queue=owner))
        return signature

    def part(tree):
        if isinstance(tree, str):
            task = canvas.leaf.s(**common, place=tree, fails=tree == flow["fails"])
            return linked(task.set(queue=owners[tree], task_id=f"{flow['flow']}-{tree}"), tree, owners[tree])
        kind, *parts = tree[0], *map(part, tree[1:])
        match kind:
            case "chain":
                return chain(*parts)
            case "group":
                return group(parts)
            case "chord":
                return chord(parts[:2], parts[2])

    whole = linked(part(canvas_shapes.tree(flow["shape"])), "whole", flow["owners"][0])
    whole.link_error(canvas.told.s(**common, place="whole"))
    return whole


def told(flow, result):
    """A result with its parents as a text: `b<a` is the result of `b` whose parent is that of `a`; groups have no names."""
    if result is None:
        return ""
    members = isinstance(result, GroupResult)
    name = f"[{','.join(told(flow, member) for member in result)}]" if members else canvas.of_flow(flow, result.id)
    return name + (f"<{told(flow, result.parent)}" if result.parent else "")


def send(flow):
    return told(flow["flow"], build(flow).apply_async())


def wait_until_idle(redis, queues):
    """Returns when no message is waiting or taken. Workers acknowledge late, so whatever runs is still taken."""
    limit, idle = time.monotonic() + LIMIT, 0
    while idle < LOOKS:
        assert time.monotonic() < limit, "the workers have not come to rest"
        pipe = redis.pipeline()
        for queue in queues:
            pipe.llen(queue)
        pipe.hlen("unacked")
        # Between the list and `unacked` a message is nowhere, for less time than the looks take together.
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
    """What Celery makes of every case."""
    redis = canvas.app.backend.client
    with tempfile.TemporaryDirectory() as folder:
        path, flows = os.path.join(folder, "notes"), []
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
        ends = {leaf: ending(name, meta) for leaf, meta in zip(names, metas)}
        yield {
            "shape": flow["shape"],
            "fails": flow["fails"],
            "result": flow["result"],
            "ends": ends,
            "notes": sorted(note for of, note in lines if of == name),
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
