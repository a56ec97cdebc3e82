"""Celery's side of the fault test of chords: the tasks of `harness/src/canvas/tasks.rs` on the app of `faults.py`.

    CHORDS_KILL    `before`: the process kills itself after it counted the last part and before it publishes the body;
                   `after`: after it published the body and before it deletes the count

As a program it sends a chord with the given number of parts (`broken_chords.py 100`), and prints `body` and its id.
"""

import os
import signal
import sys

from celery import chord

from faults import app, record

BODY = 2**64 - 1


@app.task(name="canvas.part")
def part(number):
    """A part."""
    record(number)
    return number * 3 + 1


@app.task(name="canvas.join")
def join(results):
    """The body: returns what it received."""
    record(BODY)
    return results


def die(when):
    """Kills the process that publishes the body of a chord."""
    from celery.canvas import Signature

    publish = Signature.delay

    def dying(self, *args, **kwargs):
        if when == "after":
            publish(self, *args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    Signature.delay = dying


if os.environ.get("CHORDS_KILL"):
    die(os.environ["CHORDS_KILL"])

if __name__ == "__main__":
    parts = [part.s(number) for number in range(int(sys.argv[1]))]
    print("body", chord(parts, join.s().set(queue="bodies")).apply_async().id)
