"""A Celery app that treats its processes badly: the app of `tasks.py`, and tasks that crash, leak and leave.

    IMPORT_SECONDS    how long the import of this module takes
"""

import ctypes
import os
import time

from tasks import app  # noqa: F401

print("printed by the import")
if (child := os.fork()) == 0:
    os._exit(0)
os.waitpid(child, 0)
time.sleep(float(os.environ.get("IMPORT_SECONDS", "0")))

leaked = []


def task(function):
    return app.task(name="harmful." + function.__name__)(function)


@task
def pid():
    return os.getpid()


@task
def segfault():
    ctypes.string_at(0)


@app.task(name="harmful.poison", acks_late=True, reject_on_worker_lost=True)
def poison():
    """Runs again and again, wherever that is given back."""
    os.abort()


@task
def leave():
    os._exit(3)


@task
def close_everything():
    os.closerange(0, 4096)


@task
def fork():
    child = os.fork()
    if child == 0:
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@task
def leak():
    """Takes 200 MB, and keeps them."""
    leaked.append(bytearray(os.urandom(1) * 200_000_000))
    return os.getpid()


@task
def fill_memory():
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, resource.RLIM_INFINITY))
    try:
        return len(bytearray(4 << 30))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@task
def no_json():
    return object()


@task
def large():
    return "x" * 50_000_000
