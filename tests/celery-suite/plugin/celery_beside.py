"""The app of Celery's worker beside one of Apium: the tasks of the tests, and their settings. It runs in a process of its own,
since the worker of the tests forks theirs, which has other threads here."""

import os

from celery import Celery
from t.integration.tasks import ClassBasedAutoRetryTask

app = Celery("beside", broker=os.environ["TEST_BROKER"], backend=os.environ["TEST_BACKEND"])
app.conf.update(result_extended=True, task_create_missing_queues=False)
app.register_task(ClassBasedAutoRetryTask())
