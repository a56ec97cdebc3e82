"""An app that sets itself up in signals. `PROJ_EVENTS` is a file that gets a line for each of them."""

import json
import os

from celery import Celery, signals

app = Celery("signals_app", broker=os.environ["PROJ_REDIS"] + "/0", backend=os.environ["PROJ_REDIS"] + "/1")


def note(name, **more):
    with open(os.environ["PROJ_EVENTS"], "a") as events:
        events.write(json.dumps([name, more]) + "\n")


@signals.celeryd_init.connect
def on_celeryd_init(sender, instance, conf, options, **_):
    conf.task_default_rate_limit = "10/m"
    note("celeryd_init", sender=sender, app=instance.app is app, options=options)


@signals.worker_init.connect
def on_worker_init(sender, **_):
    note("worker_init", app=sender.app is app)


@signals.worker_process_init.connect
def on_worker_process_init(sender, **_):
    note("worker_process_init", sender=sender)
    raise ValueError("receivers may fail")


@signals.worker_process_shutdown.connect
def on_worker_process_shutdown(sender, pid, exitcode, **_):
    note("worker_process_shutdown", pid=pid == os.getpid(), exitcode=exitcode)


@signals.task_prerun.connect
def on_prerun(task_id, task, args, kwargs, **_):
    note("task_prerun", task=task.name, args=args)


@signals.task_postrun.connect
def on_postrun(task_id, state, retval, **_):
    note("task_postrun", state=state, stored=app.AsyncResult(task_id).state)


@signals.task_failure.connect
def on_failure(sender, task_id, exception, **_):
    note("task_failure", task=sender.name, exception=type(exception).__name__, request=sender.request.id == task_id)


@signals.task_revoked.connect
def on_revoked(sender, request, terminated, signum, expired, **_):
    note("task_revoked", task=sender.name, terminated=terminated, signum=signum, expired=expired)


@app.task
def add(x, y):
    return x + y


@app.task
def fail():
    raise ValueError("failed")
