import os

SECRET_KEY = "of the tests"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["PROJ_DATABASE"]}}
TIME_ZONE = "Europe/Paris"
USE_TZ = True
CELERY_BROKER_URL = os.environ["PROJ_REDIS"] + "/0"
CELERY_RESULT_BACKEND = os.environ["PROJ_REDIS"] + "/1"
CELERY_TASK_ACKS_LATE = True
