"""A Django project with django-celery-results, as Celery's own guide for Django sets it up.

`make FOLDER BROKER` makes it, with Django's own commands. In its folder, `call` calls its tasks and prints what the
tables of django-celery-results then have, as JSON; `flush` empties all tables.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

SETTINGS = """
INSTALLED_APPS += ["django_celery_results", "orders"]
# Two processes write: a transaction waits at its begin, and is not refused in its middle.
DATABASES["default"]["OPTIONS"] = {{"timeout": 60, "transaction_mode": "IMMEDIATE"}}
CELERY_BROKER_URL = {broker!r}
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXTENDED = True
CELERY_TASK_TRACK_STARTED = True
CELERY_TIMEZONE = "Europe/Paris"
"""

CELERY = """
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""

INIT = """
from .celery import app as celery_app

__all__ = ("celery_app",)
"""

MODELS = """
from django.db import models


class Order(models.Model):
    amount = models.IntegerField()
    is_paid = models.BooleanField(default=False)
"""

TASKS = """
from celery import shared_task
from django.db import transaction

from orders.models import Order


@shared_task
def create(amount):
    return Order.objects.create(amount=amount).pk


@shared_task(bind=True)
def pay(self, pk):
    self.update_state(state="PAYING", meta={"order": pk})
    Order.objects.filter(pk=pk).update(is_paid=True)
    return list(Order.objects.filter(pk=pk).values_list("amount", "is_paid").get())


@shared_task
def refuse(amount):
    with transaction.atomic():
        Order.objects.create(amount=amount)
        raise ValueError("no order of %d" % amount)


# Celery stores RETRY after it has sent the call: without a delay another process may have stored the end by then.
@shared_task(bind=True, max_retries=2, default_retry_delay=1)
def stubborn(self):
    raise self.retry(exc=KeyError("never"))


@shared_task
def priced(amount):
    return Order.objects.create(amount=amount).amount


@shared_task
def total(amounts):
    return sum(amounts)


@shared_task
def count():
    return Order.objects.count()


@shared_task
def create_later(amount):
    with transaction.atomic():
        create.apply_async_on_commit((amount,), task_id="later")


@shared_task(ignore_result=True)
def forgotten():
    return "not stored"
"""


def make(folder, broker):
    from django.core.management import call_command
    folder = pathlib.Path(folder)
    os.chdir(folder)
    call_command("startproject", "shop", str(folder))
    (folder / "shop" / "celery.py").write_text(CELERY)
    (folder / "shop" / "__init__.py").write_text(INIT)
    with (folder / "shop" / "settings.py").open("a") as settings:
        settings.write(SETTINGS.format(broker=broker))
    call_command("startapp", "orders")
    (folder / "orders" / "models.py").write_text(MODELS)
    (folder / "orders" / "tasks.py").write_text(TASKS)
    for command in (["makemigrations", "orders"], ["migrate"]):
        subprocess.run([sys.executable, "manage.py", *command, "--verbosity", "0"], check=True)


def set_up():
    sys.path.insert(0, os.getcwd())
    os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
    import django
    django.setup()


def ended(result):
    """Waits for its end, whatever that is."""
    result.get(timeout=180, propagate=False)


def rows(model, leave_out):
    """What a table has, by the id of its task or group."""
    fields = [field.name for field in model._meta.fields if field.name not in leave_out]
    found = {}
    for row in model.objects.order_by("date_created").values(*fields):
        if row.get("meta"):
            row["meta"] = json.loads(row["meta"])
        if row.get("traceback"):
            row["traceback"] = row["traceback"].splitlines()[-1]
        name = row.pop("task_id", None) or row.pop("group_id")
        found[name] = row
    return found


def call():
    set_up()
    from celery import chord, group
    from django_celery_results.models import ChordCounter, GroupResult, TaskResult
    from orders import tasks
    from orders.models import Order
    created = tasks.create.apply_async((7,), task_id="created")
    pk = created.get(timeout=180)
    ended((tasks.create.s(8).set(task_id="first") | tasks.pay.s().set(task_id="then")).apply_async())
    for task, args, name in [(tasks.refuse, (9,), "refused"), (tasks.stubborn, (), "stubborn"),
                             (tasks.pay, (pk,), "paid"), (tasks.count, (), "counted"),
                             (tasks.create_later, (10,), "called")]:
        ended(task.apply_async(args, task_id=name))
    ended(celery_result("later"))
    parts = [tasks.priced.s(number).set(task_id="part%d" % number) for number in range(3)]
    ended(chord(parts, task_id="a group")(tasks.total.s().set(task_id="body")))
    saved = group(tasks.count.s().set(task_id="member%d" % number) for number in range(2)).apply_async(
        task_id="a saved group")
    ended(saved)
    saved.save()
    tasks.forgotten.apply_async(task_id="forgotten")
    ended(tasks.count.apply_async(task_id="last"))
    left_out = {"id", "date_created", "date_started", "date_done"}
    print(json.dumps({
        "tasks": rows(TaskResult, left_out),
        "groups": rows(GroupResult, left_out),
        "chords": ChordCounter.objects.count(),
        "orders": sorted(Order.objects.values_list("amount", "is_paid")),
    }))


def celery_result(name):
    """The result of a task that another task has called. Waits until there is one."""
    from django_celery_results.models import TaskResult
    from celery.result import AsyncResult
    until = time.monotonic() + 180
    while not TaskResult.objects.filter(task_id=name).exists():
        if time.monotonic() > until:
            raise TimeoutError("%s was not called" % name)
        time.sleep(0.01)
    return AsyncResult(name)


def flush():
    set_up()
    from django.core.management import call_command
    call_command("flush", interactive=False, verbosity=0)


if __name__ == "__main__":
    {"make": make, "call": call, "flush": flush}[sys.argv[1]](*sys.argv[2:])
