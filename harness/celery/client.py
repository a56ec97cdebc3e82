"""Celery as a caller: `client.py enqueue N` and `client.py round-trip N` print what they took, as one JSON line."""

import json
import sys
import time

from app import count

PADDING = "x" * 64


def enqueue(calls):
    """Calls one after the other. The first opens the connection and is not measured."""
    count.apply_async((0, PADDING))
    started = time.perf_counter()
    for number in range(1, calls + 1):
        count.apply_async((number, PADDING))
    return {"seconds": time.perf_counter() - started}


def round_trip(calls):
    """Calls and waits for the result, again and again."""
    for number in range(20):
        count.apply_async((number, PADDING)).get(timeout=30)
    took = []
    for number in range(calls):
        started = time.perf_counter()
        count.apply_async((number, PADDING)).get(timeout=30)
        took.append(time.perf_counter() - started)
    return {"seconds_each": took}


measure = {"enqueue": enqueue, "round-trip": round_trip}[sys.argv[1]]
print(json.dumps(measure(int(sys.argv[2]))), flush=True)
