"""The app of the tests. `PROJ_REDIS` names the server, `PROJ_SETTINGS` further settings as JSON."""

import json
import os

from celery import Celery

REDIS = os.environ["PROJ_REDIS"]

# Whoever prints here must not get into the channel.
print("proj is imported", flush=True)

app = Celery("proj", broker=REDIS + "/0", backend=REDIS + "/1", include=["proj.tasks"])
app.conf.update(
    task_default_queue="proj",
    result_expires=3600,
    broker_connection_retry_on_startup=True,
)
app.conf.update(json.loads(os.environ.get("PROJ_SETTINGS", "{}")))
