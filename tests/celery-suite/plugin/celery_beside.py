"""The app of Celery's worker beside one of Apium: the tasks of the tests, and their settings. It runs in a process of its own,
since the worker of the tests forks theirs, which has other threads here."""

import json
import os

from celery import Celery
from t.integration.tasks import ClassBasedAutoRetryTask

app = Celery("beside")
app.conf.update(json.loads(os.environ["SUITE_SETTINGS"]))
app.register_task(ClassBasedAutoRetryTask())
