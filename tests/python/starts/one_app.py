from celery import Celery, current_app  # noqa: F401

only = Celery("only", broker="memory://")
again = only


@only.task
def add(x, y):
    return x + y
