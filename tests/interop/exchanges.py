"""The app of `tasks.py` with queues of topic and fanout exchanges.

Worker: `celery -A exchanges worker`.
"""

from kombu import Exchange, Queue
from kombu.common import Broadcast

from tasks import app

market = Exchange("market", type="topic")

app.conf.task_queues = [
    Queue("orders", market, routing_key="order.#"),
    Queue("bids", market, routing_key="*.bid"),
    Broadcast("news"),
]
