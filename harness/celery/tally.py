"""Counts executions by number. Each process has its own file, with one byte for each number."""

import mmap
import os

files = {}


def opened():
    """The file of this process, mapped into memory. A child of the pool is a process of its own."""
    pid = os.getpid()
    if pid not in files:
        size = int(os.environ["BENCH_NUMBERS"])
        handle = os.open(os.path.join(os.environ["BENCH_TALLY"], str(pid)), os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(handle, size)
        files[pid] = mmap.mmap(handle, size)
    return files[pid]


def record(number):
    """Counts an execution of `number`."""
    counts = opened()
    counts[number] = min(counts[number] + 1, 255)
