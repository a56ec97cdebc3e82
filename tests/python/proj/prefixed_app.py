"""An app whose settings have a prefix, among settings of others, as with Django."""

from celery import Celery


class settings:
    CELERY_TASK_ACKS_LATE = True
    CELERY_BROKER_URL = "memory://"
    TASK_TRACK_STARTED = True
    DEBUG = True


app = Celery("prefixed")
app.config_from_object(settings, namespace="CELERY")
