"""Celery as a caller: `client.py enqueue N`, `client.py round-trip N` and `client.py workflows N` print their times as one
JSON line.
"""

import json
import sys
import time

from celery import chain, chord, group

from app import count, inc, total

PADDING = "x" * 64


def enqueue(calls):
    """Calls one after the other. The first opens the connection and is not measured."""
    count.apply_async((0, PADDING))
    started = time.perf_counter()
    for number in range(1, calls + 1):
        count.apply_async((number, PADDING))
    return {"seconds": time.perf_counter() - started}


def round_trip(calls):
    """Calls and waits for the result, one call after the other."""
    for number in range(20):
        count.apply_async((number, PADDING)).get(timeout=30)
    took = []
    for number in range(calls):
        started = time.perf_counter()
        count.apply_async((number, PADDING)).get(timeout=30)
        took.append(time.perf_counter() - started)
    return {"seconds_each": took}


def workflows(rounds):
    """Groups and chords of 1,000 and chains of 100, from the call to the result."""
    inc.delay(0).get(timeout=30)
    numbers = range(1000)
    flows = {
        "group": (lambda: group(inc.s(number) for number in numbers)(), list(range(1, 1001))),
        "chord": (lambda: chord((inc.s(number) for number in numbers), total.s())(), 500500),
        "chain": (lambda: chain(inc.s(0), *[inc.s() for _ in range(99)])(), 100),
    }
    took = {}
    for name, (send, wanted) in flows.items():
        took[name] = []
        for _ in range(rounds):
            started = time.perf_counter()
            got = send().get(timeout=60)
            took[name].append(time.perf_counter() - started)
            assert got == wanted, got
    return took


measure = {"enqueue": enqueue, "round-trip": round_trip, "workflows": workflows}[sys.argv[1]]
print(json.dumps(measure(int(sys.argv[2]))), flush=True)
