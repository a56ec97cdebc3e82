from celery import Celery

first = Celery("first")
second = Celery("second")
