"""Which options of a workflow reach which of its tasks, with Celery's workers.

    canvas_options.py cases     a line of standard output is a case
    canvas_options.py send      a line of standard input is a flow, which is sent
    canvas_options.py oracle    sends every case to the Celery workers; a line of standard output is a case and its outcome

A case is a JSON object: `shape` is a text as in `canvas_shapes.py`, `marks` has a digit for each part of the shape, the whole
first, then each part before those inside it, and `call` is the digit of the call. A part with the digit 1 has the options `queue`,
`priority` and `headers` of that number, as `set` gives them; 0 is none. A flow has the entries `flow` and `path` too.

An outcome names for each task the digits of its queue, its priority and its headers, in one if they are the same: `a1 b1/0/1`.
"""

import functools
import json
import operator
import os
import sys
import tempfile
import time

from celery import chain, chord, group

import canvas
import canvas_shapes

# How long the tasks may take (seconds).
LIMIT = 300

QUEUES = ["celery", "option1", "option2", "option3", "option4", "option5"]


def inner(depth_two=True):
    """The parts of shapes: a task, and one workflow of each kind."""
    yield None
    yield from [("chain", None, None), ("pipe", None, None), ("group", None, None), ("chord", None, None, None)]


def shapes():
    """Every workflow of two parts, and chords with one part in the header or as the body, where each part may be a workflow."""
    parts = list(inner())
    for kind in ("chain", "pipe", "group"):
        for left in parts:
            for right in parts:
                yield (kind, left, right)
    for part in parts:
        yield ("chord", part, None, None)
        if part:
            yield ("chord", None, None, part)
    # Three in a row, and workflows in workflows of a workflow.
    for part in parts[1:]:
        yield ("chain", None, part, None)
        yield ("pipe", None, part, None)
        yield ("group", None, ("chain", None, part))
        yield ("chain", None, ("group", None, part))
        yield ("chord", None, None, ("chain", None, part))


def size(shape):
    """The number of parts of a shape."""
    return 1 if shape is None else 1 + sum(map(size, shape[1:]))


def cases():
    for shape in shapes():
        parts = size(shape)
        text = canvas_shapes.text(shape)
        for part in range(parts):
            if part == 0 or parts > 3:
                yield {"shape": text, "marks": "0" * part + "1" + "0" * (parts - part - 1), "call": 0}
        every = "".join(str(part % 4 + 1) for part in range(parts))
        yield {"shape": text, "marks": every, "call": 0}
        yield {"shape": text, "marks": every, "call": 5}
        yield {"shape": text, "marks": "0" * parts, "call": 5}


def options(mark):
    """The options of a mark."""
    return {"queue": f"option{mark}", "priority": mark, "headers": {f"h{mark}": mark}} if mark else {}


def build(case):
    """A case as a workflow of Celery."""
    marks = map(int, case["marks"])

    def part(tree):
        own = options(next(marks))
        if isinstance(tree, str):
            return canvas.options.s(path=case["path"], flow=case["flow"], target=tree).set(**own)
        kind, *parts = tree[0], *map(part, tree[1:])
        match kind:
            case "chain":
                made = chain(*parts)
            case "pipe":
                made = functools.reduce(operator.or_, parts)
            case "group":
                made = group(parts)
            case "chord":
                made = chord(parts[:-1], parts[-1])
        return made.set(**own)

    return part(canvas_shapes.tree(case["shape"]))


def send(case):
    build(case).apply_async(**options(case["call"]))


def outcomes(path, count):
    """The outcomes of flows by their names, when so many tasks have recorded a line."""
    limit, lines = time.monotonic() + LIMIT, []
    while len(lines) < count:
        assert time.monotonic() < limit, f"{len(lines)} of {count} tasks have run"
        time.sleep(0.1)
        if os.path.exists(path):
            with open(path) as file:
                lines = file.readlines()
    found = {}
    for line in lines:
        flow, _, task, came, _ = line.split()
        found.setdefault(flow, []).append(task + shown(came))
    return {flow: " ".join(sorted(tasks)) for flow, tasks in found.items()}


def shown(came):
    """Queue, priority and headers as digits."""
    queue, priority, headers = came.split("/")
    digits = [queue.removeprefix("option").replace("celery", "0"), priority, headers.replace("h", "").replace("-", "0")]
    return digits[0] if len(set(digits)) == 1 else "/".join(digits)


def oracle():
    with tempfile.TemporaryDirectory() as folder:
        path, flows, tasks = os.path.join(folder, "done"), [], 0
        for number, case in enumerate(cases()):
            send(case | {"flow": f"f{number}", "path": path})
            flows.append(case)
            tasks += len(canvas_shapes.leaves(case["shape"]))
        found = outcomes(path, tasks)
    for number, case in enumerate(flows):
        yield case | {"came": found[f"f{number}"]}


def main():
    match sys.argv[1:]:
        case ["cases"]:
            made = cases()
        case ["send"]:
            made = ()
            for line in sys.stdin:
                send(json.loads(line))
        case ["oracle"]:
            made = oracle()
        case _:
            sys.exit(__doc__)
    for case in made:
        print(json.dumps(case, separators=(",", ":")))


if __name__ == "__main__":
    main()
