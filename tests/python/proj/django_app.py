from celery import Celery

app = Celery("django_app")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def query():
    from django.db import connection
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()[0]


@app.task(bind=True)
def had_connection(self):
    from django.db import connection
    return [connection.connection is not None, hasattr(self, "delay_on_commit")]
