import decimal
import os
import signal
import sys
import threading
import warnings

from celery import Task, current_task, group
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.utils.log import get_task_logger

from proj.celery import app

logger = get_task_logger(__name__)

# What happened in this process, for tasks that tell it.
seen = []


class Expected(Exception):
    pass


class Peculiar(Exception):
    """Cannot be pickled: it is built of other arguments than it keeps."""

    def __init__(self, a, b):
        super().__init__("%s and %s" % (a, b))


class Hooked(Task):
    """Looks at the stored state from its hooks."""

    abstract = True

    def look(self, hook, task_id):
        seen.append([hook, self.AsyncResult(task_id).state])

    def before_start(self, task_id, args, kwargs):
        seen.append(["before_start", self.request.id])

    def on_success(self, retval, task_id, args, kwargs):
        self.look("on_success", task_id)

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        self.look("on_failure", task_id)
        seen.append(["exc", type(exc).__name__, str(einfo.exception)])

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        self.look("on_retry", task_id)

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        self.look("after_return", task_id)


@app.task
def add(x, y):
    return x + y


@app.task(ignore_result=True)
def noop():
    pass


@app.task
def noop_stored():
    pass


@app.task
def echo(value):
    return value


@app.task
def rich():
    return {"price": decimal.Decimal("1.50"), "nan": float("nan"), "text": "ä\u2028", "big": 10 ** 30}


@app.task
def big(size):
    return "x" * size


@app.task
def unserialisable():
    return object()


@app.task(ignore_result=True)
def unserialisable_ignored():
    return object()


@app.task(throws=(Expected,))
def fail(kind="ValueError", *args):
    kinds = {"ValueError": ValueError, "Expected": Expected, "Peculiar": Peculiar, "KeyError": KeyError}
    raise kinds[kind](*args)


@app.task(ignore_result=True)
def fail_ignored():
    raise ValueError("not kept")


@app.task(ignore_result=True, store_errors_even_if_ignored=True)
def fail_ignored_stored():
    raise ValueError("kept")


@app.task(bind=True, max_retries=3)
def retry(self, how=None):
    if how == "exc":
        try:
            raise ValueError("again")
        except ValueError as exc:
            raise self.retry(exc=exc, countdown=7)
    raise self.retry(countdown=7)


@app.task(autoretry_for=(KeyError,), retry_backoff=5, retry_jitter=False)
def autoretry():
    raise KeyError("auto")


@app.task(bind=True)
def replace(self):
    return self.replace(add.s(1, 2))


@app.task
def ignore():
    raise Ignore()


@app.task
def reject(requeue):
    raise Reject("no thanks", requeue=requeue)


@app.task(bind=True)
def progress(self):
    self.update_state(state="PROGRESS", meta={"done": 1})
    return self.AsyncResult(self.request.id).state


@app.task(bind=True)
def fail_by_hand(self):
    self.update_state(state="FAILURE", meta={"exc_type": "Own", "exc_message": ["by hand"], "exc_module": "proj"})
    raise Ignore()


@app.task(track_started=True)
def started():
    return "ok"


@app.task(bind=True)
def store_elsewhere(self, other):
    self.update_state(task_id=other, state="ELSEWHERE", meta=None)
    return "ok"


@app.task(bind=True)
def store_in_threads(self, count):
    errors = []

    def store(at):
        try:
            self.update_state(task_id="thread-%d" % at, state="PROGRESS", meta=at)
        except Exception as exc:
            errors.append(repr(exc))

    threads = [threading.Thread(target=store, args=(at,)) for at in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@app.task(bind=True, base=Hooked)
def hooked(self, how="success"):
    if how == "failure":
        raise ValueError("hooked")
    if how == "retry":
        raise self.retry(countdown=1)
    return "hooked"


@app.task(ignore_result=True)
def tell_ignored():
    pass


@app.task
def tell():
    told = list(seen)
    del seen[:]
    return told


@app.task(bind=True)
def request(self):
    wanted = vars(self.request)
    known = {key: value for key, value in wanted.items() if key != "_children"}
    known["current"] = current_task.request.id == self.request.id
    known["as_options"] = self.request.as_execution_options()
    return known


@app.task(bind=True)
def process(self):
    import billiard
    import multiprocessing
    from celery._state import task_join_will_block
    return {
        "pid": os.getpid(),
        "path": sys.path[0],
        "argv": sys.argv,
        "stdin": os.readlink("/proc/self/fd/0"),
        "name": multiprocessing.current_process().name,
        "index": billiard.current_process().index,
        "join_will_block": task_join_will_block(),
        "threads": threading.active_count(),
        "sigint": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "sigterm": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
    }


@app.task
def log(text):
    logger.warning("logged %s", text)
    print("printed", text)
    warnings.warn("warned " + text)


@app.task(bind=True)
def spawn(self):
    child = add.delay(1, 1)
    return child.id


@app.task(bind=True)
def spawn_group(self):
    return group(add.s(1, 1), add.s(2, 2)).apply_async()


@app.task
def wait_for_soft(flag=None):
    """Says that it runs by creating a file, then waits."""
    try:
        if flag:
            open(flag, "w").close()
        threading.Event().wait(60)
    except SoftTimeLimitExceeded:
        return "soft"
    return "late"


@app.task(bind=True)
def soft_in_store(self):
    """The signal comes while the state is stored."""
    try:
        self.update_state(state="PROGRESS", meta=None)
    except SoftTimeLimitExceeded:
        return "soft"
    return "not"


@app.task(bind=True)
def alarm_in_store(self):
    def on_alarm(_signum, _frame):
        raise TimeoutError("alarm")

    signal.signal(signal.SIGALRM, on_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        self.update_state(state="PROGRESS", meta=None)
    except TimeoutError:
        return "alarm"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return "not"


@app.task
def leave(code):
    sys.exit(code)


@app.task
def leave_at_once(code):
    os._exit(code)


class OwnBase(BaseException):
    pass


@app.task
def raise_base():
    raise OwnBase("base")


@app.task
def close_all():
    os.closerange(3, 1024)


@app.task(bind=True)
def fork_and_store(self, other):
    """A process forked by the task stores by itself, since it has no channel."""
    pid = os.fork()
    if pid == 0:
        try:
            self.update_state(task_id=other, state="FORKED", meta="by the grandchild")
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


@app.task
def fork_and_leave(path):
    """A process forked by the task outlives it. `path` is a FIFO whose end shows that it is gone."""
    pid = os.fork()
    if pid == 0:
        fifo = os.open(path, os.O_RDONLY)
        os.read(fifo, 1)
        os._exit(0)
    return pid


@app.task
def errback(request, exc, traceback):
    seen.append(["errback", request.id, type(exc).__name__])


@app.task(ignore_result=True)
def old_errback(task_id):
    pass


@app.task
def read_result(task_id):
    result = app.AsyncResult(task_id)
    return [result.get(disable_sync_subtasks=False, timeout=10), result.state, type(app.backend).__name__]


@app.task
def kinds(*values):
    return [type(value).__name__ for value in values]


@app.task
def objects():
    import gc
    gc.collect()
    return len(gc.get_objects())
