"""An app that leaves a process behind when it is imported, until somebody opens `PROJ_FIFO`."""

import os

from celery import Celery

app = Celery("forking", broker="memory://")

if os.fork() == 0:
    os.open(os.environ["PROJ_FIFO"], os.O_RDONLY)
    os._exit(0)
