"""Receives events with Celery's own receiver and state.

    watch_events.py TYPES COUNT [SERIALIZER]

Reads only events that SERIALIZER has written (json). Prints `ready` when it listens. Ends when COUNT events of TYPES, which
commas divide, have come, and prints one JSON object: all events in their order, and what `celery.events.State` makes of them.
"""

import json
import sys

from tasks import app


def shown(task):
    fields = "uuid name state args kwargs result exception runtime retries root_id parent_id worker".split()
    found = {field: getattr(task, field) for field in fields}
    found["worker"] = found["worker"] and found["worker"].hostname
    return found


def main(kinds, count, serializer="json"):
    events, state = [], app.events.State()
    with app.connection_for_read() as connection:

        def on_event(event):
            state.event(dict(event))
            events.append({key: value for key, value in event.items() if key != "local_received"})
            if sum(event["type"] in kinds.split(",") for event in events) >= count:
                receiver.should_stop = True

        receiver = app.events.Receiver(connection, handlers={"*": on_event}, accept={serializer})
        print("ready", flush=True)
        receiver.capture(limit=None, timeout=60, wakeup=False)
    workers = {name: {"alive": worker.alive, "active": worker.active, "processed": worker.processed}
               for name, worker in state.workers.items()}
    tasks = {uuid: shown(task) for uuid, task in state.tasks.items()}
    print(json.dumps({"events": events, "workers": workers, "tasks": tasks}, default=str), flush=True)


main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
