"""The app of `tasks.py` with queues of a headers exchange, which only RabbitMQ has.

Worker: `celery -A headers_exchange worker -Q pdfs`.
"""

from kombu import Exchange, Queue

from tasks import app

reports = Exchange("reports", type="headers")

app.conf.task_queues = [
    Queue("pdfs", reports, routing_key="pdfs", binding_arguments={"x-match": "all", "format": "pdf", "copies": 2}),
    Queue("texts", reports, routing_key="texts", binding_arguments={"x-match": "any", "format": "text", "plain": True}),
]
