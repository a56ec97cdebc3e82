"""An app with settings that are hard to describe."""

import datetime
import os
import ssl

from celery import Celery
from kombu import Exchange, Queue


def route(name, args, kwargs, options, task=None, **_):
    return None


class Opaque:
    pass


app = Celery("routed", broker="redis://:secret@127.0.0.1:1/0", backend="redis://:secret@127.0.0.1:1/1")
app.conf.update(
    CELERY_TASK_DEFAULT_QUEUE="ignored",
) if os.environ.get("PROJ_OLD") else None
app.conf.update(
    task_queues=[
        Queue("low", Exchange("tasks", type="topic"), routing_key="low.#", queue_arguments={"x-max-priority": 3},
              max_priority=5),
        Queue("plain"),
    ],
    task_routes=(route, {"proj.*": {"queue": "low"}}, "proj.routed_app.Router", [("feed.*", {"queue": "feed"})]),
    task_annotations={"*": {"rate_limit": "1/s", "on_failure": route}},
    result_expires=datetime.timedelta(hours=2),
    broker_use_ssl={"cert_reqs": ssl.CERT_REQUIRED},
    redis_backend_health_check_interval=7,
    result_backend_transport_options={"opaque": Opaque()},
    beat_schedule={"x": {"task": "x", "schedule": 1}},
    accept_content=["json", "yaml"],
)


@app.task(queue="low", rate_limit="3/m", time_limit=9, soft_time_limit=7, max_retries=None, acks_late=True,
          expires=datetime.timedelta(minutes=1), priority=4)
def configured():
    pass
