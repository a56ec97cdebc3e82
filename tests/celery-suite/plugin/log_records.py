"""The records that Celery's worker logs in the process of the tests, for the tests that read them: made from the lines that a worker
logs elsewhere. The arguments of a task are those that the worker tells in its event `task-received`.
"""

import logging
import re
import threading

from celery import current_app
from celery.app import trace

import worker_view

# The tests that read records, by their class.
READERS = {"test_trace_log_arguments"}
# What a line says of a task → the logger and the format of its record.
RECORDS = {
    "received": ("celery.worker.strategy", trace.LOG_RECEIVED),
    "succeeded": ("celery.app.trace", trace.LOG_SUCCESS),
    "raised expected": ("celery.app.trace", trace.LOG_FAILURE),
    "raised unexpected": ("celery.app.trace", trace.LOG_FAILURE),
}
LINE = re.compile(rf"\b(INFO|ERROR)\b.*\b[Tt]ask (\S+)\[(\S+)\] ({'|'.join(RECORDS)})\b(.*)")
# Seconds in which the event of a task that was received must come.
LATEST = 10


class Records:
    """The lines of the logs, from now on, as records."""

    def __init__(self):
        self.logs = {log: log.stat().st_size for log in (worker_view.LOG, worker_view.CELERY_LOG) if log.exists()}
        self.received, self.is_listening, self.changed = {}, False, threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()
        worker_view.ask("enable_events")
        # Kombu subscribes some time after it says that it consumes. The answer to this is an event.
        with self.changed:
            while not self.is_listening:
                current_app.control.broadcast("heartbeat")
                self.changed.wait(0.1)

    def listen(self):
        with current_app.connection_for_read() as connection:
            receiver = current_app.events.Receiver(connection, handlers={"*": self.take})
            receiver.capture(wakeup=False)

    def take(self, event):
        with self.changed:
            self.is_listening = True
            if event["type"] == "task-received":
                self.received[event["uuid"]] = event
            self.changed.notify_all()

    def catch_up(self):
        """Logs what the workers have logged before: whole lines, in their order."""
        for log, position in self.logs.items():
            with open(log, "rb") as lines:
                lines.seek(position)
                text = lines.read()
            whole = text[: text.rfind(b"\n") + 1]
            self.logs[log] += len(whole)
            for found in map(LINE.search, whole.decode(errors="replace").splitlines()):
                if found:
                    self.log(*found.groups())

    def log(self, level, name, task_id, said, rest):
        with self.changed:
            assert self.changed.wait_for(lambda: task_id in self.received, LATEST), f"no event says that {task_id} was received"
            event = self.received[task_id]
        name_of_logger, text = RECORDS[said]
        data = {"name": name, "id": task_id, "args": event["args"], "kwargs": event["kwargs"]}
        seconds = re.match(r" in ([\d.]+)s: (.*)", rest)
        if seconds:
            data.update(runtime=seconds[1], return_value=seconds[2])
        elif said != "received":
            data.update(description=said, exc=rest.removeprefix(": "))
        # The worker has decided that it is logged, whatever the level of the logger is here.
        logger, number = logging.getLogger(name_of_logger), logging.getLevelNamesMapping()[level]
        logger.handle(logger.makeRecord(logger.name, number, __file__, 0, text, (data,), None, extra={"data": data}))
